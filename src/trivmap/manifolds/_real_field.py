import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._types import Array, PRNGKey, Shape
from ..groups import real_dtype
from ..lattice import check_lattice, site_sum
from ._base import AbstractManifold


class RealField(AbstractManifold):
    """Real scalar fields `(*lattice)` with the Lebesgue measure `prod_x d phi(x)`."""

    lattice: Shape = eqx.field(static=True, converter=check_lattice)

    @property
    def shape(self) -> Shape:
        return self.lattice

    @property
    def dimension(self) -> int:
        return math.prod(self.lattice)

    def reference_sample(self, key: PRNGKey, dtype: Any = None) -> Array:
        """Always raises `TypeError`: the Lebesgue measure is not a probability."""
        raise TypeError(
            "RealField.reference_sample: got a request to sample the Lebesgue measure, expected a normalisable one; "
            "use trivmap.GaussianPrior(manifold, width)."
        )

    def random_tangent(self, key: PRNGKey, dtype: Any = None) -> Array:
        return jax.random.normal(key, self.shape, real_dtype(dtype))

    def exp(self, v: Array, x: Array) -> Array:
        return x + v

    def inner(self, v: Array, w: Array) -> Array:
        return site_sum(v * w)

    def gradient(self, f: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return jax.grad(f)

    def bracket(self, v: Array, w: Array) -> Array:
        return jnp.zeros_like(v)

    def project(self, x: Array) -> Array:
        return x

    def coordinates(self, v: Array) -> Array:
        return v.reshape(-1)

    def from_coordinates(self, c: Array) -> Array:
        return c.reshape(self.shape)

    def distance(self, x: Array, y: Array) -> Array:
        """Euclidean distance."""
        return jnp.sqrt(site_sum((x - y) ** 2))

    def check(self, x: Array) -> None:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(
                f"scalar field: got dtype {x.dtype}, expected a real floating type; convert with x.astype(float) "
                "(complex links belong to a LinkField)."
            )
        if x.shape != self.shape:
            raise ValueError(
                f"scalar field: got shape {x.shape}, expected {self.shape} for lattice {self.lattice}; "
                "pass one configuration without batch axis (use jax.vmap for batches)."
            )
