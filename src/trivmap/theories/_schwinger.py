from typing import Any

from .._types import Array, RealScalar, Shape
from ..fermions import WilsonDirac
from ..groups import U1
from ..manifolds import LinkField
from ._base import AbstractTheory
from ._fermion_determinant import FermionDeterminant
from ._wilson import WilsonAction


class SchwingerAction(AbstractTheory):
    r"""The Schwinger model: two-dimensional U(1) gauge theory with degenerate flavours of Wilson fermions,

    $$S = -\beta \sum_x \cos\theta_P(x) - n_f \log \det D(\kappa).$$

    The determinant is exact, with its gradient, at cost $L_0 L_1^3$ (`fermions.log_det`). The two terms have forces of
    their own for nested integrators, the expensive one first. For an odd number of flavours the action is complex: see
    `theories.FermionDeterminant`. At beta = 2 the quarks are massless near kappa = 0.276 (arXiv:2202.11712).

    **Arguments:** `lattice`: two extents; `beta`: inverse gauge coupling; `kappa`: hopping parameter; `flavours`: their
    number; `boundary`: signs of the spinors, antiperiodic in time by default. They change single configurations, and no
    mean.

    **Raises:** `ValueError` for other than two dimensions. **Warns:** `fermions.CriticalKappaWarning` for kappa >= 1/4.

        >>> schwinger = tm.SchwingerAction((4, 4), beta=2.0, kappa=0.2)
        >>> schwinger.action(links)
    """

    gauge: WilsonAction
    determinant: FermionDeterminant

    def __init__(self, lattice: Shape, beta: Any, kappa: Any, flavours: int = 2, boundary: Any = (-1, 1)):
        self.gauge = WilsonAction(U1(), lattice, beta)
        if len(self.gauge.lattice) != 2:
            raise ValueError(f"SchwingerAction: got a lattice {lattice}, expected two extents such as (8, 8).")
        self.determinant = FermionDeterminant(WilsonDirac(U1(), self.gauge.lattice, kappa, boundary), flavours)

    @property
    def manifold(self) -> LinkField:
        return self.gauge.manifold

    @property
    def beta(self) -> RealScalar:
        return self.gauge.beta

    @property
    def kappa(self) -> RealScalar:
        return self.determinant.dirac.kappa

    @property
    def terms(self) -> tuple[AbstractTheory, ...]:
        """The determinant and the gauge action."""
        return self.determinant, self.gauge

    def action(self, x: Array) -> Array:
        fermions = self.determinant.action(x)
        return fermions + self.gauge.action(x).astype(fermions.dtype)
