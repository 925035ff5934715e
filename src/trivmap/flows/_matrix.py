"""Links as one list: what layers that move a subset of links have in common."""

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Inexact

from ..groups import U1, AbstractGroup
from ..lattice import site_sum
from ..manifolds import AbstractManifold, LinkField


def group_of(manifold: AbstractManifold) -> AbstractGroup:
    """The group of the links; real fields add like angles."""
    return manifold.group if isinstance(manifold, LinkField) else U1()


def flat_links(manifold: AbstractManifold, x: Inexact[Array, "*shape"]) -> Array:
    """Links as `(*element_shape, dim volume)`, scalars as `(volume,)`."""
    if not isinstance(manifold, LinkField):
        return x.reshape(-1)
    colours = len(manifold.group.element_shape)
    return jnp.moveaxis(x, 0, colours).reshape(*manifold.group.element_shape, -1)


def shaped_links(manifold: AbstractManifold, flat: Array) -> Inexact[Array, "*shape"]:
    """The inverse of `flat_links`."""
    if not isinstance(manifold, LinkField):
        return flat.reshape(manifold.lattice)
    colours = manifold.group.element_shape
    return jnp.moveaxis(flat.reshape(*colours, len(manifold.lattice), *manifold.lattice), len(colours), 0)


def take_links(flat: Array, links: Array) -> Array:
    """Links by number; numbers past the last one give any."""
    return jnp.take(flat, links, axis=-1, mode="clip")


def put_links(flat: Array, links: Array, values: Array) -> Array:
    """Replaces links by number; numbers past the last one are dropped."""
    return flat.at[..., links].set(values, mode="drop")


def checked(manifold: AbstractManifold, x: Inexact[Array, "*shape"]) -> Array:
    """The configuration, if it is one: errors for wrong shapes, and for links that are not unitary.

    Inside of `jax.jit`, where values are not known, links that are not unitary become NaN.
    """
    manifold.check(x)
    if not isinstance(manifold, LinkField) or not manifold.group.complex_elements:
        return x
    defect = jax.vmap(manifold.group.unitarity_defect)(x)
    # Rounding of 10^4 products of matrices stays under this; a wrong layout or scale is of order one.
    tolerance = float(jnp.finfo(x.dtype).eps) ** 0.5
    if not isinstance(defect, Tracer) and not bool(jnp.max(defect) < tolerance):
        raise ValueError(
            f"links of {manifold.group.name}: got matrices that deviate from unitary with determinant one by up to "
            f"{float(jnp.max(defect)):.1e}, expected rounding only; use manifold.project(x), or check the layout."
        )
    return jnp.where(jnp.max(jax.lax.stop_gradient(defect)) < tolerance, x, jnp.asarray(jnp.nan, x.dtype))


def weighted_sum(values: Array, used: Array) -> Array:
    """Sum over the active links that are none of the filling, in the accumulator precision."""
    return site_sum(jnp.where(used, values, jnp.zeros_like(values)))
