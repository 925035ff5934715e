"""A model made symmetric under a change of sign of the field."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Inexact, Key

from ..manifolds import AbstractManifold, RealField
from ._model import Model


class SymmetrisedModel(eqx.Module):
    r"""The mixture of a model and its mirror image: $q_{sym}(\phi) = [q(\phi) + q(-\phi)]/2$.

    For theories with two phases of opposite magnetisation: train a model on one of them and symmetrise it; the weights are
    exact, whatever the overlap of the two halves. Samples get a random sign, the density takes one inverse flow.
    arXiv:2107.00734.

    **Arguments:** `model`: a `Model` of a scalar field or of U(1) links (where the change of sign is charge conjugation).

    **Raises:** `TypeError` for complex configurations.
    """

    model: Model

    def __check_init__(self):
        manifold = self.model.manifold
        if not isinstance(manifold, RealField) and getattr(getattr(manifold, "group", None), "complex_elements", True):
            raise TypeError(f"SymmetrisedModel: got a model of {manifold}, expected a scalar field or U(1) links.")

    @property
    def manifold(self) -> AbstractManifold:
        return self.model.manifold

    def sample_and_log_prob(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        """One configuration and its log density."""
        key, sign_key = jax.random.split(key)
        return self._mirrored(sign_key, *self.model.sample_and_log_prob(key, dtype))

    def sample_with_error(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""], Float[Array, ""]]:
        """A configuration, its log density, and the embedded error of the flow that made it (zero without integrator)."""
        key, sign_key = jax.random.split(key)
        x, log_q, error = self.model.sample_with_error(key, dtype)
        return *self._mirrored(sign_key, x, log_q), error

    @property
    def refinable(self) -> bool:
        """Whether the model has integration steps that `refined` makes smaller."""
        return self.model.refinable

    def refined(self, factor: int = 2) -> "SymmetrisedModel":
        """The model with `factor` times as many integration steps in its continuous flow."""
        return SymmetrisedModel(self.model.refined(factor))

    def log_prob(self, x: Inexact[Array, "*shape"]) -> Float[Array, ""]:
        """The log density of a given configuration."""
        return _mean(self.model.log_prob(x), self.model.log_prob(-x))

    def _mirrored(self, key: Array, x: Array, log_q: Array) -> tuple[Array, Array]:
        return jax.random.rademacher(key, (), x.dtype) * x, _mean(log_q, self.model.log_prob(-x))


def _mean(a: Array, b: Array) -> Array:
    return jnp.logaddexp(a, b) - math.log(2)
