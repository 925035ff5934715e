"""Jacobian of U -> exp(Z(U)) U on one link, for a velocity Z that is a gradient."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _linalg as linalg
from ..groups import AbstractGroup, generators, matrix_product


@functools.cache
def _structure_constants(n: int) -> np.ndarray:
    """C[a, b, c] with [T_c, T_b] = sum_a C[a, b, c] T_a."""
    t = generators(n)
    product = np.einsum("cij,bjk->cbik", t, t)
    commutator = product - product.swapaxes(0, 1)
    return np.einsum("cbij,aji->abc", commutator, -2 * t).real


@functools.cache
def _symmetric_products(n: int) -> np.ndarray:
    """Re tr({T_a, T_b} M)/2 as a linear function of the entries of (Re M, Im M): `(dimension, dimension, 2, n, n)`."""
    t = generators(n)
    product = np.einsum("aij,bjk->abik", t, t)
    transposed = ((product + product.swapaxes(0, 1)) / 2).swapaxes(2, 3)
    return np.stack([transposed.real, -transposed.imag], axis=2)


def trace_curvature(group: AbstractGroup, m: Array) -> Float[Array, "dimension dimension sites"]:
    """Symmetric part of d_a d_b Re tr(U A)/n with m = U A: Re tr({T_a, T_b} m)/(2 n)."""
    table = _symmetric_products(group.n).reshape(group.dimension**2, -1) / group.n
    entries = jnp.concatenate([m.real, m.imag]).reshape(table.shape[1], -1)
    found = jnp.asarray(table, entries.dtype) @ entries
    return found.reshape(group.dimension, group.dimension, -1)


def log_abs_det(
    group: AbstractGroup, z: Float[Array, "dimension sites"], curvature: Float[Array, "dimension dimension sites"]
) -> Float[Array, " sites"]:
    r"""log |det| of the derivative of U -> exp(Z(U)) U in tangent coordinates.

    With H_ab = d_b Z^a and A = ad Z it is det(1 + phi(-A) H), phi(x) = (e^x - 1)/x. Second derivatives of a function commute
    up to [d_a, d_b] = f_abc d_c, so that the antisymmetric part of H is -A/2 for a gradient, and

        det = det[cosh(A/2) + sinh(A/2)/(A/2) H_s],   H_s the symmetric part: both are series in A^2.
    """
    if group.dimension == 1:
        return jnp.log(jnp.abs(1 + curvature[0, 0]))
    ad = jnp.tensordot(jnp.asarray(_structure_constants(group.n), z.dtype), z, 1)
    square = matrix_product(ad, ad) / 4
    # |ad Z| < 2 for loops within the step bound, (|ad Z|/2)^(2k)/(2k)! below rounding; larger ones lose digits slowly.
    terms = 7 if z.dtype == jnp.float32 else 11
    unit = jnp.eye(group.dimension, dtype=z.dtype)[..., None]
    total = unit + curvature / (2 * terms + 1)
    for k in reversed(range(terms)):
        total = unit + curvature / (2 * k + 1) + matrix_product(square, total) / ((2 * k + 1) * (2 * k + 2))
    return _log_abs_det(total)


def _log_abs_det(m: Array) -> Array:
    if m.shape[0] == 3:
        a, b, c = m
        return jnp.log(jnp.abs(jnp.sum(a * jnp.cross(b, c, axis=0), axis=0)))
    return linalg.log_det(jnp.moveaxis(m, (0, 1), (-2, -1)))[0]


def solve(m: Float[Array, "dimension dimension sites"], b: Float[Array, "dimension sites"]) -> Array:
    """m^{-1} b at every site."""
    if m.shape[0] == 1:
        return b / m[0]
    inverse = linalg.inverse(jnp.moveaxis(m, (0, 1), (-2, -1)))
    return jnp.sum(inverse * b.T[:, None, :], axis=-1).T


def jacobian(group: AbstractGroup, z: Float[Array, "dimension sites"], curvature: Array) -> Array:
    """d(U' motion)/d(U motion) itself: phi(A) H + e^A, needed where an equation is solved."""
    if group.dimension == 1:
        return 1 + curvature
    ad = jnp.tensordot(jnp.asarray(_structure_constants(group.n), z.dtype), z, 1)
    unit = jnp.eye(group.dimension, dtype=z.dtype)[..., None]
    h = curvature - ad / 2
    # sum_k A^k/(k+1)! (H + A) + 1 by Horner's rule.
    step = unit
    for k in range(24, 1, -1):
        step = unit + matrix_product(ad, step) / k
    return unit + matrix_product(step, h + ad)
