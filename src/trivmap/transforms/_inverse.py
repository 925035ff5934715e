"""Inverse of an increasing function between two bounds, to rounding, with implicit derivatives."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from .._types import Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 3, 4))
def bracketed_inverse(
    function: Callable[[Array, Array], tuple[Array, Array]], y: Array, parameters: Array, lower: float, upper: float
) -> Array:
    """Solves function(x, parameters)[0] = y for x in [lower, upper], elementwise.

    `function` returns values, increasing in x, and log slopes. Steps alternate between Newton's, kept inside the bracket,
    and bisection, so that two iterations at least halve the bracket: the bound on iterations is reached only where a
    bracket shrinks to two neighbouring numbers. Derivatives follow from the implicit function theorem.
    """
    eps = jnp.finfo(y.dtype).eps
    scale = max(abs(lower), abs(upper))
    iterations = 2 * (jnp.finfo(y.dtype).nmant + 4)

    def step(state):
        x, low, high, count, _ = state
        value, log_slope = function(x, parameters)
        residual = value - y
        low, high = jnp.where(residual <= 0, x, low), jnp.where(residual >= 0, x, high)
        # Not a number is done as well.
        done = ~(jnp.abs(residual) > 2 * eps * scale) | (high - low <= 2 * eps * scale)
        newton = x - residual * jnp.exp(-log_slope)
        middle = 0.5 * (low + high)
        # After three steps of Newton every other one bisects.
        use = (newton > low) & (newton < high) & ((count % 2 == 0) | (count < 3))
        # The last step of Newton is taken also by what has converged: it removes most of the remaining residual.
        moved = jnp.where(use, newton, jnp.where(done, x, middle))
        return moved, low, high, count + 1, jnp.all(done)

    def running(state):
        return ~state[-1] & (state[-2] < iterations)

    low, high = jnp.full_like(y, lower), jnp.full_like(y, upper)
    start = (jnp.clip(y, lower, upper), low, high, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
    return jnp.where(jnp.isnan(y), y, jax.lax.while_loop(running, step, start)[0])


@bracketed_inverse.defjvp
def _bracketed_inverse_jvp(function, lower, upper, primals, tangents):
    (y, parameters), (dy, dparameters) = primals, tangents
    x = bracketed_inverse(function, y, parameters, lower, upper)
    (_, log_slope), (dvalue, _) = jax.jvp(lambda p: function(x, p), (parameters,), (dparameters,))
    return x, (dy - dvalue) * jnp.exp(-log_slope)
