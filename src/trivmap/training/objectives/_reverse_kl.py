"""The reverse Kullback-Leibler divergence with reparametrised gradients."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from ...models import log_weight_and_error
from ...theories import AbstractTheory
from ._base import over_batch


def reverse_kl(
    key: Key[Array, ""],
    model: Any,
    theory: AbstractTheory,
    batch_size: int,
    *,
    dtype: DTypeLike | None = None,
    error_weight: float = 1.0,
) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
    r"""The reverse Kullback-Leibler divergence up to log Z, with the embedded-error term.

    L = mean[log q(x) + S(x)] + error_weight mean sum_steps [e_logdet^2 + 10 |e_x|^2],   x = f(z) ~ q,

    bounded below by -log Z. Gradients flow through the samples.

    **Arguments:** `key`, `model`, `theory`, `batch_size`: samples per estimate; `dtype`: precision of the configurations;
    `error_weight`: strength of the penalty on the integrator's error, zero to switch it off.

    **Returns:** the loss and the log weights -S - log q of the batch.

        >>> loss, log_weights = tm.reverse_kl(key, model, theory, 8)
    """
    log_weights, error = log_weights_and_errors(key, model, theory, batch_size, dtype)
    return error_weight * jnp.mean(error) - jnp.mean(log_weights), log_weights


def log_weights_and_errors(key, model, theory, batch_size, dtype):
    def one(key, model, theory):
        return log_weight_and_error(key, model, theory, dtype)[1:]

    return over_batch(one, key, model, theory, batch_size)
