"""Links as one list, and their staples: what layers that move a subset of links have in common."""

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


def staples(group: AbstractGroup, flat: Array, table: Array) -> Array:
    """Staples V of active links, so that U V are plaquettes: `(staples, *element_shape, active)`.

    **Arguments:** `table`: link numbers `(2, planes, 3, active)` of `staple_links`.
    """

    def take(side: int, k: int) -> Array:
        # Planes join the sites: one product for all of them.
        return take_links(flat, table[side, :, k].reshape(-1))

    multiply, adjoint = group.multiply, group.adjoint
    above = multiply(multiply(take(0, 0), adjoint(take(0, 1))), adjoint(take(0, 2)))
    below = multiply(multiply(adjoint(take(1, 0)), adjoint(take(1, 1))), take(1, 2))
    both = jnp.stack([above, below])
    planes, width = table.shape[1], table.shape[3]
    shaped = both.reshape(2, *group.element_shape, planes, width)
    return jnp.moveaxis(shaped, -2, 1).reshape(2 * planes, *group.element_shape, width)


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
