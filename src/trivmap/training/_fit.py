"""The training loop: chunks of compiled steps, metrics after each, nothing lost on an interrupt or a NaN."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array as JaxArray
from jaxtyping import DTypeLike, Key

from .._checks import integers, positive, within
from .._parameters import parameters
from ..lattice import warn_of_single_precision
from ..models import checked_model, sample_and_log_weight
from ..statistics import ess_fraction, expected_acceptance
from ..theories import AbstractTheory
from ._chunk import Chunk, Trace
from ._gauss_newton import GaussNewton
from ._history import History, Record
from ._optimiser import default_optimiser
from ._state import TrainingState, initial_state
from .objectives import reverse_kl

_HALVING_SAMPLES = 128


class _Stopped(BaseException):
    def __init__(self, message: str, state: TrainingState, history: History):
        super().__init__(message)
        self.state = state
        self.history = history

    @property
    def model(self) -> Any:
        return self.state.averaged_model


class TrainingDiverged(_Stopped, Exception):
    """A loss or gradient was not finite; `state`, `model` and `history` are those before the failing step."""


class TrainingInterrupted(_Stopped, KeyboardInterrupt):
    """Training was interrupted from the keyboard; `state`, `model` and `history` are those of the last finished chunk."""


def fit(
    key: Key[JaxArray, ""],
    model: Any,
    theory: AbstractTheory,
    *,
    objective: Callable = reverse_kl,
    steps: int = 1000,
    batch_size: int = 128,
    optimiser: optax.GradientTransformation | None = None,
    clip: float | None = 5.0,
    ema: float | None = None,
    dtype: DTypeLike | None = None,
    chunk: int = 50,
    progress: bool = True,
    state: TrainingState | None = None,
    on_chunk: Callable[[TrainingState, Record], None] | None = None,
    finish: GaussNewton | None = None,
) -> tuple[Any, History]:
    """Train the parameters of a model, and report what matters for its weights after each chunk of steps.

    Parameters are what `trainable` says: couplings, theories and stored configurations stay bit for bit as they are.

    **Arguments:**

    - `key`: randomness of the samples. `model`: a `Model`, `SymmetrisedModel` or `ConditionalModel`, or a class of your own
      that derives from `AbstractModel`. `theory`: on the same manifold; the couplings of an
      `AnnealedTheory` move during the training, those of a `CouplingRange` visit a range, which is how a
      `ConditionalModel` is trained.
    - `objective`: `reverse_kl`, `log_variance` or a function of the same signature; its options by `functools.partial`.
    - `steps`: total number of updates, counted from the start of the run also when it is resumed.
    - `batch_size`: samples per update.
    - `optimiser`: an optax transformation; Adam at 1e-2 with cosine decay by default.
    - `clip`: bound for the global norm of the gradient, `None` for none.
    - `ema`: decay per step of an exponential moving average of the parameters, e.g. 0.99; the average is returned.
    - `dtype`: precision of the configurations in training, JAX's default when `None`; float32 is faster. Actions and
      log-dets are summed in float64 when x64 is on.
    - `chunk`: updates per compiled call and per record of the history.
    - `progress`: show a progress bar.
    - `state`: continue from here; the result is bit for bit that of an uninterrupted run (same arguments otherwise).
    - `on_chunk`: called with state and record after each chunk, for logs and checkpoints.
    - `finish`: steps of Gauss-Newton on the variance of log w behind the others, `GaussNewton(steps=8)`: where Adam stalls
      they gain most. They are counted as steps, too; a resumed run starts them with the first damping again.

    **Returns:** the trained model and its `History`.

    **Raises:** `TypeError` for what is no model; `ValueError` for arguments out of range, different manifolds, a model
    without parameters or a `state` of another run; `TrainingDiverged` at the first loss or gradient that is not finite;
    `TrainingInterrupted` (a `KeyboardInterrupt`) on
    Ctrl-C. The last two carry the last good `state`.

        >>> trained, history = tm.fit(key, model, theory, steps=2, batch_size=8, progress=False)
        >>> history[-1]["ess"]
    """
    _check(model, theory, steps=steps, batch_size=batch_size, chunk=chunk)
    if ema is not None:
        within("fit: ema", ema, 0, 1)
    if clip is not None:
        positive("fit: clip", clip)
    warn_of_single_precision("fit")
    optimiser = default_optimiser(steps) if optimiser is None else optimiser
    if clip is not None:
        optimiser = optax.chain(optax.clip_by_global_norm(clip), optimiser)
    current = _resumed(state, initial_state(key, model, optimiser, ema))
    advance = _Compiled(Chunk(objective, optimiser, ema, batch_size, chunk, dtype))
    halving = _Compiled(_HalvingChange(dtype))
    history = History()
    with _progress_bar(steps, int(current.step), progress) as bar:
        try:
            while int(current.step) < steps:
                new, trace = advance(current, theory, jnp.asarray(steps, jnp.int32))
                moving = theory.final is not theory
                record = _metrics(trace, int(new.step), moving) | _halving_metrics(halving, new, theory)
                record["seconds"] = advance.seconds + halving.seconds
                record["compile_seconds"] = advance.compile_seconds + halving.compile_seconds
                current = new
                if trace.count > 0:
                    history.append(record)
                    bar.update(int(trace.count))
                    bar.set_postfix_str(f"loss {record['loss']:.4g}, ESS {record['ess']:.3f}")
                    if on_chunk is not None:
                        on_chunk(current, record)
                if not trace.good:
                    raise TrainingDiverged(_DIVERGED.format(int(current.step)), current, history)
            for new, record in _finished(finish, current, theory, steps):
                current = new
                history.append(record)
                bar.set_postfix_str(f"Gauss-Newton: variance {record['variance']:.4g}, ESS {record['ess']:.3f}")
                if on_chunk is not None:
                    on_chunk(current, record)
        except KeyboardInterrupt:
            raise TrainingInterrupted(_INTERRUPTED.format(int(current.step)), current, history) from None
    return current.averaged_model, history


def _finished(
    finish: GaussNewton | None, state: TrainingState, theory: AbstractTheory, steps: int
) -> Iterator[tuple[TrainingState, Record]]:
    """States and records of the steps of Gauss-Newton that are not done yet."""
    if finish is None:
        return
    done = int(state.step) - steps
    remaining = dataclasses.replace(finish, steps=max(finish.steps - done, 0))
    # No update folds in this number.
    key = jax.random.fold_in(jax.random.fold_in(state.key, 2**32 - 2), state.step)
    first = state.step
    for model, found in remaining.iterate(key, state.averaged_model, theory):
        if found["step"] == 0:
            continue
        state = _with_model(state, model, first + found["step"])
        yield state, found | {"step": int(state.step), "loss": -found["mean"], "compile_seconds": 0.0}


def _with_model(state: TrainingState, model: Any, step: Any) -> TrainingState:
    average = None if state.average is None else parameters(model)
    return TrainingState(model, state.optimiser_state, average, state.key, jnp.asarray(step, jnp.int32))


_DIVERGED = (
    "The loss or its gradient is not finite at step {}. The state before this step is kept (error.state, error.model); "
    "try a lower learning rate, a smaller clip or more integrator steps."
)
_INTERRUPTED = "Training was interrupted after step {}; go on with fit(..., state=error.state)."


def _resumed(state: TrainingState | None, fresh: TrainingState) -> TrainingState:
    if state is None:
        return fresh
    # Leaves by name: static parts may differ, such as the integration steps that Gauss-Newton doubled.
    if _leaves(state) != _leaves(fresh):
        raise ValueError(
            "The state to resume from has another structure than a run with these arguments; give the model, optimiser, "
            "clip and ema of the run that made it."
        )
    return state


def _leaves(state: TrainingState) -> list[tuple[str, tuple[int, ...], Any]]:
    leaves = jax.tree_util.tree_flatten_with_path(eqx.filter(state, eqx.is_array))[0]
    return [(jax.tree_util.keystr(path), leaf.shape, leaf.dtype) for path, leaf in leaves]


def _check(model: Any, theory: AbstractTheory, **numbers) -> None:
    checked_model("fit", model, theory)
    integers("fit", 1, **numbers)


class _Compiled:
    """A jitted function that reports the run and compile seconds of its last call apart."""

    def __init__(self, function: Callable):
        self._function = eqx.filter_jit(function)
        self._executable = None
        self.seconds = self.compile_seconds = 0.0

    def __call__(self, *arguments):
        start = time.perf_counter()
        if first := self._executable is None:
            self._executable = self._function.lower(*arguments).compile()
        compiled = time.perf_counter()
        result = jax.block_until_ready(self._executable(*arguments))
        self.compile_seconds = compiled - start if first else 0.0
        self.seconds = time.perf_counter() - compiled
        return result


class _HalvingChange(eqx.Module):
    """Log weights of a continuous flow with its own steps, and with half the step size, from the same prior samples."""

    dtype: DTypeLike | None

    def __call__(self, state: TrainingState, theory: AbstractTheory):
        theory = theory.final
        model = state.model.at(theory)

        def log_weight(model, key):
            return sample_and_log_weight(key, model, theory, self.dtype)[1]

        def change(key):
            return log_weight(model.refined(), key) - log_weight(model, key)

        # No update folds in this number, so that monitoring does not touch the random numbers of training.
        key = jax.random.fold_in(jax.random.fold_in(state.key, 2**32 - 1), state.step)
        return jax.vmap(change)(jax.random.split(key, _HALVING_SAMPLES))


def _halving_metrics(halving: _Compiled, state: TrainingState, theory: AbstractTheory) -> Record:
    if not state.model.refinable:
        return {}
    change = np.asarray(halving(state, theory))
    return {"halving_mean": float(change.mean()), "halving_std": float(change.std())}


def _metrics(trace: Trace, step: int, moving: bool) -> Record:
    count = int(trace.count)
    log_weights = np.asarray(trace.log_weights[:count], np.float64)
    # Weights of different theories differ by log Z: batch by batch when the couplings move.
    batches = list(log_weights) if moving else [log_weights.ravel()]
    # Objectives that never run the transport, such as score matching, say so by NaN throughout.
    known = count > 0 and not np.all(np.isnan(log_weights))
    return {
        "step": step,
        "loss": float(np.mean(trace.loss[:count])),
        "ess": float(np.mean([ess_fraction(w) for w in batches])) if known else np.nan,
        "acceptance": float(np.mean([expected_acceptance(w) for w in batches])) if known else np.nan,
        "gradient_norm": float(np.mean(trace.gradient_norm[:count])),
    }


def _progress_bar(total: int, initial: int, enabled: bool):
    from tqdm import tqdm

    return tqdm(total=total, initial=initial, disable=not enabled, desc="training", unit="step", dynamic_ncols=True)
