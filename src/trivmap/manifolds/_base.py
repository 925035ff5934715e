import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._types import Array, PRNGKey, Shape
from ..groups import AbstractGroup, real_dtype
from ..lattice import site_sum


class AbstractManifold(eqx.Module):
    """The space of configurations of one field, or of several (`ProductManifold`), on one lattice; hashable, holds no arrays.

    A group acts on it, and `exp(v, x)` is the action of the group element exp(v) on x: tangent vectors are elements of the
    algebra, the same for all x. Real fields are moved by translations, links by the group itself, spheres by rotations.
    The reference measure is invariant under the group. Whatever moves configurations relies on this: trajectories keep their
    momenta between two forces and are reversible and volume preserving, the divergence of a velocity is the sum over
    generators of the derivatives of its coordinates along them, and steps of solvers combine velocities of several points.

    A new manifold gives `lattice`, `shape`, `exp`, `reference_sample` and `cold`, and `tangent_shape` where a tangent vector
    has another shape than a configuration. The other methods follow if tangent vectors are real arrays whose entries are the
    coordinates with respect to orthonormal generators; a non-abelian group needs `bracket` for `RKMK` as well.

    Configurations and tangent vectors of a product are dictionaries of arrays: whoever moves them uses these methods and
    `jax.tree.map`, and never asks for the class of a manifold.

        >>> v = theory.manifold.random_tangent(key)
        >>> x = theory.manifold.exp(v, theory.manifold.cold())
    """

    lattice: eqx.AbstractVar[Shape]
    """Extents of the periodic lattice."""

    @property
    @abc.abstractmethod
    def shape(self) -> Any:
        """Shape of a configuration, a tuple; of a product a dictionary of tuples."""

    @abc.abstractmethod
    def exp(self, v: Array, x: Array) -> Array:
        """Moves `x` along the tangent vector `v`: `exp(v) x`."""

    @abc.abstractmethod
    def reference_sample(self, key: PRNGKey, dtype: Any = None) -> Array:
        """A configuration from the reference measure; `dtype` is real, default JAX's float."""

    @abc.abstractmethod
    def cold(self, dtype: Any = None) -> Array:
        """The ordered configuration: zero field, unit links, parallel spins."""

    @property
    def tangent_shape(self) -> Any:
        """Shape of a tangent vector, as `shape`."""
        return self.shape

    @property
    def local_group(self) -> AbstractGroup:
        """The group whose elements move a single link (site) by `multiply`, with the algebra of tangent vectors.

        **Raises:** `TypeError` where single sites are not moved by the product of a group.
        """
        raise TypeError(
            f"{type(self).__name__} has no local_group, as RealField and LinkField have: the Jacobian of a step on a site, "
            "which ResidualFlow needs, is not known. Use ContinuousFlow(GradientField(potential), steps=...)."
        )

    @property
    def dimension(self) -> int:
        """Number of coordinates of a tangent vector."""
        return math.prod(self.tangent_shape)

    def hot(self, key: PRNGKey, dtype: Any = None) -> Array:
        """A disordered configuration: one from the reference measure, where that can be sampled."""
        return self.reference_sample(key, dtype)

    def generic_sample(self, key: PRNGKey, dtype: Any = None) -> Any:
        """A configuration without special properties, at which maps and derivatives can be tried: disordered on compact
        manifolds, of order one for real fields, whose hot start is small."""
        hot, move = jax.random.split(key)
        return self.exp(self.random_tangent(move, dtype), self.hot(hot, dtype))

    def random_tangent(self, key: PRNGKey, dtype: Any = None) -> Array:
        """A tangent vector with independent standard normal coordinates."""
        return jax.random.normal(key, self.tangent_shape, real_dtype(dtype))

    def inner(self, v: Array, w: Array) -> Array:
        """Scalar product of two tangent vectors, a scalar in the accumulator dtype."""
        return site_sum(v * w)

    def coordinates(self, v: Array) -> Array:
        """Orthonormal coordinates of a tangent vector, shape `(dimension,)`."""
        return v.reshape(-1)

    def from_coordinates(self, c: Array) -> Array:
        """The tangent vector with given coordinates `(dimension,)`."""
        return c.reshape(self.tangent_shape)

    def gradient(self, f: Callable[[Any], Array]) -> Callable[[Any], Any]:
        """Maps a real function to its gradient: `inner(gradient(f)(x), v) = d/ds f(exp(s v) x)` at zero."""

        def along_generators(x: Any) -> Any:
            self.check(x)  # a wrong shape might be broadcast against that of v
            return self.pull_back(x, jax.grad(f)(x))

        return along_generators

    def pull_back(self, x: Array, cotangent: Array) -> Array:
        """The derivatives along the generators, from those by the numbers of `x` that `jax.grad(f)(x)` gives."""
        return jax.vjp(lambda v: self.exp(v, x), self.still(x))[1](cotangent)[0]

    def still(self, x: Array) -> Array:
        """The tangent vector that moves nothing, in the precision of `x`."""
        return jnp.zeros(self.tangent_shape, x.dtype)

    def trace(self, factor: Any) -> Any:
        """Trace of the multiplication of tangent vectors by a number (on a product also by one for each component)."""
        return factor * self.dimension

    @property
    def generators(self) -> tuple[int, ...]:
        """Generators per site of every variable: coordinates are `(generators, *lattice)` for each of them, one after the
        other. Links are one variable per direction."""
        return (self.dimension // math.prod(self.lattice),)

    def spread(self, mask: Array, like: Array) -> Array:
        """A mask `(variables, *lattice)` with axes of size one for the components of `like`, a configuration or a tangent
        vector."""
        components = like.ndim - len(self.lattice)
        return mask.reshape(*(1 for _ in range(components)), *self.lattice)

    def largest(self, v: Array) -> Array:
        """Largest modulus of any component of a tangent vector, `(variables, *lattice)`."""
        return jnp.max(jnp.abs(v), axis=tuple(range(v.ndim - len(self.lattice))))[None]

    def motion(self, v: Array, x: Array) -> Array:
        """`d/ds exp(s v) x` at zero, an array like `x`."""
        return jax.jvp(lambda w: self.exp(w, x), (jnp.zeros_like(v),), (v,))[1]

    def effective(self, v: Array, x: Array) -> Array:
        """The part of `v` orthogonal to the generators that leave `x` where it is: all of it, unless the group is larger
        than the manifold. Momenta of HMC are of this kind."""
        return v

    def bracket(self, v: Array, w: Array) -> Array:
        """Commutator of two tangent vectors as elements of the algebra (zero where the group is abelian).

        **Raises:** `TypeError` where a manifold does not say what it is.
        """
        raise TypeError(
            f"{type(self).__name__} has no bracket, which RKMK needs; give it the method (zeros for an abelian group), or "
            "take a commutator-free solver such as LSCFRK4() or CF4()."
        )

    def project(self, x: Array) -> Array:
        """Removes rounding drift off the manifold."""
        return x

    def defect(self, x: Array) -> Array:
        """How far rounding has moved `x` off the manifold."""
        return jnp.zeros((), jnp.real(x).dtype)

    def distance(self, x: Array, y: Array) -> Array:
        """Distance of two configurations, zero only if they agree: Euclidean distance of the arrays."""
        return jnp.sqrt(site_sum((x - y) ** 2))

    def check(self, x: Array) -> None:
        """Raises `ValueError` or `TypeError` unless `x` has the shape and kind of dtype of a configuration."""
        name = type(self).__name__
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(
                f"{name}: got dtype {x.dtype}, expected a real floating type; convert with x.astype(float) "
                "(complex links belong to a LinkField)."
            )
        if x.shape != self.shape:
            raise ValueError(
                f"{name}: got shape {x.shape}, expected {self.shape} for lattice {self.lattice}; "
                "pass one configuration without batch axis (use jax.vmap for batches)."
            )
