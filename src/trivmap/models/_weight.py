r"""The weight of a sample towards a theory, $\log w = -S(x) - \log q(x)$: the one place where it is put together.

For paths with noise, log q stands for log r(z) - l with the log weight l of the path, which is what a model with a stochastic
transport returns with its samples. Sums are in the accumulator precision.
"""

from typing import Any

import jax
from jaxtyping import Array, DTypeLike, Float, Key

from .._types import Configuration
from ..lattice import accumulator_dtype
from ..theories import AbstractTheory
from ._base import AbstractModel


def log_weight(theory: AbstractTheory, x: Configuration, log_q: Float[Array, ""]) -> Float[Array, ""]:
    """-S(x) - log q(x), from the log density that came with the configuration."""
    return _combined(theory.action(x), log_q)


def sample_and_log_weight(
    key: Key[Array, ""], model: AbstractModel, theory: AbstractTheory, dtype: DTypeLike | None = None
) -> tuple[Configuration, Float[Array, ""]]:
    """A configuration of the model, and its log weight towards the theory."""
    x, log_q = model.sample_and_log_prob(key, dtype)
    return x, log_weight(theory, x, log_q)


def log_weight_and_error(
    key: Key[Array, ""], model: AbstractModel, theory: AbstractTheory, dtype: DTypeLike | None = None
) -> tuple[Configuration, Float[Array, ""], Float[Array, ""]]:
    """A configuration, its log weight, and the squared error of integration that the weight carries."""
    x, log_q, error = model.sample_with_error(key, dtype)
    return x, log_weight(theory, x, log_q), error


def log_weight_and_score(
    key: Key[Array, ""], model: AbstractModel, theory: AbstractTheory, dtype: DTypeLike | None = None
) -> tuple[Configuration, Float[Array, ""], Configuration, Float[Array, ""]]:
    r"""A configuration, its log weight, $\partial \log w$ there at fixed parameters, and the squared error of integration.

    **Raises:** `TypeError` for a model whose density is not known.
    """
    x, log_q, score, error = model.sample_with_score(key, dtype)
    action, force = jax.value_and_grad(theory.action)(jax.lax.stop_gradient(x))
    return x, _combined(action, log_q), jax.tree.map(lambda a, b: -a - b, force, score), error


def log_weight_of(
    model: AbstractModel, theory: AbstractTheory, x: Configuration
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The log weight of a given configuration, and the log density of the model there.

    **Raises:** `TypeError` for a model whose density is not known.
    """
    log_q = model.log_prob(x)
    return log_weight(theory, x, log_q), log_q


def checked_model(name: str, model: Any, theory: AbstractTheory) -> None:
    """Refuses what is no model of a theory.

    **Raises:** `TypeError` for what is no model, `ValueError` for different manifolds.
    """
    if not (hasattr(model, "at") and hasattr(model, "manifold")):
        raise TypeError(
            f"{name}: got a {type(model).__name__}, expected a model: Model(prior, transport), or a class of your own that "
            "derives from AbstractModel and gives `manifold` and `sample_and_log_prob(key, dtype)`."
        )
    if model.manifold != theory.manifold:
        raise ValueError(
            f"{name}: the model samples {model.manifold}, but the theory lives on {theory.manifold}: lattice, group and kind "
            "of field must agree. Build the model from theory.manifold."
        )


def _combined(action: Array, log_q: Array) -> Array:
    accumulator = accumulator_dtype()
    return -action.astype(accumulator) - log_q.astype(accumulator)
