"""Stored configurations to train on."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact, Int, Key, PyTree

from .._parameters import all_fields
from .._trees import cast, length
from ._data import Chain, Ensemble
from ._fields import flat_chains
from ._source import Source


class StoredConfigurations(eqx.Module):
    """Configurations of a theory with their log weights, as constants.

    **Arguments:** `data`: a `Chain` (all chains) or an `Ensemble` with configurations, or an array with configurations along
    its first axis (a dictionary of arrays for a product of manifolds); `user`: who needs them, for the error.

    **Raises:** `ValueError` when observables were kept instead of configurations.
    """

    configurations: PyTree[Inexact[Array, "samples ..."]]
    log_weights: Float[Array, " samples"]
    known_sources: Int[Array, "samples 2"] | None
    source_shape: tuple[int, int] = eqx.field(static=True)

    def __init__(self, data: Any, user: str):
        configurations = data.configurations if isinstance(data, Chain | Ensemble) else data
        if configurations is None:
            raise ValueError(f"{user} needs configurations, but this data keeps observables only: run without measure=.")
        self.source_shape = _source_shape(data, configurations)
        known: Source | None = getattr(data, "source", None)
        self.known_sources = None if known is None else jnp.asarray(known.index.astype(np.int32))
        if isinstance(data, Chain):
            configurations = flat_chains(configurations)
        self.configurations = jax.tree.map(jnp.asarray, configurations)
        weights = data.log_weights if isinstance(data, Ensemble) else np.zeros(length(configurations))
        self.log_weights = jnp.asarray(weights, jnp.zeros(0).dtype)

    def frozen_fields(self) -> frozenset[str]:
        """All of them: data are not learned."""
        return all_fields(self)

    def indices(self, key: Key[Array, ""], count: int) -> Int[Array, " count"]:
        """Which configurations `draw` draws."""
        return jax.random.categorical(key, jax.lax.stop_gradient(self.log_weights), shape=(count,))

    def source(self, index: Int[Array, ""]) -> Int[Array, " 2"]:
        """Chain and position of one of the configurations, those of their own source where they start from stored ones."""
        if self.known_sources is not None:
            return self.known_sources[index]
        return jnp.stack(jnp.divmod(index, self.source_shape[1]))

    def draw(self, key: Key[Array, ""], count: int, dtype: DTypeLike | None) -> PyTree[Inexact[Array, "count ..."]]:
        """Configurations drawn by their weights, in the given real precision."""
        index = self.indices(key, count)
        batch = jax.tree.map(lambda a: a[index], jax.lax.stop_gradient(self.configurations))
        return batch if dtype is None else cast(batch, dtype)


def _source_shape(data: Any, configurations: Any) -> tuple[int, int]:
    """(chains, configurations per chain). Those of an ensemble have no order in time: each is a chain of its own."""
    if isinstance(data, Ensemble):
        return (len(data), 1) if data.source is None else data.source.shape
    return data.shape if isinstance(data, Chain) else (1, length(configurations))
