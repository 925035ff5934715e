"""A generative model: a prior pushed through a transport."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Inexact, Key

from ..flows import AbstractFlow, ContinuousFlow
from ..manifolds import AbstractManifold
from ..priors import AbstractPrior
from ..stochastic import AbstractStochasticFlow

# In the embedded error: the configuration moves along many directions at once, the log-det is a single number that enters
# the weight directly.
_POSITION_WEIGHT = 10.0


_Transport = TypeVar("_Transport")


class Model(eqx.Module):
    r"""The density of x = f(z), z from a prior: log q(x) = log r(z) - log |det df/dz|.

    With a stochastic transport, samples come with log r(z) - l, l the log weight of their path: the weights
    exp(-S(x) - log r(z) + l) are as exact, but the density of a given configuration is an integral over paths.

    **Arguments:** `prior`: an `AbstractPrior`. `transport`: a flow or stochastic flow on the same manifold.

    **Raises:** `ValueError` if prior and transport live on different manifolds.
    """

    prior: AbstractPrior
    transport: AbstractFlow | AbstractStochasticFlow

    def __check_init__(self):
        if self.prior.manifold != self.transport.manifold:
            raise ValueError(
                f"The prior lives on {self.prior.manifold}, the transport on {self.transport.manifold}. "
                "Build both from theory.manifold."
            )

    @property
    def manifold(self) -> AbstractManifold:
        return self.prior.manifold

    def sample_and_log_prob(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        """One configuration and its log density, in the given real precision (JAX's default when `None`)."""
        if isinstance(self.transport, AbstractStochasticFlow):
            key, path_key = jax.random.split(key)
            z = self.prior.sample(key, dtype)
            # One prior: the copy inside of the transport follows the one of the model, which may be learned.
            x, log_weight = self.transport.started_from(self.prior).forward_and_log_weight(path_key, z)
            return x, self.prior.log_prob(z) - log_weight
        z = self.prior.sample(key, dtype)
        x, log_det = self.transport.forward_and_log_det(z)
        return x, self.prior.log_prob(z) - log_det

    def log_prob(self, x: Inexact[Array, "*shape"]) -> Float[Array, ""]:
        """The log density of a given configuration, by the inverse transport.

        **Raises:** `TypeError` for a stochastic transport.
        """
        if isinstance(self.transport, AbstractStochasticFlow):
            raise TypeError(
                f"The density of a {type(self.transport).__name__} is an integral over paths; only its samples have weights. "
                "Objectives that need log_prob (reinforce, ForwardKL) are for bijective flows."
            )
        z, log_det = self.transport.inverse_and_log_det(x)
        return self.prior.log_prob(z) + log_det

    def sample_with_error(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""], Float[Array, ""]]:
        """A configuration, its log density, and the embedded error of the flow that made it (zero without integrator)."""
        if not isinstance(self.transport, ContinuousFlow):
            x, log_prob = self.sample_and_log_prob(key, dtype)
            return x, log_prob, jnp.zeros_like(log_prob)
        z = self.prior.sample(key, dtype)
        result = self.transport.integrate(z, error=True)
        assert result.error_x is not None
        assert result.error_log_det is not None
        error = result.error_log_det + _POSITION_WEIGHT * result.error_x
        return result.x, self.prior.log_prob(z) - result.log_det, error

    @property
    def refinable(self) -> bool:
        """Whether the model has integration steps that `refined` makes smaller."""
        return isinstance(self.transport, ContinuousFlow) and self.transport.steps is not None

    def refined(self, factor: int = 2) -> "Model":
        """The model with `factor` times as many integration steps in its continuous flow.

        **Raises:** `ValueError` for a transport that has no fixed number of steps.
        """
        if not isinstance(self.transport, ContinuousFlow):
            raise ValueError(
                f"Only a ContinuousFlow has steps to refine, but the transport is {type(self.transport).__name__}."
            )
        return Model(self.prior, self.transport.refined(factor))


def transport_of(purpose: str, model: Any, kind: type[_Transport]) -> _Transport:
    """The transport of a model, for a method that is made for one kind of transport.

    **Arguments:** `purpose`: what it is needed for, the start of the message, such as "smc runs on the levels of".

    **Raises:** `TypeError` for a model without a transport, or with one of another kind.
    """
    transport = getattr(model, "transport", None)
    if not isinstance(transport, kind):
        given = type(model).__name__ if transport is None else f"model with a {type(transport).__name__}"
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(
            f"{purpose} {article} {kind.__name__}: got a {given}, expected a Model whose transport is of this kind."
        )
    return transport
