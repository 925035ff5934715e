from typing import Any

import equinox as eqx
import jax.numpy as jnp

from .._types import Array, RealScalar, Shape
from ..lattice import shift, site_sum
from ..manifolds import RealField
from ._base import AbstractTheory, coupling, number


class FreeScalarAction(AbstractTheory):
    r"""Free real scalar field in any dimension, without a factor 1/2:

    $$S = \sum_x \Big[ \sum_\mu (\phi_{x+\mu} - \phi_x)^2 + m^2 \phi_x^2 \Big]$$

    **Arguments:** `lattice`: extents; `m2`: squared mass, a positive scalar.

    **Raises:** `ValueError` unless m2 > 0: the zero mode would have no normalisable weight.

        >>> free = tm.theories.FreeScalarAction((4, 4), m2=0.5)
        >>> tm.exact.log_z(free)
    """

    manifold: RealField = eqx.field(static=True)
    m2: RealScalar

    def __init__(self, lattice: Shape, m2: Any):
        self.manifold = RealField(lattice)
        self.m2 = coupling("FreeScalarAction: m2", m2)
        self.check_couplings()

    def check_couplings(self) -> None:
        if number(self.m2) <= 0:
            raise ValueError(
                f"FreeScalarAction: got m2={self.m2}, expected m2 > 0: the zero mode has no normalisable weight otherwise."
            )

    def neighbour_coupling(self) -> RealScalar:
        """2, from the squares of differences: all other terms are even in every site."""
        return jnp.asarray(2.0, self.m2.dtype)

    def action(self, x: Array) -> RealScalar:
        """The action, summed in float64 when x64 is enabled."""
        self.manifold.check(x)
        mass = site_sum(x * x)
        return kinetic_term(x) + self.m2.astype(mass.dtype) * mass


def kinetic_term(x: Array) -> Array:
    """`sum_{x, mu} (phi_{x+mu} - phi_x)^2`."""
    total = jnp.zeros_like(x)
    for mu in range(x.ndim):
        total = total + (shift(x, mu, 1, x.ndim) - x) ** 2
    return site_sum(total)
