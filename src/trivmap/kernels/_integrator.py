"""Symplectic integrators of Hamilton's equations: symmetric splittings as checked tables, and nested ones."""

import abc
import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._checks import integer
from .._trees import precision, scale, subtract


class AbstractIntegrator(abc.ABC):
    """A reversible and volume-preserving map that approximates the motion of H = <p, p>/2 + S.

    >>> isinstance(tm.kernels.omf2, tm.kernels.AbstractIntegrator)
    True
    """

    @property
    @abc.abstractmethod
    def force_evaluations(self) -> int:
        """Gradients per step; the last one of a step is the first of the next."""

    @property
    @abc.abstractmethod
    def time_scales(self) -> "tuple[SymplecticIntegrator, ...]":
        """The integrators of all time scales, the outermost first."""

    @property
    def inner_counts(self) -> tuple[int, ...]:
        """Steps on each inner time scale per drift on the one outside of it."""
        return ()

    @abc.abstractmethod
    def gradient(self, theory: Any, x: Any) -> Any:
        """The gradients at x that a trajectory starts with and hands on at its end."""

    @abc.abstractmethod
    def integrate(self, theory: Any, x: Any, p: Any, gradient: Any, length: Any, steps: int) -> tuple[Any, Any, Any]:
        """`(x, p, gradients at x)` after a time `length` in equal steps."""


@dataclasses.dataclass(frozen=True)
class SymplecticIntegrator(AbstractIntegrator):
    r"""One step $e^{b_0 h B} e^{a_1 h A} e^{b_1 h B} \cdots e^{a_s h A} e^{b_s h B}$: kicks b, drifts a.

    B moves the momenta by minus the force gradient, A moves the field along the momenta. The construction checks
    consistency, time-reversal symmetry and the declared order: a coefficient with a wrong digit does not load.

        >>> verlet = tm.kernels.SymplecticIntegrator("verlet", 2, kicks=(0.5, 0.5), drifts=(1.0,))
        >>> chain = tm.hmc(key, theory, 10, integrator=verlet)
    """

    name: str
    order: int
    kicks: tuple[float, ...]
    drifts: tuple[float, ...]

    def __post_init__(self):
        if len(self.kicks) != len(self.drifts) + 1:
            raise ValueError(f"{self.name}: {len(self.drifts)} drifts need one more kick, got {len(self.kicks)}")
        for label, row in (("kicks", self.kicks), ("drifts", self.drifts)):
            if not np.allclose(row, row[::-1], rtol=0, atol=1e-15):
                raise ValueError(f"{self.name}: the {label} are not symmetric, so trajectories would not be reversible")
        defect = max(abs(d) for length in range(1, self.order + 1) for d in self._order_defects(length))
        if defect > 1e-14:
            raise ValueError(f"{self.name}: order condition of order {self.order} violated by {defect:.1e}")

    @property
    def force_evaluations(self) -> int:
        """Gradients per step; the last one of a step is the first of the next."""
        return len(self.drifts)

    @property
    def time_scales(self) -> "tuple[SymplecticIntegrator, ...]":
        return (self,)

    def gradient(self, theory: Any, x: Any) -> Any:
        return theory.gradient(x)

    def integrate(self, theory: Any, x: Any, p: Any, gradient: Any, length: Any, steps: int) -> tuple[Any, Any, Any]:
        drift = _free_motion(theory.manifold)
        (x, p, _), gradient = _alternate(self, theory.gradient, drift, (x, p, None), gradient, length, steps)
        return x, p, gradient

    def schedule(self, steps: int) -> tuple[float, np.ndarray, np.ndarray]:
        """First kick, then the drifts and kicks that follow in pairs, for `steps` steps with adjoining kicks merged."""
        kicks = np.tile(np.asarray(self.kicks[1:]), (steps, 1))
        kicks[:-1, -1] += self.kicks[0]
        return self.kicks[0], np.tile(np.asarray(self.drifts), steps), kicks.reshape(-1)

    def _order_defects(self, length: int) -> list[float]:
        """Coefficients of all words of one length in A and B, less those of exp(A + B)."""
        return [
            self._word_coefficient(word) - 1.0 / math.factorial(length) for word in itertools.product("AB", repeat=length)
        ]

    def _word_coefficient(self, word: tuple[str, ...]) -> float:
        # In the nilpotent matrices A, B with a one at (i, i + 1) where letter i of the word is A or B, the corner
        # of a product of exponentials is the coefficient of the word.
        letters = {c: np.diag([float(w == c) for w in word], k=1) for c in "AB"}
        product = _nilpotent_exp(self.kicks[0] * letters["B"])
        for a, b in zip(self.drifts, self.kicks[1:], strict=True):
            product = product @ _nilpotent_exp(a * letters["A"]) @ _nilpotent_exp(b * letters["B"])
        return float(product[0, -1])


@dataclasses.dataclass(frozen=True)
class NestedIntegrator(AbstractIntegrator):
    r"""Several time scales: an outer integrator whose drifts are trajectories of an inner one.

    $$ e^{b_0 h B_1} T_2(a_1 h) e^{b_1 h B_1} \cdots, \qquad
       T_2(t) = \big(\text{step of the inner integrator by } t/n \text{ with the forces } B_2\big)^n $$

    Time scale k is moved by the forces of `theory.terms[k]`, from the outside, where forces are small and expensive, to the
    inside (Sexton and Weingarten, Nucl. Phys. B 380 (1992) 665). The order is the lower one of the two.

    **Arguments:** `outer`: a `SymplecticIntegrator`; `inner`: one of these or a `NestedIntegrator`, for more time scales;
    `inner_steps`: n, per drift of the outer one; `terms`: numbers of the terms of each time scale, if not one each.

    **Raises:** `ValueError` where terms are missing or counted twice.

        >>> integrator = tm.kernels.NestedIntegrator(tm.kernels.omf2, tm.kernels.leapfrog, 3)
        >>> chain = tm.hmc(key, tm.theories.SumTheory(theory, theory), 10, integrator=integrator, steps=4)
    """

    outer: SymplecticIntegrator
    inner: AbstractIntegrator
    inner_steps: int
    terms: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self):
        integer("NestedIntegrator: inner_steps", self.inner_steps, 1)
        depth = len(self.time_scales)
        if getattr(self.inner, "terms", None) is not None:
            raise ValueError(
                "NestedIntegrator: the terms of all time scales are given to the outermost integrator, not to an inner one."
            )
        if self.terms is not None and len(self.terms) != depth:
            raise ValueError(
                f"NestedIntegrator: got terms for {len(self.terms)} time scales, expected {depth}, one tuple for each."
            )

    @property
    def order(self) -> int:
        return min(level.order for level in self.time_scales)

    @property
    def force_evaluations(self) -> int:
        """Gradients per step, those on all time scales together, although a gradient of an inner one is the cheaper one."""
        drifts = len(self.outer.drifts)
        return drifts * (1 + self.inner_steps * self.inner.force_evaluations)

    @property
    def time_scales(self) -> tuple[SymplecticIntegrator, ...]:
        return (self.outer, *self.inner.time_scales)

    @property
    def inner_counts(self) -> tuple[int, ...]:
        return (self.inner_steps, *self.inner.inner_counts)

    def gradient(self, theory: Any, x: Any) -> tuple[Any, ...]:
        return tuple(force(x) for force in self._gradients(theory))

    def integrate(self, theory: Any, x: Any, p: Any, gradient: Any, length: Any, steps: int) -> tuple[Any, Any, Any]:
        drift, inner = _free_motion(theory.manifold), None
        gradients = self._gradients(theory)
        # From the inside: a trajectory on one time scale is the drift on the one outside of it.
        for k in reversed(range(1, len(self.time_scales))):
            drift = _as_drift(self.time_scales[k], gradients[k], drift, self.inner_counts[k - 1])
            inner = (gradient[k], inner)
        (x, p, inner), first = _alternate(self.time_scales[0], gradients[0], drift, (x, p, inner), gradient[0], length, steps)
        found = [first]
        while inner is not None:
            found.append(inner[0])
            inner = inner[1]
        return x, p, tuple(found)

    def _gradients(self, theory: Any) -> list[Callable[[Any], Any]]:
        """The gradient on each time scale, as a function of the configuration."""
        terms, depth = theory.terms, len(self.time_scales)
        chosen = self.terms if self.terms is not None else tuple((k,) for k in range(depth))
        if sorted(k for level in chosen for k in level) != list(range(len(terms))):
            raise ValueError(
                f"NestedIntegrator: got an action of {len(terms)} terms ({type(theory).__name__}) for the time scales "
                f"{chosen}, expected each term once; name the terms of every time scale by terms=((0,), (1, 2)), or split "
                "the action with SumTheory."
            )
        return [_sum_of_gradients(theory.manifold, [terms[k] for k in level]) for level in chosen]


def _sum_of_gradients(manifold: Any, terms: list[Any]) -> Callable[[Any], Any]:
    def gradient(x: Any) -> Any:
        if not terms:
            return manifold.still(x)
        first, *rest = (term.gradient(x) for term in terms)
        return jax.tree.map(lambda *g: sum(g[1:], g[0]), first, *rest)

    return gradient


def _free_motion(manifold: Any) -> Callable:
    """The innermost drift: the field moves along the momenta."""

    def drift(time: jax.Array, x: Any, p: Any, inner: None) -> tuple[Any, Any, None]:
        return manifold.exp(scale(time, p), x), p, inner

    return drift


def _as_drift(scheme: SymplecticIntegrator, force: Callable, drift: Callable, steps: int) -> Callable:
    """A trajectory of a scheme as a drift `(time, x, p, (gradient, gradients further inside)) -> (x, p, (...))`."""

    def trajectory(time: jax.Array, x: Any, p: Any, carried: Any) -> tuple[Any, Any, Any]:
        gradient, inner = carried
        (x, p, inner), gradient = _alternate(scheme, force, drift, (x, p, inner), gradient, time, steps)
        return x, p, (gradient, inner)

    return trajectory


def _alternate(
    scheme: SymplecticIntegrator, force: Callable, drift: Callable, state: Any, gradient: Any, length: Any, steps: int
) -> tuple[Any, Any]:
    """Kicks by `force` between drifts of `(x, p, gradients further inside)`; returns that and the gradient at the end."""
    first, drifts, kicks = scheme.schedule(steps)
    dtype = precision(state[1])
    step = jnp.asarray(length, dtype) / steps
    kicked = lambda c, p, g: subtract(p, scale(c * step, g))  # noqa: E731

    def pair(carry, coefficients):
        (x, p, inner), _ = carry
        time, kick = coefficients
        x, p, inner = drift(time * step, x, p, inner)
        gradient = force(x)
        return ((x, kicked(kick, p, gradient), inner), gradient), None

    x, p, inner = state
    start = ((x, kicked(jnp.asarray(first, dtype), p, gradient), inner), gradient)
    return lax.scan(pair, start, (jnp.asarray(drifts, dtype), jnp.asarray(kicks, dtype)))[0]


def _nilpotent_exp(m: np.ndarray) -> np.ndarray:
    result = term = np.eye(len(m))
    for k in range(1, len(m)):
        term = term @ m / k
        result = result + term
    return result


leapfrog = SymplecticIntegrator("leapfrog", 2, (0.5, 0.5), (1.0,))

# Omelyan, Mryglod, Folk, Comput. Phys. Commun. 151 (2003) 272: minimal error norms, velocity versions.
_LAMBDA = 0.1931833275037836
omf2 = SymplecticIntegrator("omf2", 2, (_LAMBDA, 1 - 2 * _LAMBDA, _LAMBDA), (0.5, 0.5))

_RHO, _THETA, _VARTHETA, _LAM = 0.2539785108410595, -0.03230286765269967, 0.08398315262876693, 0.6822365335719091
omf4 = SymplecticIntegrator(
    "omf4",
    4,
    (_VARTHETA, _LAM, 0.5 - _LAM - _VARTHETA, 0.5 - _LAM - _VARTHETA, _LAM, _VARTHETA),
    (_RHO, _THETA, 1 - 2 * (_RHO + _THETA), _THETA, _RHO),
)

INTEGRATORS: dict[str, AbstractIntegrator] = {scheme.name: scheme for scheme in (leapfrog, omf2, omf4)}


def integrator_of(integrator: str | AbstractIntegrator) -> AbstractIntegrator:
    """The integrator of a name. **Raises:** `ValueError` for an unknown one."""
    if isinstance(integrator, AbstractIntegrator):
        return integrator
    if integrator not in INTEGRATORS:
        raise ValueError(
            f"unknown integrator {integrator!r}: choose one of {sorted(INTEGRATORS)} or give a SymplecticIntegrator"
        )
    return INTEGRATORS[integrator]
