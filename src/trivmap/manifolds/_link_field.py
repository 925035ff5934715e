import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._types import Array, PRNGKey, Shape
from ..groups import AbstractGroup
from ..lattice import check_lattice, site_sum
from ._base import AbstractManifold


class LinkField(AbstractManifold):
    """Group elements on the links of a periodic lattice, with Haar measure of total mass one per link.

    Configurations are `(dim, *lattice)` angles for U(1) and `(dim, n, n, *lattice)` matrices for SU(n); the link
    `[mu, ..., x]` leads from x to x + mu. Tangent vectors are algebra valued, in the same shape: the motion is
    `exp(v) U` (right-trivialised).

        >>> links = tm.LinkField(tm.SU(2), (4, 4)).reference_sample(key)
        >>> links.shape
    """

    group: AbstractGroup = eqx.field(static=True)
    lattice: Shape = eqx.field(static=True, converter=check_lattice)

    def __check_init__(self):
        if not isinstance(self.group, AbstractGroup):
            raise TypeError(f"LinkField: got the group {self.group!r}, expected U1() or SU(n), an object of the class.")

    @property
    def shape(self) -> Shape:
        return (len(self.lattice), *self.group.element_shape, *self.lattice)

    @property
    def local_group(self) -> AbstractGroup:
        return self.group

    @property
    def dimension(self) -> int:
        return len(self.lattice) * self.group.dimension * math.prod(self.lattice)

    def reference_sample(self, key: PRNGKey, dtype: Any = None) -> Array:
        """Independent Haar-distributed links."""
        keys = jax.random.split(key, len(self.lattice))
        return jax.vmap(lambda k: self.group.haar(k, self.lattice, dtype))(keys)

    def random_tangent(self, key: PRNGKey, dtype: Any = None) -> Array:
        keys = jax.random.split(key, len(self.lattice))
        return jax.vmap(lambda k: self.group.random_algebra(k, self.lattice, dtype))(keys)

    def exp(self, v: Array, x: Array) -> Array:
        return jax.vmap(self._move)(v, x)

    def cold(self, dtype: Any = None) -> Array:
        """Unit links."""
        return jnp.broadcast_to(self.group.identity(self.lattice, dtype)[None], self.shape)

    def motion(self, v: Array, x: Array) -> Array:
        # Without the derivative of the exponential, which doubles the cost of divergences on SU(N) (measured).
        return jax.vmap(self.group.multiply)(v, x) if self.group.complex_elements else v

    def inner(self, v: Array, w: Array) -> Array:
        return site_sum(jax.vmap(self.group.inner)(v, w))

    def pull_back(self, x: Array, cotangent: Array) -> Array:
        return jax.vmap(self.group.gradient)(x, cotangent)

    @property
    def generators(self) -> tuple[int, ...]:
        return (self.group.dimension,) * len(self.lattice)

    def spread(self, mask: Array, like: Array) -> Array:
        return mask.reshape(len(mask), *(1 for _ in self.group.element_shape), *self.lattice)

    def largest(self, v: Array) -> Array:
        return jnp.max(jnp.abs(v), axis=tuple(range(1, 1 + len(self.group.element_shape))))

    def bracket(self, v: Array, w: Array) -> Array:
        return jax.vmap(self.group.bracket)(v, w)

    def project(self, x: Array) -> Array:
        """Wraps angles to [-pi, pi], re-unitarises matrices; differentiable."""
        return jax.vmap(self.group.project)(x)

    def defect(self, x: Array) -> Array:
        """Largest violation of unitarity by a matrix."""
        if self.group.complex_elements:
            return jnp.max(jax.vmap(self.group.unitarity_defect)(x))
        return jnp.zeros((), x.dtype)

    def coordinates(self, v: Array) -> Array:
        return jax.vmap(self.group.coordinates)(v).reshape(-1)

    def from_coordinates(self, c: Array) -> Array:
        shaped = c.reshape(len(self.lattice), self.group.dimension, *self.lattice)
        return jax.vmap(self.group.from_coordinates)(shaped)

    def distance(self, x: Array, y: Array) -> Array:
        """Euclidean distance of the wrapped angles, or Frobenius distance of the matrices."""
        difference = x - y if self.group.complex_elements else self.group.project(x - y)
        return jnp.sqrt(site_sum(jnp.abs(difference) ** 2))

    def check(self, x: Array) -> None:
        kind = jnp.complexfloating if self.group.complex_elements else jnp.floating
        expected = "complex matrices" if self.group.complex_elements else "real angles"
        if not jnp.issubdtype(x.dtype, kind):
            raise TypeError(
                f"links of {self.group.name}: got dtype {x.dtype}, expected {expected}; "
                "check the group of the theory (U(1) takes real angles, SU(n) complex matrices)."
            )
        if x.shape != self.shape:
            raise ValueError(
                f"links of {self.group.name}: got shape {x.shape}, expected {self.shape} for lattice {self.lattice} "
                f"({self._difference(x.shape)}); pass one configuration with colours leading and sites trailing, "
                "without batch axis (use jax.vmap for batches)."
            )

    def _move(self, v: Array, x: Array) -> Array:
        return self.group.multiply(self.group.exp(v), x)

    def _difference(self, shape: Shape) -> str:
        """Names the part of a wrong shape that does not fit."""
        if len(shape) != len(self.shape):
            return f"{len(shape)} axes instead of {len(self.shape)}"
        colours = 1 + len(self.group.element_shape)
        if shape[0] != len(self.lattice):
            return f"{shape[0]} directions instead of {len(self.lattice)}"
        if shape[1:colours] != self.group.element_shape:
            return f"matrices {shape[1:colours]} instead of {self.group.element_shape}"
        return f"extents {shape[colours:]} instead of {self.lattice}"
