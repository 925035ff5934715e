from typing import Any

import equinox as eqx

from .._types import Array, RealScalar, Shape
from ..lattice import site_sum
from ..manifolds import ProductManifold, RealField
from ._base import AbstractTheory, coupling, number
from ._phi4 import phi4_action


class ScalarYukawaAction(AbstractTheory):
    r"""Two real fields with a cubic coupling in any dimension, each with the convention of `Phi4Action`:

    $$S = \sum_x \Big[ \sum_\mu (\phi_{x+\mu} - \phi_x)^2 + m_\phi^2 \phi_x^2 + \lambda_\phi \phi_x^4
        + \sum_\mu (\chi_{x+\mu} - \chi_x)^2 + m_\chi^2 \chi_x^2 + \lambda_\chi \chi_x^4 + g\, \phi_x^2 \chi_x \Big]$$

    A toy of matter $\phi$ that sees an exchanged scalar $\chi$ as a shift of its mass. Configurations are
    `{"chi": (*lattice), "phi": (*lattice)}`, the measure is $\prod_x d\phi_x\, d\chi_x$.

    **Arguments:** `lattice`: extents; `m2_phi`, `lam_phi`, `m2_chi`, `lam_chi`: masses squared and quartic couplings; `g`:
    cubic coupling, of either sign. All are scalars.

    **Raises:** `ValueError` for an action without lower bound or with flat directions: a negative quartic coupling; without
    one of chi, $4 \lambda_\phi m_\chi^2 \le g^2$ or $m_\chi^2 \le 0$; without one of phi, $g \ne 0$ or $m_\phi^2 \le 0$.

        >>> theory = tm.ScalarYukawaAction((8, 8), m2_phi=0.5, lam_phi=1.0, m2_chi=1.0, lam_chi=0.5, g=0.8)
        >>> chain = tm.hmc(jax.random.key(0), theory, 1000)
    """

    manifold: ProductManifold = eqx.field(static=True)
    m2_phi: RealScalar
    lam_phi: RealScalar
    m2_chi: RealScalar
    lam_chi: RealScalar
    g: RealScalar

    def __init__(self, lattice: Shape, m2_phi: Any, lam_phi: Any, m2_chi: Any, lam_chi: Any, g: Any):
        self.manifold = ProductManifold(phi=RealField(lattice), chi=RealField(lattice))
        self.m2_phi = coupling("ScalarYukawaAction: m2_phi", m2_phi)
        self.lam_phi = coupling("ScalarYukawaAction: lam_phi", lam_phi)
        self.m2_chi = coupling("ScalarYukawaAction: m2_chi", m2_chi)
        self.lam_chi = coupling("ScalarYukawaAction: lam_chi", lam_chi)
        self.g = coupling("ScalarYukawaAction: g", g)
        self.check_couplings()

    def check_couplings(self) -> None:
        m2_phi, lam_phi, m2_chi, lam_chi, g = map(number, (self.m2_phi, self.lam_phi, self.m2_chi, self.lam_chi, self.g))
        name = "ScalarYukawaAction"
        if lam_phi < 0 or lam_chi < 0:
            raise ValueError(
                f"{name}: got lam_phi={lam_phi}, lam_chi={lam_chi}, expected lam >= 0: the action has no lower bound "
                "otherwise."
            )
        if lam_phi == 0 and (g != 0 or m2_phi <= 0):
            raise ValueError(
                f"{name}: got g={g}, m2_phi={m2_phi} with lam_phi=0, expected g = 0 and m2_phi > 0 without a quartic term of "
                "phi: g chi makes its mass negative somewhere."
            )
        # Uniform fields have the least action; minimised over chi it is m2_phi phi^2 + (lam_phi - g^2/(4 m2_chi)) phi^4.
        if lam_chi == 0 and (m2_chi <= 0 or (g != 0 and 4 * lam_phi * m2_chi <= g**2)):
            raise ValueError(
                f"{name}: got m2_chi={m2_chi}, lam_phi={lam_phi}, g={g} with lam_chi=0, expected m2_chi > 0 and "
                "4 lam_phi m2_chi > g^2 without a quartic term of chi."
            )

    def action(self, x: dict[str, Array]) -> RealScalar:
        """The action, summed in float64 when x64 is enabled."""
        self.manifold.check(x)
        phi, chi = x["phi"], x["chi"]
        cubic = site_sum(phi * phi * chi)
        matter = phi4_action(phi, self.m2_phi, self.lam_phi)
        return matter + phi4_action(chi, self.m2_chi, self.lam_chi) + self.g.astype(cubic.dtype) * cubic
