"""Linear maps of spinors with exact determinants, which depend on the links: what pseudofermions are drawn with."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._types import Array, Shape
from ._even_odd import EvenOddDirac
from ._wilson_dirac import WilsonDirac


class AbstractSpinorMap(eqx.Module):
    r"""An invertible matrix A that acts on spinors, for one configuration of links.

    Three methods: the product with A or $A^\dagger$, the solution of $A x = b$ or $A^\dagger x = b$, and
    $\log |\det A|$. Spinors are those of the operator that a preconditioner belongs to.

        >>> schur = tm.fermions.EvenOddDirac(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
        >>> lower, upper = tm.fermions.IncompleteLU(schur, distance=2).factors(links)
        >>> lower.log_det() + upper.log_det()
    """

    @abc.abstractmethod
    def apply(self, psi: Array, dagger: bool = False) -> Array:
        r"""$A\psi$ or $A^\dagger\psi$."""

    @abc.abstractmethod
    def solve(self, psi: Array, dagger: bool = False) -> Array:
        r"""$A^{-1}\psi$ or $(A^\dagger)^{-1}\psi$."""

    @abc.abstractmethod
    def log_det(self) -> Array:
        r"""$\log |\det A|$, in float64 when x64 is on."""


class AbstractPreconditioner(eqx.Module):
    r"""An approximation $D \approx A = LR$ of a Dirac operator by two factors with exact determinants.

    What is left, $M = L^{-1} D R^{-1}$, is close to one, $|\det D| = |\det L| |\det R| |\det M|$, and pseudofermions have to
    estimate the determinant of M alone. Where only one factor is needed the other one is `IdentityMap`.

    A new preconditioner gives the field `operator` and the method `factors`.

        >>> class Half(tm.fermions.AbstractPreconditioner):
        ...     operator: tm.fermions.WilsonDirac
        ...     def factors(self, x): return tm.fermions.IdentityMap(), tm.fermions.IdentityMap()
        ...
        >>> preconditioner = Half(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
    """

    operator: eqx.AbstractVar[WilsonDirac | EvenOddDirac]
    """The operator on all sites or on the odd ones; it is physics, and never trained."""

    @abc.abstractmethod
    def factors(self, x: Array) -> tuple[AbstractSpinorMap, AbstractSpinorMap]:
        """L and R on the links `x`."""

    def frozen_fields(self) -> frozenset[str]:
        """The operator."""
        return frozenset({"operator"})


class IdentityMap(AbstractSpinorMap):
    """The matrix one.

    >>> float(tm.fermions.IdentityMap().log_det())
    0.0
    """

    def apply(self, psi: Array, dagger: bool = False) -> Array:
        return psi

    def solve(self, psi: Array, dagger: bool = False) -> Array:
        return psi

    def log_det(self) -> Array:
        return jnp.zeros(())


class IdentityPreconditioner(AbstractPreconditioner):
    """No preconditioning: pseudofermions of the operator itself, of its even-odd form for an `EvenOddDirac`.

    **Arguments:** `operator`: `WilsonDirac` or `EvenOddDirac`.

        >>> plain = tm.fermions.IdentityPreconditioner(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
    """

    operator: WilsonDirac | EvenOddDirac

    def factors(self, x: Array) -> tuple[AbstractSpinorMap, AbstractSpinorMap]:
        return IdentityMap(), IdentityMap()


class PreconditionedDirac(eqx.Module):
    r"""The operator $M = L^{-1} D R^{-1}$ on given links, and the logarithm of the rest,
    $\log|\det D| - \log|\det M| = \log|\det L| + \log|\det R|$ (with that of eliminated sites).

    **Arguments:** `preconditioner`; `x`: one configuration of links.

        >>> plain = tm.fermions.IdentityPreconditioner(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
        >>> matrix = tm.fermions.PreconditionedDirac(plain, links).dense()
    """

    operator: WilsonDirac | EvenOddDirac
    transporters: Any
    left: AbstractSpinorMap
    right: AbstractSpinorMap

    def __init__(self, preconditioner: Any, x: Array):
        self.operator = preconditioner.operator
        self.transporters = self.operator.transporters(x)
        self.left, self.right = preconditioner.factors(x)

    def apply(self, psi: Array, dagger: bool = False) -> Array:
        r"""$M\psi$ or $M^\dagger\psi$."""
        first, last = (self.left, self.right) if dagger else (self.right, self.left)
        return last.solve(self.operator.apply_with(self.transporters, first.solve(psi, dagger), dagger), dagger)

    def squared(self, psi: Array) -> Array:
        r"""$G\psi = M M^\dagger \psi$."""
        return self.apply(self.apply(psi, dagger=True))

    def log_det(self) -> Array:
        r"""$\log|\det D| - \log|\det M|$, known exactly."""
        return self.left.log_det() + self.right.log_det() + self.operator.even_log_det()

    def dense(self) -> Array:
        """The matrix of M, `(size, size)`, indices in the order (spin, colour, site)."""
        return dense_of(self.operator, self.apply)


def dense_of(operator: WilsonDirac | EvenOddDirac, apply: Any) -> Array:
    """The matrix of a linear function of the spinors of an operator."""
    basis = jnp.eye(operator.size, dtype=jnp.result_type(complex)).reshape(operator.size, *spinor_shape(operator))
    return jax.vmap(lambda psi: apply(psi).reshape(-1))(basis).T


def spinor_shape(operator: WilsonDirac | EvenOddDirac) -> Shape:
    """`(spin, colour, *lattice)`, or `(spin, colour, *half)` of an `EvenOddDirac`."""
    field = operator.spinor_field
    return jax.eval_shape(lambda: operator.to_spinor(field.cold())).shape
