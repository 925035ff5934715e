"""Heatbath and overrelaxation of gauge theories."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import integers
from ..statistics import Chain
from ..theories import WilsonAction
from ..updates import HeatbathUpdate, OverrelaxationUpdate
from ._chain_loop import AbstractStep, run_chains
from ._hmc_state import initial_configurations


class HeatbathState(eqx.Module):
    """What a further update needs, one leading axis for the chains."""

    configuration: jax.Array
    update: jax.Array


def heatbath(
    key: jax.Array,
    theory: WilsonAction,
    n: int,
    *,
    overrelaxation: int = 0,
    chains: int = 1,
    thermalisation: int | None = None,
    initial: Any = "hot",
    measure: Any = None,
    thin: int = 1,
    dtype: Any = None,
    attempts: int = 3,
    chunk: int = 100,
    progress: bool = False,
) -> Chain:
    r"""Heatbath sweeps of Wilson's action, each followed by sweeps of overrelaxation.

    No step size, no rejected sweeps: the chain to compare others with where it exists, see `HeatbathUpdate` and
    `OverrelaxationUpdate`. Topological sectors freeze as with any local update.

    **Arguments:**

    - `theory`: a `WilsonAction` in any dimension.
    - `n`: measurements kept per chain.
    - `overrelaxation`: sweeps after each heatbath sweep; about the correlation length pays.
    - `chains`: independent chains, computed together.
    - `thermalisation`: updates before the first measurement; 100 after a hot or cold start, else none.
    - `initial`, `measure`, `thin`, `dtype`, `chunk`, `progress`: as for `hmc`.
    - `attempts`: proposals per link in a heatbath sweep.

    **Returns:** a `Chain` with `state`.

    **Raises:** `TypeError` for a theory other than `WilsonAction`; `SamplingInterrupted`, which carries the chain so far.
    """
    integers("heatbath", 1, chains=chains, attempts=attempts)
    integers("heatbath", 0, overrelaxation=overrelaxation)
    initial_key, chain_key = jax.random.split(key)
    if isinstance(initial, HeatbathState):
        state = initial
    else:
        x = initial_configurations("heatbath", initial_key, theory.manifold, chains, initial, dtype)
        state = HeatbathState(x, jnp.zeros(chains, jnp.uint32))
    reflection = OverrelaxationUpdate(overrelaxation) if overrelaxation else None
    return run_chains(
        "heatbath",
        _Sweeps(theory, HeatbathUpdate(attempts), reflection),
        chain_key,
        state,
        n,
        initial=initial,
        measure=measure,
        thermalisation=thermalisation,
        thin=thin,
        chunk=chunk,
        progress=progress,
        assemble=lambda configurations, observables, _, defect, state: Chain(configurations, observables, state=state),
    )


class _Sweeps(AbstractStep):
    theory: WilsonAction
    heatbath: HeatbathUpdate
    overrelaxation: OverrelaxationUpdate | None

    def __call__(self, key: jax.Array, state: HeatbathState) -> tuple[HeatbathState, None, jax.Array]:
        first, second = jax.random.split(jax.random.fold_in(key, state.update))
        x = self.heatbath(first, self.theory, state.configuration)
        if self.overrelaxation is not None:
            x = self.overrelaxation(second, self.theory, x)
        # Every sweep ends on the group.
        return HeatbathState(x, state.update + 1), None, jnp.zeros((), jnp.real(x).dtype)
