"""Stored configurations to train on."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact, Key

from .._parameters import all_fields
from ..groups import to_complex
from ._data import Chain, Ensemble


class StoredConfigurations(eqx.Module):
    """Configurations of a theory with their log weights, as constants.

    **Arguments:** `data`: a `Chain` (all chains) or an `Ensemble` with configurations, or an array with configurations along
    its first axis; `user`: who needs them, for the error.

    **Raises:** `ValueError` when observables were kept instead of configurations.
    """

    configurations: Inexact[Array, "samples ..."]
    log_weights: Float[Array, " samples"]

    def __init__(self, data: Any, user: str):
        configurations = data.configurations if isinstance(data, Chain | Ensemble) else data
        if configurations is None:
            raise ValueError(f"{user} needs configurations, but this data keeps observables only: run without measure=.")
        if isinstance(data, Chain):
            configurations = configurations.reshape(-1, *configurations.shape[2:])
        self.configurations = jnp.asarray(configurations)
        weights = data.log_weights if isinstance(data, Ensemble) else np.zeros(len(configurations))
        self.log_weights = jnp.asarray(weights, jnp.zeros(0).dtype)

    def frozen_fields(self) -> frozenset[str]:
        """All of them: data are not learned."""
        return all_fields(self)

    def draw(self, key: Key[Array, ""], count: int, dtype: DTypeLike | None) -> Inexact[Array, "count ..."]:
        """Configurations drawn by their weights, in the given real precision."""
        index = jax.random.categorical(key, jax.lax.stop_gradient(self.log_weights), shape=(count,))
        batch = jax.lax.stop_gradient(self.configurations)[index]
        if dtype is None:
            return batch
        return batch.astype(to_complex(dtype) if jnp.iscomplexobj(batch) else dtype)
