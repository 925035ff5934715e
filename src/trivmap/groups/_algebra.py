"""Coordinates of su(n) along `T_a = (i/2) lambda_a`, with the generalised Gell-Mann matrices `lambda_a`.

Order: symmetric and antisymmetric partner for every pair j < k, then the diagonal ones.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._types import Array


def _pairs(n: int) -> list[tuple[int, int]]:
    return [(j, k) for j in range(n) for k in range(j + 1, n)]


def _diagonal_table(n: int) -> np.ndarray:
    """Rows: diagonals of `lambda_l / 2` for l = 1..n-1."""
    table = np.zeros((n - 1, n))
    for level in range(1, n):
        table[level - 1, :level] = 1.0
        table[level - 1, level] = -level
        table[level - 1] /= math.sqrt(2 * level * (level + 1))
    return table


@functools.cache
def generators(n: int) -> np.ndarray:
    """The matrices T_a of SU(n), `(n^2 - 1, n, n)`; the algebra of U(1), n = 1, is one number, i.

    Shared between calls: do not write to it.
    """
    if n == 1:
        return np.full((1, 1, 1), 1j)
    found = []
    for j, k in _pairs(n):
        symmetric, antisymmetric = np.zeros((n, n), complex), np.zeros((n, n), complex)
        symmetric[j, k] = symmetric[k, j] = 0.5j
        antisymmetric[j, k], antisymmetric[k, j] = 0.5, -0.5
        found += [symmetric, antisymmetric]
    found += [np.diag(1j * row) for row in _diagonal_table(n)]
    return np.stack(found)


@jax.jit
def coordinates(v: Array) -> Array:
    """`v^a = -2 tr(v T_a)`, shape `(n^2 - 1, *sites)`."""
    n = v.shape[0]
    parts = []
    for j, k in _pairs(n):
        parts += [2 * v[j, k].imag, 2 * v[j, k].real]
    for row in _diagonal_table(n):
        parts.append(sum(2 * float(row[i]) * v[i, i].imag for i in range(n)))
    return jnp.stack(parts)


@functools.partial(jax.jit, static_argnums=0)
def from_coordinates(n: int, c: Array) -> Array:
    """`sum_a c^a T_a`, shape `(n, n, *sites)`."""
    entries: list[list[Any]] = [[None] * n for _ in range(n)]
    for a, (j, k) in enumerate(_pairs(n)):
        symmetric, antisymmetric = c[2 * a] / 2, c[2 * a + 1] / 2
        entries[j][k] = lax.complex(antisymmetric, symmetric)
        entries[k][j] = lax.complex(-antisymmetric, symmetric)
    table, first = _diagonal_table(n), n * (n - 1)
    for i in range(n):
        angle = sum(float(table[level, i]) * c[first + level] for level in range(n - 1))
        entries[i][i] = lax.complex(jnp.zeros_like(angle), angle)
    return jnp.stack([jnp.stack(row) for row in entries])
