"""Hybrid Monte Carlo with pseudofermions, made of a move and a kernel that exist apart."""

from typing import Any

from .._types import Array, PRNGKey
from ._base import AbstractMove
from ._composition import KernelSequence
from ._hmc import HMCKernel
from ._part import OnComponent


class PseudofermionHeatbath(AbstractMove):
    r"""Draws all pseudofermions anew, exactly, from their distribution given the links (by `theory.refresh`).

    **Raises:** `TypeError` for a theory without pseudofermions.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> pseudofermions = tm.theories.PseudofermionAction(dirac)
        >>> x = tm.kernels.PseudofermionHeatbath().move(key, pseudofermions, pseudofermions.manifold.cold())
    """

    def move(self, key: PRNGKey, theory: Any, x: Any) -> Any:
        if not theory.pseudofermions:
            raise TypeError(
                f"PseudofermionHeatbath: got {type(theory).__name__} without pseudofermions; expected a PseudofermionAction, "
                "or a SumTheory with one."
            )
        return theory.refresh(key, x)


def pseudofermion_hmc(length: float | Array = 1.0, steps: int = 10, integrator: Any = "leapfrog", **options: Any) -> Any:
    r"""Hybrid Monte Carlo with pseudofermions: new ones by their heatbath, then a trajectory of the links in their presence.

    Arguments are those of `HMCKernel`. A `NestedIntegrator` moves `theory.terms` on time scales of their own: ratios of
    determinants from light to heavy, then the gauge action, in the order of `SumTheory(pseudofermions, gauge)`.

        >>> dirac, gauge = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2), tm.WilsonAction(tm.U1(), (4, 4), beta=2.0)
        >>> theory = tm.theories.SumTheory(tm.theories.PseudofermionAction(dirac), gauge)
        >>> integrator = tm.kernels.NestedIntegrator(tm.kernels.leapfrog, tm.kernels.leapfrog, 2)
        >>> chain = tm.run_chain(key, theory, tm.kernels.pseudofermion_hmc(1.0, 4, integrator), 5, thermalisation=5)
    """
    trajectory = HMCKernel(length, steps, integrator, **options)
    return KernelSequence(PseudofermionHeatbath(), OnComponent(name="links", kernel=trajectory))
