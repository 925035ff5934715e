"""The reverse Kullback-Leibler divergence with the score-function gradient."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from ...models import log_weight
from ...theories import AbstractTheory
from ._base import over_batch


def reinforce(
    key: Key[Array, ""],
    model: Any,
    theory: AbstractTheory,
    batch_size: int,
    *,
    dtype: DTypeLike | None = None,
    error_weight: float = 1.0,
) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
    r"""The reverse Kullback-Leibler divergence with the score-function gradient and a leave-one-out control variate.

    $$ \nabla_\theta L = \mathrm{mean}_i \big[ (s_i - \bar s_{\neq i}) \nabla_\theta \log q_\theta(x_i) \big], $$

    with s = log q + S at fixed samples, whose density is found by the inverse flow. The action is never differentiated,
    which pays where its force is dear (fermion determinants). The estimate is unbiased, and its variance vanishes at the
    theory (arXiv:2202.01314, 2308.13294). It wants larger batches than `path_gradient`.

    **Arguments, returns:** as for `reverse_kl`, with the same value of the loss; two samples or more.

        >>> loss, log_weights = tm.objectives.reinforce(key, model, theory, 8)
    """
    if batch_size < 2:
        raise ValueError(f"The control variate needs batch_size >= 2, but {batch_size} was given.")

    def one(key, model, theory):
        x, log_prob, error = model.sample_with_error(key, dtype)
        x, log_prob = jax.lax.stop_gradient((x, log_prob))
        return model.log_prob(x), log_weight(theory, x, log_prob), error

    log_probs, log_weights, error = over_batch(one, key, model, theory, batch_size)
    log_weights = jax.lax.stop_gradient(log_weights)
    # s_i minus the mean of the others.
    signal = -(log_weights - jnp.mean(log_weights)) * (batch_size / (batch_size - 1))
    surrogate = jnp.mean(signal * log_probs)
    value = -jnp.mean(log_weights) + surrogate - jax.lax.stop_gradient(surrogate)
    return value + error_weight * jnp.mean(error), log_weights
