import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from .._types import Array, PRNGKey, Shape


def real_dtype(dtype: Any) -> Any:
    """The real dtype that an optional `dtype` argument stands for; `None` is JAX's default float."""
    dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"dtype: got {dtype}, expected a real one; give float32 or float64 (complex links follow).")
    return dtype


class AbstractGroup(eqx.Module):
    """A compact matrix group, acting site by site on arrays `(*element_shape, *sites)`.

    `dtype` arguments are real (float32, float64); complex elements take the matching complex type.

        >>> group = tm.SU(2)
        >>> u = group.exp(group.random_algebra(key, (4, 4)))
    """

    n: eqx.AbstractVar[int]
    """Number of colours."""

    dimension: eqx.AbstractVar[int]
    """Dimension of the algebra."""

    element_shape: eqx.AbstractVar[Shape]
    """Leading axes of a group element: `()` for U(1), `(n, n)` for SU(n)."""

    name: eqx.AbstractVar[str]

    complex_elements: eqx.AbstractVar[bool]
    """Whether elements are complex matrices (SU(n)) or real angles (U(1))."""

    @abc.abstractmethod
    def identity(self, sites: Shape, dtype: Any = None) -> Array:
        """The unit element at every site."""

    @abc.abstractmethod
    def multiply(self, a: Array, b: Array) -> Array:
        """The product `a b`."""

    @abc.abstractmethod
    def adjoint(self, a: Array) -> Array:
        """The inverse of a group element."""

    @abc.abstractmethod
    def exp(self, v: Array) -> Array:
        """The exponential map from the algebra to the group, smooth at zero."""

    @abc.abstractmethod
    def trace(self, u: Array) -> Array:
        """`tr(u) / n`, complex, shape `sites`."""

    @abc.abstractmethod
    def real_trace(self, u: Array) -> Array:
        """`Re tr(u) / n`, shape `sites`."""

    @abc.abstractmethod
    def project_algebra(self, m: Array) -> Array:
        """Traceless anti-Hermitian part of a matrix (the identity map for angles)."""

    @abc.abstractmethod
    def bracket(self, v: Array, w: Array) -> Array:
        """The commutator of two algebra elements."""

    @abc.abstractmethod
    def inner(self, v: Array, w: Array) -> Array:
        """`sum_a v^a w^a = -2 tr(v w)` per site."""

    @abc.abstractmethod
    def coordinates(self, v: Array) -> Array:
        """Components `v^a` along the generators, shape `(dimension, *sites)`."""

    @abc.abstractmethod
    def from_coordinates(self, c: Array) -> Array:
        """The algebra element `sum_a c^a T_a` for components `(dimension, *sites)`."""

    @abc.abstractmethod
    def haar(self, key: PRNGKey, sites: Shape, dtype: Any = None) -> Array:
        """Independent elements from the Haar measure."""

    @abc.abstractmethod
    def project(self, u: Array) -> Array:
        """Nearest-by-construction group element: removes rounding drift, differentiable."""

    @abc.abstractmethod
    def gradient(self, u: Array, cotangent: Array) -> Array:
        """Algebra-valued right-trivialised gradient `sum_a T_a d_a f` from the output of `jax.grad(f)(u)`."""

    @abc.abstractmethod
    def unitarity_defect(self, u: Array) -> Array:
        """Largest absolute deviation of `u u^dagger` and `det u` from one, a scalar."""

    @abc.abstractmethod
    def random_algebra(self, key: PRNGKey, sites: Shape, dtype: Any = None) -> Array:
        """Algebra elements with independent standard normal components."""
