"""The interface of priors: normalised densities that can be sampled directly."""

import abc

import equinox as eqx
from jaxtyping import Array, DTypeLike, Float, Int, Key

from .._types import Configuration
from ..manifolds import AbstractManifold


class AbstractPrior(eqx.Module):
    """A normalised density on a manifold of configurations, with independent samples.

    >>> prior = tm.GaussianPrior(scalar.manifold)
    >>> prior.log_prob(prior.sample(key))
    """

    manifold: eqx.AbstractVar[AbstractManifold]

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""], dtype: DTypeLike | None = None) -> Configuration:
        """One configuration, in the given real precision (the default precision of JAX when `None`)."""

    @abc.abstractmethod
    def log_prob(self, x: Configuration) -> Float[Array, ""]:
        """The log density with respect to the measure of the manifold, in the accumulator precision."""

    @property
    def uniform(self) -> bool:
        """Whether the density is constant, so that it has no part in gradients and in theories on the way."""
        return False

    @property
    def source_shape(self) -> tuple[int, int] | None:
        """(chains, configurations per chain) of stored configurations from which samples are drawn, where there are such."""
        return None

    def source_index(self, key: Key[Array, ""]) -> Int[Array, " 2"] | None:
        """Chain and position of the stored configuration that `sample(key)` draws, where there are such."""
        return None

    def on(self, manifold: AbstractManifold) -> "AbstractPrior":
        """The prior with the same parameters on another lattice.

        **Raises:** `TypeError` where it belongs to one lattice.
        """
        raise TypeError(f"A {type(self).__name__} belongs to its lattice {self.manifold.lattice}: it has no method `on`.")
