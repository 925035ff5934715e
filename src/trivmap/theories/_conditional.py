"""Theories of a part of the configuration, all else fixed: what kernels that move a part see."""

from typing import Any

import equinox as eqx

from .._types import Array
from ..lattice import Region
from ..manifolds import AbstractManifold, RegionField
from ._base import AbstractTheory
from ._extended import components_of


class RegionTheory(AbstractTheory):
    """A theory of which only a region of the lattice moves: the conditional density given the sites outside.

    Configurations are those of the whole lattice.

    **Arguments:** `theory`; `region`: the sites or links that move.

        >>> inner = tm.theories.RegionTheory(theory, tm.lattice.slab(theory.lattice, axis=0, start=1, stop=3))
    """

    theory: AbstractTheory
    region: Region = eqx.field(static=True)

    def __init__(self, theory: AbstractTheory, region: Region):
        self.theory, self.region = theory, region

    @property
    def manifold(self) -> AbstractManifold:
        return RegionField(self.theory.manifold, self.region)

    @property
    def terms(self) -> tuple[AbstractTheory, ...]:
        if len(self.theory.terms) == 1:
            return (self,)
        return tuple(RegionTheory(term, self.region) for term in self.theory.terms)

    def action(self, x: Any) -> Array:
        return self.theory.action(x)

    def gradient(self, x: Any) -> Any:
        return self.region.restricted(self.theory.gradient(x))


class ComponentTheory(AbstractTheory):
    """A theory on a product of manifolds as a function of one component: the conditional density given the others.

    **Arguments:** `theory`: with `manifold.components`, manifolds by name; `name`: of the component; `others`: the
    configurations of the other components, by name.

    **Raises:** `ValueError` for an unknown component.

        >>> higgs = tm.U1HiggsAction((2, 2), beta=1.0, kappa=0.2, lam=0.5, m2=1.0)
        >>> given = tm.theories.ComponentTheory(higgs, "links", {"phi": higgs.manifold["phi"].cold()})
    """

    theory: AbstractTheory
    name: str = eqx.field(static=True)
    others: dict[str, Any]

    def __init__(self, theory: AbstractTheory, name: str, others: Any):
        components = components_of(theory.manifold)
        if name not in components:
            raise ValueError(
                f"component {name!r}: got {type(theory).__name__} on {type(theory.manifold).__name__} with the components "
                f"{sorted(components)}, expected one of these names."
            )
        self.theory, self.name = theory, name
        self.others = {other: x for other, x in others.items() if other != name}

    @property
    def manifold(self) -> AbstractManifold:
        return components_of(self.theory.manifold)[self.name]

    @property
    def terms(self) -> tuple[AbstractTheory, ...]:
        if len(self.theory.terms) == 1:
            return (self,)
        return tuple(ComponentTheory(term, self.name, self.others) for term in self.theory.terms)

    def action(self, x: Any) -> Array:
        return self.theory.action(self._configuration(x))

    def gradient(self, x: Any) -> Any:
        """That of the theory, which may have a way of its own; of the other components nothing is computed under `jit`."""
        configuration = self._configuration(x)
        return self.theory.gradient(configuration)[self.name]

    def _configuration(self, x: Any) -> Any:
        return self.others | {self.name: x}
