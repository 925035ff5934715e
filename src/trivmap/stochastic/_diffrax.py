"""The Langevin equation of a `LangevinFlow` in diffrax: other step sizes, adaptive steps, strong order on given noise."""

import warnings
from typing import Any, ClassVar

import diffrax
import jax
import jax.numpy as jnp
import lineax
from jaxtyping import Array

from .._checks import integers
from .._trees import precision, scale
from .._types import Configuration
from ..manifolds import AbstractManifold
from ._langevin import LangevinFlow
from ._path import end_gradients, level_gradient


class GeometricEuler(diffrax.AbstractItoSolver):
    r"""Euler-Maruyama on a manifold, $x' = e^{\Delta} x$ for the increment $\Delta$ of the terms, a tangent vector.

    On real fields it is `diffrax.Euler`. On groups noise of this form is Brownian motion, Ito and Stratonovich alike.
    `diffrax.HalfSolver(GeometricEuler(manifold))` has an error estimate for adaptive steps.

        >>> solver = tm.stochastic.GeometricEuler(theory.manifold)
    """

    manifold: AbstractManifold
    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    def order(self, terms: Any) -> int:
        return 1

    def strong_order(self, terms: Any) -> float:
        return 0.5

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        return None

    def step(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any) -> tuple:
        # Noise in float64 must not promote a configuration in float32.
        increment = terms.vf_prod(t0, y0, args, terms.contr(t0, t1))
        increment = jax.tree.map(lambda a, b: a.astype(b.dtype), increment, y0)
        y1 = self.manifold.exp(increment, y0)
        return y1, None, {"y0": y0, "y1": y1}, None, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)


class _TangentPath(diffrax.AbstractPath):
    """A path in coordinates as one of tangent vectors: diffrax wants terms of the shape of the state."""

    path: diffrax.AbstractPath
    manifold: AbstractManifold

    @property
    def t0(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.path.t0

    @property
    def t1(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.path.t1

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        return self.manifold.from_coordinates(self.path.evaluate(t0, t1, left))


def langevin_terms(flow: LangevinFlow, path: diffrax.AbstractPath) -> diffrax.MultiTerm:
    r"""Drift and noise of $dx = [h_k s_k(x) + b(t_k, x)/K]\, dt + \sqrt{2 h_k}\, dW$, t = k to k + 1 in annealing step k.

    **Arguments:** `flow`: as in `LangevinFlow`; `path`: Brownian motion in tangent coordinates, shape
    `(flow.manifold.dimension,)`, such as a `diffrax.VirtualBrownianTree` from 0 to K.
    """
    weights, sizes, times = flow.schedule()[1:], jnp.exp(flow.log_step_sizes), flow.times()

    def level(t: Any) -> Array:
        # Annealing steps end at steps of the solver; rounding must not put one of these into the annealing step before.
        return jnp.clip(jnp.floor(jnp.asarray(t) + 1e-6).astype(int), 0, len(weights) - 1)

    def drift(t: Any, x: Any, args: Any) -> Any:
        k = level(t)
        mean = scale(-sizes[k], level_gradient(weights[k], end_gradients(flow.prior, flow.theory, x)))
        if flow.drift is not None:
            velocity = flow.drift(times[k].astype(precision(x)), x)[0]
            mean = jax.tree.map(lambda a, b: a + b / flow.schedule.steps, mean, velocity)
        return mean

    def amplitude(t: Any, x: Any, args: Any) -> lineax.AbstractLinearOperator:
        width = jnp.sqrt(2 * sizes[level(t)])
        return lineax.DiagonalLinearOperator(jax.tree.map(lambda a: jnp.broadcast_to(width.astype(a.dtype), a.shape), x))

    noise = diffrax.ControlTerm(amplitude, _TangentPath(path, flow.manifold))
    return diffrax.MultiTerm(diffrax.ODETerm(drift), noise)


def solve_langevin(
    flow: LangevinFlow,
    x: Configuration,
    path: diffrax.AbstractPath,
    *,
    substeps: int = 1,
    controller: diffrax.AbstractAdaptiveStepSizeController | None = None,
    **options: Any,
) -> diffrax.Solution:
    """Solves the Langevin equation of a flow from x with given noise; without weights, for studies of step sizes.

    With `substeps=1` and the noise of `flow.forward_and_log_weight` it gives the same end point. Weighted samples come from
    the flow itself: its weights are exact at any step size, which this limit does not need.

    **Arguments:**

    - `flow`, `path`: as for `langevin_terms`.
    - `substeps`: equal steps of the solver per annealing step. `controller`: chooses steps instead, such as a
      `diffrax.PIDController`, with the error estimate of `diffrax.HalfSolver`; annealing steps still end at steps of it.
    - `options`: of `diffrax.diffeqsolve`, such as `saveat`, `max_steps`.

    **Raises:** `ValueError` for fewer than one substep.
    """
    integers("solve_langevin", 1, substeps=substeps)
    flow.manifold.check(x)
    # Times in the precision of the configuration, which diffrax would promote to theirs.
    steps, dtype = flow.schedule.steps, precision(x)
    start, end = jnp.asarray(0.0, dtype), jnp.asarray(float(steps), dtype)
    solver: Any = GeometricEuler(flow.manifold)
    if controller is None:
        stepping: Any = diffrax.StepTo(jnp.linspace(0.0, steps, steps * substeps + 1, dtype=dtype))
        first = None
    else:
        solver = diffrax.HalfSolver(solver)
        stepping = diffrax.ClipStepSizeController(controller, jump_ts=jnp.arange(1.0, steps, dtype=dtype))
        first = jnp.asarray(0.5, dtype)
    options.setdefault("max_steps", None if controller is None else 4096 * steps)
    # Controllers of diffrax mix dtypes, which strict promotion refuses.
    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"):
        # States on groups are checked against those of the flow itself in our tests.
        warnings.filterwarnings("ignore", "Complex dtype support in Diffrax")
        return diffrax.diffeqsolve(
            langevin_terms(flow, path), solver, start, end, first, x, stepsize_controller=stepping, **options
        )
