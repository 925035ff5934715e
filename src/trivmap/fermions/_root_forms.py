r"""Quadratic forms of roots, $\chi^\dagger G^{-1/n} \chi$, of a positive matrix that is known by its products."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import _linalg as linalg
from .._types import Array
from ._preconditioner import PreconditionedDirac
from ._solve import checked


def root_forms(matrix: PreconditionedDirac, chi: Array, tolerance: float, max_iterations: int) -> tuple[Array, Array]:
    r"""$\chi_i^\dagger G^{-1/n} \chi_i$ for each of n spinors with $G = M M^\dagger$, and the iterations of conjugate
    gradients that they took, `(n,)` each.

    Conjugate gradients on $G x = \chi$ give the tridiagonal matrix T of Lanczos, and with it the Gauss quadrature
    $|\chi|^2 (T^{-1/n})_{00}$ (Golub and Meurant, Matrices, Moments and Quadrature, 2010). It is too small by at most
    $|r|^2 \lambda_{\min}^{-1/n}$, r the residual where they end: $s^{-1/n}$ is an integral of $(s + t)^{-1}$ with positive
    weight over shifts t, for each of which the error is $r_t^\dagger (G + t)^{-1} r_t$ with $|r_t| \le |r|$. Hence a
    tolerance of 1e-7 gives a form to 14 digits, and no bounds of the spectrum are asked for.

    **Raises:** `NotConvergedError`.
    """
    form = lambda psi: _root_form(matrix.squared, psi, len(chi), tolerance, max_iterations)  # noqa: E731
    forms, residuals, iterations = jax.vmap(form)(chi)
    worst = jnp.max(residuals), jnp.max(iterations)
    return checked(forms, *worst, matrix.operator.dirac.kappa, tolerance), iterations


def _root_form(
    apply: Callable[[Array], Array], chi: Array, roots: int, tolerance: float, max_iterations: int
) -> tuple[Array, Array, Array]:
    """One of them, with the relative residual at the end."""
    size = _square(chi)

    def go_on(state: tuple) -> Array:
        *_, square, steps = state
        return (square > tolerance**2 * size) & (steps < max_iterations)

    def step(state: tuple) -> tuple:
        alphas, betas, r, p, square, steps = state
        gp = apply(p)
        alpha = square / jnp.sum(p.real * gp.real + p.imag * gp.imag)
        r = r - alpha.astype(r.dtype) * gp
        new = _square(r)
        beta = new / square
        p = r + beta.astype(r.dtype) * p
        return alphas.at[steps].set(alpha), betas.at[steps].set(beta), r, p, new, steps + 1

    empty = jnp.ones(max_iterations, size.dtype)
    start = (empty, jnp.zeros_like(empty), chi, chi, size, jnp.zeros((), jnp.int32))
    alphas, betas, *_, square, steps = lax.while_loop(go_on, step, start)
    nodes, weights = _gauss(alphas, betas, steps)
    return size * jnp.sum(weights * nodes ** (-1 / roots)), jnp.sqrt(square / size), steps


def _gauss(alphas: Array, betas: Array, steps: Array) -> tuple[Array, Array]:
    """Eigenvalues of T and squares of the first components of its eigenvectors; beyond the steps taken T is one."""
    taken = np.arange(len(alphas), dtype=np.int32) < steps
    below = jnp.where(taken[1:], betas[:-1] / alphas[:-1], 0.0)
    diagonal = jnp.where(taken, 1 / alphas, 1.0) + jnp.concatenate([jnp.zeros(1, below.dtype), below])
    off = jnp.where(taken[1:], jnp.sqrt(betas[:-1]) / alphas[:-1], 0.0)
    nodes, vectors = linalg.eigh(jnp.diag(diagonal) + jnp.diag(off, 1) + jnp.diag(off, -1))
    return nodes, vectors[0] ** 2


def conditional_ess(eigenvalues: Array, roots: int = 1) -> Array:
    r"""Effective sample size, as a fraction, that the noise of pseudofermions alone leaves at given links:

    $$\mathrm{ESS}_c = \prod_s \left[1 - (1 - s^{1/n})^2\right]^n \to \exp\left(-\tfrac1n \sum_s \ln^2 s\right),$$

    s the eigenvalues of $G = M M^\dagger$, n the number of roots, one pseudofermion each. Zero where the variance is
    infinite, $s \ge 2^n$. Together, links and noise have $1/\mathrm{ESS} = \langle 1/\mathrm{ESS}_c \rangle /
    \mathrm{ESS}_\mathrm{links}$, where the mean is over links with the weight $w^2$.

    **Arguments:** `eigenvalues`: `(size,)`, positive; `roots`: n.

        >>> round(float(tm.fermions.conditional_ess(jnp.array([0.5, 1.2]), roots=4)), 4)
        0.8947
    """
    gap = 1 - eigenvalues ** (1 / roots)
    finite = jnp.all(jnp.abs(gap) < 1)
    return jnp.where(finite, jnp.exp(roots * jnp.sum(jnp.log1p(-(jnp.where(finite, gap, 0.0) ** 2)))), 0.0)


def _square(psi: Array) -> Array:
    return jnp.sum(psi.real**2 + psi.imag**2)
