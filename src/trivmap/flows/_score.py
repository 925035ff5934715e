"""How the derivative of the log density moves through a flow, without a second pass."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array


def coupling_score(
    layer: Callable[[Array, Array], tuple[Array, Array]],
    active: Array,
    frozen: Array,
    active_score: Array,
    frozen_score: Array,
) -> tuple[Array, Array]:
    r"""The score behind a coupling layer from the score before it.

    The score $s = \partial \log q$ obeys $J^T s' = s - \partial \log\det J$. The layer a' = T(a; f), f' = f has a triangular
    J with the slopes of T in the active block, so that two vector-Jacobian products solve it (arXiv:2403.15881).

    **Arguments:** `layer(active, frozen)` returns the moved active variables and the logarithm of each slope.
    """
    (moved, log_slope), pull = jax.vjp(layer, active, frozen)
    active_slope, frozen_slope = pull((jnp.zeros_like(moved), jnp.ones_like(log_slope)))
    moved_score = (active_score - active_slope) / jnp.exp(log_slope)
    _, through_parameters = pull((moved_score, jnp.zeros_like(log_slope)))
    return moved_score, frozen_score - frozen_slope - through_parameters
