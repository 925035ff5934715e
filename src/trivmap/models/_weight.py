r"""The weight of a sample towards a theory, $\log w = -S(x) - \log q(x)$: the one place where it is put together.

Of a complex action the log weight is that of the magnitude, $-\mathrm{Re}\,S - \log q$, and the phase stands beside it.

For paths with noise, log q stands for log r(z) - l with the log weight l of the path, which is what a model with a stochastic
transport returns with its samples. Sums are in the accumulator precision.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Inexact, Key

from .._types import Configuration
from ..lattice import accumulator_dtype
from ..theories import AbstractTheory
from ._base import AbstractModel


def log_weight(theory: AbstractTheory, x: Configuration, log_q: Float[Array, ""]) -> Float[Array, ""]:
    """-Re S(x) - log q(x), from the log density that came with the configuration."""
    return _combined(theory.real_action(x), log_q)


def log_weight_and_phase(
    theory: AbstractTheory, x: Configuration, log_q: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""] | None]:
    """Magnitude and angle of a weight, -Re S(x) - log q(x) and -Im S(x) (`None` for a real action)."""
    action = theory.action(x)
    return _combined(jnp.real(action), log_q), phase_of(action)


def noisy_log_weights(
    key: Key[Array, ""], theory: AbstractTheory, x: Configuration, log_q: Float[Array, ""], estimates: int
) -> Float[Array, " estimates"]:
    """Logs of independent unbiased estimates of the weight.

    **Raises:** `TypeError` for a complex action: an estimate has to be positive.
    """
    actions = jax.vmap(lambda k: theory.noisy_action(k, x))(jax.random.split(key, estimates))
    if jnp.iscomplexobj(actions):
        raise TypeError(
            f"estimates= takes the mean of positive estimates of the weight, but the action of {type(theory).__name__} is "
            "complex. Leave estimates= away, or estimate the magnitude: theory.phase_quenched."
        )
    return jax.vmap(_combined, in_axes=(0, None))(actions, log_q)


def phase_of(action: Inexact[Array, ""]) -> Float[Array, ""] | None:
    """The angle -Im S of exp(-S), `None` for a real action."""
    return -jnp.imag(action).astype(accumulator_dtype()) if jnp.iscomplexobj(action) else None


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
    action, force = jax.value_and_grad(theory.real_action)(jax.lax.stop_gradient(x))
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
