"""The loop behind the samplers of Markov chains: chunks of compiled updates, buffers of measurements, interrupts."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._checks import integers
from .._trees import length
from ..statistics import Chain
from ._interrupt import SamplingInterrupted, progress_bar
from ._sample import primary_functions


class AbstractStep(eqx.Module):
    """One update of one chain: `step(key, state) -> (state, decisions, unitarity defect)`, decisions any arrays."""

    @abc.abstractmethod
    def __call__(self, key: jax.Array, state: Any) -> tuple[Any, Any, jax.Array]: ...


class Record(eqx.Module):
    """Buffers filled by the compiled loop: kept values (chunk, chains, ...), decisions (chunk * thin, chains)."""

    kept: Any
    decisions: Any
    defect: Any


def run_chains(
    name: str,
    step: AbstractStep,
    key: jax.Array,
    state: Any,
    n: int,
    *,
    initial: Any,
    measure: Any,
    thermalisation: int | None,
    thin: int,
    chunk: int,
    progress: bool,
    assemble: Callable[[Any, Any, Any, float, Any], Chain],
) -> Chain:
    """`n` measurements of chains that `state` (with `configuration`, a leading axis for chains) starts.

    Chains get keys of their own by `fold_in`, so that results do not depend on their number. `initial`, `measure`,
    `thermalisation`, `thin`, `chunk`, `progress` are those of the caller: unless said otherwise, a start by name is followed
    by 100 updates before the first measurement.

    `assemble(configurations, observables, decisions, defect, state)` makes the result, also that of an interrupted run.
    """
    functions = None if measure is None else primary_functions(measure)
    if thermalisation is None:
        thermalisation = 100 if isinstance(initial, str) else 0
    integers(name, 1, n=n, thin=thin, chunk=chunk)
    integers(name, 0, thermalisation=thermalisation)
    chains = jnp.arange(length(state.configuration), dtype=jnp.uint32)
    keys = jax.vmap(lambda c: jax.random.fold_in(key, c))(chains)
    static = (functions, min(chunk, n), thin, _group_size(state.configuration))
    run = lambda state, records, stride: _run(step, static, keys, state, jnp.asarray(records), jnp.asarray(stride))  # noqa: E731
    parts: list[Record] = []

    def chain(state):
        kept = jax.tree.map(lambda *a: np.concatenate(a, axis=1), *(part.kept for part in parts))
        decisions = jax.tree.map(lambda *a: np.concatenate(a, axis=1), *(part.decisions for part in parts))
        defect = float(max(np.max(part.defect) for part in parts))
        stored = (kept, None) if functions is None else (None, kept)
        return assemble(*stored, decisions, defect, state)

    with progress_bar(thermalisation + n * thin, name, progress) as advance:
        try:
            # One record that is not kept: the compiled loop also serves for thermalisation.
            for start in range(0, thermalisation, chunk):
                count = min(chunk, thermalisation - start)
                state = jax.block_until_ready(run(state, 1, count)[0])
                advance(count)
            for start in range(0, n, min(chunk, n)):
                count = min(chunk, n - start)
                state, record = run(state, count, thin)
                parts.append(_to_host(record, count, thin))
                advance(count * thin)
        except KeyboardInterrupt as interrupt:
            if not parts:
                raise
            partial = chain(state)
            raise SamplingInterrupted(partial, partial.shape[1], n) from interrupt
    return chain(state)


@eqx.filter_jit
def _run(step, static, keys, state, records, stride):
    """`records` measurements, `stride` updates before each; both counts are traced: one compilation."""
    functions, chunk, thin, group = static
    # A group of all chains is a plain vmap.
    update = lambda state: lax.map(lambda chain: step(*chain), (keys, state), batch_size=group)  # noqa: E731

    def keep(s):
        x = s.configuration
        return x if functions is None else {name: jax.vmap(f)(x) for name, f in functions.items()}

    buffer = lambda length: lambda a: jnp.zeros((length, *a.shape), a.dtype)  # noqa: E731
    _, decisions, defect = jax.eval_shape(update, state)
    record = Record(
        jax.tree.map(buffer(chunk), jax.eval_shape(keep, state)),
        jax.tree.map(buffer(chunk * thin), decisions),
        jnp.zeros(defect.shape, defect.dtype),
    )
    put = lambda i: lambda b, v: lax.dynamic_update_index_in_dim(b, v.astype(b.dtype), i, 0)  # noqa: E731

    def advance(j, carry):
        state, record = carry
        state, decisions, defect = update(state)
        # Thermalisation may run past the end of these buffers; the index is clamped and nobody reads them.
        decisions = jax.tree.map(put(j), record.decisions, decisions)
        return state, Record(record.kept, decisions, jnp.maximum(record.defect, defect))

    def measurement(i, carry):
        state, record = lax.fori_loop(i * stride, (i + 1) * stride, advance, carry)
        return state, Record(jax.tree.map(put(i), record.kept, keep(state)), record.decisions, record.defect)

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
        jax.tree.map(lambda a: chains_first(a, count * thin), record.decisions),
        np.asarray(record.defect),
    )
