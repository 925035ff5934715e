"""Commutator-free solvers: products of exponentials, one generic loop over the stages of a tableau."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
from equinox import AbstractClassVar

from ..manifolds import AbstractManifold
from . import _schemes
from ._base import combination, scale
from ._solver import AbstractGroupSolver, Interpolator, State, move, refuse_increment, require_manifold, rescaled_time
from ._tableau import CommutatorFreeTableau, LowStorageTableau


class AbstractCommutatorFree(AbstractGroupSolver):
    """A commutator-free scheme given by a tableau. Subclasses set `tableau`; nothing else differs between them.

    >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.CF4())
    """

    term_structure: ClassVar = diffrax.AbstractTerm

    tableau: AbstractClassVar[CommutatorFreeTableau]

    @property
    def evaluations(self) -> int:
        return self.tableau.stages

    @property
    def interpolation_cls(self) -> Callable[..., diffrax.AbstractLocalInterpolation]:
        """Dense output: the step's exponentials with rescaled exponents (`CommutatorFreeTableau.dense_weights`)."""
        return Interpolator(_CommutatorFreeInterpolation, (require_manifold(self), self.tableau))

    def order(self, terms: Any) -> int:
        """Declared order on a Lie group."""
        return self.tableau.order

    def error_order(self, terms: Any) -> int:
        """Power of the step size in the embedded error estimate."""
        return self.tableau.error_order

    def attempt(self, terms: Any, t0: Any, t1: Any, y0: State, args: Any) -> tuple[State, State, dict[str, Any]]:
        manifold, tableau = require_manifold(self), self.tableau
        control, h = terms.contr(t0, t1), t1 - t0
        points, slopes = [y0], []
        for c, base, rows in zip(tableau.c, tableau.bases, tableau.exponents, strict=True):
            slopes.append(terms.vf_prod(t0 + c * h, points[-1], args, control))
            y = points[base]
            for row in rows:
                y = move(manifold, combine(row, slopes), y)
            points.append(y)
        return points[-1], combine(tableau.error_weights, slopes), {"y0": y0, "slopes": tuple(slopes)}


class AbstractLowStorage(AbstractCommutatorFree):
    """A commutator-free scheme with a low-storage form, which `integrate` scans over steps and stages.

    >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.LSCFRK3W7())
    """

    low_storage: AbstractClassVar[LowStorageTableau]


def combine(weights: Iterable[float], slopes: Sequence[State]) -> State:
    """The sum over j of weights[j] * slopes[j], leaf by leaf."""
    return jax.tree.map(lambda *leaves: combination(weights, leaves), *slopes)


class _CommutatorFreeInterpolation(diffrax.AbstractLocalInterpolation):
    settings: tuple[AbstractManifold, CommutatorFreeTableau] = eqx.field(static=True)
    t0: Any
    t1: Any
    y0: State
    slopes: tuple[State, ...]

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> State:
        """The state at time `t0`, on the manifold to rounding."""
        refuse_increment(t1)
        manifold, tableau = self.settings
        theta, slopes, y = rescaled_time(t0, self.t0, self.t1), list(self.slopes), self.y0
        bend = combine(tableau.dense_weights, slopes)
        for index, row in enumerate(tableau.path):
            v = jax.tree.map(lambda k: scale(theta, k), combine(row, slopes))
            if index == len(tableau.path) - 1:
                v = jax.tree.map(lambda a, b: a + scale(theta**2 - theta, b), v, bend)
            y = move(manifold, v, y)
        return y


class LSCFRK4(AbstractLowStorage):
    """Five-stage fourth-order low-storage commutator-free scheme, the default for fixed steps.

    Coefficients of Carpenter and Kennedy (NASA TM-109112, 1994); order on groups: arXiv 2007.04225.

        >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.LSCFRK4())
    """

    manifold: AbstractManifold | None = eqx.field(static=True, default=None)
    low_storage: ClassVar[LowStorageTableau] = _schemes.LSCFRK4
    tableau: ClassVar[CommutatorFreeTableau] = _schemes.LSCFRK4.expanded


class LuescherW3(AbstractLowStorage):
    """Three-stage third-order scheme of the Wilson flow, arXiv 1006.4518 appendix C.

    >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.LuescherW3())
    """

    manifold: AbstractManifold | None = eqx.field(static=True, default=None)
    low_storage: ClassVar[LowStorageTableau] = _schemes.LUESCHER_W3
    tableau: ClassVar[CommutatorFreeTableau] = _schemes.LUESCHER_W3.expanded


class LSCFRK3W7(AbstractLowStorage):
    """Three-stage third-order low-storage scheme of arXiv 2101.05320.

    >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.LSCFRK3W7())
    """

    manifold: AbstractManifold | None = eqx.field(static=True, default=None)
    low_storage: ClassVar[LowStorageTableau] = _schemes.LSCFRK3W7
    tableau: ClassVar[CommutatorFreeTableau] = _schemes.LSCFRK3W7.expanded


class EES25(AbstractLowStorage):
    """Explicit effectively symmetric scheme: order 2, reversible up to order 5; arXiv 2509.20599.

    >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.EES25())
    """

    manifold: AbstractManifold | None = eqx.field(static=True, default=None)
    low_storage: ClassVar[LowStorageTableau] = _schemes.EES25
    tableau: ClassVar[CommutatorFreeTableau] = _schemes.EES25.expanded


class EES27(AbstractLowStorage):
    """Explicit effectively symmetric scheme: order 2, reversible up to order 7; arXiv 2509.20599.

    >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.EES27())
    """

    manifold: AbstractManifold | None = eqx.field(static=True, default=None)
    low_storage: ClassVar[LowStorageTableau] = _schemes.EES27
    tableau: ClassVar[CommutatorFreeTableau] = _schemes.EES27.expanded


class CF3(AbstractCommutatorFree):
    """Third-order commutator-free scheme of Celledoni, Marthinsen and Owren (2003), 3 exponentials.

    >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.CF3())
    """

    manifold: AbstractManifold | None = eqx.field(static=True, default=None)
    tableau: ClassVar[CommutatorFreeTableau] = _schemes.CF3


class CF4(AbstractCommutatorFree):
    """Fourth-order commutator-free scheme of Celledoni, Marthinsen and Owren (2003), 4 evaluations, 5 exponentials.

    >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.CF4())
    """

    manifold: AbstractManifold | None = eqx.field(static=True, default=None)
    tableau: ClassVar[CommutatorFreeTableau] = _schemes.CF4


class CG2(AbstractCommutatorFree):
    """Second-order Crouch-Grossman scheme (midpoint rule). Its embedded error is O(h^2), of first order.

    >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.CG2())
    """

    manifold: AbstractManifold | None = eqx.field(static=True, default=None)
    tableau: ClassVar[CommutatorFreeTableau] = _schemes.CG2


class CG3(AbstractCommutatorFree):
    """Third-order Crouch-Grossman scheme (1993), 3 evaluations, 6 exponentials.

    >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.CG3())
    """

    manifold: AbstractManifold | None = eqx.field(static=True, default=None)
    tableau: ClassVar[CommutatorFreeTableau] = _schemes.CG3


class CG4(AbstractCommutatorFree):
    """Fourth-order Crouch-Grossman scheme of Owren and Marthinsen (1999), 5 evaluations, 15 exponentials.

    >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4, solver=tm.solvers.CG4())
    """

    manifold: AbstractManifold | None = eqx.field(static=True, default=None)
    tableau: ClassVar[CommutatorFreeTableau] = _schemes.CG4
