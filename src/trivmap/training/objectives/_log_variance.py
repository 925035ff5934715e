"""The variance of the log weights."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from ...theories import AbstractTheory
from ._reverse_kl import log_weights_and_errors


def log_variance(
    key: Key[Array, ""],
    model: Any,
    theory: AbstractTheory,
    batch_size: int,
    *,
    dtype: DTypeLike | None = None,
    error_weight: float = 1.0,
) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
    r"""Half the variance of the log weights over the model's own samples, with the embedded-error term.

    L = (1/2) Var[log w] + error_weight mean sum_steps [e_logdet^2 + 10 |e_x|^2],   log w = -S(x) - log q(x).

    It vanishes at the theory, where every sample has the same weight, and so does the variance of its gradient. Gradients
    flow through the samples, as in arXiv:2212.08469. Far from the theory prefer `reverse_kl`.

    **Arguments, returns:** as for `reverse_kl`; the batch needs two samples or more.

        >>> loss, log_weights = tm.objectives.log_variance(key, model, theory, 8)
    """
    if batch_size < 2:
        raise ValueError(f"The log-variance of a batch needs batch_size >= 2, but {batch_size} was given.")
    log_weights, error = log_weights_and_errors(key, model, theory, batch_size, dtype)
    return jnp.var(log_weights, ddof=1) / 2 + error_weight * jnp.mean(error), log_weights
