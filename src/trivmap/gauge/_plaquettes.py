"""Planes of the lattice and the plaquettes in them."""

import itertools

import jax.numpy as jnp

from .._types import Array
from ..groups import AbstractGroup
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


def plaquette_traces(group: AbstractGroup, links: Array) -> Array:
    """`Re tr(U_P) / n` of every plaquette, `(planes, *lattice)`.

    **Arguments:** `group`; `links`: `(dim, *element_shape, *lattice)`.

        >>> tm.gauge.plaquette_traces(tm.SU(2), tm.LinkField(tm.SU(2), (4, 4)).cold()).shape
        (1, 4, 4)
    """
    dim = links.shape[0]

    def in_plane(mu: int, nu: int) -> Array:
        u, v = links[mu], links[nu]
        lower, upper = group.multiply(u, shift(v, mu, 1, dim)), group.multiply(v, shift(u, nu, 1, dim))
        return group.real_trace(group.multiply(lower, group.adjoint(upper)))

    return jnp.stack([in_plane(mu, nu) for mu, nu in planes(dim)])
