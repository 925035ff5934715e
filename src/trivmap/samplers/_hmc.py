"""Hybrid Monte Carlo on any manifold."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..lattice import accumulator_dtype
from ..manifolds import LinkField
from ..statistics import Chain
from ._hmc_state import HMCState, initial_state
from ._interrupt import SamplingInterrupted, progress_bar
from ._molecular_dynamics import energy, molecular_dynamics
from ._sample import primary_functions
from ._splitting import SPLITTINGS, Splitting


def hmc(
    key: jax.Array,
    theory: Any,
    n: int,
    *,
    trajectory_length: float = 1.0,
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

    Momenta have independent standard normal coordinates; on SU(N) the motion is $\dot U = p\,U$. Trajectory i of
    chain c has a key of its own (by `fold_in`), so results depend neither on `chunk` nor on interruptions.

    **Arguments:**

    - `theory`: any theory; only `manifold`, `action` and `gradient` are used.
    - `n`: measurements kept per chain.
    - `trajectory_length`, `steps`: integration time in units in which the kinetic term is p^2/2, and steps per
      trajectory. Aim at an acceptance of 0.7 to 0.95.
    - `chains`: independent chains, computed together.
    - `integrator`: "leapfrog", "omf2" (twice the force evaluations per step, an order less error), "omf4" (five per
      step, fourth order) or a `Splitting`.
    - `thermalisation`: trajectories before the first measurement; 100 after a hot or cold start, else none.
    - `initial`: "hot" (reference measure; for scalars normal of width 0.1), "cold" (unit links, zero field), a
      configuration, one configuration per chain, or the `state` of an earlier chain to continue it bit for bit.
    - `measure`: observables by name to keep instead of configurations.
    - `thin`: trajectories per measurement.
    - `dtype`: real precision of the field; energies are accumulated in float64 when x64 is on.
    - `chunk`: measurements per call of the compiled loop (progress and interrupts happen in between).

    **Returns:** a `Chain` with `accepted`, `delta_h` (chains, n * thin), `force_evaluations` per trajectory,
    `unitarity_defect` (largest before re-unitarisation, which follows every trajectory) and `state`.

    **Raises:** `SamplingInterrupted`, which carries the chain so far, on an interrupt from the keyboard.
    """
    splitting = _splitting(integrator)
    for name, value in {"n": n, "steps": steps, "chains": chains, "thin": thin, "chunk": chunk}.items():
        if value < 1:
            raise ValueError(f"hmc: {name} must be a positive integer, got {value}")
    initial_key, chain_key = jax.random.split(key)
    state = initial_state(initial_key, theory, chains, initial, dtype)
    if thermalisation is None:
        thermalisation = 100 if isinstance(initial, str) else 0
    keys = jax.vmap(lambda c: jax.random.fold_in(chain_key, c))(jnp.arange(chains, dtype=jnp.uint32))
    functions = None if measure is None else primary_functions(measure)
    static = (splitting, steps, functions, min(chunk, n), thin, _group_size(state.configuration))
    run = lambda state, records, stride: _run(  # noqa: E731
        theory, static, keys, state, jnp.asarray(trajectory_length, float), jnp.asarray(records), jnp.asarray(stride)
    )
    parts: list[Any] = []
    with progress_bar(thermalisation + n * thin, "hmc", progress) as advance:
        try:
            # One record that is not kept: the compiled loop also serves for thermalisation.
            for start in range(0, thermalisation, chunk):
                count = min(chunk, thermalisation - start)
                state = run(state, 1, count)[0]
                state.action.block_until_ready()
                advance(count)
            for start in range(0, n, min(chunk, n)):
                count = min(chunk, n - start)
                state, record = run(state, count, thin)
                parts.append(_to_host(record, count, thin))
                advance(count * thin)
        except KeyboardInterrupt as interrupt:
            if not parts:
                raise
            partial = _assemble(parts, state, measure is not None, splitting.force_evaluations * steps)
            raise SamplingInterrupted(partial, partial.shape[1], n) from interrupt
    return _assemble(parts, state, measure is not None, splitting.force_evaluations * steps)


# About the part of a second-level cache that is left for the field itself beside momenta and staples.
_CACHE_BYTES = 600_000


class _Record(eqx.Module):
    """Buffers filled by the compiled loop: kept values (chunk, chains, ...), decisions (chunk * thin, chains)."""

    kept: Any
    accepted: Any
    delta_h: Any
    defect: Any


def _update(theory: Any, splitting: Splitting, steps: int, length: jax.Array, key: jax.Array, state: HMCState):
    """One trajectory with its Metropolis decision, for one chain."""
    momentum_key, accept_key = jax.random.split(jax.random.fold_in(key, state.trajectory))
    manifold, x = theory.manifold, state.configuration
    p = manifold.random_tangent(momentum_key, jnp.real(x).dtype)
    x_new, p_new, gradient = molecular_dynamics(theory, splitting, x, p, state.gradient, length, steps)
    defect = _unitarity_defect(manifold, x_new)
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
    return jax.tree.map(lambda a, b: jnp.where(accept, a, b), proposal, rejected), accept, delta_h, defect


@eqx.filter_jit
def _run(theory, static, keys, state, length, records, stride):
    """`records` measurements, `stride` trajectories before each; both counts are traced: one compilation."""
    splitting, steps, functions, chunk, thin, group = static
    # A group of all chains is a plain vmap.
    update = lambda keys, state: lax.map(  # noqa: E731
        lambda chain: _update(theory, splitting, steps, length, *chain), (keys, state), batch_size=group
    )

    def keep(s):
        x = s.configuration
        return x if functions is None else {name: jax.vmap(f)(x) for name, f in functions.items()}

    buffers = jax.tree.map(lambda a: jnp.zeros((chunk, *a.shape), a.dtype), jax.eval_shape(keep, state))
    chains = len(keys)
    record = _Record(
        buffers,
        jnp.zeros((chunk * thin, chains), bool),
        jnp.zeros((chunk * thin, chains), accumulator_dtype()),
        jnp.zeros((chains,), jnp.real(state.configuration).dtype),
    )
    put = lambda buffer, value, i: lax.dynamic_update_index_in_dim(buffer, value.astype(buffer.dtype), i, 0)  # noqa: E731

    def trajectory(j, carry):
        state, record = carry
        state, accept, delta_h, defect = update(keys, state)
        # Thermalisation may run past the end of these buffers; the index is clamped and nobody reads them.
        record = _Record(
            record.kept,
            put(record.accepted, accept, j),
            put(record.delta_h, delta_h, j),
            jnp.maximum(record.defect, defect),
        )
        return state, record

    def measurement(i, carry):
        state, record = lax.fori_loop(i * stride, (i + 1) * stride, trajectory, carry)
        kept = jax.tree.map(lambda b, v: put(b, v, i), record.kept, keep(state))
        return state, eqx.tree_at(lambda r: r.kept, record, kept)

    return lax.fori_loop(0, records, measurement, (state, record))


def _group_size(configurations: jax.Array) -> int:
    """Chains that move together: all of them on an accelerator, as many as fit into the cache on a CPU.

    Measured for SU(3) on 4^4, per chain and trajectory: 12.6 ms in groups of 4, 16.5 ms in groups of 8.
    """
    chains = len(configurations)
    if jax.default_backend() != "cpu":
        return chains
    limit = max(1, _CACHE_BYTES * chains // configurations.nbytes)
    return max(size for size in range(1, chains + 1) if chains % size == 0 and size <= limit)


def _to_host(record: _Record, count: int, thin: int) -> _Record:
    """The filled part of the buffers, chains first."""
    chains_first = lambda a, c: np.moveaxis(np.asarray(a)[:c], 0, 1)  # noqa: E731
    return _Record(
        jax.tree.map(lambda a: chains_first(a, count), record.kept),
        chains_first(record.accepted, count * thin),
        chains_first(record.delta_h, count * thin),
        np.asarray(record.defect),
    )


def _assemble(parts: list[_Record], state: HMCState, measured: bool, force_evaluations: int) -> Chain:
    kept = jax.tree.map(lambda *arrays: np.concatenate(arrays, axis=1), *(part.kept for part in parts))
    return Chain(
        None if measured else kept,
        kept if measured else None,
        accepted=np.concatenate([part.accepted for part in parts], axis=1),
        delta_h=np.concatenate([part.delta_h for part in parts], axis=1),
        force_evaluations=force_evaluations,
        unitarity_defect=float(max(np.max(part.defect) for part in parts)),
        state=state,
    )


def _unitarity_defect(manifold: Any, x: jax.Array) -> jax.Array:
    if isinstance(manifold, LinkField) and manifold.group.complex_elements:
        return jnp.max(jax.vmap(manifold.group.unitarity_defect)(x))
    return jnp.zeros((), jnp.real(x).dtype)


def _splitting(integrator: str | Splitting) -> Splitting:
    if isinstance(integrator, Splitting):
        return integrator
    if integrator not in SPLITTINGS:
        raise ValueError(f"unknown integrator {integrator!r}: choose one of {sorted(SPLITTINGS)} or give a Splitting")
    return SPLITTINGS[integrator]
