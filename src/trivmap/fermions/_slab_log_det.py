r"""The determinant of two-dimensional Wilson fermions from scattering matrices of time slices.

With the spin components of the upper and lower half of $\gamma_0$, D couples a slice to the next one by a single spin
component in each direction, so that a slab of slices acts on the outside as a scattering matrix: amplitudes that come in
from its two ends to those that go out. Two slabs join by the star product of Redheffer (J. Math. Phys. 41 (1962) 1), all
of them in a tree. Unlike products of transfer matrices, whose entries grow exponentially with the number of slices,
scattering matrices are contractions, and the result is exact to rounding at any length. With k = 2 kappa and the shift
$S$ along a slice, $r = (1 - kS)^{-1}$ has the closed form $r_{xy} = k^d W(x \to y) / (1 - k^{L_1} P)$, with the distance
$d = (y - x) \bmod L_1$, the transport W and the Polyakov loop P.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._linalg import inverse_and_log_det
from .._types import Array


class _Slab(NamedTuple):
    """Scattering matrix of a slab, `(slabs, extent, extent)` each; s21 is the adjoint of s12 by gamma_5-hermiticity."""

    s11: Array
    s12: Array
    s22: Array


def slab_log_det(angles: Array, kappa: Array, boundary: tuple[int, int]) -> tuple[Array, Array]:
    r"""Sign of det D and $\log |\det D|$ for U(1) angles `(2, L0, L1)`, at cost $L_0 L_1^3$.

    **Arguments:** `kappa`: of the dtype of the angles, $|\kappa| < 1/2$; `boundary`: signs of both directions.
    """
    if angles.shape[1] < angles.shape[2]:
        # Slices along the shorter direction; exchanging gamma_0 and gamma_1 is a change of basis.
        angles, boundary = jnp.swapaxes(angles, 1, 2)[::-1], (boundary[1], boundary[0])
    slabs, total = _slices(angles, kappa, boundary)
    phase = jnp.ones((), slabs.s11.dtype)
    while (count := len(slabs.s11)) > 2:
        left, right = (_Slab(*(s[start : count - count % 2 : 2] for s in slabs)) for start in (0, 1))
        joined, log_det, phases = _star(left, right)
        total, phase = total + jnp.sum(log_det), phase * jnp.prod(phases)
        slabs = (
            joined if count % 2 == 0 else _Slab(*(jnp.concatenate([a, s[-1:]]) for a, s in zip(joined, slabs, strict=True)))
        )
    ring = _ring(slabs)
    _, log_det, last = _solution_and_log_det(ring, jnp.zeros((1, len(ring[0]), 1), ring.dtype))
    return lax.stop_gradient(jnp.sign((phase * last[0]).real)), total + log_det[0]


def _slices(angles: Array, kappa: Array, boundary: tuple[int, int]) -> tuple[_Slab, Array]:
    r"""Slabs of one slice each, and the sum of their $\log \det (1 - kS)(1 - kS)^\dagger$."""
    slices, extent = angles.shape[1:]
    k = 2 * kappa
    distance = (np.arange(extent)[None] - np.arange(extent)[:, None]) % extent
    wraps = np.tri(extent, k=-1, dtype=bool)  # y < x: from x to y around the slice
    along = jnp.cumsum(angles[1], axis=1)
    winding, start = along[:, -1], along - angles[1]
    # One angle per pair of sites: XLA would compute the factors of a product anew for every pair (measured).
    phases = start[:, None, :] - start[:, :, None] + jnp.where(wraps[None], winding[:, None, None], 0)
    power = jnp.concatenate([jnp.ones((1,), k.dtype), jnp.cumprod(jnp.broadcast_to(k, (extent,)))])  # also of negative k
    signs = jnp.asarray(np.where(wraps, boundary[1], 1.0), k.dtype)
    loop = _unit(winding)
    closed = 1 - (power[extent] * boundary[1]).astype(loop.dtype) * loop
    r = (power[distance] * signs).astype(loop.dtype)[None] * (_unit(phases) / closed[:, None, None])
    g, f = (r + _dagger(r)) / 2, (_dagger(r) - r) / 2
    ends = np.where(np.arange(slices) == slices - 1, boundary[0], 1.0)
    u = _unit(angles[0]) * jnp.asarray(ends, closed.dtype)[:, None]
    weight = k.astype(closed.dtype)
    slab = _Slab(weight * f, weight * g * u[:, None, :], weight * u.conj()[:, :, None] * f * u[:, None, :])
    return slab, jnp.sum(jnp.log(closed.real**2 + closed.imag**2))


def _star(a: _Slab, b: _Slab) -> tuple[_Slab, Array, Array]:
    """Slab a before slab b as one, with log|det| and phase of the factor that joining takes out of det D.

    c11 = a11 + a12 b11 M a12^dagger, c21 = b12^dagger M a12^dagger, c22 = b22 + b12^dagger M a22 b12 with
    M = (1 - a22 b11)^-1. Products by the same matrix are one of twice the width, which saves calls.
    """
    one, n = jnp.eye(a.s11.shape[-1], dtype=a.s11.dtype)[None], a.s11.shape[-1]
    inside = _product(a.s22, jnp.concatenate([b.s11, b.s12], axis=-1))
    right = jnp.concatenate([_dagger(a.s12), inside[..., n:]], axis=-1)
    onward, log_det, phase = _solution_and_log_det(one - inside[..., :n], right)
    outward = _product(_dagger(b.s12), onward)
    s11 = a.s11 + _product(a.s12, _product(b.s11, onward[..., :n]))
    return _Slab(s11, _dagger(outward[..., :n]), b.s22 + outward[..., n:]), log_det, phase


def _ring(slabs: _Slab) -> Array:
    """The matrix of one or two slabs whose ends are joined, `(1, 2 extent, 2 extent)`; two need no star product before it.

    A slab takes u (from the left) and v (from the right) to what leaves it to the right and left, T = [[s21, s22], [s11,
    s12]]. On the ring that is u of the next slab and v of the one before: with two of them (u1, v0) = T0 (u0, v1) and
    (u0, v1) = T1 (u1, v0).
    """
    s11, s12, s22 = slabs
    onward = jnp.concatenate([jnp.concatenate([_dagger(s12), s22], -1), jnp.concatenate([s11, s12], -1)], -2)
    one = jnp.eye(onward.shape[-1], dtype=onward.dtype)[None]
    return one - (onward if len(onward) == 1 else _product(onward[:1], onward[1:]))


@jax.custom_jvp
def _solution_and_log_det(m: Array, right: Array) -> tuple[Array, Array, Array]:
    """m^-1 right, log|det m| and the phase of det m of stacks of matrices, from one LU decomposition."""
    solution, log_det, phase, _ = _by_lu(m, right)
    return solution, log_det, phase


@_solution_and_log_det.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    # The inverse serves the derivatives of both: no second decomposition. Signs have no derivative.
    solution, log_det, phase, inverse = _by_lu(*primals)
    step, right = tangents
    slope = jnp.sum(inverse * jnp.swapaxes(step, -1, -2), axis=(-2, -1)).real
    return (solution, log_det, phase), (_product(inverse, right - _product(step, solution)), slope, jnp.zeros_like(phase))


def _by_lu(m: Array, right: Array) -> tuple[Array, Array, Array, Array]:
    inverse, log_det, phase = inverse_and_log_det(m)
    return _product(inverse, right), log_det, phase, inverse


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _dagger(a: Array) -> Array:
    return jnp.swapaxes(a, -1, -2).conj()


@jax.custom_jvp
def _unit(angle: Array) -> Array:
    return lax.complex(jnp.cos(angle), jnp.sin(angle))


@_unit.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    # From the value, not from sine and cosine computed anew.
    u = _unit(*primals)
    return u, u * lax.complex(jnp.zeros_like(tangents[0]), tangents[0])
