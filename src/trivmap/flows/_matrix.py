"""Links as one list: what layers that move a subset of links have in common."""

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Inexact

from ..lattice import site_sum
from ..manifolds import AbstractManifold


def flat_links(manifold: AbstractManifold, x: Inexact[Array, "*shape"]) -> Array:
    """Links as `(*element_shape, dim volume)`, scalars as `(volume,)`."""
    colours = manifold.local_group.element_shape
    links = x.reshape(len(manifold.generators), *colours, -1)
    return jnp.moveaxis(links, 0, len(colours)).reshape(*colours, -1)


def shaped_links(manifold: AbstractManifold, flat: Array) -> Inexact[Array, "*shape"]:
    """The inverse of `flat_links`."""
    colours = manifold.local_group.element_shape
    links = flat.reshape(*colours, len(manifold.generators), -1)
    return jnp.moveaxis(links, len(colours), 0).reshape(manifold.shape)


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
    group = manifold.local_group
    if not group.complex_elements:
        return x
    defect = jax.vmap(group.unitarity_defect)(x)
    # Rounding of 10^4 products of matrices stays under this; a wrong layout or scale is of order one.
    tolerance = float(jnp.finfo(x.dtype).eps) ** 0.5
    if not isinstance(defect, Tracer) and not bool(jnp.max(defect) < tolerance):
        raise ValueError(
            f"links of {group.name}: got matrices that deviate from unitary with determinant one by up to "
            f"{float(jnp.max(defect)):.1e}, expected rounding only; use manifold.project(x), or check the layout."
        )
    return jnp.where(jnp.max(jax.lax.stop_gradient(defect)) < tolerance, x, jnp.asarray(jnp.nan, x.dtype))


def weighted_sum(values: Array, used: Array) -> Array:
    """Sum over the active links that are none of the filling, in the accumulator precision."""
    return site_sum(jnp.where(used, values, jnp.zeros_like(values)))
