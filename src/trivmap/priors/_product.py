"""Priors of several fields."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from .._types import Configuration
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold, ProductManifold
from ._base import AbstractPrior


class ProductPrior(AbstractPrior):
    r"""Independent fields with a prior each, $\log r(x) = \sum_i \log r_i(x_i)$, on the `ProductManifold` of their manifolds.

    **Arguments:** `**components`: priors by name, such as `links=HaarPrior(...)`, `phi=GaussianPrior(...)`.

    **Raises:** `ValueError` for none or for different lattices, `TypeError` for what is no prior.

        >>> links, phi = tm.LinkField(tm.U1(), (4, 4)), tm.RealField((4, 4))
        >>> prior = tm.ProductPrior(links=tm.HaarPrior(links), phi=tm.GaussianPrior(phi))
        >>> x = prior.sample(jax.random.key(0))  # {"links": ..., "phi": ...}
    """

    components: dict[str, AbstractPrior]

    def __init__(self, **components: Any):
        wrong = {name: type(prior).__name__ for name, prior in components.items() if not isinstance(prior, AbstractPrior)}
        if wrong:
            raise TypeError(f"ProductPrior: got {wrong}, expected priors, such as phi=GaussianPrior(manifold['phi']).")
        self.components = {name: components[name] for name in sorted(components)}
        _ = self.manifold  # refuses different lattices

    @property
    def manifold(self) -> AbstractManifold:
        return ProductManifold(**{name: prior.manifold for name, prior in self.components.items()})

    @property
    def uniform(self) -> bool:
        return all(prior.uniform for prior in self.components.values())

    def on(self, manifold: Any) -> "ProductPrior":
        return ProductPrior(**{name: prior.on(manifold[name]) for name, prior in self.components.items()})

    def sample(self, key: Key[Array, ""], dtype: DTypeLike | None = None) -> Configuration:
        keys = jax.random.split(key, len(self.components))
        return {name: prior.sample(k, dtype) for k, (name, prior) in zip(keys, self.components.items(), strict=True)}

    def log_prob(self, x: Configuration) -> Float[Array, ""]:
        parts = [prior.log_prob(x[name]) for name, prior in self.components.items()]
        return jnp.sum(jnp.stack(parts), dtype=accumulator_dtype())
