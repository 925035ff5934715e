"""Rotations and convex mixtures of Moebius maps of the circle."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import integers, positive
from .._types import Array
from ._base import AbstractTransform
from ._inverse import bracketed_inverse


def wrap(x: Array) -> tuple[Array, Array]:
    """The angle in [-pi, pi] and the multiple of 2 pi that was taken off, a constant under differentiation."""
    turns = 2 * np.pi * jax.lax.stop_gradient(jnp.round(x / (2 * np.pi)))
    return x - turns, turns


class Phase(AbstractTransform):
    """The rotation y = x + t; parameter t.

    >>> transform = tm.transforms.Composition(tm.transforms.CircularSpline(4), tm.transforms.Phase())
    """

    periodic: ClassVar[bool] = True

    @property
    def parameters(self) -> int:
        return 1

    def reflected(self, parameters: Array) -> Array:
        return -parameters

    def _forward(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        return x + parameters[0], jnp.zeros_like(x)

    def _inverse(self, y: Array, parameters: Array) -> tuple[Array, Array]:
        return y - parameters[0], jnp.zeros_like(y)


class NonCompactProjection(AbstractTransform):
    """A convex mixture of projected affine maps of the line, y = sum_i p_i 2 arctan(e^{s_i} tan(x/2) + b_i).

    Parameters: s_i, b_i and the logits of p_i, three per component. The angle pi is a fixed point; compose with a `Phase`
    to move it. The inverse is found numerically, to rounding. arXiv:2002.02428, section 2.1 (with the fixed point at pi).

    **Arguments:** `mixtures`: number of components. `limit`: bound for |s_i|.

    **Raises:** `ValueError` for no component or a limit that is not positive.

        >>> flow = tm.GaugeCouplingFlow(key, theory.manifold, 4, tm.transforms.NonCompactProjection(2), hidden=(4,))
    """

    mixtures: int = eqx.field(static=True)
    limit: float = eqx.field(default=4.0, static=True)
    periodic: ClassVar[bool] = True

    def __check_init__(self):
        integers("NonCompactProjection", 1, mixtures=self.mixtures)
        positive("NonCompactProjection: limit", self.limit)

    @property
    def parameters(self) -> int:
        return 3 * self.mixtures

    def reflected(self, parameters: Array) -> Array:
        s, b, logits = jnp.split(parameters, 3)
        return jnp.concatenate([s, -b, logits])

    def _forward(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        angle, turns = wrap(x)
        y, log_slope = self._on_branch(angle, parameters)
        return y + turns, log_slope

    def _inverse(self, y: Array, parameters: Array) -> tuple[Array, Array]:
        angle, turns = wrap(y)
        x = bracketed_inverse(self._on_branch, angle, parameters, -np.pi, np.pi)
        return x + turns, -self._on_branch(x, parameters)[1]

    def _on_branch(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        s, b, logits = jnp.split(parameters, 3)
        weights = jax.nn.softmax(logits, axis=0)
        scale = jnp.exp(self.limit * jnp.tanh(s / self.limit))
        # Rounding must not carry x = pi across the cut of the arctangent.
        cosine, sine = jnp.cos(x / 2)[None], jnp.sin(x / 2)[None]
        cosine = cosine + jax.lax.stop_gradient(jnp.maximum(cosine, 0) - cosine)
        projected = scale * sine + b * cosine
        y = jnp.sum(weights * 2 * jnp.arctan2(projected, cosine), axis=0)
        slope = jnp.sum(weights * scale / (cosine**2 + projected**2), axis=0)
        return y, jnp.log(slope)


class Moebius(AbstractTransform):
    """A convex mixture of Moebius maps of the circle, y = x + sum_i p_i 2 [arg(1 - w_i e^{-ix}) - arg(1 - w_i)].

    Each term is the map z -> (z - w)/(1 - conj(w) z) of z = e^{ix}, rotated so that x = 0 is a fixed point, with |w| below
    `limit`. Parameters: Re and Im of the raw w_i and the logits of p_i, three per component. Compose with a `Phase` to move
    the fixed point. The inverse is found numerically, to rounding. arXiv:2002.02428, section 2.1.

    **Arguments:** `mixtures`: number of components. `limit`: bound for |w|, in (0, 1).

    **Raises:** `ValueError` for no component or a limit out of range.

        >>> flow = tm.GaugeCouplingFlow(key, theory.manifold, 4, tm.transforms.Moebius(2), hidden=(4,))
    """

    mixtures: int = eqx.field(static=True)
    limit: float = eqx.field(default=0.95, static=True)
    periodic: ClassVar[bool] = True

    def __check_init__(self):
        integers("Moebius", 1, mixtures=self.mixtures)
        if not 0 < self.limit < 1:
            raise ValueError(f"Moebius: got limit={self.limit}, expected a bound for |w| between 0 and 1.")

    @property
    def parameters(self) -> int:
        return 3 * self.mixtures

    def reflected(self, parameters: Array) -> Array:
        real, imaginary, logits = jnp.split(parameters, 3)
        return jnp.concatenate([real, -imaginary, logits])

    def _forward(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        real, imaginary, logits = jnp.split(parameters, 3)
        weights = jax.nn.softmax(logits, axis=0)
        radius = self.limit / jnp.sqrt(1 + real**2 + imaginary**2)
        u, v = radius * real, radius * imaginary
        cosine, sine = jnp.cos(x)[None], jnp.sin(x)[None]
        # 1 - w e^{-ix}
        a, b = 1 - u * cosine - v * sine, u * sine - v * cosine
        turn = jnp.arctan2(b, a) - jnp.arctan2(-v, 1 - u)
        slope = jnp.sum(weights * (1 - u**2 - v**2) / (a**2 + b**2), axis=0)
        return x + 2 * jnp.sum(weights * turn, axis=0), jnp.log(slope)

    def _inverse(self, y: Array, parameters: Array) -> tuple[Array, Array]:
        # x = 0 and 2 pi are fixed points, so that the circle from one to the other is the bracket.
        turns = 2 * np.pi * jax.lax.stop_gradient(jnp.floor(y / (2 * np.pi)))
        x = bracketed_inverse(self._forward, y - turns, parameters, 0.0, 2 * np.pi)
        return x + turns, -self._forward(x, parameters)[1]
