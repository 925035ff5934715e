import jax.numpy as jnp

from .._checks import integer
from .._types import Array, Complex, RealScalar
from ..groups import AbstractGroup
from ..lattice import accumulator_dtype, site_sum
from ._links import check_axis, link_group


def polyakov_lines(x: Array, axis: int = 0) -> Complex[Array, "*transverse"]:
    r"""Traced Polyakov lines $\mathrm{tr}\, P / N$, $P = U_\mu(0) U_\mu(1) \cdots$ once around the lattice along `axis`.

    **Returns:** a complex array over the transverse coordinates.

        >>> tm.observables.polyakov_lines(links, 0).shape
    """
    group, dim = link_group(x), x.shape[0]
    check_axis("polyakov", axis, dim)
    links = x[axis]
    first_site = links.ndim - dim
    return group.trace(_ordered_product(group, jnp.moveaxis(links, first_site + axis, first_site), first_site))


def polyakov_loop(x: Array, axis: int = 0) -> Complex[Array, ""]:
    r"""Polyakov loop: $\mathrm{tr}\, P / N$ averaged over the transverse lattice, complex.

    >>> tm.observables.polyakov_loop(links, 0)
    """
    lines = polyakov_lines(x, axis)
    return site_sum(lines) / lines.size


def polyakov_correlator(x: Array, distance: int, axis: int = 0, direction: int | None = None) -> RealScalar:
    r"""Correlator of parallel lines, $\mathrm{Re}\, P(x) P(x + R)^*$ averaged over the transverse lattice.

    **Arguments:** `x`: links; `distance`: separation `R`, from 0 (`|P|^2`) to the extent (0 again); `axis`: direction of the
    lines; `direction`: direction of the separation, by default the average over all transverse ones.

    **Raises:** `ValueError` for distances beyond the lattice.

        >>> tm.observables.polyakov_correlator(links, 0, 1)
    """
    lines, dim = polyakov_lines(x, axis), x.shape[0]
    directions = [mu for mu in range(dim) if mu != axis]
    if direction is not None and direction not in directions:
        raise ValueError(f"polyakov_correlator: got direction {direction}, expected one of {directions}.")
    chosen = directions if direction is None else [direction]
    if not chosen:
        raise ValueError("polyakov_correlator: got links of a one-dimensional lattice, expected at least two dimensions.")
    integer("polyakov_correlator: distance", distance, 0)
    lattice = x.shape[-dim:]
    if distance > min(lattice[mu] for mu in chosen):
        raise ValueError(
            f"polyakov_correlator: got distance {distance} on the lattice {lattice}, expected at most the extents along the "
            f"directions {chosen}: farther lines are nearer ones again. Name the direction of the separation if one fits."
        )
    total = jnp.zeros((), accumulator_dtype())
    for mu in chosen:
        other = jnp.roll(lines, -distance, axis=directions.index(mu))
        total = total + site_sum(lines.real * other.real + lines.imag * other.imag)
    return total / (len(chosen) * lines.size)


def _ordered_product(group: AbstractGroup, links: Array, axis: int) -> Array:
    """Product along one axis by halves: logarithmic depth."""
    while links.shape[axis] > 1:
        extent = links.shape[axis]
        head = (slice(None),) * axis
        pairs = group.multiply(links[(*head, slice(0, extent - 1, 2))], links[(*head, slice(1, extent, 2))])
        if extent % 2:
            pairs = jnp.concatenate([pairs, links[(*head, slice(extent - 1, extent))]], axis=axis)
        links = pairs
    return jnp.squeeze(links, axis)
