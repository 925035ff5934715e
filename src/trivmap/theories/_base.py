import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from .._parameters import all_fields
from .._types import Array, Shape
from ..manifolds import AbstractManifold


class AbstractTheory(eqx.Module):
    """An action on a manifold of field configurations; the weight is `exp(-action)`.

    A new theory gives `manifold` and `action`; everything else follows.
    """

    manifold: eqx.AbstractVar[AbstractManifold]
    """The space of configurations."""

    @abc.abstractmethod
    def action(self, x: Array) -> Array:
        """The action of one configuration, a real scalar."""

    @property
    def lattice(self) -> Shape:
        """Extents of the periodic lattice, axis 0 is time."""
        return self.manifold.lattice

    def frozen_fields(self) -> frozenset[str]:
        """All of them: couplings are physics, which no training changes."""
        return all_fields(self)

    def gradient(self, x: Array) -> Array:
        """Gradient of the action, a tangent vector (right-trivialised on groups); the force is minus this."""
        return self.manifold.gradient(self.action)(x)


def coupling(value: Any) -> Array:
    """Converts a coupling to a real scalar array, in JAX's default float unless it already has a floating dtype."""
    array = jnp.asarray(value)
    if array.ndim != 0:
        raise ValueError(
            f"coupling: got an array of shape {array.shape}, expected a scalar; "
            "build one theory per coupling, with jax.vmap over the constructor if they are many."
        )
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"coupling: got dtype {array.dtype}, expected a real number.")
    weak = not hasattr(value, "dtype")
    return array.astype(float) if weak or not jnp.issubdtype(array.dtype, jnp.floating) else array
