"""Eigenphases of SU(n) as gaps in the Weyl alcove, and maps of the alcove to itself by splines.

Sorted phases x_1 <= ... <= x_n with sum zero and x_n - x_1 <= 2 pi have the gaps g_i = x_{i+1} - x_i and
g_n = 2 pi - (x_n - x_1): non-negative numbers of sum 2 pi, any of which vanishes where two eigenvalues meet. With
T_k = g_1 + ... + g_k the box coordinates are u_k = T_k/T_{k+1} in [0, 1]; for SU(2) u = theta/pi, for SU(3) (u_2, u_1) are
the (w, r) of the literature. Small gaps keep their relative precision, so that the log-det of a map and of its inverse agree
also next to degenerate eigenvalues.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Key

from ..groups import eigenphases, spectral_matrix
from ..transforms import RationalQuadraticSpline
from ._networks import PointwiseNetwork


def to_alcove(theta: Float[Array, "n *sites"]) -> tuple[Float[Array, "n *sites"], Array]:
    """Gaps of ascending phases in [-pi, pi], and which of them is the i-th in the alcove (a cyclic rotation)."""
    n = theta.shape[0]
    # The sum is 2 pi k: the k largest phases come down by 2 pi, or the -k smallest go up, and the cyclic order stays.
    turns = jnp.round(jnp.sum(theta, axis=0) / (2 * np.pi)).astype(jnp.int32)
    column = jnp.arange(n, dtype=jnp.int32).reshape(n, *(1 for _ in turns.shape))
    order = (column - turns[None]) % n
    gaps = jnp.concatenate([theta[1:] - theta[:-1], 2 * np.pi - (theta[-1:] - theta[:1])])
    gaps = jnp.take_along_axis(gaps, order, axis=0)
    # Degenerate eigenvalues: logarithms and ratios of gaps stay finite, at the expense of rounding.
    return jnp.maximum(gaps, _least_gap(gaps)), order


def _least_gap(gaps: Array) -> float:
    return 16 * float(jnp.finfo(gaps.dtype).eps)


def from_alcove(gaps: Float[Array, "n *sites"]) -> Float[Array, "n *sites"]:
    """Phases with sum zero."""
    n = gaps.shape[0]
    weights = jnp.arange(n, dtype=gaps.dtype).reshape(n, *(1 for _ in gaps.shape[1:]))
    above = jnp.concatenate([jnp.zeros_like(gaps[:1]), jnp.cumsum(gaps[:-1], axis=0)])
    # x_i = x_1 + g_1 + ... + g_{i-1} with n x_1 = -sum_i (n - i) g_i.
    first = -jnp.sum((n - 1 - weights)[:-1] * gaps[:-1], axis=0) / n
    return first[None] + above


def log_haar(gaps: Float[Array, "n *sites"]) -> Float[Array, "*sites"]:
    """log prod_{i<j} |exp(i x_i) - exp(i x_j)|^2."""
    n = gaps.shape[0]
    total = jnp.zeros_like(gaps[0])
    for i in range(n):
        for j in range(i + 1, n):
            inside = jnp.sum(gaps[i:j], axis=0)
            outside = jnp.sum(gaps[j:], axis=0) + jnp.sum(gaps[:i], axis=0)
            total = total + 2 * jnp.log(2 * jnp.sin(jnp.minimum(inside, outside) / 2))
    return total


class AlcoveMap(eqx.Module):
    """A bijection of the alcove: monotone splines of the box coordinates, from the outermost (k = n - 1) inwards.

    Every spline keeps both ends, so that degenerate eigenvalues stay degenerate. Its parameters come from a network of a
    context and, if `autoregressive`, of the outer coordinates.
    """

    networks: tuple[PointwiseNetwork, ...]
    spline: RationalQuadraticSpline
    n: int = eqx.field(static=True)
    autoregressive: bool = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        n: int,
        *,
        context: int,
        bins: int,
        hidden: tuple[int, ...],
        autoregressive: bool,
        dtype: DTypeLike | None = None,
    ):
        self.n, self.autoregressive = n, autoregressive
        self.spline = RationalQuadraticSpline(bins, (0.0, 1.0), ends="fixed")
        self.networks = tuple(
            # Without any input there is nothing to hide: one constant vector.
            PointwiseNetwork(k, (max(inputs, 1), *(hidden if inputs else ()), self.spline.parameters), dtype=dtype)
            for k, inputs in zip(_keys(key, n - 1), self._inputs(context), strict=True)
        )

    def _inputs(self, context: int) -> list[int]:
        return [context + (level if self.autoregressive else 0) for level in range(self.n - 1)]

    def __call__(
        self, gaps: Float[Array, "n *sites"], context: Float[Array, "*sites context"], *, inverse: bool
    ) -> tuple[Float[Array, "n *sites"], Float[Array, "*sites"]]:
        """The image of the gaps and the log-det with respect to Haar measure."""
        total = jnp.full_like(gaps[0], 2 * np.pi)
        moved_total, log_det = total, jnp.zeros_like(total)
        partial = jnp.cumsum(gaps, axis=0)
        images, features = [], []
        for level in range(self.n - 1):
            k = self.n - 1 - level
            low, high = partial[k - 1] / total, gaps[k] / total
            new_low, new_high, log_slope = self._coordinate(level, low, high, context, features, inverse)
            # Splines act on ratios u_k = T_k/T_{k+1}; the Jacobian from gaps to ratios, prod_k 1/T_{k+1}, enters below, for
            # the image and for the gaps, except for T_n = 2 pi, which is constant.
            log_det = log_det + log_slope
            # The conditioner sees coordinates before the map in both directions.
            features.append(2 * (new_low if inverse else low) - 1)
            images.append(new_high * moved_total)
            total, moved_total = partial[k - 1], new_low * moved_total
            if k > 1:
                log_det = log_det + jnp.log(moved_total) - jnp.log(total)
        moved = jnp.stack([moved_total, *images[::-1]])
        return moved, log_det + log_haar(moved) - log_haar(gaps)

    def _coordinate(self, level, low, high, context, features, inverse) -> tuple[Array, Array, Array]:
        inputs = [context, *(f[..., None] for f in features)] if self.autoregressive else [context]
        joined = jnp.concatenate(inputs, axis=-1)
        if joined.shape[-1] == 0:
            joined = jnp.zeros((*low.shape, 1), low.dtype)
        parameters = jnp.moveaxis(self.networks[level](joined), -1, 0).astype(low.dtype)
        # From the nearer end, by the reflected spline if it is the upper one: distances to both ends keep their precision.
        lower = low <= high
        chosen = jnp.where(lower[None], parameters, self.spline.reflected(parameters))
        apply = self.spline.inverse if inverse else self.spline.forward
        # No minimum: where both agree its derivative would be the mean of two that are opposite.
        near, log_slope = apply(jnp.where(lower, low, high), chosen)
        return jnp.where(lower, near, 1 - near), jnp.where(lower, 1 - near, near), log_slope


def _keys(key: Key[Array, ""], count: int) -> list[Array]:
    return list(jax.random.split(key, count))


def spectral_map(
    alcove_map: AlcoveMap, w: Array, context: Float[Array, "sites context"], *, inverse: bool
) -> tuple[Array, Float[Array, " sites"]]:
    """h(W) with the eigenvectors of W and mapped eigenphases, and its log-det with respect to Haar measure.

    At degenerate eigenvalues h of SU(2) has the derivative of the limit, and the log-det, which has a kink there, its mean
    over directions, zero. For n > 2 h itself has kinks where eigenvalues meet: its derivatives there are NaN.
    """
    theta, v = eigenphases(w)
    gaps, order = to_alcove(theta)
    moved, log_det = alcove_map(gaps, context, inverse=inverse)
    image = spectral_matrix(from_alcove(moved), jnp.take_along_axis(v, order[None], axis=1))
    fixed = jax.lax.stop_gradient(gaps)
    degenerate = jnp.min(fixed, axis=0) <= _least_gap(gaps)
    if alcove_map.n == 2:
        # Eigenvectors have no derivative here; h(W) = cos x' + (sin x'/sin x)(W - cos x) with x half a gap needs none.
        half, half_moved = jnp.min(gaps, axis=0) / 2, jnp.min(moved, axis=0) / 2
        sign = jnp.where(fixed[0] <= fixed[1], 1, -1).astype(half.dtype)
        unit = jnp.eye(2, dtype=w.dtype).reshape(2, 2, *(1 for _ in half.shape))
        cosine, cosine_moved = ((sign * jnp.cos(x)).astype(w.dtype)[None, None] for x in (half, half_moved))
        ratio = (jnp.sin(half_moved) / jnp.sin(half)).astype(w.dtype)[None, None]
        limit = cosine_moved * unit + ratio * (w - cosine * unit)
        return jnp.where(degenerate[None, None], limit, image), log_det
    # Three eigenvalues within this distance: rates of change of order one over it are nobody's derivative.
    nearly = jnp.min(fixed + jnp.roll(fixed, 1, axis=0), axis=0) < float(jnp.finfo(gaps.dtype).eps) ** 0.5
    kink = _kink(w, (degenerate | nearly)[None, None])
    return image + kink, log_det + jnp.sum(jnp.real(kink), axis=(0, 1))


@jax.custom_jvp
def _kink(w: Array, where: Array) -> Array:
    """Zero, whose derivative by w is NaN at the sites `where`: derivatives by parameters alone stay finite."""
    # No constant: vmap of the rule below takes outputs for batched only if they depend on what is (jax 0.10).
    return 0 * w


def _kink_jvp(primals, tangents):
    (w, where), (dw, _) = primals, tangents
    if isinstance(dw, jax.custom_derivatives.SymbolicZero):
        return 0 * w, 0 * w
    return 0 * w, dw * jnp.where(where, jnp.nan, 0).astype(w.dtype)


_kink.defjvp(_kink_jvp, symbolic_zeros=True)
