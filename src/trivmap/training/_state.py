"""Everything that a training run needs to continue."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, PyTree

from .._parameters import parameters


class TrainingState(eqx.Module):
    """Model, optimiser, moving average, key and step count; a run resumed from it continues bit for bit.

    The random numbers of step n depend on `key` and n alone, so that neither chunks nor interruptions change them.

        >>> state = tm.training.initial_state(key, model, optax.adam(1e-3), None)
        >>> int(state.step)
    """

    model: Any
    optimiser_state: PyTree
    average: PyTree
    key: Key[Array, ""]
    step: Int[Array, ""]

    @property
    def averaged_model(self) -> Any:
        """The model with the moving average of its parameters, where one is kept."""
        return self.model if self.average is None else eqx.combine(self.average, self.model)


def initial_state(
    key: Key[Array, ""], model: Any, optimiser: optax.GradientTransformation, ema: float | None = None
) -> TrainingState:
    """The state before the first step; its structure is that of every later state of the same run.

    The optimiser and the moving average see the parameters of the model only, as `trainable` tells them.

    **Raises:** `ValueError` for a model without parameters.
    """
    learned = checked_parameters("fit", model)
    average = None if ema is None else learned
    return TrainingState(model, optimiser.init(learned), average, key, jnp.zeros((), jnp.int32))


def checked_parameters(name: str, model: Any) -> PyTree:
    """The parameters of a model that has some."""
    learned = parameters(model)
    if not sum(leaf.size for leaf in jax.tree.leaves(learned)):
        raise ValueError(
            f"{name}: the {type(model).__name__} has no number to train. Couplings, priors inside of stochastic flows and "
            "stored configurations are never trained, nor what a class names in frozen_fields(); give the model a transport "
            "with parameters, or sample it as it is."
        )
    return learned
