"""The forward Kullback-Leibler divergence on stored configurations."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Key

from ...models import log_weight_of
from ...statistics import Chain, Ensemble, StoredConfigurations
from ...theories import AbstractTheory


class ForwardKL(eqx.Module):
    r"""The forward Kullback-Leibler divergence (maximum likelihood) on stored configurations of the theory.

    L = -mean log q(x_i),   x_i drawn from the stored configurations with their weights.

    It sees every mode that the data hold, where the reverse divergence may drop one; the data cover what the chain that
    made them has covered. Continuous flows are integrated backwards without the embedded-error term: watch the
    step-halving change.

    **Arguments:** `data`: a `Chain` (all chains) or an `Ensemble` with configurations, or an array with configurations
    along its first axis.

    **Raises:** `ValueError` when observables were kept instead of configurations.

        >>> objective = tm.objectives.ForwardKL(chain)
    """

    data: StoredConfigurations

    def __init__(self, data: Chain | Ensemble | Array | np.ndarray | dict):
        self.data = StoredConfigurations(data, "ForwardKL")

    def __call__(
        self, key: Key[Array, ""], model: Any, theory: AbstractTheory, batch_size: int, *, dtype: DTypeLike | None = None
    ) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
        """The loss and the log weights -S - log q of a batch of the data (its forward ESS is not that of the model)."""
        shape = jax.tree.map(lambda a: a.shape[1:], self.data.configurations)
        if shape != model.manifold.shape:
            raise ValueError(f"The data are configurations of shape {shape}, the model lives on {model.manifold}.")
        batch = self.data.draw(key, batch_size, dtype)
        log_weights, log_probs = eqx.filter_vmap(log_weight_of, in_axes=(None, None, 0))(model, theory, batch)
        return -jnp.mean(log_probs), log_weights
