"""Drifts that solve the continuity equation: training without gradients through paths."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from ..._parameters import fixed_numbers
from ..._trees import precision
from ...fields import AbstractVectorField, GradientField
from ...models import log_weight, transport_of
from ...stochastic import LangevinFlow, end_gradients, interpolate, level_gradient
from ...theories import AbstractTheory


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

    and the weights of the flow then have no variance up to the step size. The loss is the mean square of R over the
    annealing steps and the configurations of the own paths of the flow, constants here: a step costs one path and one
    gradient of the field and its divergence at each step, and gradients do not grow along the path. The rate of the free
    energy that minimises the loss is the mean of the other terms at each step, so that it is not a parameter.

    Only the drift is trained. Paths need not follow the theories closely for R = 0 to be the aim, but they have to cover
    them: start with the step sizes of a useful flow without drift.

    **Arguments, returns:** those of an objective of `fit`, for a model whose transport is a `LangevinFlow` with a drift (with
    exact divergence); the batch needs two samples or more. `chosen`: number of annealing steps per step of training, drawn at
    random; all by default.

    **Raises:** `TypeError` for another transport or one without drift.
    """
    theory = theory.phase_quenched
    flow, drift = _trained("continuity_residual", model, theory, batch_size)
    level_key, path_key = jax.random.split(key)
    paths, _, log_weights = _paths(path_key, flow, batch_size, dtype)
    paths = jax.tree.map(lambda a: a[1:], paths)
    levels = flow.schedule()
    inputs = ((levels[1:] + levels[:-1]) / 2, jnp.diff(levels) * flow.schedule.steps, flow.times(), paths)

    def level(inputs):
        weight, rate, t, x = inputs
        residual = jax.vmap(lambda y: _residual(flow.prior, theory, drift, weight, rate, t, y))(x)
        return jnp.var(residual, ddof=1)

    return _mean_over_steps(level_key, level, inputs, chosen), log_weights


def action_matching(
    key: Key[Array, ""],
    model: Any,
    theory: AbstractTheory,
    batch_size: int,
    *,
    dtype: DTypeLike | None = None,
    chosen: int | None = None,
) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
    r"""Training of the drift of a `LangevinFlow` by action matching: no divergence is needed (arXiv:2210.06662, 2410.02711).

    A drift $b = \partial\varphi$ obeys the continuity equation of the densities $p_k$ of the annealing steps if, for each
    step k, it minimises

    $$ \tfrac{1}{2K} \langle |\partial\varphi|^2 \rangle - \langle\varphi\rangle_{p_{k+1}} + \langle\varphi\rangle_{p_k} $$

    with $\varphi$ at the time of the drift of this step, and the first mean over both ends of the step: the weak form of the
    equation, in which a constant of $\varphi$ drops out whatever its dependence on time. The means are over the paths of the
    flow itself, with their weights up to each step. Where these are uneven, few paths carry the loss: start with a flow
    whose weights are useful, or train by `continuity_residual`, which takes any configurations.

    **Arguments, returns:** those of `continuity_residual`; the drift is a `GradientField`. The loss is not bounded by
    zero: at the minimum it is minus half the mean square of the drift.

    **Raises:** `TypeError` for another transport, or a drift that is not the gradient of a potential.
    """
    flow, drift = _trained("action_matching", model, theory, batch_size)
    if not isinstance(drift, GradientField):
        raise TypeError(f"action_matching trains the potential of a GradientField, but was given {type(drift).__name__}.")
    level_key, path_key = jax.random.split(key)
    paths, log_weights, of_paths = _paths(path_key, flow, batch_size, dtype)
    weights = jax.nn.softmax(log_weights, axis=1)
    before, after = (jax.tree.map(lambda a, part=part: a[part], paths) for part in (slice(-1), slice(1, None)))
    inputs = (flow.times(), before, after, weights[:-1], weights[1:])

    def level(inputs):
        t, before, after, *weights = inputs
        terms = [jax.vmap(lambda y: _kinetic_and_potential(drift, t, y))(x) for x in (before, after)]
        (kinetic, potential), (kinetic_after, potential_after) = [
            [jnp.sum(w * value) for value in both] for w, both in zip(weights, terms, strict=True)
        ]
        return (kinetic + kinetic_after) / 2 - flow.schedule.steps * (potential_after - potential)

    return _mean_over_steps(level_key, level, inputs, chosen), of_paths


def _trained(name: str, model: Any, theory: AbstractTheory, batch_size: int) -> tuple[LangevinFlow, AbstractVectorField]:
    """The flow as constants, and its drift."""
    flow = transport_of(f"{name} trains the drift of", model, LangevinFlow)
    if flow.drift is None:
        raise TypeError(f"{name} trains the drift of a LangevinFlow: got one without, give it one such as a GradientField.")
    if batch_size < 2:
        raise ValueError(f"{name} takes means over a batch of two or more, but batch_size is {batch_size}.")
    return fixed_numbers(flow.started_from(model.prior).towards(theory)), flow.drift


def _paths(key: Array, flow: LangevinFlow, batch_size: int, dtype: DTypeLike | None) -> tuple[Any, Array, Array]:
    """Configurations and log weights at both ends of each annealing step, and those of the paths, as constants."""

    def walk(key):
        start_key, path_key = jax.random.split(key)
        z = flow.prior.sample(start_key, dtype)
        _, of_path, path, partial = flow.path(path_key, z)
        path = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), z, path)
        partial = jnp.concatenate([jnp.zeros(1, partial.dtype), partial])
        log_prior = flow.prior.log_prob(z)

        def at_level(level, x, partial):
            return log_weight(interpolate(flow.prior, flow.theory, level), x, log_prior - partial)

        at_levels = jax.vmap(at_level)(flow.schedule(), path, partial)
        return path, at_levels, log_weight(flow.theory, jax.tree.map(lambda a: a[-1], path), log_prior - of_path)

    walks = jax.vmap(walk, out_axes=(1, 1, 0))(jax.random.split(key, batch_size))
    return jax.lax.stop_gradient(walks)


def _mean_over_steps(key: Array, level: Callable[[Any], Array], inputs: Any, chosen: int | None) -> Array:
    """The mean of a function of the inputs of each annealing step, or of some drawn at random; recomputed for gradients."""
    if chosen is not None:
        index = jax.random.permutation(key, len(inputs[0]))[:chosen]
        inputs = jax.tree.map(lambda a: a[index], inputs)
    return jnp.mean(jax.lax.map(jax.checkpoint(level), inputs))


def _kinetic_and_potential(drift: GradientField, t: Array, x: Any) -> tuple[Array, Array]:
    """|b|^2/2 and the potential that b ascends."""
    t = t.astype(precision(x))
    gradient, value = drift.potential.gradient(t, x), -drift.potential(t, x)
    kinetic = drift.manifold.inner(gradient, gradient) / 2
    return kinetic.astype(value.dtype), value


def _residual(prior, theory, drift, weight, rate, t, x) -> Array:
    """The residual without the free energy."""
    t = t.astype(precision(x))
    velocity, divergence = drift(t, x)
    work = theory.manifold.inner(velocity, level_gradient(weight, end_gradients(prior, theory, x)))
    one = jnp.ones_like(weight)
    change = interpolate(prior, theory, one).action(x) - interpolate(prior, theory, 0 * one).action(x)
    return divergence - work - rate.astype(change.dtype) * change
