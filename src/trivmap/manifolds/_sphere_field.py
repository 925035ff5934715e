import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import integers
from .._types import Array, PRNGKey, Shape
from ..groups import cos_sinc, exp_taylor, matrix_product, real_dtype
from ..lattice import check_lattice
from ._base import AbstractManifold


class SphereField(AbstractManifold):
    r"""Unit vectors of n components on the sites of a periodic lattice, with the uniform measure of total mass one per site.

    Configurations are real arrays `(n, *lattice)`: components lead, sites trail. A sphere has no frame of tangent vectors
    that is smooth everywhere, so tangent vectors are rotations, elements of so(n) by their coordinates
    `(n (n - 1) / 2, *lattice)` with respect to the generators of rotations from axis i towards axis j, ordered as
    (0, 1), (0, 2), ..., (1, 2), .... They are orthonormal; for n = 2 the only one moves the angle of (cos, sin).
    `rotation(x, w)` turns an ambient vector into a tangent vector, `motion(v, x)` does the reverse.

    **Arguments:** `n`: components, two or more (n = 2: XY spins, n = 3: Heisenberg spins); `lattice`: extents.

    **Raises:** `ValueError` for n < 2.

        >>> manifold = tm.SphereField(3, (4, 4))
        >>> manifold.reference_sample(key).shape
        (3, 4, 4)
    """

    n: int = eqx.field(static=True)
    lattice: Shape = eqx.field(static=True, converter=check_lattice)

    def __check_init__(self):
        integers("SphereField", 2, n=self.n)

    @property
    def shape(self) -> Shape:
        return (self.n, *self.lattice)

    @property
    def tangent_shape(self) -> Shape:
        return (self.n * (self.n - 1) // 2, *self.lattice)

    def reference_sample(self, key: PRNGKey, dtype: Any = None) -> Array:
        """Independent, uniformly distributed unit vectors."""
        return self.project(jax.random.normal(key, self.shape, real_dtype(dtype)))

    def cold(self, dtype: Any = None) -> Array:
        """All vectors along axis 0."""
        return jnp.zeros(self.shape, real_dtype(dtype)).at[0].set(1)

    def exp(self, v: Array, x: Array) -> Array:
        """Closed form up to n = 4, Taylor with squaring beyond, NaN outside its range (|v| of about 7)."""
        if self.n > 4:
            return matrix_product(exp_taylor(self._matrix(v)), x[:, None])[:, 0]
        return self._rotated_in_four(v, x) if self.n == 4 else self._rotated(v, x)

    def motion(self, v: Array, x: Array) -> Array:
        """`A x` with the antisymmetric matrix of `v`."""
        rows: list[Any] = [0] * self.n
        for (i, j), a in zip(self._pairs, v, strict=True):
            rows[i], rows[j] = rows[i] - a * x[j], rows[j] + a * x[i]
        return jnp.stack(rows)

    def rotation(self, x: Array, w: Array) -> Array:
        """The rotation in the plane of `x` and an ambient vector `w`, both `(n, *lattice)`: its motion at `x` is the part of
        `w` orthogonal to `x`."""
        return jnp.stack([x[i] * w[j] - x[j] * w[i] for i, j in self._pairs])

    def pull_back(self, x: Array, cotangent: Array) -> Array:
        return self.rotation(x, cotangent)

    def effective(self, v: Array, x: Array) -> Array:
        """The rotation in the plane of `x` and its velocity: the motion along a great circle, which the rotation keeps, so
        that trajectories of HMC are geodesics between two forces."""
        return self.rotation(x, self.motion(v, x))

    def bracket(self, v: Array, w: Array) -> Array:
        a, b = self._matrix(v), self._matrix(w)
        commutator = matrix_product(a, b) - matrix_product(b, a)
        return jnp.stack([commutator[j, i] for i, j in self._pairs])

    def project(self, x: Array) -> Array:
        """Divides by the length."""
        return x / jnp.sqrt(jnp.sum(x * x, axis=0, keepdims=True))

    def defect(self, x: Array) -> Array:
        """Largest deviation of a squared length from one."""
        return jnp.max(jnp.abs(jnp.sum(x * x, axis=0) - 1))

    def _rotated(self, v: Array, x: Array) -> Array:
        # Rodrigues: A^3 = -|v|^2 A, so exp(A) = 1 + A sin|v| / |v| + A^2 (1 - cos|v|) / |v|^2, by half angles
        # smooth in |v|^2.
        cos, sinc = cos_sinc(jnp.sum(v * v, axis=0, keepdims=True) / 4)
        first = self.motion(v, x)
        return x + sinc * cos * first + sinc**2 / 2 * self.motion(v, first)

    def _rotated_in_four(self, v: Array, x: Array) -> Array:
        # Self-dual and anti-self-dual halves commute, and the square of each is a number.
        dual = jnp.stack([v[5], -v[4], v[3], v[2], -v[1], v[0]])
        for half in ((v + dual) / 2, (v - dual) / 2):
            cos, sinc = cos_sinc(jnp.sum(half * half, axis=0, keepdims=True) / 2)
            x = cos * x + sinc * self.motion(half, x)
        return x

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        return list(itertools.combinations(range(self.n), 2))

    def _matrix(self, v: Array) -> Array:
        """Antisymmetric matrices `(n, n, *lattice)`."""
        zero = jnp.zeros_like(v[0])
        entries = [[zero for _ in range(self.n)] for _ in range(self.n)]
        for (i, j), a in zip(self._pairs, v, strict=True):
            entries[j][i], entries[i][j] = a, -a
        return jnp.stack([jnp.stack(row) for row in entries])
