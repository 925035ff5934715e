"""Conjugate gradients, a loop of our own.

lineax, which diffrax brings along, would do for float64. Its CG gives up (nan) where p^dagger A p < 100 eps size |r|^2,
in float32 on 8^4 with SU(3) already at eigenvalues below 0.3; it has a scale for each component, infinite for the zeros
of a point source; and it also waits for the step to be small: 86 iterations instead of 76 on 16^2 with U(1) at kappa =
0.26, 1.4 times as long for eight sources at once.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from .._types import Array


def conjugate_gradient(
    apply: Callable[[Array], Array], b: Array, tolerance: Array, max_iterations: int
) -> tuple[Array, Array]:
    r"""The solution of $A x = b$ for a Hermitian, positive A from zero, and the number of iterations (Hestenes and
    Stiefel).

    It ends where the recursive residual is below `tolerance` $|b|$, after `max_iterations`, or with nan where A is not
    positive.
    """
    size = _square(b)
    goal = tolerance.astype(size.dtype) ** 2 * size

    def go_on(state: tuple) -> Array:
        *_, square, steps = state
        return (square > goal) & (steps < max_iterations)

    def step(state: tuple) -> tuple:
        x, r, p, square, steps = state
        ap = apply(p)
        alpha = (square / jnp.sum(p.real * ap.real + p.imag * ap.imag)).astype(b.dtype)
        x, r = x + alpha * p, r - alpha * ap
        new = _square(r)
        return x, r, r + (new / square).astype(b.dtype) * p, new, steps + 1

    x, *_, steps = lax.while_loop(go_on, step, (jnp.zeros_like(b), b, b, size, jnp.zeros((), jnp.int32)))
    return x, steps


def _square(psi: Array) -> Array:
    return jnp.sum(psi.real**2 + psi.imag**2)
