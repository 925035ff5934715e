r"""Dense linear algebra of stacks of matrices that does not stop on machines with few cores.

LAPACK as called by jaxlib 0.10 divides a stack among the threads of the pool in which XLA runs the call itself, and waits for
them: where as many independent calls run at once as there are threads (two on a machine with two cores), all wait for
each other for ever. A call with a single matrix is not divided. On CPU these functions therefore call LAPACK once per
matrix, which takes .8 to 1.3 times as long as the whole stack (complex matrices of 8 to 256, measured on two cores). On
accelerators the stack is one call.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap

from ._types import Array


def _one_by_one(function: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """A function of one matrix for stacks of any shape; it has no derivative of its own."""
    single = sequential_vmap(function)

    @jax.jit
    @wraps(function)
    def stacked(m: Array) -> Any:
        if m.ndim == 2:
            return lax.platform_dependent(m, cpu=single, default=function)
        return jax.vmap(stacked)(m)

    return stacked


@_one_by_one
def _by_eigh(m: Array) -> tuple[Array, Array]:
    values, vectors = jnp.linalg.eigh(m)
    return values, vectors


@jax.custom_jvp
def eigh(m: Array) -> tuple[Array, Array]:
    """Eigenvalues, ascending, and eigenvectors (columns) of Hermitian matrices `(..., n, n)`.

    Derivatives need eigenvalues that differ, as those of `jax.numpy.linalg.eigh`.
    """
    return _by_eigh(m)


@eigh.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    values, vectors = eigh(*primals)
    step = _product(_product(_adjoint(vectors), tangents[0]), vectors)
    turn = _product(vectors, _inverse_gaps(values).astype(step.dtype) * step)
    return (values, vectors), (jnp.diagonal(step, axis1=-2, axis2=-1).real, turn)


@_one_by_one
def _by_svd(m: Array) -> tuple[Array, Array, Array]:
    u, s, v = jnp.linalg.svd(m)
    return u, s, v


@jax.custom_jvp
def svd(m: Array) -> tuple[Array, Array, Array]:
    r"""u, s and v of $m = u\, \mathrm{diag}(s)\, v$ for matrices `(..., n, n)`.

    Derivatives need singular values that differ and are not zero, as those of `jax.numpy.linalg.svd`.
    """
    return _by_svd(m)


@svd.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    u, s, v = svd(*primals)
    step = _product(_product(_adjoint(u), tangents[0]), _adjoint(v))
    gaps = _inverse_gaps(s**2).astype(step.dtype)
    rows, columns = s[..., :, None].astype(step.dtype), s[..., None, :].astype(step.dtype)
    left, right = step * columns, rows * step
    # Phases of pairs of vectors are free; as in JAX, u takes what the diagonal turns.
    diagonal = jnp.where(jnp.eye(s.shape[-1], dtype=bool), (step - _adjoint(step)) / (2 * columns), 0)
    turn_u = _product(u, gaps * (left + _adjoint(left)) + diagonal)
    turn_v = _product(_adjoint(v), gaps * (right + _adjoint(right)))
    return (u, s, v), (turn_u, jnp.diagonal(step, axis1=-2, axis2=-1).real, _adjoint(turn_v))


def _inverse_gaps(values: Array) -> Array:
    """1 / (w_j - w_i), zero on the diagonal."""
    gaps = values[..., None, :] - values[..., :, None]
    same = jnp.eye(values.shape[-1], dtype=bool)
    return jnp.where(same, 0, 1 / jnp.where(same, 1, gaps))


@_one_by_one
def _by_lu(m: Array) -> tuple[Array, Array, Array]:
    lu, pivots = jax.scipy.linalg.lu_factor(m)
    return jax.scipy.linalg.lu_solve((lu, pivots), jnp.eye(len(m), dtype=m.dtype)), *_log_det_of_lu(lu, pivots)


@_one_by_one
def _log_det_by_lu(m: Array) -> tuple[Array, Array]:
    return _log_det_of_lu(*jax.scipy.linalg.lu_factor(m))


def _log_det_of_lu(lu: Array, pivots: Array) -> tuple[Array, Array]:
    diagonal = jnp.diagonal(lu)
    size = jnp.abs(diagonal)
    sign = jnp.where(jnp.sum(pivots != jnp.arange(len(lu), dtype=pivots.dtype)) % 2 == 0, 1, -1)
    phases = jnp.where(size > 0, diagonal / jnp.where(size > 0, size, 1).astype(lu.dtype), 0)
    return jnp.sum(jnp.log(size)), jnp.prod(phases) * sign.astype(lu.dtype)


@jax.custom_jvp
def inverse_and_log_det(m: Array) -> tuple[Array, Array, Array]:
    r"""$m^{-1}$, $\log |\det m|$ and the phase of det m from one LU decomposition of matrices `(..., n, n)`."""
    return _by_lu(m)


@inverse_and_log_det.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    inverse, log_det, phase = inverse_and_log_det(*primals)
    step = _product(inverse, tangents[0])
    slope = jnp.trace(step, axis1=-2, axis2=-1)
    return (inverse, log_det, phase), (-_product(step, inverse), slope.real, _turned(phase, slope))


@jax.custom_jvp
def log_det(m: Array) -> tuple[Array, Array]:
    r"""$\log |\det m|$ and the phase of det m of matrices `(..., n, n)`."""
    return _log_det_by_lu(m)


@log_det.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    inverse, value, phase = inverse_and_log_det(*primals)
    slope = jnp.sum(inverse * jnp.swapaxes(tangents[0], -1, -2), axis=(-2, -1))
    return (value, phase), (slope.real, _turned(phase, slope))


def _turned(phase: Array, slope: Array) -> Array:
    """Derivative of the phase along that of the logarithm; signs have none."""
    return phase * (slope - slope.real.astype(slope.dtype)) if jnp.iscomplexobj(phase) else jnp.zeros_like(phase)


def inverse(m: Array) -> Array:
    """m^-1 of matrices `(..., n, n)`."""
    return inverse_and_log_det(m)[0]


@_one_by_one
def _factor(m: Array) -> Array:
    return jnp.linalg.cholesky(m)


@jax.custom_jvp
def cholesky(m: Array) -> Array:
    r"""The lower triangular factor l of Hermitian positive matrices, $m = l l^\dagger$."""
    return _factor(m)


@cholesky.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    # l^-1 dm l^-dagger = l^-1 dl + its adjoint, of which l^-1 dl is the lower triangle with half of the diagonal.
    factor, step = cholesky(*primals), tangents[0]
    within = inverse(factor)
    both = _product(_product(within, step), jnp.swapaxes(within.conj(), -1, -2))
    half = (jnp.tril(both) + jnp.tril(both, -1)) / 2
    return factor, _product(factor, half)


def _adjoint(m: Array) -> Array:
    return jnp.swapaxes(m.conj(), -1, -2)


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
