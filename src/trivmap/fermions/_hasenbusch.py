from typing import Any

from .. import _linalg as linalg
from .._types import Array
from ._even_odd import EvenOddDirac
from ._preconditioner import AbstractPreconditioner, AbstractSpinorMap, IdentityMap
from ._wilson_dirac import WilsonDirac


class HasenbuschPreconditioner(AbstractPreconditioner):
    r"""A heavier quark in the place of the light one: $A = D(\kappa_1)$ with its exact determinant (arXiv:hep-lat/0107019).

    What is left, $D(\kappa_1)^{-1} D(\kappa)$, is the ratio of Hasenbusch's splitting. The determinant of the heavier
    operator is that of a dense LU decomposition, at cost $\text{size}^3$: for small lattices, and to see what a ratio of
    masses is worth beside other preconditioners.

    **Arguments:** `operator`: `EvenOddDirac` or `WilsonDirac`; `heavier`: one of the same kind on the same links, with
    another hopping parameter or twisted mass.

    **Raises:** `ValueError` for operators that do not act on the same spinors.

        >>> light, heavy = (tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa) for kappa in (0.2, 0.18))
        >>> left, _ = tm.fermions.HasenbuschPreconditioner(light, heavy).factors(links)
    """

    operator: WilsonDirac | EvenOddDirac
    heavier: WilsonDirac | EvenOddDirac

    def __init__(self, operator: Any, heavier: Any):
        kinds = [(type(o).__name__, o.dirac.manifold, o.dirac.boundary) for o in (operator, heavier)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"HasenbuschPreconditioner: got the heavier operator {kinds[1]}, expected {kinds[0]}.")
        self.operator, self.heavier = operator, heavier

    def factors(self, x: Array) -> tuple[AbstractSpinorMap, AbstractSpinorMap]:
        return DenseMap(self.heavier.dense(x)), IdentityMap()

    def frozen_fields(self) -> frozenset[str]:
        """Both operators."""
        return frozenset({"operator", "heavier"})


class DenseMap(AbstractSpinorMap):
    """A matrix `(size, size)`, indices in the order (spin, colour, site), with its inverse."""

    matrix: Array
    inverse: Array
    value: Array

    def __init__(self, matrix: Array):
        self.matrix = matrix
        self.inverse, self.value, _ = linalg.inverse_and_log_det(matrix)

    def apply(self, psi: Array, dagger: bool = False) -> Array:
        matrix = self.matrix.conj().T if dagger else self.matrix
        return (matrix @ psi.reshape(-1)).reshape(psi.shape)

    def solve(self, psi: Array, dagger: bool = False) -> Array:
        inverse = self.inverse.conj().T if dagger else self.inverse
        return (inverse @ psi.reshape(-1)).reshape(psi.shape)

    def log_det(self) -> Array:
        return self.value.astype(float)
