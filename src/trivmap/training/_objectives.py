"""Training objectives: functions of a batch of model samples that are minimal at the theory.

Fixed-step continuous flows compute a log-det that is wrong by the integrator's error, and an optimiser finds the fields for
which the error is profitable: without a penalty, losses far below the bound -log Z were seen in three theories. Each
objective therefore adds the squared embedded error of every step, which vanishes with the step size.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from ..flows import ContinuousFlow
from ..models import Model
from ..theories import AbstractTheory

# The configuration moves along many directions at once, the log-det is a single number that enters the weight directly.
_POSITION_WEIGHT = 10.0


def _log_weight_and_error(
    key: Key[Array, ""], model: Model, theory: AbstractTheory, dtype: DTypeLike | None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    z = model.prior.sample(key, dtype)
    if isinstance(model.transport, ContinuousFlow):
        result = model.transport.integrate(z, error=True)
        x, log_det = result.x, result.log_det
        assert result.error_x is not None
        assert result.error_log_det is not None
        error = result.error_log_det + _POSITION_WEIGHT * result.error_x
    else:
        x, log_det = model.transport.forward_and_log_det(z)
        error = jnp.zeros_like(log_det)
    return log_det - model.prior.log_prob(z) - theory.action(x), error


def _batch(key, model, theory, batch_size, dtype):
    keys = jax.random.split(key, batch_size)
    return eqx.filter_vmap(_log_weight_and_error, in_axes=(0, None, None, None))(keys, model, theory, dtype)


def reverse_kl(
    key: Key[Array, ""],
    model: Model,
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
    """
    log_weights, error = _batch(key, model, theory, batch_size, dtype)
    return error_weight * jnp.mean(error) - jnp.mean(log_weights), log_weights


def log_variance(
    key: Key[Array, ""],
    model: Model,
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
    """
    if batch_size < 2:
        raise ValueError(f"The log-variance of a batch needs batch_size >= 2, but {batch_size} was given.")
    log_weights, error = _batch(key, model, theory, batch_size, dtype)
    return jnp.var(log_weights, ddof=1) / 2 + error_weight * jnp.mean(error), log_weights
