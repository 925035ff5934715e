"""Conjugate gradients for several shifts of one matrix in one Krylov space (B. Jegerlehner, arXiv:hep-lat/9612014)."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from .._types import Array


def multi_shift(
    apply: Callable[[Array], Array], b: Array, shifts: Array, tolerance: float, max_iterations: int
) -> tuple[Array, Array, Array]:
    r"""Solutions of $(A + \sigma_l) x_l = b$ for a Hermitian, positive A and several $\sigma_l \ge 0$, from zero.

    One application of A per iteration serves all shifts: residuals are parallel, that of the smallest shift is the largest.
    They end where the recursive residual of that one is below half of `tolerance` $|b|$.

    **Arguments:** `apply`: A; `b`: a complex array; `shifts`: real, `(n,)`.

    **Returns:** the solutions `(n, *b.shape)`; the true relative residual, the larger one of that for the smallest shift and
    that of the sum of all equations divided by n; the iterations.

        >>> b = jnp.ones(3, complex)
        >>> x, residual, iterations = tm.fermions.multi_shift(lambda v: 2 * v, b, jnp.array([0.0, 1.0]), 1e-10, 100)
    """
    smallest = jnp.argmin(shifts)
    base = shifts[smallest].astype(b.dtype)
    x, iterations = _iterate(lambda p: apply(p) + base * p, b, shifts - shifts[smallest], tolerance, max_iterations)
    size = _square(b)
    spread = lambda c: c.astype(b.dtype).reshape(-1, *(1,) * b.ndim)  # noqa: E731
    one = b - apply(x[smallest]) - base * x[smallest]
    mean = b - apply(jnp.mean(x, axis=0)) - jnp.mean(spread(shifts) * x, axis=0)
    worst = jnp.maximum(_square(one), _square(mean))
    return x, jnp.where(size > 0, jnp.sqrt(worst / size), 0.0), iterations


def _iterate(
    apply: Callable[[Array], Array], b: Array, shifts: Array, tolerance: float, max_iterations: int
) -> tuple[Array, Array]:
    """Solutions for A and for A plus the shifts, which are relative to A here."""
    shifts = shifts.astype(b.real.dtype)
    size = _square(b)
    goal = (0.5 * tolerance) ** 2 * size
    weights = lambda c: c.astype(b.dtype).reshape(-1, *(1,) * b.ndim)  # noqa: E731

    def go_on(state: tuple) -> Array:
        *_, square, steps = state
        return (square > goal) & (steps < max_iterations)

    def step(state: tuple) -> tuple:
        x, directions, r, p, zeta, ratio, alpha_before, beta_before, square, steps = state
        ap = apply(p)
        alpha = square / jnp.sum(p.real * ap.real + p.imag * ap.imag)
        # Residuals of the shifts are zeta times that of A; `ratio` is a zeta over the one before.
        new_ratio = alpha_before / (alpha * beta_before * (1 - ratio) + alpha_before * (1 + shifts * alpha))
        new_zeta = new_ratio * zeta
        x = x + weights(alpha * new_ratio) * directions
        r = r - alpha.astype(b.dtype) * ap
        new = _square(r)
        beta = new / square
        directions = weights(new_zeta) * r[None] + weights(beta * new_ratio**2) * directions
        return x, directions, r, r + beta.astype(b.dtype) * p, new_zeta, new_ratio, alpha, beta, new, steps + 1

    one, many = jnp.ones((), b.real.dtype), jnp.ones_like(shifts)
    everywhere = jnp.broadcast_to(b[None], (len(shifts), *b.shape))
    start = (jnp.zeros_like(everywhere), everywhere, b, b, many, many, one, one * 0, size, jnp.zeros((), jnp.int32))
    x, *_, steps = lax.while_loop(go_on, step, start)
    return x, steps


def _square(psi: Array) -> Array:
    return jnp.sum(psi.real**2 + psi.imag**2)
