"""Everything that a training run needs to continue."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, PyTree

from ..models import ConditionalModel, Model


class TrainingState(eqx.Module):
    """Model, optimiser, moving average, key and step count; a run resumed from it continues bit for bit.

    The random numbers of step n depend on `key` and n alone, so that neither chunks nor interruptions change them.
    """

    model: Model | ConditionalModel
    optimiser_state: PyTree
    average: PyTree
    key: Key[Array, ""]
    step: Int[Array, ""]

    @property
    def averaged_model(self) -> Any:
        """The model with the moving average of its parameters, where one is kept."""
        return self.model if self.average is None else eqx.combine(self.average, self.model)


def initial_state(
    key: Key[Array, ""], model: Model | ConditionalModel, optimiser: optax.GradientTransformation, ema: float | None = None
) -> TrainingState:
    """The state before the first step; its structure is that of every later state of the same run."""
    parameters = eqx.filter(model, eqx.is_inexact_array)
    average = None if ema is None else parameters
    return TrainingState(model, optimiser.init(parameters), average, key, jnp.zeros((), jnp.int32))
