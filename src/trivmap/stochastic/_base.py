"""The interface of transports with noise, and their composition."""

import abc

import equinox as eqx
from jaxtyping import Array, Float, Inexact, Key

from ..manifolds import AbstractManifold
from ..priors import AbstractPrior
from ..theories import AbstractTheory


class AbstractStochasticFlow(eqx.Module):
    r"""A random map of configurations with a weight for its whole path; `forward` leads from the prior to the theory.

    With forward transition densities F and backward ones B, the log weight of a path $x_0 \to x_1 \dots \to x_K$ is

    $$ \ell = \sum_k \log B(x_k | x_{k+1}) - \log F(x_{k+1} | x_k), $$

    which takes the place of the log-det of a bijection: with $\log w = -S(x_K) - \log r(x_0) + \ell$ the mean of w is Z,
    whatever the step sizes, and weighted averages over the end points are exact.
    """

    manifold: eqx.AbstractVar[AbstractManifold]

    @abc.abstractmethod
    def forward_and_log_weight(
        self, key: Key[Array, ""], z: Inexact[Array, "*shape"]
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        """A path from z: its end and its log weight."""

    @abc.abstractmethod
    def backward_and_log_weight(
        self, key: Key[Array, ""], x: Inexact[Array, "*shape"]
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        """A path by the backward transitions from x: its start and sum_k log F - log B along it."""

    def started_from(self, prior: AbstractPrior) -> "AbstractStochasticFlow":
        """The flow with the prior of its model in the place of its own copy, where it has one of the same kind."""
        return self

    def towards(self, theory: AbstractTheory) -> "AbstractStochasticFlow":
        """The flow whose path leads to this theory, where it holds a theory; weights are exact for any end of the path.

        **Raises:** `ValueError` for a theory on another manifold.
        """
        return self
