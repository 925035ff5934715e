"""Integration of vector fields on manifolds: configuration, log-det and embedded errors."""

import dataclasses
from typing import Any, Literal

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jax.core import Tracer

from .._checks import finite, integer
from .._trees import precision
from .._types import Array, Configuration, Float
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ._base import Integration, VectorField
from ._commutator_free import LSCFRK4, AbstractLowStorage
from ._low_storage import low_storage_integrate
from ._rkmk import RKMK
from ._solver import AbstractGroupSolver
from ._stepwise import (
    adaptive_integrate,
    dense_solution,
    equal_steps,
    has_error,
    stepwise_integrate,
    with_leafwise_norm,
)


def integrate(
    field: VectorField,
    manifold: AbstractManifold,
    x: Configuration,
    *,
    t0: Any = 0.0,
    t1: Any = 1.0,
    solver: diffrax.AbstractSolver | None = None,
    steps: int | None = None,
    controller: diffrax.AbstractStepSizeController | None = None,
    error: bool = True,
    checkpoint: bool | Literal["stage"] = True,
    max_steps: int = 4096,
) -> Integration:
    r"""Integrates $\dot x = v(t, x)\, x$ on a manifold, and the divergence of v along it by the same stages.

    $\log\det = \int_{t_0}^{t_1} \mathrm{div}\, v(t, x(t))\, dt$, with the sign of $t_1 - t_0$. It is the log-det of the
    ODE's flow up to the integrator's error, which is extensive in the volume.

    **Arguments:**

    - `field`: maps (t, x) to (velocity, divergence): a tangent vector, and a real scalar.
    - `manifold`: manifold of the configurations.
    - `x`: one configuration at `t0`; use `jax.vmap` for batches.
    - `t0`, `t1`: times; `t1 < t0` integrates backwards (the inverse up to the integrator's error).
    - `solver`: `LSCFRK4()` (default) or another solver of this package; an explicit Runge-Kutta solver of diffrax is wrapped
        by `RKMK`. Low-storage solvers with fixed steps compile the field once (scans over steps and stages).
    - `steps`: number of equal steps.
    - `controller`: instead of `steps`, `diffrax.PIDController(rtol=..., atol=...)`. Its default norm is replaced by the
        maximum over configuration and log-det (each a root mean square), so that the volume does not hide the log-det.
    - `error`: whether to sum up the squared embedded errors of the steps (section "embedded error" of the tableaus); they
        are differentiable and keep training from exploiting the integrator.
    - `checkpoint`: recompute every step in reverse mode: the memory is that of one configuration per step and of the field in
        one step. `"stage"` recomputes every stage of a low-storage scheme as well: three times less memory for about a
        quarter more time. `False` stores all. Adaptive steps always recompute (diffrax's recursive checkpointing).
    - `max_steps`: bound for adaptive steps.

    **Returns:** an `Integration`. In float32 the state stays float32, sums stay in float64 when x64 is on.

    **Raises:** `ValueError` unless exactly one of `steps` (positive) and `controller` is given, for a configuration or a
    field that do not fit the manifold, or for a controller without an error estimate; at run time if `max_steps` did not
    suffice.

    Schemes: arXiv 2007.04225, 1006.4518; embedded error as regulariser: arXiv 2105.03918.

        >>> result = tm.solvers.integrate(model.transport.field, theory.manifold, links, steps=4)
        >>> float(result.log_det)
    """
    manifold.check(x)
    solver = _fit_solver(solver, manifold)
    _check_steps(solver, steps, controller)
    start, stop = _time(t0, "t0"), _time(t1, "t1")
    if steps is None:
        return adaptive_integrate(field, x, start, stop, solver, with_leafwise_norm(controller), max_steps, error=error)
    if isinstance(solver, AbstractLowStorage):
        return low_storage_integrate(
            field, manifold, x, start, stop, solver.low_storage, steps, error=error, checkpoint=checkpoint
        )
    return stepwise_integrate(field, x, start, stop, solver, steps, error=error, checkpoint=checkpoint)


class DensePath(eqx.Module):
    """A solution of `integrate_dense`: a function of time with values on the manifold.

    >>> path = tm.solvers.integrate_dense(model.transport.field, theory.manifold, links, steps=4)
    >>> halfway = path(0.5)
    """

    solution: diffrax.Solution

    def __call__(self, t: Any) -> tuple[Configuration, Float[Array, ""]]:
        """Configuration and log-det (relative to the start) at time t."""
        return self.solution.evaluate(jnp.asarray(t, jnp.result_type(self.solution.t0)))


def integrate_dense(
    field: VectorField,
    manifold: AbstractManifold,
    x: Configuration,
    *,
    t0: Any = 0.0,
    t1: Any = 1.0,
    solver: diffrax.AbstractSolver | None = None,
    steps: int | None = None,
    controller: diffrax.AbstractStepSizeController | None = None,
    max_steps: int = 4096,
) -> DensePath:
    """The solution as a function of time between `t0` and `t1`, on the group at every time.

    Between steps, `RKMK` has the accuracy of the wrapped solver's dense output; commutator-free schemes are third-order
    accurate per step (local error h^3), whatever their order at the steps.

    **Arguments:** as `integrate`; the default solver is `RKMK(diffrax.Tsit5(), manifold)`. All steps are stored
    (`max_steps` of them for an adaptive controller).

    **Returns:** a function of t, which gives (x, log_det); `jax.vmap` it over times.

    **Raises:** as `integrate`.

        >>> path = tm.solvers.integrate_dense(model.transport.field, theory.manifold, links, steps=4)
    """
    manifold.check(x)
    solver = _fit_solver(diffrax.Tsit5() if solver is None else solver, manifold)
    _check_steps(solver, steps, controller)
    start, stop = _time(t0, "t0"), _time(t1, "t1")
    if steps is None:
        chosen = with_leafwise_norm(controller)
    else:
        chosen, max_steps = equal_steps(start, stop, steps, precision(x)), steps
    return DensePath(dense_solution(field, x, start, stop, solver, chosen, max_steps))


def _fit_solver(solver: Any, manifold: AbstractManifold) -> AbstractGroupSolver:
    """A solver on the given manifold; diffrax's own are wrapped."""
    if solver is None:
        return LSCFRK4(manifold)
    # diffrax's wrappers pass isinstance for what they wrap, so ask the type.
    if not issubclass(type(solver), AbstractGroupSolver):
        return RKMK(solver=solver, manifold=manifold)
    if solver.manifold is None:
        return dataclasses.replace(solver, manifold=manifold)
    if solver.manifold != manifold:
        raise ValueError(
            f"The solver was made for {solver.manifold}, but the configurations live on {manifold}; leave its manifold out, "
            "or make it for this one."
        )
    return solver


def _check_steps(solver: Any, steps: Any, controller: Any) -> None:
    if (steps is None) == (controller is None):
        raise ValueError(f"Give either steps (a positive integer) or controller, got steps={steps}, controller={controller}.")
    if controller is not None:
        if not has_error(solver):
            raise ValueError(f"{solver} does not estimate its error, so steps cannot adapt; give steps= or another solver.")
    elif isinstance(steps, Tracer):
        raise TypeError("integrate: steps is traced, expected a Python integer: it fixes the program.")
    else:
        integer("integrate: steps", steps, 1)


def _time(t: Any, name: str) -> Float[Array, ""]:
    """Times in the accumulator dtype; they are cast to the state's precision only after the arithmetic."""
    if jnp.shape(t) != ():
        raise ValueError(f"{name} must be one number, got shape {jnp.shape(t)}.")
    finite(f"integrate: {name}", t)
    return jnp.asarray(t, accumulator_dtype())
