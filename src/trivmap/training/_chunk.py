"""A compiled run of training steps that stops early at a loss or gradient that is not finite."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from .._parameters import trainable
from ..lattice import accumulator_dtype
from ..theories import AbstractTheory
from ._state import TrainingState


class Trace(eqx.Module):
    """What the steps of a chunk recorded; rows from `count` on are unused. `good` is False if the last step was refused."""

    count: Int[Array, ""]
    loss: Float[Array, " chunk"]
    gradient_norm: Float[Array, " chunk"]
    log_weights: Float[Array, "chunk batch"]
    good: Bool[Array, ""]


class Chunk(eqx.Module):
    """Up to `length` updates of a `TrainingState`, in one loop that can be compiled: what `fit` runs between two records.

    `chunk(state, theory, stop)` goes on from the state until `length` updates are done, step `stop` is reached, or a loss or
    gradient is not finite, in which case the state before that update is returned. For training loops of one's own.

    **Arguments:** `objective`, `optimiser`, `ema`, `batch_size`, `dtype`: as for `fit`, gradients are not clipped;
    `length`: most updates per call. **Returns:** the new state and a `Trace`.

        >>> chunk = tm.training.Chunk(tm.reverse_kl, optax.adam(1e-3), None, batch_size=8, length=2, dtype=None)
        >>> state = tm.training.initial_state(key, model, optax.adam(1e-3), None)
        >>> state, trace = chunk(state, theory, jnp.asarray(2, jnp.int32))
    """

    objective: Callable
    optimiser: optax.GradientTransformation
    ema: float | None
    batch_size: int
    length: int
    dtype: DTypeLike | None

    def __call__(self, state: TrainingState, theory: AbstractTheory, stop: Int[Array, ""]) -> tuple[TrainingState, Trace]:
        arrays, static = eqx.partition(state, eqx.is_array)

        def unfinished(carry):
            arrays, trace = carry
            return (trace.count < self.length) & (arrays.step < stop) & trace.good

        def advance(carry):
            arrays, trace = carry
            state, trace = self._update(eqx.combine(arrays, static), theory.at_step(arrays.step, stop), trace)
            return eqx.filter(state, eqx.is_array), trace

        arrays, trace = jax.lax.while_loop(unfinished, advance, (arrays, self._empty_trace()))
        return eqx.combine(arrays, static), trace

    def _empty_trace(self) -> Trace:
        row = jnp.zeros(self.length, accumulator_dtype())
        weights = jnp.zeros((self.length, self.batch_size), accumulator_dtype())
        return Trace(jnp.zeros((), jnp.int32), row, row, weights, jnp.ones((), bool))

    def _update(self, state: TrainingState, theory: AbstractTheory, trace: Trace) -> tuple[TrainingState, Trace]:
        parameters, static = eqx.partition(state.model, trainable(state.model))

        def loss_of(parameters):
            key = jax.random.fold_in(state.key, state.step)
            model = eqx.combine(parameters, static).at(theory)
            return self.objective(key, model, theory, self.batch_size, dtype=self.dtype)

        (loss, log_weights), gradient = jax.value_and_grad(loss_of, has_aux=True)(parameters)
        norm = optax.tree.norm(gradient).astype(accumulator_dtype())
        good = jnp.isfinite(loss) & jnp.isfinite(norm)
        with jax.numpy_dtype_promotion("standard"):  # optax multiplies integers and floats
            updates, optimiser_state = self.optimiser.update(gradient, state.optimiser_state, parameters)
        updated = eqx.apply_updates(parameters, updates)
        average, decay = state.average, self.ema
        if decay is not None:
            average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, average, updated)
        new = TrainingState(eqx.combine(updated, static), optimiser_state, average, state.key, state.step + 1)
        index = trace.count
        trace = Trace(
            index + good.astype(index.dtype),
            trace.loss.at[index].set(loss.astype(trace.loss.dtype)),
            trace.gradient_norm.at[index].set(norm),
            trace.log_weights.at[index].set(log_weights.astype(trace.log_weights.dtype)),
            good,
        )
        return _select(good, new, state), trace


def _select(condition: Array, new: Any, old: Any) -> Any:
    arrays, static = eqx.partition(new, eqx.is_array)
    chosen = jax.tree.map(lambda a, b: jnp.where(condition, a, b), arrays, eqx.filter(old, eqx.is_array))
    return eqx.combine(chosen, static)
