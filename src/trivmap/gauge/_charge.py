"""The geometric topological charge."""

import jax.numpy as jnp

from .._types import Array, RealScalar
from ..groups import U1
from ..lattice import site_sum
from ._plaquettes import plaquette_angle


def geometric_charge(angles: Array) -> RealScalar:
    r"""$Q = \frac{1}{2\pi} \sum_x \mathrm{wrap}(\theta_P)$ of two-dimensional U(1) links, an integer of real type."""
    return jnp.round(site_sum(U1().project(plaquette_angle(angles, 0, 1))) / (2 * jnp.pi))
