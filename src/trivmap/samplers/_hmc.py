"""Hybrid Monte Carlo on any manifold."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import integers, positive, within
from .._trees import precision, select
from ..lattice import warn_of_single_precision
from ..statistics import Chain
from ..updates import DEFAULT_SPREAD, Splitting, energy, molecular_dynamics, random_length, splitting_of
from ._chain_loop import AbstractStep, run_chains
from ._hmc_state import HMCState, initial_state


def hmc(
    key: jax.Array,
    theory: Any,
    n: int,
    *,
    trajectory_length: float = 1.0,
    length_spread: float = DEFAULT_SPREAD,
    steps: int = 10,
    chains: int = 1,
    integrator: str | Splitting = "leapfrog",
    thermalisation: int | None = None,
    initial: Any = "hot",
    measure: Any = None,
    thin: int = 1,
    dtype: Any = None,
    chunk: int = 100,
    progress: bool = False,
) -> Chain:
    r"""Hybrid Monte Carlo: trajectories of $H = \tfrac12\langle p, p\rangle + S(x)$, accepted with $e^{-\Delta H}$.

    Momenta have independent standard normal coordinates; on SU(N) the motion is $\dot U = p\,U$, on spheres it follows great
    circles between two forces. Trajectory i of chain c has a key of its own (by `fold_in`), so results depend neither on
    `chunk` nor on interruptions. Random lengths: P. B. Mackenzie, Phys. Lett. B 226 (1989) 369.

    **Arguments:**

    - `theory`: any theory; only `manifold`, `action` and `gradient` are used.
    - `n`: measurements kept per chain.
    - `trajectory_length`, `steps`: integration time in units in which the kinetic term is p^2/2, and steps per
      trajectory. Aim at an acceptance of 0.7 to 0.95.
    - `length_spread`: r in [0, 1): every trajectory has a length drawn uniformly from (1 - r, 1 + r) times
      `trajectory_length`. With one length for all (r = 0), a mode of which it is half a period keeps its amplitude for ever,
      as in nearly free theories: the chain is not ergodic, and nothing in it shows this.
    - `chains`: independent chains, computed together.
    - `integrator`: "leapfrog", "omf2" (twice the force evaluations per step, an order less error), "omf4" (five per
      step, fourth order) or a `Splitting`.
    - `thermalisation`: trajectories before the first measurement; 100 after a hot or cold start, else none.
    - `initial`: "hot" (reference measure; for scalars normal of width 0.1), "cold" (unit links, zero field, parallel
      spins), a configuration, one configuration per chain, or the `state` of an earlier chain to continue it bit for bit.
    - `measure`: observables by name to keep instead of configurations.
    - `thin`: trajectories per measurement.
    - `dtype`: real precision of the field; energies are accumulated in float64 when x64 is on.
    - `chunk`: measurements per call of the compiled loop (progress and interrupts happen in between).

    **Returns:** a `Chain` with `accepted`, `delta_h` (chains, n * thin), `force_evaluations` per trajectory,
    `unitarity_defect` (largest before the field is projected back onto its manifold, after every trajectory) and `state`.

    **Raises:** `SamplingInterrupted`, which carries the chain so far, on an interrupt from the keyboard.
    """
    splitting = splitting_of(integrator)
    integers("hmc", 1, steps=steps, chains=chains)
    positive("hmc: trajectory_length", trajectory_length)
    within("hmc: length_spread", length_spread, 0, 1)
    warn_of_single_precision("hmc")
    initial_key, chain_key = jax.random.split(key)
    state = initial_state(initial_key, theory, chains, initial, dtype)
    return run_chains(
        "hmc",
        _Trajectory(theory, jnp.asarray(trajectory_length, float), jnp.asarray(length_spread, float), splitting, steps),
        chain_key,
        state,
        n,
        initial=initial,
        measure=measure,
        thermalisation=thermalisation,
        thin=thin,
        chunk=chunk,
        progress=progress,
        assemble=lambda configurations, observables, decisions, defect, state: Chain(
            configurations,
            observables,
            accepted=decisions["accepted"],
            delta_h=decisions["delta_h"],
            force_evaluations=splitting.force_evaluations * steps,
            unitarity_defect=defect,
            state=state,
        ),
    )


class _Trajectory(AbstractStep):
    """One trajectory with its Metropolis decision."""

    theory: Any
    length: jax.Array
    spread: jax.Array
    splitting: Splitting = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def __call__(self, key: jax.Array, state: HMCState) -> tuple[HMCState, dict[str, jax.Array], jax.Array]:
        momentum_key, accept_key = jax.random.split(jax.random.fold_in(key, state.trajectory))
        theory, x = self.theory, state.configuration
        manifold = theory.manifold
        length = random_length(jax.random.fold_in(accept_key, 1), self.length, self.spread)
        p = manifold.effective(manifold.random_tangent(momentum_key, precision(x)), x)
        x_new, p_new, gradient = molecular_dynamics(theory, self.splitting, x, p, state.gradient, length, self.steps)
        defect = manifold.defect(x_new)
        # The gradient of the unprojected field serves on: they differ by rounding.
        x_new = manifold.project(x_new)
        action = theory.action(x_new).astype(state.action.dtype)
        delta_h = energy(theory, action, p_new) - energy(theory, state.action, p)
        # A diverged trajectory has weight zero, also in the Creutz equality.
        delta_h = jnp.where(jnp.isfinite(delta_h), delta_h, jnp.inf)
        uniform = jax.random.uniform(accept_key, dtype=delta_h.dtype)
        accept = jnp.log(uniform) < -delta_h
        proposal = HMCState(x_new, action, gradient, state.trajectory + 1)
        rejected = eqx.tree_at(lambda s: s.trajectory, state, state.trajectory + 1)
        state = select(accept, proposal, rejected)
        return state, {"accepted": accept, "delta_h": delta_h}, defect
