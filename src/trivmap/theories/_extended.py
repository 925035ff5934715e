"""Theories of some of the fields as theories of all of them, which a sum of theories needs."""

from typing import Any

import equinox as eqx

from .._types import Array, PRNGKey
from ..manifolds import AbstractManifold, ProductManifold
from ._base import AbstractTheory


def components_of(manifold: Any) -> dict[str, AbstractManifold]:
    """The components of a product of manifolds by name; none of any other manifold."""
    components = getattr(manifold, "components", None)
    return components if isinstance(components, dict) else {}


class ExtendedTheory(AbstractTheory):
    """A theory of one or several components of a product as a theory of the whole product, flat in all others.

    `SumTheory` makes them of its terms where these live on different fields.

    **Arguments:** `theory`; `manifold`: a `ProductManifold` with all components of `theory.manifold`, or with exactly one
    that equals it.

    **Raises:** `ValueError` where it has none, or several.

        >>> higgs = tm.U1HiggsAction((2, 2), beta=1.0, kappa=0.2, lam=0.5, m2=1.0)
        >>> gauge = tm.theories.ExtendedTheory(tm.WilsonAction(tm.U1(), (2, 2), beta=1.0), higgs.manifold)
    """

    theory: AbstractTheory
    manifold: ProductManifold = eqx.field(static=True)
    name: str | None = eqx.field(static=True)

    def __init__(self, theory: AbstractTheory, manifold: Any):
        self.theory, self.manifold, self.name = theory, manifold, None
        if parts := components_of(theory.manifold):
            if not parts.items() <= manifold.components.items():
                raise ValueError(f"{type(theory).__name__}: got fields {parts}, expected some of {manifold.components}.")
            return
        equal = [name for name, part in manifold.components.items() if part == theory.manifold]
        if len(equal) != 1:
            raise ValueError(
                f"{type(theory).__name__}: got a theory on {theory.manifold}, which is {len(equal)} of the fields "
                f"{manifold.components}, expected exactly one."
            )
        self.name = equal[0]

    @property
    def terms(self) -> tuple[AbstractTheory, ...]:
        if len(self.theory.terms) == 1:
            return (self,)
        return tuple(ExtendedTheory(term, self.manifold) for term in self.theory.terms)

    @property
    def pseudofermions(self) -> tuple[str, ...]:
        return self.theory.pseudofermions

    def refresh(self, key: PRNGKey, x: Any) -> Any:
        return x if self.name else x | self.theory.refresh(key, self._own(x))

    def check_couplings(self) -> None:
        self.theory.check_couplings()

    def action(self, x: Any) -> Array:
        self.manifold.check(x)
        return self.theory.action(self._own(x))

    def noisy_action(self, key: PRNGKey, x: Any) -> Array:
        return self.theory.noisy_action(key, self._own(x))

    def gradient(self, x: Any) -> Any:
        self.manifold.check(x)
        own = self.theory.gradient(self._own(x))
        return self.manifold.still(x) | ({self.name: own} if self.name else own)

    def _own(self, x: Any) -> Any:
        """The fields of the theory."""
        return x[self.name] if self.name else {name: x[name] for name in components_of(self.theory.manifold)}
