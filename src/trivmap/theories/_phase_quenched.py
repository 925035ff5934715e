from typing import Any

from .._types import Array, PRNGKey
from ..manifolds import AbstractManifold
from ._base import AbstractTheory


class PhaseQuenched(AbstractTheory):
    r"""The theory whose weight is the magnitude $|e^{-S}|$ of that of a theory with a complex action.

    It has a density, which chains and stochastic flows follow; the phase is left to reweighting.

    **Arguments:** `theory`: the theory with the complex action.
    """

    theory: AbstractTheory

    @property
    def manifold(self) -> AbstractManifold:
        return self.theory.manifold

    @property
    def terms(self) -> tuple[AbstractTheory, ...]:
        """Those of the theory, quenched, so that forces on time scales of their own stay apart."""
        return tuple(term.phase_quenched for term in self.theory.terms)

    @property
    def pseudofermions(self) -> tuple[str, ...]:
        return self.theory.pseudofermions

    def refresh(self, key: PRNGKey, x: Any) -> Any:
        return self.theory.refresh(key, x)

    def check_couplings(self) -> None:
        self.theory.check_couplings()

    def action(self, x: Any) -> Array:
        return self.theory.real_action(x)

    def gradient(self, x: Any) -> Any:
        return self.theory.gradient(x)
