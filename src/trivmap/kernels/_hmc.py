"""Hybrid Monte Carlo as a transition kernel."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from .._checks import integers, positive, within
from .._trees import precision, select
from ..lattice import accumulator_dtype
from ._adaptation import DualAveraging
from ._base import AbstractKernel
from ._integrator import AbstractIntegrator, integrator_of
from ._molecular_dynamics import DEFAULT_SPREAD, energy, molecular_dynamics, random_length


class HMCState(eqx.Module):
    """A configuration with its action, the gradient that the next trajectory starts with, and the adaptation of its step."""

    configuration: Any
    action: Float[Array, "..."]
    gradient: Any
    adaptation: DualAveraging | None


class HMCKernel(AbstractKernel):
    r"""One trajectory of Hybrid Monte Carlo with fresh momenta and its Metropolis decision.

    $$ H = \tfrac12\langle p, p\rangle + S(x), \qquad P(\text{accept}) = \min(1, e^{-\Delta H}) $$

    With one leapfrog step this is the Metropolis-adjusted Langevin algorithm (MALA) of step $h = \epsilon^2/2$.

    **Arguments:** `length`: mean integration time of a trajectory, a parameter that training adapts; `steps`: per trajectory;
    `integrator`: a name or an integrator, as for `hmc`; `length_spread`: r in [0, 1), lengths are uniform between (1 - r)
    and (1 + r) times `length`. They do not depend on the configuration, so that the kernel is reversible.
    `target_acceptance`: in thermalisation the length, and with it the step size length/steps, is multiplied by a factor that
    dual averaging finds (arXiv:1111.4246, section 3.2).

    **Raises:** `ValueError` for fewer than one step, a spread outside of [0, 1) or a target outside of (0, 1).

        >>> kernel = tm.kernels.HMCKernel(1.0, steps=4, target_acceptance=0.8)
        >>> chain = tm.run_chain(key, theory, kernel, 10)
    """

    length: Float[Array, ""]
    length_spread: float = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    integrator: AbstractIntegrator = eqx.field(static=True)
    target_acceptance: float | None = eqx.field(static=True)

    def __init__(
        self,
        length: float | Array = 1.0,
        steps: int = 10,
        integrator: str | AbstractIntegrator = "leapfrog",
        length_spread: float = DEFAULT_SPREAD,
        target_acceptance: float | None = None,
    ):
        integers("HMCKernel", 1, steps=steps)
        positive("HMCKernel: length", length)
        within("HMCKernel: length_spread", length_spread, 0, 1)
        if target_acceptance is not None:
            positive("HMCKernel: target_acceptance", target_acceptance)
            within("HMCKernel: target_acceptance", target_acceptance, 0, 1)
        self.length = jnp.asarray(length, jnp.zeros(0).dtype)
        self.length_spread, self.steps = float(length_spread), steps
        self.integrator = integrator_of(integrator)
        self.target_acceptance = None if target_acceptance is None else float(target_acceptance)

    @property
    def force_evaluations(self) -> int:
        return self.steps * self.integrator.force_evaluations

    def init(self, key: Key[Array, ""], theory: Any, x: Any) -> HMCState:
        return self._state(theory, x, None if self.target_acceptance is None else DualAveraging.start())

    def relocated(self, theory: Any, state: HMCState, x: Any) -> HMCState:
        return self._state(theory, x, state.adaptation)

    def thermalised(self, state: HMCState) -> HMCState:
        if state.adaptation is None:
            return state
        return HMCState(state.configuration, state.action, state.gradient, state.adaptation.ended())

    def belongs(self, theory: Any, state: HMCState) -> Bool[Array, ""]:
        action = theory.real_action(state.configuration).astype(state.action.dtype)
        scale = jnp.abs(action) + theory.manifold.dimension
        rounding = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(state.gradient))
        return jnp.abs(action - state.action) <= 100 * rounding * scale

    def trajectory_length(self, state: HMCState) -> Float[Array, ""]:
        """The mean length of the trajectories from this state on: `length`, times what adaptation has found."""
        return self.length if state.adaptation is None else self.length * state.adaptation.factor.astype(self.length.dtype)

    def step(self, key: Key[Array, ""], theory: Any, state: HMCState) -> tuple[HMCState, dict[str, Array]]:
        momentum_key, accept_key = jax.random.split(key)
        manifold, x = theory.manifold, state.configuration
        spread = jnp.asarray(self.length_spread, self.length.dtype)
        length = random_length(jax.random.fold_in(accept_key, 1), self.trajectory_length(state), spread)
        p = manifold.effective(manifold.random_tangent(momentum_key, precision(x)), x)
        moved, p_moved, gradient = molecular_dynamics(theory, self.integrator, x, p, state.gradient, length, self.steps)
        defect = manifold.defect(moved)
        # The gradient of the unprojected field serves on: they differ by rounding.
        moved = manifold.project(moved)
        action = theory.real_action(moved).astype(state.action.dtype)
        delta_h = energy(theory, action, p_moved) - energy(theory, state.action, p)
        # A diverged trajectory has weight zero, also in the Creutz equality.
        delta_h = jnp.where(jnp.isfinite(delta_h), delta_h, jnp.inf)
        accept = jnp.log(jax.random.uniform(accept_key, dtype=delta_h.dtype)) < -delta_h
        x, action, gradient = select(accept, (moved, action, gradient), (x, state.action, state.gradient))
        state = HMCState(x, action, gradient, self._adapted(state.adaptation, delta_h))
        return state, {"accepted": accept, "delta_h": delta_h, "defect": defect}

    def _adapted(self, adaptation: DualAveraging | None, delta_h: Array) -> DualAveraging | None:
        if adaptation is None or self.target_acceptance is None:
            return None
        return adaptation.updated(jnp.minimum(1.0, jnp.exp(-delta_h)), self.target_acceptance)

    def _state(self, theory: Any, x: Any, adaptation: DualAveraging | None) -> HMCState:
        action = theory.real_action(x).astype(accumulator_dtype())
        return HMCState(x, action, self.integrator.gradient(theory, x), adaptation)
