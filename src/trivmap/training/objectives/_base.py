"""What objectives share.

An objective is a function of (key, model, theory, batch_size, dtype=...) that returns a loss, minimal at the theory, and the
log weights -S - log q of a batch.

Fixed-step continuous flows compute a log-det that is wrong by the integrator's error, and an optimiser finds the fields for
which the error is profitable: without a penalty, losses far below the bound -log Z were seen in three theories. Each
objective therefore adds the squared embedded error of every step, which vanishes with the step size.
"""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Key

from ...theories import AbstractTheory


def over_batch(function: Any, key: Key[Array, ""], model: Any, theory: AbstractTheory, batch_size: int) -> Any:
    """`function(key, model, theory)` for every sample of a batch."""
    keys = jax.random.split(key, batch_size)
    return eqx.filter_vmap(function, in_axes=(0, None, None))(keys, model, theory)
