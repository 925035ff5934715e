"""Diffrax solvers whose steps stay on the manifold: common interface and arithmetic on their states."""

import abc
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from ..manifolds import AbstractManifold

# A configuration, or a tuple (configuration, ...) whose other entries (the log-det) live in vector spaces.
State = Any


def move(manifold: AbstractManifold, v: State, y: State) -> State:
    """The state exp(v) y: the manifold's exponential on the configuration, plain sums on everything else."""
    if not isinstance(y, tuple):
        return manifold.exp(v, y)
    rest = jax.tree.map(lambda a, b: a + jnp.asarray(b, a.dtype), y[1:], v[1:])
    return (manifold.exp(v[0], y[0]), *rest)


class AbstractGroupSolver(diffrax.AbstractAdaptiveSolver):
    """A one-step solver on a manifold, usable in `diffrax.diffeqsolve`.

    The state is a configuration, or a tuple `(configuration, ...)` whose other entries live in vector spaces, typically
    `(x, log_det)`. The vector field returns tangent vectors in the same structure: the velocity v of dx/dt = v x and the
    divergence. With a float32 state give times in float32, or diffrax promotes the state.

        >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.LSCFRK4())
    """

    manifold: eqx.AbstractVar[AbstractManifold | None]
    """Manifold of the configuration; `integrate` fills it in, `diffeqsolve` needs it."""

    @property
    @abc.abstractmethod
    def evaluations(self) -> int:
        """Evaluations of the field per step."""

    @abc.abstractmethod
    def attempt(self, terms: Any, t0: Any, t1: Any, y0: State, args: Any) -> tuple[State, State | None, dict[str, Any]]:
        """One step: the new state, the signed error estimate (a tangent vector, or `None`), and dense information."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: State, args: Any) -> None:
        """Nothing is remembered between steps."""

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: State, args: Any, solver_state: None, made_jump: Any
    ) -> tuple[State, State | None, dict[str, Any], None, diffrax.RESULTS]:
        """One step from t0 to t1 (interface of diffrax)."""
        y1, error, dense_info = self.attempt(terms, t0, t1, y0, args)
        return y1, absolute_error(self, error, y1), dense_info, None, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: State, args: Any) -> Any:
        """The vector field (interface of diffrax)."""
        return terms.vf(t0, y0, args)


def require_manifold(solver: AbstractGroupSolver) -> AbstractManifold:
    """The manifold of a solver used outside `integrate`.

    **Raises:** `ValueError` if it was left out.
    """
    if solver.manifold is None:
        name = type(solver).__name__
        raise ValueError(
            f"{name}() does not know the manifold of the state; write {name}(manifold) for use in diffrax.diffeqsolve."
        )
    return solver.manifold


def absolute_error(solver: AbstractGroupSolver, error: State | None, y: State) -> State | None:
    """What a controller of diffrax compares with the state, leaf by leaf: the error where it has the shape of the state,
    as on groups, and the motion that it stands for otherwise."""
    manifold = require_manifold(solver)
    if error is not None and manifold.tangent_shape != manifold.shape:
        if isinstance(y, tuple):
            error = (manifold.motion(error[0], y[0]), *error[1:])
        else:
            error = manifold.motion(error, y)
    return jax.tree.map(jnp.abs, error)


def rescaled_time(t: Any, t0: Any, t1: Any) -> Any:
    """The fraction (t - t0) / (t1 - t0) of a step, zero for an empty step."""
    width = t1 - t0
    return jnp.where(width == 0, 0.0, (t - t0) / jnp.where(width == 0, 1.0, width))


def refuse_increment(t1: Any) -> None:
    """Dense output on a group has values, not differences.

    **Raises:** `ValueError` if a second time is given.
    """
    if t1 is not None:
        raise ValueError("Configurations on a group cannot be subtracted: evaluate the dense solution at single times.")


class Interpolator(eqx.Module):
    """A hashable constructor of local interpolations that carries static settings."""

    build: Callable[..., Any] = eqx.field(static=True)
    settings: tuple[Any, ...] = eqx.field(static=True)

    def __call__(self, *, t0: Any, t1: Any, **dense_info: Any) -> diffrax.AbstractLocalInterpolation:
        """The interpolation of one step."""
        return self.build(self.settings, t0, t1, **dense_info)
