"""Hybrid Monte Carlo on any manifold."""

from typing import Any

import jax

from .._checks import integers, positive, within
from ..kernels import DEFAULT_SPREAD, AbstractIntegrator, HMCKernel, integrator_of
from ..lattice import warn_of_single_precision
from ..statistics import Chain
from ._run_chain import chain_of


def hmc(
    key: jax.Array,
    theory: Any,
    n: int,
    *,
    trajectory_length: float = 1.0,
    length_spread: float = DEFAULT_SPREAD,
    steps: int = 10,
    chains: int = 1,
    integrator: str | AbstractIntegrator = "leapfrog",
    thermalisation: int | None = None,
    target_acceptance: float | None = None,
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

    - `theory`: any `AbstractTheory`. Of a complex action the chain follows the
      magnitude |exp(-S)| and keeps the phases, by which `expectation` reweights.
    - `n`: measurements kept per chain.
    - `trajectory_length`, `steps`: integration time in units in which the kinetic term is p^2/2, and steps per
      trajectory. Aim at an acceptance of 0.7 to 0.95.
    - `length_spread`: r in [0, 1): every trajectory has a length drawn uniformly from (1 - r, 1 + r) times
      `trajectory_length`. With one length for all (r = 0), a mode of which it is half a period keeps its amplitude for ever,
      as in nearly free theories: the chain is not ergodic, and nothing in it shows this.
    - `chains`: independent chains, computed together.
    - `integrator`: "leapfrog", "omf2" (twice the force evaluations per step, an order less error), "omf4" (five per
      step, fourth order), a `SymplecticIntegrator` or a `NestedIntegrator`.
    - `thermalisation`: trajectories before the first measurement; 100 after a hot or cold start, else none.
    - `target_acceptance`: in thermalisation every chain adapts the length of its trajectories, and with it the step size,
      until this fraction is accepted (dual averaging, arXiv:1111.4246), starting from `trajectory_length`; see
      `HMCKernel.trajectory_length(state)`. The measured chain has a fixed length and is exact. `None` for no adaptation.
    - `initial`, `measure`, `thin`, `chunk`, `progress`: as for `run_chain`.
    - `dtype`: real precision of the field; energies are accumulated in float64 when x64 is on.

    **Returns:** a `Chain` with `accepted`, `delta_h` (chains, n * thin), `force_evaluations` per trajectory,
    `unitarity_defect` (largest before the field is projected back onto its manifold, after every trajectory) and `state`.

    **Raises:** `SamplingInterrupted`, which carries the chain so far, on an interrupt from the keyboard.

        >>> chain = tm.hmc(key, scalar, 50, steps=5, chains=2)
        >>> tm.expectation(chain, tm.observables.susceptibility)
    """
    integrator = integrator_of(integrator)
    integers("hmc", 1, steps=steps, chains=chains)
    positive("hmc: trajectory_length", trajectory_length)
    within("hmc: length_spread", length_spread, 0, 1)
    warn_of_single_precision("hmc")
    kernel = HMCKernel(trajectory_length, steps, integrator, length_spread, target_acceptance)
    return chain_of(
        "hmc", key, theory, kernel, n, chains=chains, thermalisation=thermalisation, thin=thin, initial=initial,
        measure=measure, dtype=dtype, chunk=chunk, progress=progress,
    )  # fmt: skip
