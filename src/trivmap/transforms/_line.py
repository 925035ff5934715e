"""Affine maps and shifts of the real line."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp

from .._checks import positive
from .._types import Array
from ._base import AbstractTransform


class Affine(AbstractTransform):
    """y = x e^s + t, with s = limit tanh(s_raw/limit); parameters (s_raw, t).

    **Arguments:** `limit`: bound for the logarithm of the slope, which keeps a chain of layers invertible to rounding.

    **Raises:** `ValueError` unless the limit is positive.

        >>> flow = tm.CouplingFlow(key, scalar.manifold, 2, tm.transforms.Affine(limit=2.0), hidden=(4,))
    """

    limit: float = eqx.field(default=3.0, static=True)
    periodic: ClassVar[bool] = False

    def __check_init__(self):
        positive("Affine: limit", self.limit)

    @property
    def parameters(self) -> int:
        return 2

    def reflected(self, parameters: Array) -> Array:
        return jnp.stack([parameters[0], -parameters[1]])

    def _forward(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        s = self._log_slope(parameters)
        return x * jnp.exp(s) + parameters[1], s

    def _inverse(self, y: Array, parameters: Array) -> tuple[Array, Array]:
        s = self._log_slope(parameters)
        return (y - parameters[1]) * jnp.exp(-s), -s

    def _log_slope(self, parameters: Array) -> Array:
        return self.limit * jnp.tanh(parameters[0] / self.limit)


class Shift(AbstractTransform):
    """y = x + t, the volume-preserving coupling of NICE; parameter t. arXiv:1410.8516.

    >>> flow = tm.CouplingFlow(key, scalar.manifold, 2, tm.transforms.Shift(), hidden=(4,))
    """

    periodic: ClassVar[bool] = False

    @property
    def parameters(self) -> int:
        return 1

    def reflected(self, parameters: Array) -> Array:
        return -parameters

    def _forward(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        return x + parameters[0], jnp.zeros_like(x)

    def _inverse(self, y: Array, parameters: Array) -> tuple[Array, Array]:
        return y - parameters[0], jnp.zeros_like(y)
