"""A model made symmetric under a change of sign of the field."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int, Key

from .._types import Configuration
from ..manifolds import AbstractManifold, RealField
from ..theories import AbstractTheory
from ._base import AbstractModel


class SymmetrisedModel(AbstractModel):
    r"""The mixture of a model and its mirror image: $q_{sym}(\phi) = [q(\phi) + q(-\phi)]/2$.

    For theories with two phases of opposite magnetisation: train a model on one of them and symmetrise it; the weights are
    exact, whatever the overlap of the two halves. Samples get a random sign, the density takes one inverse flow.
    arXiv:2107.00734.

    **Arguments:** `model`: a model, with `log_prob`, of a scalar field or of U(1) links (where the change of sign is charge
    conjugation).

    **Raises:** `TypeError` for complex configurations.

        >>> prior = tm.GaussianPrior(scalar.manifold)
        >>> symmetric = tm.models.SymmetrisedModel(tm.Model(prior, tm.flows.Rescaling(scalar.manifold)))
    """

    model: AbstractModel

    def __init__(self, model: AbstractModel):
        manifold = model.manifold
        if not isinstance(manifold, RealField) and getattr(getattr(manifold, "group", None), "complex_elements", True):
            raise TypeError(f"SymmetrisedModel: got a model of {manifold}, expected a scalar field or U(1) links.")
        self.model = model

    @property
    def manifold(self) -> AbstractManifold:
        return self.model.manifold

    def sample_and_log_prob(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""]]:
        key, sign_key = jax.random.split(key)
        return self._mirrored(sign_key, *self.model.sample_and_log_prob(key, dtype))

    def sample_with_error(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Float[Array, ""]]:
        key, sign_key = jax.random.split(key)
        x, log_q, error = self.model.sample_with_error(key, dtype)
        return *self._mirrored(sign_key, x, log_q), error

    @property
    def source_shape(self) -> tuple[int, int] | None:
        return self.model.source_shape

    def source_index(self, key: Key[Array, ""]) -> Int[Array, " 2"] | None:
        return self.model.source_index(jax.random.split(key)[0])

    @property
    def refinable(self) -> bool:
        return self.model.refinable

    def refined(self, factor: int = 2) -> "SymmetrisedModel":
        return SymmetrisedModel(self.model.refined(factor))

    def transferred(self, theory: AbstractTheory) -> "SymmetrisedModel":
        return SymmetrisedModel(self.model.transferred(theory))

    def log_prob(self, x: Configuration) -> Float[Array, ""]:
        """The log density of a given configuration."""
        return _mean(self.model.log_prob(x), self.model.log_prob(-x))

    def _mirrored(self, key: Array, x: Array, log_q: Array) -> tuple[Array, Array]:
        return jax.random.rademacher(key, (), x.dtype) * x, _mean(log_q, self.model.log_prob(-x))


def _mean(a: Array, b: Array) -> Array:
    return jnp.logaddexp(a, b) - math.log(2)
