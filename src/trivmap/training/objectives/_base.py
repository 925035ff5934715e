"""What objectives share: samples of a model with their log weights, and the embedded error of its integrator.

An objective is a function of (key, model, theory, batch_size, dtype=...) that returns a loss, minimal at the theory, and the
log weights -S - log q of a batch.

Fixed-step continuous flows compute a log-det that is wrong by the integrator's error, and an optimiser finds the fields for
which the error is profitable: without a penalty, losses far below the bound -log Z were seen in three theories. Each
objective therefore adds the squared embedded error of every step, which vanishes with the step size.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from ..._parameters import fixed_numbers
from ...flows import AbstractFlow, ContinuousFlow
from ...models import Model
from ...theories import AbstractTheory


def sample_with_error(
    key: Key[Array, ""], model: Any, dtype: DTypeLike | None
) -> tuple[Array, Float[Array, ""], Float[Array, ""]]:
    """A configuration, its log density, and the embedded error of the flow that made it (zero without integrator)."""
    if hasattr(model, "sample_with_error"):
        return model.sample_with_error(key, dtype)
    x, log_prob = model.sample_and_log_prob(key, dtype)
    return x, log_prob, jnp.zeros_like(log_prob)


def sample_with_score(
    key: Key[Array, ""], model: Any, dtype: DTypeLike | None
) -> tuple[Array, Float[Array, ""], Array, Float[Array, ""]]:
    """A configuration, its log density, the derivative of the log density by x, and the embedded error of the flow."""
    if not isinstance(model, Model):
        x, log_prob, error = sample_with_error(key, model, dtype)
        if not hasattr(model, "log_prob"):
            raise TypeError(f"path_gradient: a {type(model).__name__} has no method log_prob; use reverse_kl.")
        return x, log_prob, jax.grad(fixed_numbers(model).log_prob)(jax.lax.stop_gradient(x)), error
    flow = model.transport
    if not isinstance(flow, AbstractFlow):
        raise TypeError(
            f"path_gradient: got a model with a {type(flow).__name__}, whose density is an integral over paths, expected a "
            "bijective flow; use reverse_kl."
        )
    z = model.prior.sample(key, dtype)
    log_prior, score = jax.value_and_grad(model.prior.log_prob)(z)
    if isinstance(flow, ContinuousFlow):
        x, log_prob, error = sample_with_error(key, model, dtype)
        return x, log_prob, flow.score_by_inverse(x, score), error
    x, log_det, score = flow.forward_and_score(z, score)
    log_prob = log_prior - log_det
    return x, log_prob, score, jnp.zeros_like(log_prob)


def over_batch(function: Any, key: Key[Array, ""], model: Any, theory: AbstractTheory, batch_size: int) -> Any:
    """`function(key, model, theory)` for every sample of a batch."""
    keys = jax.random.split(key, batch_size)
    return eqx.filter_vmap(function, in_axes=(0, None, None))(keys, model, theory)
