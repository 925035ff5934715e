"""Training for a given time, in a way that an interrupt loses at most a chunk."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...io import read_checkpoint, read_header, write_checkpoint
from ...models import Model
from ...statistics import ess_fraction
from ...training import Chunk, Trace, TrainingState, initial_state
from .._interrupt import interrupts_deferred
from .._run_folder import RunFolder

_CHUNK = 20
# Updates that tell whether a chunk fits into the time.
_PROBE = 2
_UNPLANNED = 1_000_000


class Trained(NamedTuple):
    """`curve`: one record per chunk with step, loss, ess (or `None`) and `spent`, seconds of training until then."""

    model: Model
    seconds: float
    compile_seconds: float
    curve: list[dict[str, Any]]


class _Plan(NamedTuple):
    """State of the optimiser. The number of steps is data, so that finding it out costs no second compilation."""

    adam: Any
    count: jax.Array
    total: jax.Array


def budgeted_adam(rate: float) -> optax.GradientTransformation:
    """Adam with a cosine decay over `total` steps of its state."""
    adam = optax.scale_by_adam()

    def init(params: Any) -> _Plan:
        return _Plan(adam.init(params), jnp.zeros((), jnp.int32), jnp.asarray(_UNPLANNED, jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _Plan]:
        direction, moments = adam.update(updates, state.adam, params)
        share = state.count.astype(jnp.float32) / state.total.astype(jnp.float32)
        scale = -0.5 * rate * (1.0 + jnp.cos(jnp.pi * jnp.minimum(share, 1.0)))
        steps = jax.tree.map(lambda d: scale.astype(d.dtype) * d, direction)
        return steps, _Plan(moments, state.count + 1, state.total)

    return optax.chain(optax.clip_by_global_norm(5.0), optax.GradientTransformation(init, update))


def train_for(
    folder: RunFolder,
    key: jax.Array,
    model: Model,
    theory: Any,
    objective: Callable,
    seconds: float,
    rate: float,
    batch_size: int,
    programs: dict[str, Any],
) -> Trained:
    """Train, or go on training, until the seconds of computation are spent; compilation does not count.

    Two steps are run in any case. They, or the first chunk where steps are short, tell how many fit; the learning rate falls
    to zero over them. `programs` keeps what was compiled for the next seed of the same method.
    """
    optimiser = budgeted_adam(rate)
    state, curve, compiled = initial_state(key, model, optimiser), [], 0.0
    path = folder / "training.ckpt"
    if path.exists():
        folder.check_config(path.name, read_header(path).get("about"), folder.about)
        state, header = read_checkpoint(path, state)
        curve, compiled = header["curve"], header["compile"]
    while _total(state) == _UNPLANNED or (int(state.step) < _total(state) and curve[-1]["spent"] < 1.2 * seconds):
        unplanned = _total(state) == _UNPLANNED
        stop = jnp.asarray((_CHUNK if curve else _PROBE) if unplanned else _total(state), jnp.int32)
        if "training" not in programs:
            start = time.perf_counter()
            chunk = Chunk(objective, optimiser, None, batch_size, _CHUNK, jnp.float32)
            programs["training"] = eqx.filter_jit(chunk).lower(state, theory, stop).compile()
            compiled += time.perf_counter() - start
        start = time.perf_counter()
        state, trace = jax.block_until_ready(programs["training"](state, theory, stop))
        spent = (curve[-1]["spent"] if curve else 0.0) + time.perf_counter() - start
        if not trace.good:
            raise FloatingPointError(f"loss or gradient is not finite at step {int(state.step)}")
        curve.append(_record(state, trace) | {"spent": spent})
        done = int(state.step)
        if unplanned and (done == _CHUNK or spent > _PROBE / _CHUNK * seconds):
            state = _planned(state, max(done, int(seconds / spent * done)))
        with interrupts_deferred():
            write_checkpoint(path, state, {"about": folder.about, "curve": curve, "compile": compiled})
    return Trained(state.averaged_model, curve[-1]["spent"], compiled, curve)


def _record(state: TrainingState, trace: Trace) -> dict[str, Any]:
    count = int(trace.count)
    log_weights = np.asarray(trace.log_weights[:count], np.float64).ravel()
    known = not np.isnan(log_weights).any()  # objectives that match stored configurations know no weights
    return {
        "step": int(state.step),
        "loss": float(np.mean(trace.loss[:count])),
        "ess": float(ess_fraction(log_weights)) if known else None,
    }


def _plan(state: TrainingState) -> _Plan:
    return state.optimiser_state[1]


def _total(state: TrainingState) -> int:
    return int(_plan(state).total)


def _planned(state: TrainingState, total: int) -> TrainingState:
    plan = _plan(state)._replace(total=jnp.asarray(total, jnp.int32))
    new = (state.optimiser_state[0], plan)
    return TrainingState(state.model, new, state.average, state.key, state.step)
