"""The interface of bijections between prior and theory."""

import abc

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from .._parameters import fixed_numbers
from .._types import Configuration
from ..priors import AbstractPrior
from ._transport import AbstractTransport


class AbstractFlow(AbstractTransport):
    """An invertible map of configurations; `forward` leads from the prior to the theory.

    >>> x, log_det = flow.forward_and_log_det(links)
    >>> z, minus = flow.inverse_and_log_det(x)
    """

    @abc.abstractmethod
    def forward_and_log_det(self, z: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        """x = f(z) and log |det df/dz|, in tangent coordinates on groups."""

    @abc.abstractmethod
    def inverse_and_log_det(self, x: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        """z = f^{-1}(x) and log |det df^{-1}/dx|."""

    def forward_and_score(
        self, z: Configuration, score: Configuration
    ) -> tuple[Configuration, Float[Array, ""], Configuration]:
        r"""x = f(z), log |det df/dz|, and $\partial \log q$ at x from `score`, $\partial \log r$ at z, held fixed.

        Scores are derivatives by the numbers of the configuration, as `jax.grad` gives them. Flows that know the Jacobian of
        their layers find the score on the way forward; this one goes back through the inverse.
        """
        x, log_det = self.forward_and_log_det(z)
        return x, log_det, self.score_by_inverse(x, score)

    def score_by_inverse(self, x: Configuration, score: Configuration) -> Configuration:
        """The score at x from that at the point where x came from, through the inverse; held fixed under derivatives."""
        flow, x, score = fixed_numbers((self, x, score))
        (_, log_det), pull = jax.vjp(flow.inverse_and_log_det, x)
        return pull((score, jnp.ones_like(log_det)))[0]

    def sample_from(
        self, key: Key[Array, ""], prior: AbstractPrior, dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""]]:
        z = prior.sample(key, dtype)
        x, log_det = self.forward_and_log_det(z)
        return x, prior.log_prob(z) - log_det

    def forward_with_error(self, z: Configuration) -> tuple[Configuration, Float[Array, ""], Float[Array, ""]]:
        """x, log |det df/dz|, and the squared error of integration that they carry, zero where nothing is integrated."""
        x, log_det = self.forward_and_log_det(z)
        return x, log_det, jnp.zeros_like(log_det)

    def sample_with_error(
        self, key: Key[Array, ""], prior: AbstractPrior, dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Float[Array, ""]]:
        z = prior.sample(key, dtype)
        x, log_det, error = self.forward_with_error(z)
        return x, prior.log_prob(z) - log_det, error

    def sample_with_score(
        self, key: Key[Array, ""], prior: AbstractPrior, dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Configuration, Float[Array, ""]]:
        z = prior.sample(key, dtype)
        log_prior, score = jax.value_and_grad(prior.log_prob)(z)
        x, log_det, score = self.forward_and_score(z, score)
        log_q = log_prior - log_det
        return x, log_q, score, jnp.zeros_like(log_q)

    def log_density(self, prior: AbstractPrior, x: Configuration) -> Float[Array, ""]:
        z, log_det = self.inverse_and_log_det(x)
        return prior.log_prob(z) + log_det

    def forward(self, z: Configuration) -> Configuration:
        """x = f(z)."""
        return self.forward_and_log_det(z)[0]

    def inverse(self, x: Configuration) -> Configuration:
        """z = f^{-1}(x)."""
        return self.inverse_and_log_det(x)[0]
