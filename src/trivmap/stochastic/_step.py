"""One random step with the ratio of its density to that of the step back."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .._trees import add, precision, scale
from ..manifolds import AbstractManifold


def gaussian_step(
    manifold: AbstractManifold,
    key: Key[Array, ""],
    x: Any,
    mean: Any,
    variance: Array,
    back: Callable[[Any], tuple[Any, Array, Any]],
) -> tuple[Any, Array, Any]:
    r"""$x' = e^\Delta x$ with normal $\Delta$, and $\log N(-\Delta; m_B, v_B) - \log N(\Delta; m, v)$.

    Both Gaussians live in the tangent space: $(x, \Delta) \to (e^\Delta x, -\Delta)$ preserves Haar times Lebesgue measure,
    so that no Jacobian of the exponential appears. `back(x')` gives mean and variance of the step back, and anything else
    that is returned last.
    """
    noise = manifold.random_tangent(key, precision(x))
    shift = add(mean, scale(jnp.sqrt(variance), noise))
    moved = manifold.exp(shift, x)
    mean_back, variance_back, rest = back(moved)
    # In units of the noise.
    returned = scale(1 / jnp.sqrt(variance_back), jax.tree.map(lambda a, b: -a - b, shift, mean_back))
    change = (manifold.inner(noise, noise) - manifold.inner(returned, returned)) / 2
    volume = jnp.log(variance / variance_back) * (manifold.dimension / 2)
    return moved, change + volume.astype(change.dtype), rest
