"""Local features h_j and gates g_l of a site variable, with their derivatives."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._sincos import sincos


class AngleFeatures(eqx.Module):
    """h_j = sin(j W)/j^2 (odd) and g_l = cos(l W)/l (even) of an angle.

    The falling weights keep the velocity smooth: without them training finds fields that vary faster than the steps.
    """

    size: int = eqx.field(static=True)
    gates: int = eqx.field(static=True)

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


class ScalarFeatures(eqx.Module):
    """h = (W, sin(w_j W)/w_j) (odd) and g_l = cos(v_l W) (even) of a real number, frequencies learned (arXiv:2207.00283)."""

    frequencies: Float[Array, " features"]
    gate_frequencies: Float[Array, " gates"]

    @property
    def size(self) -> int:
        return 1 + self.frequencies.size

    @property
    def gates(self) -> int:
        return self.gate_frequencies.size

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
