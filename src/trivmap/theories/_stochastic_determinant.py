from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import _linalg as linalg
from .._checks import integers, positive
from .._types import Array, PRNGKey
from ..fermions import (
    AbstractPreconditioner,
    EvenOddDirac,
    PreconditionedDirac,
    WilsonDirac,
    conditional_ess,
    log_det,
    root_forms,
)
from ..manifolds import LinkField
from ._base import AbstractTheory

# Up to here eigenvectors of G take less time than conjugate gradients for a few pseudofermions.
_DENSE = 128


class StochasticDeterminant(AbstractTheory):
    r"""Two flavours of quarks by unbiased estimates of their determinant: a theory of links with noisy weights.

    With a preconditioner, $M = L^{-1} D R^{-1}$ and $G = M M^\dagger$, the estimate from n complex normal spinors is

    $$\hat w = |\det L|^2 |\det R|^2 \prod_{i=1}^n e^{-\chi_i^\dagger (G^{-1/n} - 1) \chi_i}, \qquad
      \langle \hat w \rangle = |\det D|^2,$$

    one pseudofermion for each n-th root of G. `noisy_action` is $-\log\hat w$, so that `sample(..., estimates=k)` averages
    k of them and everything computed with these weights is exact, for any preconditioner and any number of roots
    (arXiv:0903.5480). Its noise at given links is `fermions.conditional_ess`: roots multiply, which makes the variance
    finite, while an average over estimates divides it only. `action` is the exact $-2\log|\det D|$.

    **Arguments:** `preconditioner`: any `fermions.AbstractPreconditioner`; `roots`: n; `method`: "dense" for eigenvectors
    of G, "lanczos" for Gauss quadrature by conjugate gradients (see `iterations`), "auto" for the first of them up to
    128 rows; `tolerance`: relative residual of conjugate gradients, the error of a form being of second order in it;
    `max_iterations`: of them.

    **Raises:** `ValueError` for an unknown method or no roots; `fermions.NotConvergedError` where conjugate gradients do
    not end.

        >>> schur = tm.fermions.EvenOddDirac(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
        >>> quarks = tm.theories.StochasticDeterminant(tm.fermions.IncompleteLU(schur, distance=2), roots=8)
        >>> ensemble = tm.sample(key, model, tm.theories.SumTheory(quarks, theory), 20, estimates=1)
    """

    preconditioner: AbstractPreconditioner
    roots: int = eqx.field(static=True)
    dense: bool = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    max_iterations: int = eqx.field(static=True)

    def __init__(
        self,
        preconditioner: Any,
        roots: int = 1,
        *,
        method: str = "auto",
        tolerance: float = 1e-7,
        max_iterations: int = 200,
    ):
        positive("StochasticDeterminant: tolerance", tolerance)
        integers("StochasticDeterminant", 1, roots=roots, max_iterations=max_iterations)
        if method not in ("auto", "dense", "lanczos"):
            raise ValueError(f"StochasticDeterminant: method: got {method!r}, expected 'auto', 'dense' or 'lanczos'.")
        self.preconditioner, self.roots = preconditioner, roots
        self.dense = method == "dense" or (method == "auto" and self.operator.size <= _DENSE)
        self.tolerance, self.max_iterations = float(tolerance), max_iterations

    @property
    def operator(self) -> WilsonDirac | EvenOddDirac:
        """The operator of the preconditioner."""
        return self.preconditioner.operator

    @property
    def manifold(self) -> LinkField:
        return self.operator.dirac.manifold

    def action(self, x: Array) -> Array:
        r"""The exact $-2 \log |\det D|$, without noise."""
        return -2 * log_det(self.operator.dirac, x)[1]

    def noisy_action(self, key: PRNGKey, x: Array) -> Array:
        matrix, chi = self._rest(x), self._spinors(key)
        if self.dense:
            forms = self._dense_forms(matrix, chi)
        else:
            forms = root_forms(matrix, chi, self.tolerance, self.max_iterations)[0]
        return jnp.sum(forms - jnp.sum(jnp.abs(chi.reshape(self.roots, -1)) ** 2, axis=1)) - 2 * matrix.log_det()

    def iterations(self, key: PRNGKey, x: Array) -> Array:
        """Products with G that each root takes, `(roots,)`; every one costs two applications of D and two solutions with each
        factor."""
        return root_forms(self._rest(x), self._spinors(key), self.tolerance, self.max_iterations)[1]

    def conditional_ess(self, x: Array) -> Array:
        """`fermions.conditional_ess` at the links `x`, by the spectrum of G: for small lattices."""
        m = self._rest(x).dense()
        return conditional_ess(linalg.svd(m)[1] ** 2, self.roots)

    def _rest(self, x: Array) -> PreconditionedDirac:
        # As of exact determinants: the estimate belongs to the field that is there, and rounding would enter weights.
        return PreconditionedDirac(self.preconditioner, x.astype(_double(x.dtype)))

    def _spinors(self, key: PRNGKey) -> Array:
        field = self.operator.spinor_field
        normal = lambda k: self.operator.to_spinor(field.random_tangent(k) * jnp.sqrt(0.5))  # noqa: E731
        return jax.vmap(normal)(jax.random.split(key, self.roots))

    def _dense_forms(self, matrix: PreconditionedDirac, chi: Array) -> Array:
        # G = V s V^dagger from M = V sqrt(s) W: no square of the condition number.
        vectors, values, _ = linalg.svd(matrix.dense())
        amplitudes = chi.reshape(self.roots, -1) @ vectors.conj()
        return jnp.abs(amplitudes) ** 2 @ values ** (-2 / self.roots)


def _double(dtype: Any) -> Any:
    return jnp.result_type(complex if jnp.issubdtype(dtype, jnp.complexfloating) else float)
