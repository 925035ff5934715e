"""Kernels that move a part of the configuration: one component of a product, or a region of the lattice."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Key

from ..lattice import Region
from ..theories import ComponentTheory, RegionTheory
from ._base import AbstractKernel


class _OnPart(AbstractKernel):
    """What a kernel says of itself holds on a part as well."""

    kernel: eqx.AbstractVar[AbstractKernel]

    @property
    def reversible(self) -> bool:
        return self.kernel.reversible

    @property
    def force_evaluations(self) -> int | None:
        return self.kernel.force_evaluations


class OnRegion(_OnPart):
    r"""A kernel that moves the sites or links of a region, all others fixed bit for bit.

    It runs on the conditional density $p(x_R | x_{\bar R}) \propto e^{-S(x)}$: momenta and forces of HMC vanish outside,
    sweeps leave the links outside as they are. Invariant for the whole theory, ergodic in the region only: combine it with
    kernels of other regions. Actions and forces are those of the whole lattice, and cost as much.

    **Arguments:** `region`: a `Region`, or booleans `(*lattice)`; `kernel`: what moves it.

        >>> inner = tm.lattice.slab((4, 4), axis=0, start=1, stop=3)
        >>> kernel = tm.kernels.RandomMixture([tm.kernels.OnRegion(inner, tm.kernels.HMCKernel()), tm.kernels.HMCKernel(0.5)])
    """

    region: Region = eqx.field(static=True)
    kernel: AbstractKernel

    def __init__(self, region: Any, kernel: AbstractKernel):
        self.region = region if isinstance(region, Region) else Region(region)
        self.kernel = kernel

    def init(self, key: Key[Array, ""], theory: Any, x: Any) -> Any:
        return self.kernel.init(key, RegionTheory(theory, self.region), x)

    def step(self, key: Key[Array, ""], theory: Any, state: Any) -> tuple[Any, dict[str, Array]]:
        return self.kernel.step(key, RegionTheory(theory, self.region), state)

    def relocated(self, theory: Any, state: Any, x: Any) -> Any:
        return self.kernel.relocated(RegionTheory(theory, self.region), state, x)

    def thermalised(self, state: Any) -> Any:
        return self.kernel.thermalised(state)

    def belongs(self, theory: Any, state: Any) -> Bool[Array, ""]:
        return self.kernel.belongs(RegionTheory(theory, self.region), state)


class ComponentState(eqx.Module):
    """The components that stay, and the state of the kernel that moves the remaining one."""

    name: str = eqx.field(static=True)
    others: dict[str, Any]
    moving: Any

    @property
    def configuration(self) -> dict[str, Any]:
        """All components."""
        return self.others | {self.name: self.moving.configuration}


class OnComponent(_OnPart):
    r"""A kernel that moves one component of a product of manifolds, the others fixed.

    It runs on the conditional density $p(x_a | x_b, \ldots) \propto e^{-S(x_a, x_b, \ldots)}$. Invariant for the theory,
    ergodic in this component only: put kernels of the others beside it.

    **Arguments:** `name`: of the component; `kernel`: what moves it.

    **Raises:** `ValueError`, when it meets a theory without such a component.

        >>> higgs = tm.U1HiggsAction((2, 2), beta=1.0, kappa=0.2, lam=0.5, m2=1.0)
        >>> moves = [tm.kernels.OnComponent(name, tm.kernels.HMCKernel()) for name in ("links", "phi")]
        >>> chain = tm.run_chain(key, higgs, tm.kernels.KernelSequence(*moves), 10)
    """

    name: str = eqx.field(static=True)
    kernel: AbstractKernel

    def init(self, key: Key[Array, ""], theory: Any, x: Any) -> ComponentState:
        given = ComponentTheory(theory, self.name, x)
        return ComponentState(self.name, given.others, self.kernel.init(key, given, x[self.name]))

    def step(self, key: Key[Array, ""], theory: Any, state: ComponentState) -> tuple[ComponentState, dict[str, Array]]:
        moving, info = self.kernel.step(key, ComponentTheory(theory, self.name, state.others), state.moving)
        return ComponentState(self.name, state.others, moving), info

    def relocated(self, theory: Any, state: ComponentState, x: Any) -> ComponentState:
        given = ComponentTheory(theory, self.name, x)
        return ComponentState(self.name, given.others, self.kernel.relocated(given, state.moving, x[self.name]))

    def thermalised(self, state: ComponentState) -> ComponentState:
        return ComponentState(self.name, state.others, self.kernel.thermalised(state.moving))

    def belongs(self, theory: Any, state: ComponentState) -> Bool[Array, ""]:
        return self.kernel.belongs(ComponentTheory(theory, self.name, state.others), state.moving)
