"""Planes of the lattice and the plaquettes in them."""

import itertools

from .._types import Array
from ..lattice import shift


def planes(dim: int) -> list[tuple[int, int]]:
    """All pairs of directions mu < nu, in lexicographic order."""
    return list(itertools.combinations(range(dim), 2))


def plaquette_angle(angles: Array, mu: int, nu: int) -> Array:
    r"""$\theta_\mu(x) + \theta_\nu(x+\mu) - \theta_\mu(x+\nu) - \theta_\nu(x)$, not wrapped.

    **Arguments:** `angles`: links of U(1), `(dim, *lattice)`. The result is `(*lattice)`.
    """
    dim = angles.shape[0]
    u, v = angles[mu], angles[nu]
    return u + shift(v, mu, 1, dim) - shift(u, nu, 1, dim) - v
