"""Steps of a general solver: fixed steps by a scan, adaptive steps and dense output through diffrax."""

import dataclasses
import warnings
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import at_least, positive
from .._trees import precision
from .._types import Array, Float
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ._base import Integration, VectorField, counts, evaluate, remat, squared_norm
from ._solver import AbstractGroupSolver, State, absolute_error, require_manifold


def max_norm(tree: Any) -> Array:
    """Largest root mean square of any leaf.

    The mean over all entries, diffrax's default, would let the volume drown the one entry that holds the log-det.
    """

    def rms(leaf: Array) -> Array:
        # The inner `where` keeps the derivative of the root finite at zero.
        mean = jnp.mean(jnp.abs(leaf) ** 2, dtype=accumulator_dtype())
        return jnp.where(mean == 0, 0.0, jnp.sqrt(jnp.where(mean == 0, 1.0, mean)))

    return jnp.max(jnp.stack([rms(leaf) for leaf in jax.tree.leaves(tree)]))


class _FieldTerm(diffrax.ODETerm):
    """An `ODETerm` whose velocities may have another shape than the state."""

    def vf(self, t: Any, y: State, args: Any) -> State:
        return self.vector_field(t, y, args)


def ode_term(field: VectorField, manifold: AbstractManifold) -> diffrax.ODETerm:
    """The field as a diffrax term for a state (x, log_det, ...), whose further entries do not move."""
    return _FieldTerm(lambda t, y, args: (*evaluate(field, manifold, t, y[0]), *map(jnp.zeros_like, y[2:])))


def stepwise_integrate(
    field: VectorField,
    x: Any,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    solver: AbstractGroupSolver,
    steps: int,
    *,
    error: bool,
    checkpoint: bool | str,
) -> Integration:
    """Integrates with `steps` equal steps of any solver (interface of `integrate`)."""
    manifold, dtype = require_manifold(solver), precision(x)
    term = ode_term(field, manifold)
    zero = jnp.zeros((), accumulator_dtype())
    h = (t1 - t0) / steps

    def step(carry: tuple[State, Array, Array], n: Array) -> tuple[tuple[State, Array, Array], None]:
        y, error_x, error_log_det = carry
        start, end = (t0 + h * n).astype(dtype), (t0 + h * (n + 1)).astype(dtype)
        y, e, _ = solver.attempt(term, start, end, y, None)
        if error and e is not None:
            error_x = error_x + squared_norm(manifold, e[0])
            error_log_det = error_log_det + e[1] ** 2
        return (y, error_x, error_log_det), None

    start = ((x, zero), zero, zero)
    (y, error_x, error_log_det), _ = jax.lax.scan(remat(step, checkpoint), start, jnp.arange(steps, dtype=h.dtype))
    known = error and has_error(solver)
    return Integration(
        x=y[0],
        log_det=y[1],
        error_x=error_x if known else None,
        error_log_det=error_log_det if known else None,
        stats=counts(steps, 0, steps * solver.evaluations),
    )


def has_error(solver: Any) -> bool:
    """Whether a solver estimates the error of its steps."""
    return isinstance(solver, diffrax.AbstractAdaptiveSolver) and not isinstance(solver, diffrax.Euler)


class _Recording(diffrax.AbstractAdaptiveSolver):
    """Sums the squared errors of the accepted steps in the last two entries of (x, log_det, error_x, error_log_det)."""

    solver: AbstractGroupSolver

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    def order(self, terms: Any) -> Any:
        return self.solver.order(terms)

    def error_order(self, terms: Any) -> Any:
        return self.solver.error_order(terms)

    def init(self, terms: Any, t0: Any, t1: Any, y0: State, args: Any) -> None:
        """Nothing is remembered between steps."""

    def step(self, terms: Any, t0: Any, t1: Any, y0: State, args: Any, solver_state: None, made_jump: Any) -> Any:
        (x, log_det, error_x, error_log_det), e, _ = self.solver.attempt(terms, t0, t1, y0, args)
        if e is None:
            raise ValueError(f"{self.solver} does not estimate its error.")
        error_x = error_x + squared_norm(require_manifold(self.solver), e[0])
        y1 = (x, log_det, error_x, error_log_det + e[1] ** 2)
        # The field is zero on the totals, hence their error estimate too: the controller does not see them.
        return y1, absolute_error(self.solver, e, y1), {"y0": y0, "y1": y1}, None, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: State, args: Any) -> Any:
        return terms.vf(t0, y0, args)


def adaptive_integrate(
    field: VectorField,
    x: Any,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    solver: AbstractGroupSolver,
    controller: diffrax.AbstractStepSizeController,
    max_steps: int,
    *,
    error: bool,
) -> Integration:
    """Integrates with the steps that a controller of diffrax chooses (interface of `integrate`)."""
    zero = jnp.zeros((), accumulator_dtype())
    start, manifold = (x, zero, zero, zero), require_manifold(solver)
    solution = _solve(field, start, t0, t1, _Recording(solver), controller, max_steps, diffrax.SaveAt(t1=True), manifold)
    x, log_det, error_x, error_log_det = jax.tree.map(lambda leaf: leaf[0], solution.ys)
    accepted, rejected = solution.stats["num_accepted_steps"], solution.stats["num_rejected_steps"]
    return Integration(
        x=x,
        log_det=log_det,
        error_x=error_x if error else None,
        error_log_det=error_log_det if error else None,
        stats=counts(accepted, rejected, (accepted + rejected) * solver.evaluations),
    )


def dense_solution(
    field: VectorField,
    x: Any,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    solver: AbstractGroupSolver,
    controller: diffrax.AbstractStepSizeController,
    max_steps: int,
) -> diffrax.Solution:
    """The diffrax solution for the state (x, log_det) with dense output (interface of `integrate_dense`)."""
    start = (x, jnp.zeros((), accumulator_dtype()))
    manifold = require_manifold(solver)
    return _solve(field, start, t0, t1, solver, controller, max_steps, diffrax.SaveAt(dense=True), manifold)


def equal_steps(t0: Float[Array, ""], t1: Float[Array, ""], steps: int, dtype: Any) -> diffrax.StepTo:
    """A controller that makes exactly `steps` equal steps."""
    return diffrax.StepTo((t0 + (t1 - t0) / steps * jnp.arange(steps + 1, dtype=t0.dtype)).astype(dtype))


def with_leafwise_norm(controller: Any) -> Any:
    """The controller with `max_norm` in place of diffrax's default norm; a norm chosen by the user is kept.

    **Raises:** `ValueError` for controllers that do not adapt the step.
    """
    if isinstance(controller, diffrax.PIDController):
        at_least("controller: rtol", controller.rtol, 0)
        at_least("controller: atol", controller.atol, 0)
        positive("controller: rtol + atol", controller.rtol + controller.atol)
        default = next(f.default for f in dataclasses.fields(diffrax.PIDController) if f.name == "norm")
        return dataclasses.replace(controller, norm=max_norm) if controller.norm is default else controller
    if isinstance(controller, diffrax.ClipStepSizeController):
        inner = with_leafwise_norm(controller.controller)
        return eqx.tree_at(lambda c: c.controller, controller, inner)
    raise ValueError(
        f"controller must adapt the steps, such as diffrax.PIDController(rtol=0, atol=1e-6), got {controller!r}; for fixed "
        "steps give steps= instead."
    )


def _solve(
    field: VectorField,
    y0: State,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    solver: Any,
    controller: Any,
    max_steps: int,
    saveat: diffrax.SaveAt,
    manifold: AbstractManifold,
) -> diffrax.Solution:
    # Times in the precision of the configuration: float64 times would promote a float32 state.
    dtype = precision(y0[0])
    fixed = isinstance(controller, diffrax.StepTo)
    # Controllers of diffrax mix the dtypes of leaves, which strict promotion refuses; `evaluate` still checks the field.
    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"):
        # Complex states are checked against exact results in our tests; Runge-Kutta stages run on real coordinates.
        warnings.filterwarnings("ignore", "Complex dtype support in Diffrax")
        solution = diffrax.diffeqsolve(
            ode_term(field, manifold),
            solver,
            t0.astype(dtype),
            t1.astype(dtype),
            # diffrax would start at 0.01 whatever the interval; a tenth of it is corrected by the first rejections.
            None if fixed else ((t1 - t0) / 10).astype(dtype),
            y0,
            saveat=saveat,
            stepsize_controller=controller,
            max_steps=max_steps,
            throw=False,
        )
    return _raise_failures(solution, max_steps)


def _raise_failures(solution: diffrax.Solution, max_steps: int) -> diffrax.Solution:
    exhausted = solution.result == diffrax.RESULTS.max_steps_reached
    solution = eqx.error_if(
        solution,
        exhausted,
        f"The integration did not reach t1 in max_steps={max_steps} steps. Loosen the tolerances of the controller, raise "
        "max_steps, take a solver with an error estimate of higher order (RKMK(diffrax.Tsit5(), manifold)), or look for "
        "a field that is not finite: its steps are rejected for ever.",
    )
    return eqx.error_if(
        solution,
        (solution.result != diffrax.RESULTS.successful) & ~exhausted,
        "The step size fell to the smallest that the controller allows (dtmin) or the solver failed before t1 was reached.",
    )
