"""Eigenphases and polar factors of matrices `(n, n, *sites)` with derivatives that stay finite at degenerate eigenvalues."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import _linalg as linalg
from .._types import Array
from ._matrix import adjoint, determinant, matrix_product

# Cyclic Jacobi converges quadratically after two or three sweeps; the loop ends when nothing is left to rotate.
_SWEEPS = 16


def inverse(m: Array) -> Array:
    """m^{-1} site by site: by minors up to 3 x 3, by LU beyond."""
    n = m.shape[0]
    if n == 2:
        (a, b), (c, d) = m
        return jnp.stack([jnp.stack([d, -b]), jnp.stack([-c, a])]) / determinant(m)[None, None]
    if n == 3:
        a, b, c = m
        rows = [_cross(b, c), _cross(c, a), _cross(a, b)]
        return jnp.swapaxes(jnp.stack(rows), 0, 1) / jnp.sum(a * rows[0], axis=0)[None, None]
    return jnp.moveaxis(linalg.inverse(jnp.moveaxis(m, (0, 1), (-2, -1))), (-2, -1), (0, 1))


def _cross(a: Array, b: Array) -> Array:
    return jnp.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


@jax.jit
def hermitian_eigen(h: Array) -> tuple[Array, Array]:
    """Eigenvalues `(n, *sites)`, in no order, and unitary eigenvectors (columns) of Hermitian matrices.

    Up to 3 x 3 by cyclic Jacobi rotations, all sites at once: orthonormal to rounding also when eigenvalues are degenerate.
    Not differentiable (use `eigenphases`).
    """
    n = h.shape[0]
    if n > 3:
        values, v = linalg.eigh(jnp.moveaxis(h, (0, 1), (-2, -1)))
        return jnp.moveaxis(values, -1, 0), jnp.moveaxis(v, (-2, -1), (0, 1))
    size = jnp.sum(h.real**2 + h.imag**2, axis=(0, 1))
    tolerance = (2 * float(jnp.finfo(h.dtype).eps)) ** 2
    one, zero = jnp.ones_like(h[0, 0]), jnp.zeros_like(h[0, 0])
    unit = [[one if i == j else zero for j in range(n)] for i in range(n)]

    def unfinished(state):
        a, _, count = state
        off = sum(a[p][q].real ** 2 + a[p][q].imag ** 2 for p in range(n) for q in range(p + 1, n))
        return (count < _SWEEPS) & jnp.any(off > tolerance * size)

    def sweep(state):
        a, v, count = state
        # One rotation per step of a loop, whose state is in memory. Where XLA joins several it may compute an entry twice,
        # with different rounding: of an entry that cancels to rounding, size and phase then have nothing in common.
        a, v = lax.fori_loop(0, n * (n - 1) // 2, lambda _, m: _rotate(*m), (a, v))
        return a, v, count + 1

    entries = [[h[i, j] for j in range(n)] for i in range(n)]
    a, v, _ = lax.while_loop(unfinished, sweep, (entries, unit, jnp.zeros((), jnp.int32)))
    return jnp.stack([a[i][i].real for i in range(n)]), jnp.stack([jnp.stack(row) for row in v])


def _rotate(a: list[list[Array]], v: list[list[Array]]) -> tuple[list[list[Array]], list[list[Array]]]:
    """The rotation of the first two columns that removes a[0][1], then the first column last.

    Up to n = 3 every pair comes first once in n (n - 1)/2 steps. Entry by entry, which XLA turns into loops over sites.
    """
    n = len(a)
    entry, size = a[0][1], jnp.abs(a[0][1])
    # Below the smallest normal number 1/size is not accurate any more.
    zero = size < float(jnp.finfo(size.dtype).tiny) * 1e4
    safe = jnp.where(zero, 1, size)
    phase = jnp.where(zero, 1, entry.conj() / safe.astype(entry.dtype))
    tau = (a[1][1].real - a[0][0].real) / (2 * safe)
    t = jnp.where(tau >= 0, 1.0, -1.0).astype(tau.dtype) / (jnp.abs(tau) + jnp.sqrt(1 + tau**2))
    t = jnp.where(zero, 0, t)
    c = 1 / jnp.sqrt(1 + t**2)
    c, s = c.astype(entry.dtype), (t * c).astype(entry.dtype)
    shift = (t * size).astype(entry.dtype)

    def rotated(left: Array, right: Array) -> tuple[Array, Array]:
        right = right * phase
        return c * left - s * right, s * left + c * right

    a, v = [list(row) for row in a], [list(row) for row in v]
    for i in range(n):
        v[i][0], v[i][1] = rotated(v[i][0], v[i][1])
        if i > 1:
            a[i][0], a[i][1] = rotated(a[i][0], a[i][1])
            a[0][i], a[1][i] = a[i][0].conj(), a[i][1].conj()
    a[0][0], a[1][1] = a[0][0] - shift, a[1][1] + shift
    a[0][1] = a[1][0] = jnp.zeros_like(entry)
    a, v = ([[*row[1:], row[0]] for row in m] for m in (a, v))
    return [*a[1:], a[0]], v


@jax.custom_jvp
def eigenphases(u: Array) -> tuple[Array, Array]:
    """Phases theta in [-pi, pi], ascending, and unitary eigenvectors V of u = V diag(exp(i theta)) V^dagger.

    From the Cayley transform i (1 - s u)/(1 + s u) with a phase s that keeps -1/s away from the spectrum: a Hermitian matrix
    of moderate size, whose eigenvalues are degenerate only where those of u are.

    Derivatives: d theta_i = Im exp(-i theta_i) (V^dagger du V)_ii, and dV = V X with
    X_ij = (V^dagger du V)_ij/(lambda_j - lambda_i), zero for eigenvalues that agree to rounding (arXiv:2008.05456).

    **Arguments:** `u`: unitary matrices `(n, n, *sites)`.
    """
    n = u.shape[0]
    unit = jnp.eye(n, dtype=u.dtype).reshape(n, n, *(1 for _ in u.shape[2:]))
    turns = [complex(np.exp(2j * np.pi * k / (2 * n + 1))) for k in range(2 * n + 1)]
    # |det(1 + s u)|^2 averages to at least 2 over the phases s (its Fourier coefficients are those of the characteristic
    # polynomial, the first and last of size one), so that no factor of the best is below sqrt(2)/2^(n - 1).
    sizes = jnp.stack([jnp.abs(determinant(unit + s * u)) for s in turns])
    s = jnp.asarray(turns, u.dtype)[jnp.argmax(sizes, axis=0)]
    cayley = 1j * (2 * inverse(unit + s[None, None] * u) - unit)
    _, v = hermitian_eigen((cayley + adjoint(cayley)) / 2)
    theta = jnp.angle(jnp.sum(v.conj() * matrix_product(u, v), axis=0))
    order = jnp.argsort(theta, axis=0)
    return jnp.take_along_axis(theta, order, axis=0), jnp.take_along_axis(v, order[None], axis=1)


@eigenphases.defjvp
def _eigenphases_jvp(primals, tangents):
    (u,), (du,) = primals, tangents
    theta, v = eigenphases(u)
    moved = matrix_product(adjoint(v), matrix_product(du, v))
    values = lax.complex(jnp.cos(theta), jnp.sin(theta))
    diagonal = jnp.stack([moved[i, i] for i in range(u.shape[0])])
    dtheta = (values.conj() * diagonal).imag
    return (theta, v), (dtheta, matrix_product(v, moved * _safe_reciprocal(values[None] - values[:, None])))


def _safe_reciprocal(difference: Array) -> Array:
    """1/x, zero where x vanishes to rounding."""
    size = difference.real**2 + difference.imag**2 if jnp.iscomplexobj(difference) else difference**2
    zero = size < (16 * float(jnp.finfo(difference.dtype).eps)) ** 2
    return jnp.where(zero, 0, difference.conj()) / jnp.where(zero, 1, size).astype(difference.dtype)


@jax.custom_jvp
def polar_factor(x: Array) -> Array:
    """The unitary matrix A next to x, x = A P with P positive: x (x^dagger x)^(-1/2), covariant on both sides.

    Newton's iteration A -> (A + A^{-dagger})/2 with scaling, all sites at once. The derivative A Omega solves
    Omega P + P Omega = A^dagger dx - dx^dagger A.

    **Arguments:** `x`: invertible matrices `(n, n, *sites)`.
    """
    n = x.shape[0]

    def step(_, a):
        # Scaling by the determinant brings singular values together, unitary matrices it leaves alone.
        scale = jnp.abs(determinant(a)) ** (-1 / n)
        a = a * scale[None, None].astype(a.dtype)
        return (a + adjoint(inverse(a))) / 2

    a = lax.fori_loop(0, 9, step, x)
    return (a + adjoint(inverse(a))) / 2


@polar_factor.defjvp
def _polar_factor_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    a = polar_factor(x)
    p = matrix_product(adjoint(a), x)
    values, v = hermitian_eigen((p + adjoint(p)) / 2)
    moved = matrix_product(adjoint(a), dx)
    moved = matrix_product(adjoint(v), matrix_product(moved - adjoint(moved), v))
    omega = moved * _safe_reciprocal(values[None] + values[:, None]).astype(x.dtype)
    return a, matrix_product(a, matrix_product(v, matrix_product(omega, adjoint(v))))


@functools.partial(jax.jit, inline=True)
def special_polar_factor(x: Array, near: Array) -> Array:
    """The polar factor times an n-th root that makes it special, of the n roots the one nearest to `near`.

    Covariant on both sides if `near` is. The root next to one would be no choice for sums of two matrices of SU(n), n > 2:
    polar(1 + V) = V^{1/2} has the determinant -1, on the cut, wherever the phases of V add up to 2 pi.
    """
    n, a = x.shape[0], polar_factor(x)
    evenly = jnp.angle(determinant(a)) / -n
    overlap = jnp.angle(jnp.sum(near.conj() * a, axis=(0, 1)))
    phase = evenly - 2 * np.pi / n * jnp.round((overlap + evenly) * n / (2 * np.pi))
    return a * lax.complex(jnp.cos(phase), jnp.sin(phase))[None, None]


def spectral_matrix(theta: Array, v: Array) -> Array:
    """V diag(exp(i theta)) V^dagger."""
    values = lax.complex(jnp.cos(theta), jnp.sin(theta))
    return matrix_product(v * values[None], adjoint(v))
