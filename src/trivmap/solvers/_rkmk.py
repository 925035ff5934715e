"""Runge-Kutta-Munthe-Kaas: any explicit diffrax Runge-Kutta solver, in a chart that moves with the step."""

from collections.abc import Callable
from fractions import Fraction
from math import comb, factorial
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from .._trees import add, precision
from ..manifolds import AbstractManifold
from ._base import scale
from ._solver import AbstractGroupSolver, Interpolator, State, move, refuse_increment


def bernoulli_coefficients(count: int) -> tuple[float, ...]:
    """B_k / k! for k = 0 .. count - 1, with B_1 = -1/2."""
    numbers: list[Fraction] = []
    for k in range(count):
        tail = sum((comb(k + 1, j) * numbers[j] for j in range(k)), Fraction(0))
        numbers.append(Fraction(1) if k == 0 else -tail / (k + 1))
    return tuple(float(b / factorial(k)) for k, b in enumerate(numbers))


def dexpinv(manifold: AbstractManifold, x: Any, v: Any, truncation: int) -> Any:
    """Inverse differential of the exponential, sum_{k <= q} (B_k / k!) ad_x^k v.

    The minus sign of the first commutator belongs to multiplication from the left. Keeping k <= q leaves a Runge-Kutta
    scheme of order p with order min(p, q + 2), or min(p, q + 3) for even q >= 2, whose next Bernoulli number vanishes.

    **Arguments:** `x`, `v`: tangent vectors; `truncation`: q.
    """
    total = v
    for coefficient in bernoulli_coefficients(truncation + 1)[1:]:
        v = manifold.bracket(x, v)
        if coefficient != 0:
            total = add(total, scale(jnp.asarray(coefficient, precision(v)), v))
    return total


class RKMK(AbstractGroupSolver, diffrax.AbstractWrappedSolver):
    """Runs a diffrax Runge-Kutta solver in the chart x = exp(Omega) x_0 of each step, on a Lie group.

        dOmega/dt = dexpinv_Omega v(t, exp(Omega) x_0),   Omega(t_0) = 0.

    Tableau, error estimate and dense output are those of the wrapped solver, so dense output stays on the group at the
    wrapped solver's order. Usable in `integrate` and in `diffrax.diffeqsolve` (`AbstractGroupSolver` says on which states).
    The last stage of a step is never reused as the first of the next one (the chart has moved), so FSAL solvers cost one
    evaluation more than in a vector space.

    **Arguments:**

    - `solver`: explicit Runge-Kutta solver of diffrax (`Heun`, `Bosh3`, `Dopri5`, `Tsit5`, `Dopri8`, ...) or `Euler`.
    - `manifold`: manifold of the configuration.
    - `truncation`: highest power q of commutators kept; default order - 2, which is needed and enough.

    **Raises:** `TypeError` for solvers that cannot work in a moving chart.

    Munthe-Kaas, Appl. Numer. Math. 29 (1999) 115.

        >>> solver = tm.solvers.RKMK(diffrax.Dopri5(), theory.manifold)
        >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=solver)
    """

    solver: diffrax.AbstractSolver
    manifold: AbstractManifold = eqx.field(static=True)
    truncation: int | None = eqx.field(static=True, default=None)
    # diffrax sets it on anything that looks like a Runge-Kutta solver, to choose how its stages are looped over.
    scan_kind: str | None = None

    def __check_init__(self):
        _check_solver(self.solver)
        if not isinstance(self.manifold, AbstractManifold):
            raise TypeError(f"RKMK needs the manifold of the configurations, got {self.manifold!r}.")
        if self.truncation is not None and self.truncation < 0:
            raise ValueError(f"RKMK keeps commutators up to a power truncation >= 0, got {self.truncation}.")

    @property
    def term_structure(self) -> Any:
        return self.solver.term_structure

    @property
    def term_compatible_contr_kwargs(self) -> Any:
        return self.solver.term_compatible_contr_kwargs

    @property
    def evaluations(self) -> int:
        tableau = getattr(self.solver, "tableau", None)
        return tableau.num_stages if isinstance(tableau, diffrax.ButcherTableau) else 1

    @property
    def interpolation_cls(self) -> Callable[..., diffrax.AbstractLocalInterpolation]:
        """Dense output: the exponential of the wrapped solver's."""
        return Interpolator(_ChartInterpolation, (self.manifold, self.solver.interpolation_cls))

    def order(self, terms: Any) -> int | None:
        """Order of the wrapped solver, or less if fewer commutators are kept than it needs (`dexpinv`)."""
        order, q = self.solver.order(terms), self.truncation
        if order is None or q is None:
            return order
        return min(order, q + 3 if q >= 2 and q % 2 == 0 else q + 2)

    def strong_order(self, terms: Any) -> Any:
        return self.solver.strong_order(terms)

    def error_order(self, terms: Any) -> Any:
        return self.solver.error_order(terms)

    def attempt(self, terms: Any, t0: Any, t1: Any, y0: State, args: Any) -> tuple[State, State | None, dict[str, Any]]:
        truncation = self.truncation
        if truncation is None:
            truncation = max((self.solver.order(terms) or 0) - 2, 0)
        chart = jax.tree.map(
            lambda term: _ChartTerm(term, y0, self.manifold, truncation),
            terms,
            is_leaf=lambda t: isinstance(t, diffrax.AbstractTerm) and not isinstance(t, diffrax.MultiTerm),
        )
        solver = self.solver
        if self.scan_kind is not None and hasattr(solver, "scan_kind"):
            solver = eqx.tree_at(lambda s: s.scan_kind, solver, self.scan_kind, is_leaf=lambda x: x is None)
        omega, error, dense_info, _, _ = solver.step(chart, t0, t1, _origin(self.manifold, y0), args, None, False)
        if error is not None:
            error = _unpack(error, y0)
        return move(self.manifold, _unpack(omega, y0), y0), error, {"y0": y0, "chart": dense_info}


def _check_solver(solver: Any) -> None:
    advice = "use an explicit Runge-Kutta solver such as diffrax.Tsit5(), or a commutator-free one such as CF4(manifold)"
    if not isinstance(solver, diffrax.AbstractSolver):
        raise TypeError(f"RKMK needs a diffrax solver, got {solver!r}; {advice}.")
    name = type(solver).__name__
    if isinstance(solver, AbstractGroupSolver | diffrax.AbstractWrappedSolver):
        raise TypeError(f"RKMK(...) got {name}, which is itself a wrapper or a solver on groups; {advice}.")
    if isinstance(solver, diffrax.AbstractImplicitSolver):
        raise TypeError(f"RKMK cannot wrap {name}: its implicit stages are not solved in a moving chart; {advice}.")
    if isinstance(solver, diffrax.ReversibleHeun | diffrax.LeapfrogMidpoint | diffrax.SemiImplicitEuler):
        raise TypeError(f"RKMK cannot wrap {name}: it remembers points of earlier charts or splits the state; {advice}.")
    if isinstance(solver, diffrax.Euler):
        return
    if isinstance(solver, diffrax.AbstractItoSolver):
        raise TypeError(f"RKMK cannot wrap {name}: the drift of an Ito equation depends on the chart; {advice}.")
    if not isinstance(solver, diffrax.AbstractERK):
        raise TypeError(f"RKMK cannot wrap {name}: it is not an explicit Runge-Kutta solver; {advice}.")


class _ChartTerm(diffrax.AbstractTerm):
    """A term seen in the chart around `origin`."""

    term: diffrax.AbstractTerm
    origin: State
    manifold: AbstractManifold = eqx.field(static=True)
    truncation: int = eqx.field(static=True)

    def vf(self, t: Any, y: Any, args: Any) -> Any:
        omega = _unpack(y, self.origin)
        return self._pull_back(omega, self.term.vf(t, move(self.manifold, omega, self.origin), args))

    def vf_prod(self, t: Any, y: Any, args: Any, control: Any) -> Any:
        omega = _unpack(y, self.origin)
        return self._pull_back(omega, self.term.vf_prod(t, move(self.manifold, omega, self.origin), args, control))

    def contr(self, t0: Any, t1: Any, **kwargs: Any) -> Any:
        return self.term.contr(t0, t1, **kwargs)

    def prod(self, vf: Any, control: Any) -> Any:
        return self.term.prod(vf, control)

    def is_vf_expensive(self, t0: Any, t1: Any, y: Any, args: Any) -> bool:
        # Makes diffrax call `vf_prod` alone and never carry a stage into the next chart.
        return True

    def _pull_back(self, omega: State, v: State) -> Any:
        if isinstance(v, tuple):
            return _pack((dexpinv(self.manifold, omega[0], v[0], self.truncation), *v[1:]), self.origin)
        return _pack(dexpinv(self.manifold, omega, v, self.truncation), self.origin)


class _ChartInterpolation(diffrax.AbstractLocalInterpolation):
    settings: tuple[AbstractManifold, Callable[..., Any]] = eqx.field(static=True)
    t0: Any
    t1: Any
    y0: State
    chart: Any

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> State:
        """The state at time `t0`, on the manifold to rounding."""
        refuse_increment(t1)
        manifold, inner = self.settings
        return move(manifold, _unpack(inner(t0=self.t0, t1=self.t1, **self.chart).evaluate(t0), self.y0), self.y0)


# Chart coordinates: diffrax's Runge-Kutta buffers want leaves of one real dtype, so complex leaves become a stack of real and
# imaginary parts and all leaves take the precision of the configuration. They start at zero in each step, so a float64
# log-det still accumulates in float64.


def _chart_dtype(y: State) -> Any:
    return precision(y[0] if isinstance(y, tuple) else y)


def _pack(v: State, like: State) -> Any:
    dtype = _chart_dtype(like)

    def pack(leaf: Any) -> Any:
        if jnp.iscomplexobj(leaf):
            return jnp.stack([jnp.real(leaf), jnp.imag(leaf)]).astype(dtype)
        return jnp.asarray(leaf, dtype)

    return jax.tree.map(pack, v)


def _unpack(coordinates: Any, like: State) -> State:
    def unpack(c: Any, leaf: Any) -> Any:
        c = jnp.asarray(c, precision(leaf))
        return jax.lax.complex(c[0], c[1]) if jnp.iscomplexobj(leaf) else c

    return jax.tree.map(unpack, coordinates, like)


def _origin(manifold: AbstractManifold, y: State) -> Any:
    """The coordinates of `y` itself: zero."""
    x, *rest = y if isinstance(y, tuple) else (y,)
    still = manifold.still(x)
    return jax.tree.map(jnp.zeros_like, _pack((still, *rest) if isinstance(y, tuple) else still, y))
