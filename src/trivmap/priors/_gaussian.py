"""The Gaussian prior of scalar theories."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact, Key

from .._checks import positive
from ..lattice import accumulator_dtype, site_sum
from ..manifolds import AbstractManifold, RealField
from ._base import AbstractPrior


class GaussianPrior(AbstractPrior):
    """Independent normal variables of mean zero on the sites.

    log r(z) = -sum_x [ z_x^2/(2 width^2) + log(width) + log(2 pi)/2 ].

    **Arguments:** `manifold`: a `RealField`. `width`: initial standard deviation per site, in units of the field; its
    logarithm is a parameter that training adapts.

    **Raises:** `ValueError` unless the width is positive; `TypeError` for links, whose prior is `HaarPrior`.

        >>> prior = tm.GaussianPrior(scalar.manifold, width=0.5)
        >>> prior.sample(key).shape
    """

    manifold: RealField
    log_width: Float[Array, ""]

    def __init__(self, manifold: AbstractManifold, width: float = 1.0):
        if not isinstance(manifold, RealField):
            raise TypeError(f"GaussianPrior needs a RealField, but was given {manifold}. For links use HaarPrior.")
        positive("GaussianPrior: width", width)
        self.manifold = manifold
        self.log_width = jnp.log(jnp.asarray(width, float))

    def on(self, manifold: AbstractManifold) -> "GaussianPrior":
        return eqx.tree_at(lambda prior: prior.log_width, GaussianPrior(manifold), self.log_width)

    def sample(self, key: Key[Array, ""], dtype: DTypeLike | None = None) -> Inexact[Array, "*shape"]:
        noise = jax.random.normal(key, self.manifold.shape, dtype=float if dtype is None else dtype)
        return jnp.exp(self.log_width).astype(noise.dtype) * noise

    def log_prob(self, x: Inexact[Array, "*shape"]) -> Float[Array, ""]:
        log_width = self.log_width.astype(accumulator_dtype())
        quadratic = site_sum(x**2) * jnp.exp(-2 * log_width) / 2
        return -quadratic - x.size * (log_width + float(np.log(2 * np.pi)) / 2)
