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
    """Knots x, y from exactly 0 to exactly 1, and slopes, all (bins + 1, *shape), of a map of [0, 1] to itself."""

    x: Array
    y: Array
    slopes: Array


class _Bin(NamedTuple):
    """What a rational-quadratic piece needs, selected for every element."""

    x: Array
    y: Array
    width: Array
    height: Array
    left: Array
    right: Array


def _positions(raw: Array) -> Array:
    """Knots from logits of the bins. Sums of shares miss 1 by rounding: the last knot is set, and bins are differences."""
    shares = _LEAST_BIN + (1 - _LEAST_BIN * raw.shape[0]) * jax.nn.softmax(raw, axis=0)
    inner = jnp.cumsum(shares[:-1], axis=0)
    return jnp.concatenate([jnp.zeros_like(raw[:1]), inner, jnp.ones_like(raw[:1])])


def _slopes(raw: Array) -> Array:
    # Zero gives slope one.
    return _LEAST_SLOPE + jax.nn.softplus(raw + float(np.log(np.expm1(1 - _LEAST_SLOPE))))


def _select(knots: _Knots, value: Array, *, by_height: bool) -> _Bin:
    searched = jax.lax.stop_gradient(knots.y if by_height else knots.x)
    index = jnp.sum(value[None] >= searched[1:-1], axis=0, dtype=jnp.int32)[None]

    def pick(table: Array) -> Array:
        # A gather per element; sums over a mask take a third more time, forward and backward together.
        return jnp.take_along_axis(table, index, axis=0, mode="clip")[0]

    x, y = pick(knots.x[:-1]), pick(knots.y[:-1])
    return _Bin(x, y, pick(knots.x[1:]) - x, pick(knots.y[1:]) - y, pick(knots.slopes[:-1]), pick(knots.slopes[1:]))


def _rise(bin: _Bin, xi: Array) -> Array:
    """Value above the left knot at the fraction xi of a bin."""
    s = bin.height / bin.width
    product = xi * (1 - xi)
    return bin.height * (s * xi**2 + bin.left * product) / (s + (bin.left + bin.right - 2 * s) * product)


def _log_slope(bin: _Bin, xi: Array) -> Array:
    s = bin.height / bin.width
    product = xi * (1 - xi)
    denominator = s + (bin.left + bin.right - 2 * s) * product
    numerator = bin.right * xi**2 + 2 * s * product + bin.left * (1 - xi) ** 2
    return jnp.log(numerator * (s / denominator) ** 2)


@jax.custom_jvp
def _fraction(bin: _Bin, rise: Array) -> Array:
    """The fraction of a bin at which the value is `rise`; at knots, too, with the derivatives of the implicit function."""
    s = bin.height / bin.width
    curvature = rise * (bin.left + bin.right - 2 * s)
    a = bin.height * (s - bin.left) + curvature
    b = bin.height * bin.left - curvature
    c = -s * rise
    root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, jnp.finfo(rise.dtype).tiny))
    # The form that does not cancel; a is positive where b is not.
    positive = b >= 0
    xi = jnp.where(positive, -2 * c, root - b) / jnp.where(positive, b + root, 2 * a)
    xi = jnp.clip(xi, 0, 1)
    # The digits that the discriminant has lost.
    return jnp.clip(xi - (_rise(bin, xi) - rise) / (bin.width * jnp.exp(_log_slope(bin, xi))), 0, 1)


@_fraction.defjvp
def _fraction_jvp(primals, tangents):
    (bin, rise), (dbin, drise) = primals, tangents
    xi = _fraction(bin, rise)
    moved = jax.jvp(lambda b: _rise(b, xi), (bin,), (dbin,))[1]
    return xi, (drise - moved) / (bin.width * jnp.exp(_log_slope(bin, xi)))


def _unit_forward(knots: _Knots, x: Array) -> tuple[Array, Array]:
    bin = _select(knots, x, by_height=False)
    xi = (x - bin.x) / bin.width
    return bin.y + _rise(bin, xi), _log_slope(bin, xi)


def _unit_inverse(knots: _Knots, y: Array) -> tuple[Array, Array]:
    bin = _select(knots, y, by_height=True)
    xi = _fraction(bin, y - bin.y)
    return bin.x + xi * bin.width, -_log_slope(bin, xi)


def _within_unit(u: Array) -> Array:
    """u in [0, 1], which rounding may have left; the derivative is one, at both ends, too."""
    return u + jax.lax.stop_gradient(jnp.clip(u, 0, 1) - u)


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

        >>> spline = tm.transforms.RationalQuadraticSpline(8)
        >>> flow = tm.CouplingFlow(key, scalar.manifold, 2, spline, hidden=(4,))
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
        value, log_slope = unit_map(self._knots(parameters), _within_unit(u))
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
        return _Knots(_positions(widths), _positions(heights), slopes)


class CircularSpline(AbstractTransform):
    """A rational-quadratic spline of the circle that keeps the angle pi fixed, with equal slopes on both sides of it.

    Parameters: logits of the widths and heights of the bins and slopes at the knots, 3 bins in all. Compose it with a
    `Phase` to move the fixed point. arXiv:2002.02428.

    **Arguments:** `bins`: number of pieces, two or more.

        >>> flow = tm.GaugeCouplingFlow(key, theory.manifold, 4, tm.transforms.CircularSpline(8), hidden=(4,))
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
        knots = _Knots(_positions(widths), _positions(heights), jnp.concatenate([slopes, slopes[:1]]))
        angle, turns = wrap(x)
        value, log_slope = unit_map(knots, _within_unit(angle / (2 * np.pi) + 0.5))
        return 2 * np.pi * (value - 0.5) + turns, log_slope


def _bins(name: str, bins: int) -> int:
    integer(f"{name}: bins", bins, 2, round(1 / _LEAST_BIN) // 2 + 1)
    return bins
