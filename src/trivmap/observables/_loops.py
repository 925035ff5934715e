import itertools
import math

from .._checks import integer
from .._types import Array, RealScalar
from ..gauge import geometric_charge, planes
from ..groups import AbstractGroup
from ..lattice import shift, site_sum
from ._links import check_plane, link_group


def plaquette(x: Array, plane: tuple[int, int] | None = None) -> RealScalar:
    r"""Mean plaquette $\mathrm{Re\,tr}\, U_P / N$ ($\cos\theta_P$ for U(1)).

    **Arguments:** `x`: links; `plane`: directions `(mu, nu)`, by default the average over all planes.

        >>> tm.plaquette(links)
    """
    return wilson_loop(x, 1, 1, plane)


def wilson_loop(x: Array, r: int, t: int, plane: tuple[int, int] | None = None) -> RealScalar:
    r"""Mean rectangular loop $\mathrm{Re\,tr}\, W / N$, averaged over sites.

    **Arguments:** `x`: links; `r`, `t`: extents in lattice units; `plane`: directions `(mu, nu)` for the loop with extent
    `r` along `mu` and `t` along `nu`; by default the average over all planes and both orientations.

    A side as long as the lattice closes on itself: such a loop is a correlator of two Polyakov lines joined by the other
    sides, no contractible rectangle (which `trivmap.exact` has).

    **Raises:** `ValueError` for sides longer than the lattice, which would cover links twice.

        >>> tm.wilson_loop(links, 2, 2)
    """
    group, dim = link_group(x), x.shape[0]
    integer("wilson_loop: r", r, 1)
    integer("wilson_loop: t", t, 1)
    pairs = planes(dim) if r == t else itertools.permutations(range(dim), 2)
    spanned = list(pairs) if plane is None else [check_plane(plane, dim)]
    if not spanned:
        raise ValueError("wilson_loop: got links of a one-dimensional lattice, expected at least two dimensions.")
    lattice = x.shape[-dim:]
    for mu, nu in spanned:
        if r > lattice[mu] or t > lattice[nu]:
            raise ValueError(
                f"wilson_loop: got a loop of extent {r} along direction {mu} and {t} along direction {nu}, expected at most "
                f"the extents {lattice[mu]} and {lattice[nu]} of the lattice {lattice}; if the loop fits in one orientation, "
                "name it by plane=(direction of r, direction of t)."
            )
    loops = [site_sum(_loop_trace(group, x, mu, r, nu, t)) for mu, nu in spanned]
    return sum(loops[1:], loops[0]) / (len(spanned) * math.prod(lattice))


def topological_charge(x: Array) -> RealScalar:
    r"""Geometric charge of two-dimensional U(1) links, $Q = \frac{1}{2\pi} \sum_x \theta_P(x)$ with
    $\theta_P \in (-\pi, \pi]$: an integer, and returned as one (of real type).

    A charge that never changes is constant, then, instead of varying by rounding.

        >>> tm.topological_charge(links)
    """
    group = link_group(x)
    if group.complex_elements or x.shape[0] != 2:
        raise ValueError(
            f"topological_charge: got {x.shape[0]}-dimensional links of {group.name}, expected two-dimensional U(1); "
            "for SU(n) in four dimensions use clover_charge."
        )
    return geometric_charge(x)


def _loop_trace(group: AbstractGroup, x: Array, mu: int, r: int, nu: int, t: int) -> Array:
    """`Re tr / n` of the loop that starts at every site along `mu`."""
    dim = x.shape[0]
    along, across = _line(group, x, mu, r), _line(group, x, nu, t)
    lower = group.multiply(along, shift(across, mu, r, dim))
    upper = group.multiply(across, shift(along, nu, t, dim))
    return group.real_trace(group.multiply(lower, group.adjoint(upper)))


def _line(group: AbstractGroup, x: Array, mu: int, length: int) -> Array:
    """Ordered product of `length` links along `mu`."""
    line = x[mu]
    for _ in range(length - 1):
        line = group.multiply(x[mu], shift(line, mu, 1, x.shape[0]))
    return line
