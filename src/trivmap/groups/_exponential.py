"""Exponentials of su(n) in closed form or by series: no eigendecomposition, so all derivatives exist at zero."""

import jax
import jax.numpy as jnp
from jax import lax

from .._types import Array
from ._matrix import determinant, matrix_product

# Largest |v| (spectral norm) for which the scaled series are accurate to rounding.
_RANGE = 10.0


@jax.jit
def exp_su2(v: Array) -> Array:
    r"""$\exp(v) = \cos r + v \sin(r)/r$ with $r^2 = \det v$."""
    r2 = v[0, 0].imag ** 2 + v[0, 1].real ** 2 + v[0, 1].imag ** 2
    cos, sinc = cos_sinc(r2)
    unit = jnp.eye(2, dtype=v.dtype).reshape((2, 2) + (1,) * r2.ndim)
    return unit * cos[None, None].astype(v.dtype) + v * sinc[None, None].astype(v.dtype)


def cos_sinc(r2: Array) -> tuple[Array, Array]:
    """`cos(r)` and `sin(r)/r` as smooth functions of `r^2`."""
    small = r2 < 1
    # Both branches of a `where` are differentiated: keep each away from its own singularity.
    x = jnp.where(small, r2, 0.5)
    cos_series, sinc_series = jnp.ones_like(x), jnp.ones_like(x)
    for k in range(10, 0, -1):
        cos_series = 1 - cos_series * x / ((2 * k - 1) * (2 * k))
        sinc_series = 1 - sinc_series * x / ((2 * k) * (2 * k + 1))
    r = jnp.sqrt(jnp.where(small, 1.0, r2))
    return jnp.where(small, cos_series, jnp.cos(r)), jnp.where(small, sinc_series, jnp.sin(r) / r)


@jax.jit
def exp_su3(v: Array) -> Array:
    r"""$\exp(v) = q_0 + q_1 v + q_2 v^2$ by Cayley-Hamilton: $v^3 = i \delta - t v$, $t = -\tfrac12 \mathrm{tr}\, v^2$.

    Horner's rule for the Taylor series of `exp(v / 4)` acts on the three coefficients, then two squarings in the same
    ring. With `t` and `delta = -i det v` real, everything but the last line is real arithmetic.
    """
    squarings, terms = 2, 16 if v.dtype == jnp.complex64 else 24
    h = 0.5**squarings
    # From the entries, not from v^2: XLA would recompute that product inside the scalars (the whole function is 1.9
    # times faster).
    t = jnp.sum(v.real**2 + v.imag**2, axis=(0, 1)) / 2
    delta = determinant(v).imag
    # NaN outside the range of the series: never a matrix that is not unitary. |v|^2 <= 4t/3 for traceless v.
    t = jnp.where(4 * t <= 3 * _RANGE**2, t, jnp.nan)
    q = _su3_squared(_su3_series(t * h**2, delta * h**3, terms), t * h**2, delta * h**3, squarings)
    q0, q1, q2 = q[0][None, None], q[1][None, None] * h, q[2][None, None] * h**2
    v2 = matrix_product(v, v)
    unit = jnp.eye(3, dtype=v.dtype).reshape((3, 3) + (1,) * t.ndim)
    return unit * q0 + v * q1 + v2 * q2


def _su3_series(t: Array, delta: Array, terms: int) -> tuple[Array, Array, Array]:
    """Taylor coefficients of exp in the ring `x^3 = i delta - t x`; real and imaginary parts travel as one array."""

    def body(i, q):
        inverse = 1 / jnp.asarray(terms - i, t.dtype)
        rows = (
            1 - delta * q[5] * inverse,
            delta * q[4] * inverse,
            (q[0] - t * q[4]) * inverse,
            (q[1] - t * q[5]) * inverse,
            q[2] * inverse,
            q[3] * inverse,
        )
        return jnp.stack(rows)

    zero = jnp.zeros_like(t)
    # A rolled loop: a step of an unrolled one costs the same, but its derivative takes many times longer to compile.
    q = lax.fori_loop(0, terms, body, jnp.stack([jnp.ones_like(t), zero, zero, zero, zero, zero]))
    return lax.complex(q[0], q[1]), lax.complex(q[2], q[3]), lax.complex(q[4], q[5])


def _su3_squared(q: tuple[Array, Array, Array], t: Array, delta: Array, times: int) -> tuple[Array, Array, Array]:
    zero = jnp.zeros_like(t)
    minus_t, det = lax.complex(-t, zero), lax.complex(zero, delta)
    q0, q1, q2 = q
    for _ in range(times):
        cubic, quartic = 2 * q1 * q2, q2 * q2
        q0, q1, q2 = (
            q0 * q0 + det * cubic,
            2 * q0 * q1 + minus_t * cubic + det * quartic,
            2 * q0 * q2 + q1 * q1 + minus_t * quartic,
        )
    return q0, q1, q2


@jax.jit
def exp_taylor(v: Array) -> Array:
    """Horner's rule on the Taylor series of `exp(v / 8)`, then three squarings."""
    squarings, terms = 3, 12 if v.dtype == jnp.complex64 else 18
    norm2 = jnp.sum(v.real**2 + v.imag**2, axis=(0, 1))
    inside = (norm2 <= _RANGE**2)[None, None]
    x = jnp.where(inside, v, jnp.nan) * 0.5**squarings
    unit = jnp.broadcast_to(jnp.eye(v.shape[0], dtype=v.dtype).reshape(v.shape[:2] + (1,) * (v.ndim - 2)), v.shape)

    def body(i, u):
        return unit + matrix_product(x, u) / jnp.asarray(terms - i, v.dtype)

    u = lax.fori_loop(0, terms, body, unit)
    for _ in range(squarings):
        u = matrix_product(u, u)
    return u
