"""Populations of particles on annealed flows, for sequential Monte Carlo and the training of its layers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float, Inexact, Key, PyTree

from ..lattice import accumulator_dtype
from ..priors import AbstractPrior
from ..theories import AbstractTheory
from ._annealed import AnnealedFlow
from ._scan import scan_steps


class Population(eqx.Module):
    """Particles at the theory, and what happened on the way.

    The mean of exp(log_weights) is an unbiased estimate of Z; `ess`: fraction at each annealing step before resampling;
    `loss`: sum over the annealing steps of the mean of -log of the weight increments, weighted as the particles were
    before.
    """

    x: PyTree[Inexact[Array, "particles ..."]]
    log_weights: Float[Array, " particles"]
    ess: Float[Array, " steps"]
    resampled: Bool[Array, " steps"]
    loss: Float[Array, ""]


def run_population(
    key: Key[Array, ""],
    prior: AbstractPrior,
    flow: AnnealedFlow,
    particles: int,
    resample_below: Float[Array, ""] | float,
    dtype: DTypeLike | None = None,
) -> Population:
    """One population from the prior through all annealing steps: layer, weight, resampling where the ESS is low, updates."""
    start_key, key = jax.random.split(key)
    z = jax.vmap(lambda k: prior.sample(k, dtype))(jax.random.split(start_key, particles))
    levels, at = flow.annealing_steps()
    accumulator = accumulator_dtype()
    thresholds = jnp.full(flow.schedule.steps, resample_below).at[-1].set(0.0)

    def advance(carry, inputs):
        x, before, log_weights, loss = carry
        level, threshold, key = inputs
        theory, layer = at(level)
        resample_key, key = jax.random.split(key)
        y, log_det = (x, jnp.zeros(particles, accumulator)) if layer is None else jax.vmap(layer.forward_and_log_det)(x)
        increment = before - _actions(theory, y) + log_det.astype(accumulator)
        loss = loss - jnp.sum(jax.nn.softmax(jax.lax.stop_gradient(log_weights)) * increment)
        log_weights = log_weights + increment
        ess = _ess(log_weights)
        low = ess < threshold
        index = jnp.where(low, _systematic(resample_key, log_weights), jnp.arange(particles, dtype=jnp.int32))
        log_weights = jnp.where(low, _log_mean(log_weights), log_weights)
        keys = jax.random.split(key, particles)
        x = jax.vmap(lambda k, x: flow.updated(k, theory, x))(keys, jax.tree.map(lambda a: a[index], y))
        # Each layer is trained on the particles it is given.
        x = jax.lax.stop_gradient(x)
        return (x, _actions(theory, x), log_weights, loss), (ess, low)

    before = -jax.vmap(prior.log_prob)(z).astype(accumulator)
    start = (z, before, jnp.zeros(particles, accumulator), jnp.zeros((), accumulator))
    inputs = (levels, thresholds, jax.random.split(key, flow.schedule.steps))
    (x, _, log_weights, loss), (ess, low) = scan_steps(advance, start, inputs, checkpoint=flow.checkpoint)
    return Population(x, log_weights, ess, low, loss)


def _actions(theory: AbstractTheory, x: Any) -> Array:
    return jax.vmap(theory.action)(x).astype(accumulator_dtype())


def _log_mean(log_weights: Array) -> Array:
    return jax.scipy.special.logsumexp(log_weights) - jnp.log(jnp.asarray(len(log_weights), log_weights.dtype))


def _ess(log_weights: Array) -> Array:
    return 1 / (len(log_weights) * jnp.sum(jax.nn.softmax(log_weights) ** 2))


def _systematic(key: Array, log_weights: Array) -> Array:
    """Indices with expected multiplicity n W_i, from one uniform number: equidistant points on the cumulative weights."""
    n = len(log_weights)
    cumulative = jnp.cumsum(jax.nn.softmax(log_weights))
    points = (jnp.arange(n, dtype=cumulative.dtype) + jax.random.uniform(key, dtype=cumulative.dtype)) / n
    return jnp.minimum(jnp.searchsorted(cumulative, points), n - 1).astype(jnp.int32)
