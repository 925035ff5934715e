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
    variance: Any,
    back: Callable[[Any], tuple[Any, Any, Any]],
) -> tuple[Any, Array, Any]:
    r"""$x' = e^\Delta x$ with normal $\Delta$, and $\log N(-\Delta; m_B, v_B) - \log N(\Delta; m, v)$.

    Both Gaussians live in the tangent space: $(x, \Delta) \to (e^\Delta x, -\Delta)$ preserves Haar times Lebesgue measure,
    so that no Jacobian of the exponential appears. `back(x')` gives mean and variance of the step back, and anything else
    that is returned last. Variances are one number, or one for each component of a product.
    """
    noise = manifold.random_tangent(key, precision(x))
    shift = add(mean, scale(jax.tree.map(jnp.sqrt, variance), noise))
    moved = manifold.exp(shift, x)
    mean_back, variance_back, rest = back(moved)
    # In units of the noise.
    missed = jax.tree.map(lambda a, b: -a - b, shift, mean_back)
    returned = scale(jax.tree.map(lambda v: 1 / jnp.sqrt(v), variance_back), missed)
    change = (manifold.inner(noise, noise) - manifold.inner(returned, returned)) / 2
    volume = manifold.trace(jax.tree.map(lambda v, w: jnp.log(v / w), variance, variance_back)) / 2
    return moved, change + volume.astype(change.dtype), rest
