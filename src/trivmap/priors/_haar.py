"""The uniform prior of compact manifolds."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from .._types import Configuration
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ._base import AbstractPrior


class HaarPrior(AbstractPrior):
    """The reference measure of a compact manifold: log density zero with respect to it, of total mass one.

    Independent links from the Haar measure of the group, or independent unit vectors from the rotation invariant measure.

    **Arguments:** `manifold`: a `LinkField` (on U(1) the measure is d theta/(2 pi) per link), a `SphereField`, a product of
    these, or one of your own whose `reference_sample` draws from its measure.

    **Raises:** `TypeError` for scalar fields, whose prior is `GaussianPrior`.

        >>> prior = tm.HaarPrior(tm.SphereField(3, (4, 4)))
        >>> x = prior.sample(key)
    """

    manifold: AbstractManifold

    def __init__(self, manifold: AbstractManifold):
        try:
            jax.eval_shape(manifold.reference_sample, jax.random.key(0))
        except (TypeError, AttributeError):
            # The Lebesgue measure of scalars refuses to be sampled, and what is no manifold has none.
            raise TypeError(
                f"HaarPrior needs a manifold with a measure of total mass one (LinkField, SphereField), but was given "
                f"{manifold}. For scalars use GaussianPrior."
            ) from None
        self.manifold = manifold

    @property
    def uniform(self) -> bool:
        return True

    def on(self, manifold: AbstractManifold) -> "HaarPrior":
        return HaarPrior(manifold)

    def sample(self, key: Key[Array, ""], dtype: DTypeLike | None = None) -> Configuration:
        return self.manifold.reference_sample(key, dtype)

    def log_prob(self, x: Configuration) -> Float[Array, ""]:
        return jnp.zeros((), accumulator_dtype())
