"""Products of stacks of matrices `(rows, n, n, *sites)` whose results are used more than once.

They go column by column: XLA makes one vectorised loop per column (1.7 times faster than all entries at once), and the
concatenation makes it store the result, which it would otherwise multiply out again for every use, as it does with
`matrix_product`.
"""

import functools
import operator

import jax.numpy as jnp

from .._types import Array


def stack_times(a: Array, b: Array) -> Array:
    """`a b` row by row and site by site."""
    n = a.shape[1]
    columns = [_sum([a[:, :, k, None] * b[:, None, k, j : j + 1] for k in range(n)]) for j in range(n)]
    return jnp.concatenate(columns, axis=2)


def stack_times_adjoint(a: Array, b: Array) -> Array:
    """`a b^dagger` row by row and site by site."""
    n = a.shape[1]
    columns = [_sum([a[:, :, k, None] * b[:, None, j : j + 1, k].conj() for k in range(n)]) for j in range(n)]
    return jnp.concatenate(columns, axis=2)


def adjoint_times_stack(a: Array, b: Array) -> Array:
    """`a^dagger b` row by row and site by site."""
    n = a.shape[1]
    columns = [_sum([a[:, k, :, None].conj() * b[:, k, None, j : j + 1] for k in range(n)]) for j in range(n)]
    return jnp.concatenate(columns, axis=2)


def _sum(terms: list[Array]) -> Array:
    return functools.reduce(operator.add, terms)
