"""Matrix algebra on arrays `(n, n, *sites)`.

Longer functions are compiled where they stand, so that calls outside of `jit` do not run entry by entry.
"""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .. import _linalg as linalg
from .._types import Array


def to_complex(dtype: Any) -> Any:
    """The complex dtype of the same precision as a real one."""
    return jnp.complex64 if jnp.dtype(dtype) == jnp.float32 else jnp.complex128


def matrix_product(a: Array, b: Array) -> Array:
    """`a b` site by site; XLA fuses the sum into loops over contiguous sites."""
    return jnp.sum(a[:, :, None] * b[None], axis=1)


def adjoint(a: Array) -> Array:
    """Hermitian conjugate site by site."""
    return jnp.swapaxes(a, 0, 1).conj()


def conjugate(u: Array, m: Array) -> Array:
    """`u m u^dagger` site by site, the same u for all leading axes that m has before `(n, n, *sites)`."""
    if m.ndim == u.ndim:
        return matrix_product(matrix_product(u, m), adjoint(u))
    return jax.vmap(functools.partial(conjugate, u))(m)


def trace(a: Array) -> Array:
    """`tr a` per site."""
    return functools.reduce(operator.add, [a[i, i] for i in range(a.shape[0])])


@jax.jit
def anti_hermitian_traceless(m: Array) -> Array:
    """`(m - m^dagger)/2 - trace`, assembled entry by entry (2.5 times faster than with a broadcast unit matrix)."""
    n = m.shape[0]
    shift = trace(m).imag / n
    zero = jnp.zeros_like(shift)
    entries = [[m[j, k] for k in range(n)] for j in range(n)]
    for j in range(n):
        entries[j][j] = lax.complex(zero, m[j, j].imag - shift)
        for k in range(j + 1, n):
            entries[j][k] = (m[j, k] - m[k, j].conj()) / 2
            entries[k][j] = -entries[j][k].conj()
    return jnp.stack([jnp.stack(row) for row in entries])


@jax.jit
def determinant(a: Array) -> Array:
    """`det a` per site; Laplace expansion up to 4x4, LU beyond."""
    n = a.shape[0]
    if n > 4:
        value, phase = linalg.log_det(jnp.moveaxis(a, (0, 1), (-2, -1)))
        return jnp.exp(value).astype(phase.dtype) * phase
    return _laplace([[a[i, j] for j in range(n)] for i in range(n)])


def _laplace(entries: list[list[Array]]) -> Array:
    """Determinant by expansion along the last row."""
    if len(entries) == 1:
        return entries[0][0]
    *upper, last = entries
    terms = [a * c for a, c in zip(last, _cofactors(upper), strict=True)]
    return sum(terms[1:], terms[0])


def _cofactors(rows: list[list[Array]]) -> list[Array]:
    """Cofactors of the missing last row of an (n-1) x n matrix: a generalised cross product."""
    n = len(rows[0])
    return [(-1) ** (n - 1 + j) * _laplace([row[:j] + row[j + 1 :] for row in rows]) for j in range(n)]


def _closing_row(frame: Array) -> Array:
    """The unit vector that completes n-1 orthonormal rows to determinant one."""
    n = frame.shape[1]
    if n <= 5:
        return jnp.stack(_cofactors([[row[j] for j in range(n)] for row in frame])).conj()
    # The cofactors of a row are the gradient of the determinant: column j of the expansion has a unit last row.
    units = jnp.eye(n, dtype=frame.dtype).reshape((n, 1, n) + (1,) * (frame.ndim - 2))
    closed = [jnp.concatenate([frame, jnp.broadcast_to(unit, (1, *frame.shape[1:]))]) for unit in units]
    return jnp.stack([determinant(matrix) for matrix in closed]).conj()


@jax.jit
def unitary_frame(m: Array) -> Array:
    """Orthonormalises the rows of an invertible matrix and closes the frame to determinant one."""
    rows: list[Array] = []
    for i in range(m.shape[0] - 1):
        row = m[i]
        # Twice is enough: the second pass removes the loss of orthogonality of the first.
        for _ in range(2):
            for other in rows:
                row = row - jnp.sum(other.conj() * row, axis=0)[None] * other
        norm = jnp.sqrt(jnp.sum(row.real**2 + row.imag**2, axis=0))
        rows.append(row / norm[None].astype(row.dtype))
    frame = jnp.stack(rows)
    return jnp.concatenate([frame, _closing_row(frame)[None]])
