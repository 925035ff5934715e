from typing import Any

import equinox as eqx
import jax.numpy as jnp

from .._types import Array, PRNGKey, Shape
from ..groups import real_dtype
from ..lattice import check_lattice
from ._base import AbstractManifold

_HOT_WIDTH = 0.1


class RealField(AbstractManifold):
    """Real scalar fields `(*lattice)` with the Lebesgue measure `prod_x d phi(x)`."""

    lattice: Shape = eqx.field(static=True, converter=check_lattice)

    @property
    def shape(self) -> Shape:
        return self.lattice

    def exp(self, v: Array, x: Array) -> Array:
        return x + v

    def reference_sample(self, key: PRNGKey, dtype: Any = None) -> Array:
        """Always raises `TypeError`: the Lebesgue measure is not a probability."""
        raise TypeError(
            "RealField.reference_sample: got a request to sample the Lebesgue measure, expected a normalisable one; "
            "use trivmap.GaussianPrior(manifold, width)."
        )

    def cold(self, dtype: Any = None) -> Array:
        return jnp.zeros(self.shape, real_dtype(dtype))

    def hot(self, key: PRNGKey, dtype: Any = None) -> Array:
        """Normal of width 0.1 at every site."""
        return _HOT_WIDTH * self.random_tangent(key, dtype)

    def bracket(self, v: Array, w: Array) -> Array:
        return jnp.zeros_like(v)
