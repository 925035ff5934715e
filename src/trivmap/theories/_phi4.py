from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._checks import positive
from .._types import Array, RealScalar, Shape
from ..lattice import site_sum
from ..manifolds import RealField
from ._base import AbstractTheory, coupling, number
from ._free_scalar import kinetic_term


class Phi4Action(AbstractTheory):
    r"""Real $\phi^4$ theory in any dimension, without factors 1/2 or 1/4!:

    $$S = \sum_x \Big[ \sum_\mu (\phi_{x+\mu} - \phi_x)^2 + m^2 \phi_x^2 + \lambda \phi_x^4 \Big]$$

    The measure is `prod_x d phi(x)`. Along an extent of 2 both bonds between a pair of sites count.

    **Arguments:** `lattice`: extents; `m2`: squared mass (may be negative); `lam`: quartic coupling. Both are scalars.
    Source of the convention: arXiv:1904.12072.

    **Raises:** `ValueError` for an action without lower bound, lam < 0, or flat directions, lam = 0 with m2 <= 0.

        >>> critical = tm.Phi4Action((8, 8), m2=-4.0, lam=5.113)
        >>> critical.action(critical.manifold.cold())
    """

    manifold: RealField = eqx.field(static=True)
    m2: RealScalar
    lam: RealScalar

    def __init__(self, lattice: Shape, m2: Any, lam: Any):
        self.manifold = RealField(lattice)
        self.m2 = coupling("Phi4Action: m2", m2)
        self.lam = coupling("Phi4Action: lam", lam)
        self.check_couplings()

    def check_couplings(self) -> None:
        if number(self.lam) < 0:
            raise ValueError(f"Phi4Action: got lam={self.lam}, expected lam >= 0: the action has no lower bound otherwise.")
        if number(self.lam) == 0 and number(self.m2) <= 0:
            raise ValueError(
                f"Phi4Action: got m2={self.m2} with lam=0, expected m2 > 0 without a quartic term: the zero mode has no "
                "normalisable weight otherwise."
            )

    def neighbour_coupling(self) -> RealScalar:
        """2, from the squares of differences: all other terms are even in every site."""
        return jnp.asarray(2.0, self.m2.dtype)

    @classmethod
    def from_kappa(cls, lattice: Shape, kappa: Any, lam: Any) -> "Phi4Action":
        r"""From the hopping form $S_h = \sum_x [-2\kappa \sum_\mu \varphi_x \varphi_{x+\mu} + \varphi_x^2 +
        \lambda_h (\varphi_x^2 - 1)^2]$.

        The fields are related by $\phi = \sqrt\kappa\, \varphi$ and the actions by $S = S_h - V \lambda_h$;
        $\lambda = \lambda_h / \kappa^2$, $m^2 = (1 - 2\lambda_h)/\kappa - 2d$.

        **Arguments:** `kappa`: hopping parameter, positive; `lam`: the quartic coupling of the hopping form.

        **Raises:** `ValueError` for kappa <= 0, and as the class itself.
        """
        kappa, lam = coupling("from_kappa: kappa", kappa), coupling("from_kappa: lam", lam)
        positive("from_kappa: kappa", kappa)
        dtype = np.promote_types(kappa.dtype, lam.dtype)
        kappa, lam = kappa.astype(dtype), lam.astype(dtype)
        return cls(lattice, (1 - 2 * lam) / kappa - 2 * len(lattice), lam / kappa**2)

    def action(self, x: Array) -> RealScalar:
        """The action, summed in float64 when x64 is enabled."""
        self.manifold.check(x)
        return phi4_action(x, self.m2, self.lam)


def phi4_action(x: Array, m2: Array, lam: Array) -> Array:
    """The action of `Phi4Action` from its couplings."""
    square = x * x
    mass, quartic = site_sum(square), site_sum(square * square)
    return kinetic_term(x) + m2.astype(mass.dtype) * mass + lam.astype(mass.dtype) * quartic
