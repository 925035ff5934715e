"""Markov chains of any kernel: chunks of compiled steps, buffers of measurements, interrupts."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._checks import integers
from .._trees import length
from ..kernels import AbstractKernel
from ..statistics import Chain
from ._interrupt import SamplingInterrupted, progress_bar
from ._phases import chain_phases, with_phase
from ._sample import primary_functions
from ._start import ChainState, initial_state


class Record(eqx.Module):
    """Buffers filled by the compiled loop: kept values (chunk, chains, ...), info of every step (chunk * thin, chains)."""

    kept: Any
    info: Any
    defect: Any


def run_chain(
    key: jax.Array,
    theory: Any,
    kernel: Any,
    n: int,
    *,
    chains: int = 1,
    thermalisation: int | None = None,
    thin: int = 1,
    initial: Any = "hot",
    measure: Any = None,
    dtype: Any = None,
    chunk: int = 100,
    progress: bool = False,
) -> Chain:
    r"""Markov chains of any kernel.

    Step i of chain c has a key of its own (by `fold_in`), so that results depend neither on the number of chains, nor on
    `chunk`, nor on interruptions.

    **Arguments:**

    - `theory`: one that the kernel accepts. Of a complex action chains follow the magnitude |exp(-S)| and keep the phases,
      by which `expectation` reweights.
    - `kernel`: an `AbstractKernel`.
    - `n`: measurements kept per chain.
    - `chains`: independent chains, computed together.
    - `thermalisation`: steps before the first measurement, after which kernels stop to adapt themselves; 100 after a hot
      or cold start, else none.
    - `thin`: steps per measurement.
    - `initial`: "hot" (reference measure; for scalars normal of width 0.1), "cold" (unit links, zero field, parallel
      spins), a configuration, one configuration per chain, or the `state` of an earlier chain to continue it bit for bit.
    - `measure`: observables by name to keep instead of configurations.
    - `dtype`: real precision of the field.
    - `chunk`: measurements per call of the compiled loop (progress and interrupts happen in between).
    - `progress`: show a progress bar.

    **Returns:** a `Chain` with `state`, and with what the kernel says of its steps: `accepted` and `delta_h`
    (chains, n * thin), `unitarity_defect` and `force_evaluations`, each `None` where it says nothing, the rest in `info`.

    **Raises:** `SamplingInterrupted`, which carries the chain so far, on an interrupt from the keyboard.

        >>> chain = tm.run_chain(key, theory, tm.kernels.HMCKernel(), 50, chains=8)
        >>> estimate = tm.expectation(chain, theory.action)
    """
    return chain_of(
        "run_chain", key, theory, kernel, n, chains=chains, thermalisation=thermalisation, thin=thin, initial=initial,
        measure=measure, dtype=dtype, chunk=chunk, progress=progress,
    )  # fmt: skip


def chain_of(
    name: str,
    key: jax.Array,
    theory: Any,
    kernel: Any,
    n: int,
    *,
    chains: int,
    thermalisation: int | None,
    thin: int,
    initial: Any,
    measure: Any,
    dtype: Any,
    chunk: int,
    progress: bool,
) -> Chain:
    """`run_chain` for a sampler that goes by another name in errors and progress bars."""
    if not isinstance(kernel, AbstractKernel):
        raise TypeError(f"{name}: got a {type(kernel).__name__} as kernel, expected an AbstractKernel such as HMCKernel()")
    complete, theory = theory, theory.phase_quenched
    functions = None if measure is None else primary_functions(with_phase(complete, measure))
    if thermalisation is None:
        thermalisation = 100 if isinstance(initial, str) else 0
    integers(name, 1, n=n, chains=chains, thin=thin, chunk=chunk)
    integers(name, 0, thermalisation=thermalisation)
    initial_key, chain_key = jax.random.split(key)
    state = initial_state(name, initial_key, theory, kernel, chains, initial, dtype)
    keys = jax.vmap(lambda c: jax.random.fold_in(chain_key, c))(jnp.arange(chains, dtype=jnp.uint32))
    static = (functions, min(chunk, n), thin, _group_size(state.configuration))
    run = lambda state, records, stride: _run(  # noqa: E731
        kernel, theory, static, keys, state, jnp.asarray(records), jnp.asarray(stride)
    )
    parts: list[Record] = []
    with progress_bar(thermalisation + n * thin, name, progress) as advance:
        try:
            # One record that is not kept: the compiled loop also serves for thermalisation.
            for start in range(0, thermalisation, chunk):
                count = min(chunk, thermalisation - start)
                state = jax.block_until_ready(run(state, 1, count)[0])
                advance(count)
            # Also without any steps: what is measured must come from a fixed kernel.
            state = ChainState(kernel.thermalised(state.kernel), state.step)
            for start in range(0, n, min(chunk, n)):
                count = min(chunk, n - start)
                state, record = run(state, count, thin)
                parts.append(_to_host(record, count, thin))
                advance(count * thin)
        except KeyboardInterrupt as interrupt:
            if not parts:
                raise
            partial = _assembled(complete, kernel, functions, parts, state)
            raise SamplingInterrupted(partial, partial.shape[1], n) from interrupt
    return _assembled(complete, kernel, functions, parts, state)


def _assembled(theory: Any, kernel: AbstractKernel, functions: Any, parts: list[Record], state: ChainState) -> Chain:
    joined = lambda *a: np.concatenate(a, axis=1)  # noqa: E731
    kept = jax.tree.map(joined, *(part.kept for part in parts))
    info = jax.tree.map(joined, *(part.info for part in parts))
    defects = [float(np.max(part.defect)) for part in parts if part.defect is not None]
    configurations, observables = (kept, None) if functions is None else (None, kept)
    observables, phases = chain_phases(theory, configurations, observables)
    return Chain(
        configurations,
        observables,
        accepted=info.pop("accepted", None),
        delta_h=info.pop("delta_h", None),
        force_evaluations=kernel.force_evaluations,
        unitarity_defect=max(defects, default=None),
        state=state,
        info=info,
        phases=phases,
    )


@eqx.filter_jit
def _run(kernel, theory, static, keys, state, records, stride):
    """`records` measurements, `stride` steps before each; both counts are traced: one compilation."""
    functions, chunk, thin, group = static

    def step(chain):
        key, state = chain
        inner, info = kernel.step(jax.random.fold_in(key, state.step), theory, state.kernel)
        return ChainState(inner, state.step + 1), {k: v for k, v in info.items() if k != "defect"}, info.get("defect")

    # A group of all chains is a plain vmap.
    update = lambda state: lax.map(step, (keys, state), batch_size=group)  # noqa: E731

    def keep(s):
        x = s.configuration
        return x if functions is None else {name: jax.vmap(f)(x) for name, f in functions.items()}

    buffer = lambda length: lambda a: jnp.zeros((length, *a.shape), a.dtype)  # noqa: E731
    _, info, defect = jax.eval_shape(update, state)
    record = Record(
        jax.tree.map(buffer(chunk), jax.eval_shape(keep, state)),
        jax.tree.map(buffer(chunk * thin), info),
        jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), defect),
    )
    put = lambda i: lambda b, v: lax.dynamic_update_index_in_dim(b, v.astype(b.dtype), i, 0)  # noqa: E731

    def advance(j, carry):
        state, record = carry
        state, info, defect = update(state)
        # Thermalisation may run past the end of these buffers; the index is clamped and nobody reads them.
        info = jax.tree.map(put(j), record.info, info)
        return state, Record(record.kept, info, jax.tree.map(jnp.maximum, record.defect, defect))

    def measurement(i, carry):
        state, record = lax.fori_loop(i * stride, (i + 1) * stride, advance, carry)
        return state, Record(jax.tree.map(put(i), record.kept, keep(state)), record.info, record.defect)

    return lax.fori_loop(0, records, measurement, (state, record))


# About the part of a second-level cache that is left for the field itself beside momenta and staples.
_CACHE_BYTES = 600_000


def _group_size(configurations: Any) -> int:
    """Chains that move together: all of them on an accelerator, as many as fit into the cache on a CPU.

    Measured with trajectories of SU(3) on 4^4, per chain: 12.6 ms in groups of 4, 16.5 ms in groups of 8.
    """
    chains = length(configurations)
    if jax.default_backend() != "cpu":
        return chains
    limit = max(1, _CACHE_BYTES * chains // sum(a.nbytes for a in jax.tree.leaves(configurations)))
    return max(size for size in range(1, chains + 1) if chains % size == 0 and size <= limit)


def _to_host(record: Record, count: int, thin: int) -> Record:
    """The filled part of the buffers, chains first."""
    chains_first = lambda a, c: np.moveaxis(np.asarray(a)[:c], 0, 1)  # noqa: E731
    return Record(
        jax.tree.map(lambda a: chains_first(a, count), record.kept),
        jax.tree.map(lambda a: chains_first(a, count * thin), record.info),
        jax.tree.map(np.asarray, record.defect),
    )
