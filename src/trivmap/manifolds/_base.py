import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx

from .._types import Array, PRNGKey, Shape


class AbstractManifold(eqx.Module):
    """The space of configurations of one field on one lattice; hashable, holds no arrays."""

    lattice: eqx.AbstractVar[Shape]
    """Extents of the periodic lattice."""

    @property
    @abc.abstractmethod
    def shape(self) -> Shape:
        """Shape of a configuration."""

    @property
    @abc.abstractmethod
    def dimension(self) -> int:
        """Number of real coordinates."""

    @abc.abstractmethod
    def reference_sample(self, key: PRNGKey, dtype: Any = None) -> Array:
        """A configuration from the reference measure; `dtype` is real, default JAX's float."""

    @abc.abstractmethod
    def random_tangent(self, key: PRNGKey, dtype: Any = None) -> Array:
        """A tangent vector with independent standard normal coordinates."""

    @abc.abstractmethod
    def exp(self, v: Array, x: Array) -> Array:
        """Moves `x` along the tangent vector `v`: `exp(v) x`."""

    @abc.abstractmethod
    def inner(self, v: Array, w: Array) -> Array:
        """Scalar product of two tangent vectors, a scalar in the accumulator dtype."""

    @abc.abstractmethod
    def gradient(self, f: Callable[[Array], Array]) -> Callable[[Array], Array]:
        """Maps a real function to its gradient: `inner(gradient(f)(x), v) = d/ds f(exp(s v) x)` at zero."""

    @abc.abstractmethod
    def bracket(self, v: Array, w: Array) -> Array:
        """Commutator of two algebra-valued tangent vectors (zero on abelian manifolds)."""

    @abc.abstractmethod
    def project(self, x: Array) -> Array:
        """Removes rounding drift off the manifold."""

    @abc.abstractmethod
    def coordinates(self, v: Array) -> Array:
        """Orthonormal coordinates of a tangent vector, shape `(dimension,)`."""

    @abc.abstractmethod
    def from_coordinates(self, c: Array) -> Array:
        """The tangent vector with given coordinates `(dimension,)`."""

    @abc.abstractmethod
    def distance(self, x: Array, y: Array) -> Array:
        """Distance of two configurations, zero only if they agree."""

    @abc.abstractmethod
    def check(self, x: Array) -> None:
        """Raises `ValueError` or `TypeError` unless `x` has the shape and kind of dtype of a configuration."""
