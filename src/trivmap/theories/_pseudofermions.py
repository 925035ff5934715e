import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import integers, positive
from .._trees import cast, precision
from .._types import Array, PRNGKey
from ..fermions import Accuracy, EvenOddDirac, WilsonDirac, apply_inverse, inverse_form, solve_normal
from ..manifolds import ProductManifold
from ._base import AbstractTheory
from ._extended import ExtendedTheory

# Relative residual that conjugate gradients in float32 reach.
_SINGLE = 1e-6


class AbstractPseudofermion(AbstractTheory):
    """One pseudofermion field in the presence of links: a class gives `form`, its action for an accuracy of solves, and
    `drawn`, its heatbath.

    Actions are computed in float64 when x64 is on, also of float32 fields; gradients in the precision of the fields, with
    solves to a tolerance of their own.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> isinstance(tm.theories.PseudofermionAction(dirac).terms[0], tm.theories.AbstractPseudofermion)
        True
    """

    dirac: eqx.AbstractVar[WilsonDirac]
    name: eqx.AbstractVar[str]
    even_odd: eqx.AbstractVar[bool]
    accuracy: eqx.AbstractVar[Accuracy]
    force_accuracy: eqx.AbstractVar[Accuracy]

    @abc.abstractmethod
    def form(self, x: dict[str, Array], accuracy: Accuracy) -> Array:
        """The action."""

    @abc.abstractmethod
    def drawn(self, eta: Array, u: Any, accuracy: Accuracy) -> Array:
        r"""The spinor $\varphi$ in equilibrium with links, given their transporters, from complex normal components."""

    @property
    def operator(self) -> WilsonDirac | EvenOddDirac:
        """D, or its Schur complement on odd sites."""
        return self.of(self.dirac)

    def of(self, dirac: WilsonDirac) -> WilsonDirac | EvenOddDirac:
        """The operator itself, or its Schur complement."""
        return EvenOddDirac(dirac) if self.even_odd else dirac

    @property
    def manifold(self) -> ProductManifold:
        return ProductManifold(**{"links": self.dirac.manifold, self.name: self.operator.spinor_field})

    @property
    def pseudofermions(self) -> tuple[str, ...]:
        return (self.name,)

    def action(self, x: dict[str, Array]) -> Array:
        x = cast(x, jnp.result_type(float))
        return self.form(x, _attainable(self.accuracy, x))

    def gradient(self, x: dict[str, Array]) -> dict[str, Array]:
        accuracy = _attainable(self.force_accuracy, x)
        return self.manifold.gradient(lambda y: self.form(y, accuracy))(x)

    def refresh(self, key: PRNGKey, x: dict[str, Array]) -> dict[str, Array]:
        y = cast(x, jnp.result_type(float))
        operator, u = self.operator, self.operator.transporters(y["links"])
        phi = self.drawn(operator.random_spinor(key, precision(y)), u, _attainable(self.accuracy, y))
        return x | {self.name: operator.from_spinor(phi).astype(x[self.name].dtype)}

    def fields(self, x: dict[str, Array]) -> tuple[Any, Array]:
        """The transporters and the complex spinor of a configuration."""
        self.manifold.check(x)
        return self.operator.transporters(x["links"]), self.operator.to_spinor(x[self.name])


class PseudofermionRatio(AbstractPseudofermion):
    r"""One pseudofermion field for the determinant of one operator over that of a heavier one, with $D = D_0$, $D_1$ or 1:

    $$S = (D_1 \varphi)^\dagger (D D^\dagger)^{-1} (D_1 \varphi), \qquad \varphi = D_1^{-1} D \eta, \qquad
      \int d\varphi\, e^{-S} = \pi^n\, \frac{\det D D^\dagger}{\det D_1 D_1^\dagger}.$$

    `PseudofermionAction` builds them. Arguments are those of its docstring.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> ratio = tm.theories.PseudofermionAction(dirac, hasenbusch=(0.1,)).factors[0]
    """

    dirac: WilsonDirac
    heavier: WilsonDirac | None
    name: str = eqx.field(static=True)
    even_odd: bool = eqx.field(static=True)
    accuracy: Accuracy = eqx.field(static=True)
    force_accuracy: Accuracy = eqx.field(static=True)

    def form(self, x: dict[str, Array], accuracy: Accuracy) -> Array:
        u, phi = self.fields(x)
        value: Any = inverse_form(accuracy, self.operator, u, self._source(u, phi))
        return value - self._even_sites()

    def drawn(self, eta: Array, u: Any, accuracy: Accuracy) -> Array:
        phi = self.operator.apply_with(u, eta)
        return phi if self.heavier is None else apply_inverse(self.of(self.heavier), u, phi, accuracy)

    def iterations(self, x: dict[str, Array]) -> Array:
        """Iterations of conjugate gradients, two applications of the operator each, that one action takes."""
        u, phi = self.fields(x)
        return solve_normal(self.operator, u, self._source(u, phi), _attainable(self.accuracy, x))[2]

    def _source(self, u: Any, phi: Array) -> Array:
        return phi if self.heavier is None else self.of(self.heavier).apply_with(u, phi)

    def _even_sites(self) -> Array:
        """What even sites give to the logarithm of the determinants, a constant without twisted mass."""
        if not self.even_odd:
            return jnp.zeros(())
        of = lambda dirac: 2 * EvenOddDirac(dirac).even_log_det()  # noqa: E731
        return of(self.dirac) if self.heavier is None else of(self.dirac) - of(self.heavier)


class PseudofermionAction(AbstractTheory):
    r"""Two flavours of Wilson quarks by pseudofermions, on links and complex fields $\varphi$ with a spin:

    $$S = \varphi^\dagger (D D^\dagger)^{-1} \varphi, \qquad \int d\varphi\, e^{-S} = \pi^n\, |\det D|^2.$$

    D is the Schur complement on odd sites where extents are even. Value and derivative cost one solve of the normal
    equation from zero. With `hasenbusch` operators $D_1, D_2, \dots$ (from light to heavy) there is a field for every
    ratio $D_i D_i^\dagger / D_{i+1} D_{i+1}^\dagger$ and one for the heaviest (arXiv:hep-lat/0107019), each a term with
    forces of its own for nested integrators. Configurations are `{"links": ..., "phi": ...}`, or "phi_0", "phi_1", ...,
    fields that `operator.to_spinor` makes spinors; `theories.SumTheory(pseudofermions, gauge)` has a gauge action besides.

    **Arguments:** `dirac`: a `WilsonDirac`, with a twisted mass for flavours of both signs; `hasenbusch`: hopping
    parameters, or operators on the same links; `even_odd`: whether to use the Schur complement; `name`: of the fields;
    `tolerance`, `force_tolerance`: relative residuals of solves for actions and for forces, at least 1e-6 in float32. Solves
    start from zero, so that forces are functions of the links and trajectories reversible at any `force_tolerance`, which
    decides on acceptance alone. `max_iterations`: of conjugate gradients.

    **Raises:** `ValueError` for operators on other links, `fermions.NotConvergedError` where a solve does not end.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> pseudofermions = tm.theories.PseudofermionAction(dirac, hasenbusch=(0.15,))
        >>> theory = tm.theories.SumTheory(pseudofermions, tm.WilsonAction(tm.U1(), (4, 4), beta=2.0))
    """

    factors: tuple[PseudofermionRatio, ...]

    def __init__(
        self,
        dirac: Any,
        hasenbusch: Any = (),
        *,
        even_odd: bool | None = None,
        name: str = "phi",
        tolerance: float = 1e-10,
        force_tolerance: float = 1e-7,
        max_iterations: int = 5000,
    ):
        operators = (dirac, *(_heavier_operator(dirac, other) for other in hasenbusch))
        names = (name,) if len(operators) == 1 else tuple(f"{name}_{i}" for i in range(len(operators)))
        halves = uses_halves(dirac, even_odd)
        accuracy, force = accuracies("PseudofermionAction", tolerance, force_tolerance, max_iterations)
        self.factors = tuple(
            PseudofermionRatio(  # pyright: ignore[reportCallIssue]
                dirac=lighter, heavier=heavier, name=name, even_odd=halves, accuracy=accuracy, force_accuracy=force
            )
            for name, lighter, heavier in zip(names, operators, (*operators[1:], None), strict=True)
        )

    @property
    def manifold(self) -> ProductManifold:
        return ProductManifold(**{name: part for f in self.factors for name, part in f.manifold.components.items()})

    @property
    def operator(self) -> WilsonDirac | EvenOddDirac:
        """D of the quarks, or its Schur complement on odd sites."""
        return self.factors[0].operator

    @property
    def terms(self) -> tuple[AbstractTheory, ...]:
        """The ratios, the light one first."""
        return self.factors if len(self.factors) == 1 else tuple(ExtendedTheory(f, self.manifold) for f in self.factors)

    @property
    def pseudofermions(self) -> tuple[str, ...]:
        return tuple(factor.name for factor in self.factors)

    def action(self, x: dict[str, Array]) -> Array:
        """The action, in float64 when x64 is on, also of float32 fields."""
        self.manifold.check(x)
        return jnp.sum(jnp.stack([term.action(x) for term in self.terms]))

    def gradient(self, x: dict[str, Array]) -> dict[str, Array]:
        """Gradient in the precision of the fields, to the tolerance of forces."""
        parts = [term.gradient(x) for term in self.terms]
        return jax.tree.map(lambda *g: sum(g[1:], g[0]), *parts)

    def refresh(self, key: PRNGKey, x: dict[str, Array]) -> dict[str, Array]:
        """The configuration with new pseudofermions, an exact draw given the links."""
        for k, term in zip(jax.random.split(key, len(self.terms)), self.terms, strict=True):
            x = term.refresh(k, x)
        return x

    def iterations(self, x: dict[str, Array]) -> Array:
        """Iterations of conjugate gradients, two applications of D each, that the action takes, for each field."""
        return jnp.stack([f.iterations({"links": x["links"], f.name: x[f.name]}) for f in self.factors])


def uses_halves(dirac: WilsonDirac, even_odd: bool | None) -> bool:
    """Whether to use the Schur complement, by default where extents are even. **Raises:** `ValueError` where they are not."""
    if even_odd:
        EvenOddDirac(dirac)
    return all(extent % 2 == 0 for extent in dirac.lattice) if even_odd is None else even_odd


def accuracies(owner: str, tolerance: float, force_tolerance: float, max_iterations: int) -> tuple[Accuracy, Accuracy]:
    """Those of actions and of forces, checked."""
    positive(f"{owner}: tolerance", tolerance)
    positive(f"{owner}: force_tolerance", force_tolerance)
    integers(owner, 1, max_iterations=max_iterations)
    return Accuracy(float(tolerance), max_iterations), Accuracy(float(force_tolerance), max_iterations)


def _heavier_operator(dirac: WilsonDirac, other: Any) -> WilsonDirac:
    if not isinstance(other, WilsonDirac):
        mu = 0 if dirac.twisted_mass is None else dirac.twisted_mass
        return WilsonDirac(dirac.group, dirac.lattice, other, dirac.boundary, mu)
    if other.manifold != dirac.manifold or other.boundary != dirac.boundary:
        raise ValueError(
            f"PseudofermionAction: got a Hasenbusch operator on {other.manifold} with the boundary {other.boundary}, "
            f"expected {dirac.manifold} with {dirac.boundary}, as of the quarks."
        )
    return other


def _attainable(accuracy: Accuracy, x: Any) -> Accuracy:
    """The accuracy, or what the precision of the fields allows."""
    if precision(x) != jnp.float32:
        return accuracy
    return accuracy._replace(tolerance=max(accuracy.tolerance, _SINGLE))
