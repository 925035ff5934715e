"""Monotone rational-quadratic splines on an interval, on the line and on the circle."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._checks import finite, integer
from .._types import Array
from ._base import AbstractTransform
from ._circle import wrap

# Smallest share of a bin in the interval and smallest slope at a knot: they bound the condition of the inverse.
_LEAST_BIN, _LEAST_SLOPE = 1e-3, 1e-3


class _Knots(NamedTuple):
    """Bins (bins, *shape) and slopes (bins + 1, *shape) of a spline of [0, 1] to itself."""

    widths: Array
    heights: Array
    slopes: Array


class _Bin(NamedTuple):
    """What a rational-quadratic piece needs, selected for every element."""

    x: Array
    y: Array
    width: Array
    height: Array
    left: Array
    right: Array


def _shares(raw: Array) -> Array:
    return _LEAST_BIN + (1 - _LEAST_BIN * raw.shape[0]) * jax.nn.softmax(raw, axis=0)


def _slopes(raw: Array) -> Array:
    # Zero gives slope one.
    return _LEAST_SLOPE + jax.nn.softplus(raw + float(np.log(np.expm1(1 - _LEAST_SLOPE))))


def _select(knots: _Knots, value: Array, *, by_height: bool) -> _Bin:
    searched = jax.lax.stop_gradient(knots.heights if by_height else knots.widths)
    above = value[None] >= jnp.cumsum(searched[:-1], axis=0)
    index = jnp.sum(above, axis=0, dtype=jnp.int32)[None]

    def pick(table: Array) -> Array:
        # A gather per element; sums over a mask take a third more time, forward and backward together.
        return jnp.take_along_axis(table, index, axis=0, mode="clip")[0]

    width, height = pick(knots.widths), pick(knots.heights)
    x, y = (pick(jnp.cumsum(bins, axis=0)) for bins in (knots.widths, knots.heights))
    return _Bin(x - width, y - height, width, height, pick(knots.slopes[:-1]), pick(knots.slopes[1:]))


def _piece(bin: _Bin, xi: Array) -> tuple[Array, Array]:
    """Value and log slope at the fraction xi of a bin."""
    s = bin.height / bin.width
    product = xi * (1 - xi)
    denominator = s + (bin.left + bin.right - 2 * s) * product
    y = bin.y + bin.height * (s * xi**2 + bin.left * product) / denominator
    numerator = bin.right * xi**2 + 2 * s * product + bin.left * (1 - xi) ** 2
    return y, jnp.log(numerator * (s / denominator) ** 2)


def _unit_forward(knots: _Knots, x: Array) -> tuple[Array, Array]:
    bin = _select(knots, x, by_height=False)
    return _piece(bin, (x - bin.x) / bin.width)


def _unit_inverse(knots: _Knots, y: Array) -> tuple[Array, Array]:
    bin = _select(knots, y, by_height=True)
    s = bin.height / bin.width
    rise = y - bin.y
    curvature = rise * (bin.left + bin.right - 2 * s)
    a = bin.height * (s - bin.left) + curvature
    b = bin.height * bin.left - curvature
    c = -s * rise
    # The root that does not cancel; the discriminant is positive because the slope is.
    xi = jnp.clip(-2 * c / (b + jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, jnp.finfo(y.dtype).tiny))), 0, 1)
    return bin.x + xi * bin.width, -_piece(bin, xi)[1]


class RationalQuadraticSpline(AbstractTransform):
    """A monotone rational-quadratic spline of an interval to itself. arXiv:1906.04032.

    Parameters: logits of the widths and of the heights of the bins, then slopes at the knots; zeros are the identity.

    **Arguments:**

    - `bins`: number of pieces, two or more.
    - `interval`: its two ends.
    - `ends`: `"identity"` continues as y = x outside of the interval (unit slope at the ends, 3 bins - 1 parameters);
      `"fixed"` keeps to the interval and leaves the slopes at its ends free (3 bins + 1 parameters).

    **Raises:** `ValueError` for an empty interval or too many bins. With fixed ends, values outside of the interval (beyond
    rounding) raise `ValueError` as well, and give NaN inside of `jax.jit`, where values are not known.
    """

    bins: int = eqx.field(static=True)
    interval: tuple[float, float] = eqx.field(static=True)
    ends: str = eqx.field(static=True)
    periodic: ClassVar[bool] = False

    def __init__(
        self,
        bins: int,
        interval: tuple[float, float] = (-5.0, 5.0),
        ends: str = "identity",
    ):
        self.bins = _bins("RationalQuadraticSpline", bins)
        finite("RationalQuadraticSpline: interval", np.asarray(interval))
        if not interval[0] < interval[1]:
            raise ValueError(f"RationalQuadraticSpline: got interval={interval}, expected (lower, upper) with lower < upper.")
        if ends not in ("identity", "fixed"):
            raise ValueError(f"RationalQuadraticSpline: got ends={ends!r}, expected 'identity' or 'fixed'.")
        self.interval = (float(interval[0]), float(interval[1]))
        self.ends = ends

    @property
    def parameters(self) -> int:
        return 3 * self.bins + (-1 if self.ends == "identity" else 1)

    def reflected(self, parameters: Array) -> Array:
        parts = jnp.split(parameters, [self.bins, 2 * self.bins])
        return jnp.concatenate([jnp.flip(part, 0) for part in parts])

    def _forward(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        return self._apply(_unit_forward, x, parameters)

    def _inverse(self, y: Array, parameters: Array) -> tuple[Array, Array]:
        return self._apply(_unit_inverse, y, parameters)

    def _apply(self, unit_map, x: Array, parameters: Array) -> tuple[Array, Array]:
        lower, upper = self.interval
        length = upper - lower
        u = (x - lower) / length
        inside = (u >= 0) & (u <= 1)
        value, log_slope = unit_map(self._knots(parameters), jnp.clip(u, 0, 1))
        value = lower + length * value
        if self.ends == "identity":
            return jnp.where(inside, value, x), jnp.where(inside, log_slope, 0)
        # Values computed to lie in the interval may leave it by rounding.
        allowed = jnp.abs(u - 0.5) <= 0.5 + float(np.sqrt(jnp.finfo(x.dtype).eps))
        if not isinstance(allowed, Tracer) and not bool(jnp.all(allowed)):
            raise ValueError(
                f"RationalQuadraticSpline: got values from {float(jnp.min(x)):g} to {float(jnp.max(x)):g}, expected all of "
                f"them in the interval {self.interval}; widen the interval or choose ends='identity'."
            )
        return jnp.where(allowed, value, jnp.nan), jnp.where(allowed, log_slope, jnp.nan)

    def _knots(self, parameters: Array) -> _Knots:
        widths, heights, raw = jnp.split(parameters, [self.bins, 2 * self.bins])
        slopes = _slopes(raw)
        if self.ends == "identity":
            one = jnp.ones_like(slopes[:1])
            slopes = jnp.concatenate([one, slopes, one])
        return _Knots(_shares(widths), _shares(heights), slopes)


class CircularSpline(AbstractTransform):
    """A rational-quadratic spline of the circle that keeps the angle pi fixed, with equal slopes on both sides of it.

    Parameters: logits of the widths and heights of the bins and slopes at the knots, 3 bins in all. Compose it with a
    `Phase` to move the fixed point. arXiv:2002.02428.

    **Arguments:** `bins`: number of pieces, two or more.
    """

    bins: int = eqx.field(static=True)
    periodic: ClassVar[bool] = True

    def __check_init__(self):
        _bins("CircularSpline", self.bins)

    @property
    def parameters(self) -> int:
        return 3 * self.bins

    def reflected(self, parameters: Array) -> Array:
        widths, heights, slopes = jnp.split(parameters, 3)
        # The first slope belongs to the angle pi, which reflection maps to itself.
        parts = [jnp.flip(widths, 0), jnp.flip(heights, 0), slopes[:1], jnp.flip(slopes[1:], 0)]
        return jnp.concatenate(parts)

    def _forward(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        return self._apply(_unit_forward, x, parameters)

    def _inverse(self, y: Array, parameters: Array) -> tuple[Array, Array]:
        return self._apply(_unit_inverse, y, parameters)

    def _apply(self, unit_map, x: Array, parameters: Array) -> tuple[Array, Array]:
        widths, heights, raw = jnp.split(parameters, 3)
        slopes = _slopes(raw)
        knots = _Knots(_shares(widths), _shares(heights), jnp.concatenate([slopes, slopes[:1]]))
        angle, turns = wrap(x)
        value, log_slope = unit_map(knots, jnp.clip(angle / (2 * np.pi) + 0.5, 0, 1))
        return 2 * np.pi * (value - 0.5) + turns, log_slope


def _bins(name: str, bins: int) -> int:
    integer(f"{name}: bins", bins, 2, round(1 / _LEAST_BIN) // 2 + 1)
    return bins
