"""One transform after another."""

import equinox as eqx
import jax.numpy as jnp

from .._types import Array
from ._base import AbstractTransform


class Composition(AbstractTransform):
    """The first transform, then the second, and so on; their parameters follow each other in the same order.

    **Arguments:** `*transforms`: such as `CircularSpline(8), Phase()`.

    **Raises:** `ValueError` for none, or for maps of the line together with maps of the circle.

        >>> transform = tm.transforms.Composition(tm.transforms.Moebius(2), tm.transforms.Phase())
        >>> flow = tm.GaugeCouplingFlow(key, theory.manifold, 4, transform, hidden=(4,))
    """

    transforms: tuple[AbstractTransform, ...]
    periodic: bool = eqx.field(static=True)

    def __init__(self, *transforms: AbstractTransform):
        if not transforms:
            raise ValueError("Composition: got no transform, expected one or more.")
        kinds = {transform.periodic for transform in transforms}
        if len(kinds) > 1:
            names = [type(transform).__name__ for transform in transforms]
            raise ValueError(f"Composition: got {names}, expected maps of the line only, or maps of the circle only.")
        self.transforms = transforms
        self.periodic = kinds.pop()

    @property
    def parameters(self) -> int:
        return sum(transform.parameters for transform in self.transforms)

    def reflected(self, parameters: Array) -> Array:
        parts = zip(self.transforms, self._split(parameters), strict=True)
        return jnp.concatenate([transform.reflected(part) for transform, part in parts])

    def _forward(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        total = jnp.zeros_like(x)
        for transform, part in zip(self.transforms, self._split(parameters), strict=True):
            x, log_slope = transform.forward(x, part)
            total = total + log_slope
        return x, total

    def _inverse(self, y: Array, parameters: Array) -> tuple[Array, Array]:
        total = jnp.zeros_like(y)
        for transform, part in reversed(list(zip(self.transforms, self._split(parameters), strict=True))):
            y, log_slope = transform.inverse(y, part)
            total = total + log_slope
        return y, total

    def _split(self, parameters: Array) -> list[Array]:
        ends, total = [], 0
        for transform in self.transforms[:-1]:
            total += transform.parameters
            ends.append(total)
        return jnp.split(parameters, ends)
