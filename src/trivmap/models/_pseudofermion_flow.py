from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Key

from ..fermions import AbstractPreconditioner, AbstractSpinorMap, EvenOddDirac, WilsonDirac
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold, RealField
from ._base import AbstractModel
from ._joint import AbstractConditional


class PseudofermionFlow(AbstractConditional):
    r"""Pseudofermions given the links by a linear map of complex normal spinors, $\varphi = A\chi$, $A = LR$:

    $$\log q(\varphi | U) = -|A^{-1}\varphi|^2 - \text{size} \log\pi - 2 \log |\det A|.$$

    A is a preconditioner of the Dirac operator with exact determinants, or one that is learned; A = D would be the exact
    conditional density. With a marginal model of links it makes a `JointModel` for a theory with pseudofermions
    (arXiv:2207.08945). With several roots of the determinant no pseudofermion is kept: see
    `theories.StochasticDeterminant`, which takes the same preconditioners.

    **Arguments:** `preconditioner`: any `fermions.AbstractPreconditioner`; pseudofermions live on
    `preconditioner.operator.spinor_field`.

        >>> schur = tm.fermions.EvenOddDirac(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
        >>> phi, log_q = tm.models.PseudofermionFlow(tm.fermions.IncompleteLU(schur, 2)).at(links).sample_and_log_prob(key)
    """

    preconditioner: AbstractPreconditioner

    @property
    def given(self) -> AbstractManifold:
        return self.preconditioner.operator.dirac.manifold

    @property
    def manifold(self) -> AbstractManifold:
        return self.preconditioner.operator.spinor_field

    def at(self, x: Any) -> AbstractModel:
        left, right = self.preconditioner.factors(x)
        return _Pseudofermions(self.preconditioner.operator, left, right)  # pyright: ignore[reportCallIssue]


class _Pseudofermions(AbstractModel):
    """The model on given links."""

    operator: WilsonDirac | EvenOddDirac
    left: AbstractSpinorMap
    right: AbstractSpinorMap

    @property
    def manifold(self) -> RealField:
        return self.operator.spinor_field

    def sample_and_log_prob(self, key: Key[Array, ""], dtype: DTypeLike | None = None) -> tuple[Array, Float[Array, ""]]:
        normal = self.manifold.random_tangent(key, dtype) * np.sqrt(0.5).item()
        phi = self.left.apply(self.right.apply(self.operator.to_spinor(normal)))
        return self.operator.from_spinor(phi), self._log_density(normal)

    def log_prob(self, x: Array) -> Float[Array, ""]:
        """The log density of a given pseudofermion."""
        chi = self.right.solve(self.left.solve(self.operator.to_spinor(x)))
        return self._log_density(self.operator.from_spinor(chi))

    def _log_density(self, normal: Array) -> Float[Array, ""]:
        square = jnp.sum(normal.astype(accumulator_dtype()) ** 2)
        return -square - self.operator.size * np.log(np.pi) - 2 * (self.left.log_det() + self.right.log_det())
