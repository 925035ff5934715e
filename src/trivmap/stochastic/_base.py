"""The interface of transports with noise, and their composition."""

import abc

import jax
from jaxtyping import Array, DTypeLike, Float, Key

from .._types import Configuration
from ..flows import AbstractTransport
from ..priors import AbstractPrior
from ..theories import AbstractTheory


class AbstractStochasticFlow(AbstractTransport):
    r"""A random map of configurations with a weight for its whole path; `forward` leads from the prior to the theory.

    With forward transition densities F and backward ones B, the log weight of a path $x_0 \to x_1 \dots \to x_K$ is

    $$ \ell = \sum_k \log B(x_k | x_{k+1}) - \log F(x_{k+1} | x_k), $$

    which takes the place of the log-det of a bijection: with $\log w = -S(x_K) - \log r(x_0) + \ell$ the mean of w is Z,
    whatever the step sizes, and weighted averages over the end points are exact.

        >>> noisy = tm.LangevinFlow(tm.HaarPrior(theory.manifold), theory, 4)
        >>> x, log_weight = noisy.forward_and_log_weight(key, links)
    """

    @abc.abstractmethod
    def forward_and_log_weight(self, key: Key[Array, ""], z: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        """A path from z: its end and its log weight."""

    @abc.abstractmethod
    def backward_and_log_weight(self, key: Key[Array, ""], x: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        """A path by the backward transitions from x: its start and sum_k log F - log B along it."""

    def sample_from(
        self, key: Key[Array, ""], prior: AbstractPrior, dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""]]:
        prior_key, path_key = jax.random.split(key)
        z = prior.sample(prior_key, dtype)
        # One prior: the copy inside of the transport follows the one of the model, which may be learned.
        x, log_weight = self.started_from(prior).forward_and_log_weight(path_key, z)
        return x, prior.log_prob(z) - log_weight

    def prior_key(self, key: Key[Array, ""]) -> Key[Array, ""]:
        return jax.random.split(key)[0]

    def sample_with_score(
        self, key: Key[Array, ""], prior: AbstractPrior, dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Configuration, Float[Array, ""]]:
        raise TypeError(self._no_density())

    def log_density(self, prior: AbstractPrior, x: Configuration) -> Float[Array, ""]:
        raise TypeError(self._no_density())

    def _no_density(self) -> str:
        return (
            f"The density of a {type(self).__name__} is an integral over paths; only its samples have weights. "
            "Objectives that need log_prob (reinforce, path_gradient, ForwardKL) are for bijective flows; use reverse_kl."
        )

    def started_from(self, prior: AbstractPrior) -> "AbstractStochasticFlow":
        """The flow with the prior of its model in the place of its own copy, where it has one of the same kind."""
        return self

    def towards(self, theory: AbstractTheory) -> "AbstractStochasticFlow":
        """The flow whose path leads to this theory, where it holds a theory; weights are exact for any end of the path.

        **Raises:** `ValueError` for a theory on another manifold.
        """
        return self
