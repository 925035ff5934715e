from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .._types import Array, PRNGKey, Shape
from ._base import AbstractGroup, real_dtype


class U1(AbstractGroup):
    """U(1) by real angles: the product is addition, `exp` the identity; wrap with `project` only when measuring.

    >>> tm.U1().haar(key, (4, 4)).shape
    """

    n: int = eqx.field(default=1, init=False, static=True)
    dimension: int = eqx.field(default=1, init=False, static=True)
    element_shape: Shape = eqx.field(default=(), init=False, static=True)
    name: str = eqx.field(default="U(1)", init=False, static=True)
    complex_elements: bool = eqx.field(default=False, init=False, static=True)

    def identity(self, sites: Shape, dtype: Any = None) -> Array:
        return jnp.zeros(sites, real_dtype(dtype))

    def multiply(self, a: Array, b: Array) -> Array:
        return a + b

    def adjoint(self, a: Array) -> Array:
        return -a

    def exp(self, v: Array) -> Array:
        return v

    def trace(self, u: Array) -> Array:
        return lax.complex(jnp.cos(u), jnp.sin(u))

    def real_trace(self, u: Array) -> Array:
        return jnp.cos(u)

    def project_algebra(self, m: Array) -> Array:
        return m

    def bracket(self, v: Array, w: Array) -> Array:
        return jnp.zeros_like(v)

    def inner(self, v: Array, w: Array) -> Array:
        return v * w

    def coordinates(self, v: Array) -> Array:
        return v[None]

    def from_coordinates(self, c: Array) -> Array:
        return c[0]

    def random_algebra(self, key: PRNGKey, sites: Shape, dtype: Any = None) -> Array:
        return jax.random.normal(key, sites, real_dtype(dtype))

    def haar(self, key: PRNGKey, sites: Shape, dtype: Any = None) -> Array:
        return jax.random.uniform(key, sites, real_dtype(dtype), -jnp.pi, jnp.pi)

    def project(self, u: Array) -> Array:
        """Angle wrapped to [-pi, pi]; the derivative is one."""
        # Subtracting a multiple of 2 pi that is constant under differentiation.
        return u - 2 * jnp.pi * lax.stop_gradient(jnp.round(u / (2 * jnp.pi)))

    def gradient(self, u: Array, cotangent: Array) -> Array:
        return cotangent

    def unitarity_defect(self, u: Array) -> Array:
        return jnp.zeros((), u.dtype)
