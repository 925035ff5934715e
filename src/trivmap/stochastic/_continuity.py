"""Drifts that solve the continuity equation: training without gradients through paths."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from ..theories import AbstractTheory
from ._langevin import LangevinFlow
from ._path import combine, gradients, interpolate


def continuity_residual(
    key: Key[Array, ""],
    model: Any,
    theory: AbstractTheory,
    batch_size: int,
    *,
    dtype: DTypeLike | None = None,
    chosen: int | None = None,
) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
    r"""Training of the drift of a `LangevinFlow` by the continuity equation (NETS, arXiv:2410.02711).

    A drift b that carries $e^{F_t - U_t}$ along t without any noise has a vanishing residual

    $$ R(t, x) = \mathrm{div}\, b - b \cdot \partial U_t - \partial_t U_t + \partial_t F_t, $$

    and the weights of the flow then have no variance up to the step size. The loss is the mean square of R over the levels
    and the configurations of the own paths of the flow, constants here: a step costs one path and one gradient of the field
    and its divergence at each level, and gradients do not grow along the path. The rate of the free energy that minimises the
    loss is the mean of the other terms at each level, so that it is not a parameter.

    Only the drift is trained. Paths need not follow the theories closely for R = 0 to be the aim, but they have to cover
    them: start with the step sizes of a useful flow without drift.

    **Arguments, returns:** those of an objective of `fit`, for a model whose transport is a `LangevinFlow` with a drift (with
    exact divergence); the batch needs two samples or more. `chosen`: number of levels per step of training, drawn at
    random; all by default.

    **Raises:** `TypeError` for another transport or one without drift.
    """
    flow = model.transport
    if not isinstance(flow, LangevinFlow) or flow.drift is None:
        raise TypeError(
            "continuity_residual trains the drift of a LangevinFlow: give it one, such as a GatedConvolutionField."
        )
    if batch_size < 2:
        raise ValueError(f"The free energy is the mean over a batch of two or more, but batch_size is {batch_size}.")
    drift = flow.drift
    flow = jax.tree.map(
        lambda a: jax.lax.stop_gradient(a) if eqx.is_inexact_array(a) else a, eqx.tree_at(lambda f: f.theory, flow, theory)
    )
    level_key, path_key = jax.random.split(key)

    def walk(key):
        start_key, path_key = jax.random.split(key)
        z = flow.prior.sample(start_key, dtype)
        x, log_weight, path = flow.path(path_key, z)
        return path, log_weight - theory.action(x) - flow.prior.log_prob(z)

    paths, log_weights = jax.vmap(walk, out_axes=(1, 0))(jax.random.split(path_key, batch_size))
    paths = jax.lax.stop_gradient(paths)
    levels = flow.schedule()
    inputs = ((levels[1:] + levels[:-1]) / 2, jnp.diff(levels) * flow.schedule.steps, flow.times(), paths)
    if chosen is not None:
        index = jax.random.permutation(level_key, flow.schedule.steps)[:chosen]
        inputs = jax.tree.map(lambda a: a[index], inputs)

    @jax.checkpoint
    def level(total, inputs):
        weight, rate, t, x = inputs
        residual = jax.vmap(lambda y: _residual(flow.prior, theory, drift, weight, rate, t, y))(x)
        return total + jnp.var(residual, ddof=1), None

    total, _ = jax.lax.scan(level, jnp.zeros((), log_weights.dtype), inputs)
    return total / len(inputs[0]), jax.lax.stop_gradient(log_weights)


def _residual(prior, theory, drift, weight, rate, t, x) -> Array:
    """The residual without the free energy."""
    t = t.astype(jnp.real(x).dtype)
    velocity, divergence = drift(t, x)
    work = theory.manifold.inner(velocity, combine(weight, gradients(prior, theory, x)))
    one = jnp.ones_like(weight)
    change = interpolate(prior, theory, one).action(x) - interpolate(prior, theory, 0 * one).action(x)
    return divergence - work - rate.astype(change.dtype) * change
