"""A generative model: a prior pushed through a transport."""

from typing import Any, TypeVar

from jaxtyping import Array, DTypeLike, Float, Int, Key

from .._types import Configuration
from ..flows import AbstractTransport
from ..manifolds import AbstractManifold
from ..priors import AbstractPrior
from ..theories import AbstractTheory
from ._base import AbstractModel

_Transport = TypeVar("_Transport")


class Model(AbstractModel):
    r"""The density of x = f(z), z from a prior: log q(x) = log r(z) - log |det df/dz|.

    With a stochastic transport, samples come with log r(z) - l, l the log weight of their path: the weights
    exp(-S(x) - log r(z) + l) are as exact, but the density of a given configuration is an integral over paths.

    **Arguments:** `prior`: an `AbstractPrior`. `transport`: a flow or stochastic flow on the same manifold.

    **Raises:** `ValueError` if prior and transport live on different manifolds.

        >>> model = tm.Model(tm.HaarPrior(theory.manifold), flow)
        >>> x, log_q = model.sample_and_log_prob(key)
    """

    prior: AbstractPrior
    transport: AbstractTransport

    def __init__(self, prior: AbstractPrior, transport: AbstractTransport):
        if prior.manifold != transport.manifold:
            raise ValueError(
                f"The prior lives on {prior.manifold}, the transport on {transport.manifold}. "
                "Build both from theory.manifold."
            )
        self.prior, self.transport = prior, transport

    @property
    def manifold(self) -> AbstractManifold:
        return self.prior.manifold

    def sample_and_log_prob(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""]]:
        return self.transport.sample_from(key, self.prior, dtype)

    def log_prob(self, x: Configuration) -> Float[Array, ""]:
        """The log density of a given configuration, by the inverse transport.

        **Raises:** `TypeError` for a stochastic transport.
        """
        return self.transport.log_density(self.prior, x)

    def sample_with_error(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Float[Array, ""]]:
        return self.transport.sample_with_error(key, self.prior, dtype)

    def sample_with_score(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Configuration, Float[Array, ""]]:
        return self.transport.sample_with_score(key, self.prior, dtype)

    @property
    def source_shape(self) -> tuple[int, int] | None:
        return self.prior.source_shape

    def source_index(self, key: Key[Array, ""]) -> Int[Array, " 2"] | None:
        return self.prior.source_index(self.transport.prior_key(key))

    @property
    def refinable(self) -> bool:
        return self.transport.refinable

    def refined(self, factor: int = 2) -> "Model":
        return Model(self.prior, self.transport.refined(factor))

    def transferred(self, theory: AbstractTheory) -> "Model":
        return Model(self.prior.on(theory.manifold), self.transport.transferred(theory))


def transport_of(purpose: str, model: Any, kind: type[_Transport]) -> _Transport:
    """The transport of a model, for a method that is made for one kind of transport.

    **Arguments:** `purpose`: what it is needed for, the start of the message, such as "smc runs along the annealing steps
    of".

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
