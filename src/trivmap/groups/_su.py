from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .._types import Array, PRNGKey, Shape
from ._algebra import coordinates, from_coordinates
from ._base import AbstractGroup, real_dtype
from ._exponential import exp_su2, exp_su3, exp_taylor
from ._matrix import (
    adjoint,
    anti_hermitian_traceless,
    determinant,
    matrix_product,
    to_complex,
    trace,
    unitary_frame,
)


class SU(AbstractGroup):
    """SU(n) by complex matrices `(n, n, *sites)`.

    Generators `T_a = (i/2) lambda_a` with the generalised Gell-Mann matrices, ordered as: symmetric and antisymmetric
    partner for every pair j < k, then the diagonal ones.

        >>> u = tm.SU(3).haar(key, (4, 4))
        >>> tm.SU(3).real_trace(u).shape
    """

    n: int = eqx.field(static=True)

    def __check_init__(self):
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 2:
            raise ValueError(f"SU(n): got n = {self.n!r}, expected an integer >= 2; use U1() for U(1).")

    @property
    def dimension(self) -> int:
        return self.n**2 - 1

    @property
    def element_shape(self) -> Shape:
        return (self.n, self.n)

    @property
    def name(self) -> str:
        return f"SU({self.n})"

    @property
    def complex_elements(self) -> bool:
        return True

    def identity(self, sites: Shape, dtype: Any = None) -> Array:
        unit = jnp.eye(self.n, dtype=to_complex(real_dtype(dtype)))
        return jnp.broadcast_to(unit.reshape((self.n, self.n) + (1,) * len(sites)), (self.n, self.n, *sites))

    def multiply(self, a: Array, b: Array) -> Array:
        return matrix_product(a, b)

    def adjoint(self, a: Array) -> Array:
        return adjoint(a)

    def exp(self, v: Array) -> Array:
        r"""$\exp(v)$: closed form for SU(2), Cayley-Hamilton for SU(3), Taylor with squaring otherwise.

        Accurate to rounding; outside the range of the series (spectral norm above about 10) the result is NaN instead
        of a matrix that is not unitary.
        """
        if self.n == 2:
            return exp_su2(v)
        if self.n == 3:
            return exp_su3(v)
        return exp_taylor(v)

    def trace(self, u: Array) -> Array:
        return trace(u) / self.n

    def real_trace(self, u: Array) -> Array:
        return trace(u.real) / self.n

    def project_algebra(self, m: Array) -> Array:
        return anti_hermitian_traceless(m)

    def bracket(self, v: Array, w: Array) -> Array:
        # (v w)^dagger = w v for anti-Hermitian factors: one product serves both orders.
        product = matrix_product(v, w)
        return product - adjoint(product)

    def inner(self, v: Array, w: Array) -> Array:
        # -2 tr(v w) = 2 sum_ij conj(v_ij) w_ij for anti-Hermitian v, real.
        return 2 * jnp.sum(v.real * w.real + v.imag * w.imag, axis=(0, 1))

    def coordinates(self, v: Array) -> Array:
        return coordinates(v)

    def from_coordinates(self, c: Array) -> Array:
        return from_coordinates(self.n, c)

    def random_algebra(self, key: PRNGKey, sites: Shape, dtype: Any = None) -> Array:
        return self.from_coordinates(jax.random.normal(key, (self.dimension, *sites), real_dtype(dtype)))

    def haar(self, key: PRNGKey, sites: Shape, dtype: Any = None) -> Array:
        # Gram-Schmidt on Gaussian rows is the QR decomposition with positive diagonal, so the frame is Haar
        # distributed (math-ph/0609050); the last row then follows from det = 1.
        gaussian = jax.random.normal(key, (2, self.n, self.n, *sites), real_dtype(dtype))
        return unitary_frame(lax.complex(gaussian[0], gaussian[1]))

    def project(self, u: Array) -> Array:
        """Gram-Schmidt on the rows with the last row from det = 1."""
        return unitary_frame(u)

    def gradient(self, u: Array, cotangent: Array) -> Array:
        # JAX's cotangent g obeys df = Re sum_ij g_ij dU_ij, so d_a f = Re tr(T_a U g^T), and
        # sum_a T_a Re tr(T_a X) = -TA(X)/2.
        return self.project_algebra(matrix_product(u, jnp.swapaxes(cotangent, 0, 1))) / -2

    def unitarity_defect(self, u: Array) -> Array:
        rows = matrix_product(u, adjoint(u)) - self.identity(u.shape[2:], u.real.dtype)
        return jnp.maximum(jnp.max(jnp.abs(rows)), jnp.max(jnp.abs(determinant(u) - 1)))
