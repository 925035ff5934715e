"""Local features h_j and gates g_l of a site variable, with their derivatives."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..lattice import Region
from ._sincos import sincos


class _Everywhere(eqx.Module):
    """Features of a field that moves on the whole lattice."""

    def moving(self, a: Array) -> Array:
        """What of a site variable belongs to sites that move."""
        return a


class AngleFeatures(_Everywhere):
    """h_j = sin(j W)/j^2 (odd) and g_l = cos(l W)/l (even) of an angle.

    The falling weights keep the velocity smooth: without them training finds fields that vary faster than the steps.
    """

    size: int = eqx.field(static=True)
    gates: int = eqx.field(static=True)

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of features and gates that a user asks for."""
        return self.size, self.gates

    def __call__(self, w: Float[Array, "*lattice"]) -> tuple[Array, Array, Array, Array]:
        """Stacked (h, dh/dW, g, dg/dW), features on the leading axis."""
        cosines, sines = _multiples(*sincos(w), max(self.size, self.gates))
        h = [sines[j - 1] / j**2 for j in range(1, self.size + 1)]
        dh = [cosines[j - 1] / j for j in range(1, self.size + 1)]
        g = [cosines[j - 1] / j for j in range(1, self.gates + 1)]
        dg = [-sines[j - 1] for j in range(1, self.gates + 1)]
        return jnp.stack(h), jnp.stack(dh), jnp.stack(g), jnp.stack(dg)


def _multiples(sine: Array, cosine: Array, size: int) -> tuple[list[Array], list[Array]]:
    """cos(j w) and sin(j w), j = 1..size, by rotation: one evaluation of the transcendental functions serves all."""
    cosines, sines = [cosine], [sine]
    for _ in range(size - 1):
        c, s = cosines[-1], sines[-1]
        cosines.append(c * cosine - s * sine)
        sines.append(s * cosine + c * sine)
    return cosines, sines


class ScalarFeatures(_Everywhere):
    """h = (W, sin(w_j W)/w_j) (odd) and g_l = cos(v_l W) (even) of a real number, frequencies learned (arXiv:2207.00283)."""

    frequencies: Float[Array, " features"]
    gate_frequencies: Float[Array, " gates"]

    @property
    def size(self) -> int:
        return 1 + self.frequencies.size

    @property
    def gates(self) -> int:
        return self.gate_frequencies.size

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of features and gates that a user asks for."""
        return self.size, self.gates

    def __call__(self, w: Float[Array, "*lattice"]) -> tuple[Array, Array, Array, Array]:
        """Stacked (h, dh/dW, g, dg/dW), features on the leading axis."""
        column = (-1,) + (1,) * w.ndim
        omega = self.frequencies.astype(w.dtype).reshape(column)
        nu = self.gate_frequencies.astype(w.dtype).reshape(column)
        sine, cosine = sincos(jnp.concatenate([omega, nu]) * w[None])
        size = self.frequencies.size
        h = jnp.concatenate([w[None], sine[:size] / omega])
        dh = jnp.concatenate([jnp.ones_like(w)[None], cosine[:size]])
        return h, dh, cosine[size:], -nu * sine[size:]


class RegionFeatures(eqx.Module):
    """Features of a field that moves in a region only: each of them everywhere, and once more where the field moves.

    Convolutions can then tell sites that flow from frozen ones around them.
    """

    features: ScalarFeatures
    region: Region = eqx.field(static=True)

    @property
    def size(self) -> int:
        return 2 * self.features.size

    @property
    def gates(self) -> int:
        return 2 * self.features.gates

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of features and gates that a user asks for."""
        return self.features.counts

    def moving(self, a: Array) -> Array:
        """What of a site variable belongs to sites that move, zero elsewhere."""
        return self.region.restricted(a)

    def __call__(self, w: Float[Array, "*lattice"]) -> tuple[Array, Array, Array, Array]:
        """Stacked (h, dh/dW, g, dg/dW), features on the leading axis."""
        h, dh, g, dg = (jnp.concatenate([a, self.moving(a)]) for a in self.features(w))
        return h, dh, g, dg
