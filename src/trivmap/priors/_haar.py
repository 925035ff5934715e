"""The uniform prior of gauge theories."""

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Inexact, Key

from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold, LinkField
from ._base import AbstractPrior


class HaarPrior(AbstractPrior):
    """Independent Haar-distributed links, log density zero with respect to the Haar measure of total mass one.

    **Arguments:** `manifold`: a `LinkField`; on U(1) the measure is d theta/(2 pi) per link.

    **Raises:** `TypeError` for scalar fields, whose prior is `GaussianPrior`.
    """

    manifold: LinkField

    def __init__(self, manifold: AbstractManifold):
        if not isinstance(manifold, LinkField):
            raise TypeError(f"HaarPrior needs a LinkField, but was given {manifold}. For scalars use GaussianPrior.")
        self.manifold = manifold

    @property
    def uniform(self) -> bool:
        return True

    def on(self, manifold: AbstractManifold) -> "HaarPrior":
        return HaarPrior(manifold)

    def sample(self, key: Key[Array, ""], dtype: DTypeLike | None = None) -> Inexact[Array, "*shape"]:
        return self.manifold.reference_sample(key, dtype)

    def log_prob(self, x: Inexact[Array, "*shape"]) -> Float[Array, ""]:
        return jnp.zeros((), accumulator_dtype())
