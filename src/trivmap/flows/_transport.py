"""What a model asks of its transport, be it a bijection or a path with noise."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from .._types import Configuration
from ..manifolds import AbstractManifold
from ..priors import AbstractPrior
from ..theories import AbstractTheory


class AbstractTransport(eqx.Module):
    r"""A map or a random path from configurations of a prior to those of a theory.

    Derive from `AbstractFlow` or `AbstractStochasticFlow`, which give all methods but their two directions; what only some
    transports can do raises an error with the reason until a class defines it.

        >>> x, log_q = flow.sample_from(key, tm.HaarPrior(theory.manifold))
    """

    manifold: eqx.AbstractVar[AbstractManifold]

    @abc.abstractmethod
    def sample_from(
        self, key: Key[Array, ""], prior: AbstractPrior, dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""]]:
        """A configuration of the prior carried along: its image x, and log q(x) (for paths log r(z) - l)."""

    def sample_with_error(
        self, key: Key[Array, ""], prior: AbstractPrior, dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Float[Array, ""]]:
        """The same with the squared error of integration, zero where nothing is integrated."""
        x, log_q = self.sample_from(key, prior, dtype)
        return x, log_q, jnp.zeros_like(log_q)

    @abc.abstractmethod
    def sample_with_score(
        self, key: Key[Array, ""], prior: AbstractPrior, dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Configuration, Float[Array, ""]]:
        r"""Image, log q, $\partial \log q$ at the image, and error.

        **Raises:** `TypeError` where the density of a configuration is not known.
        """

    @abc.abstractmethod
    def log_density(self, prior: AbstractPrior, x: Configuration) -> Float[Array, ""]:
        """The log density q of a given configuration.

        **Raises:** `TypeError` where it is not known.
        """

    def prior_key(self, key: Key[Array, ""]) -> Key[Array, ""]:
        """The key by which `sample_from(key, prior)` draws from the prior: the whole of it, where nothing else is random."""
        return key

    @property
    def refinable(self) -> bool:
        """Whether there are integration steps that `refined` makes smaller."""
        return False

    def refined(self, factor: int = 2) -> "AbstractTransport":
        """The transport with `factor` times as many integration steps.

        **Raises:** `ValueError` where nothing is integrated in a fixed number of steps.
        """
        raise ValueError(f"A {type(self).__name__} has no fixed number of integration steps; only a ContinuousFlow has.")

    @property
    def evaluations(self) -> int | None:
        """Forces, fields or layers computed for one sample; `None` where there is no fixed number, or none is known."""
        return None

    @property
    def deepenable(self) -> bool:
        """Whether there are layers that `deeper` adds to."""
        return False

    def deeper(self, key: Key[Array, ""], layers: int) -> "AbstractTransport":
        """The transport with new layers behind the ones it has, nearly the identity.

        **Raises:** `TypeError` where there are no layers to add to.
        """
        raise TypeError(
            f"A {type(self).__name__} has no layers of couplings that deeper adds to; put a flow behind it, "
            "FlowSequence(flow, new), or give a ContinuousFlow more steps."
        )

    def on(self, manifold: AbstractManifold) -> "AbstractTransport":
        """The transport with the same parameters on another lattice.

        **Raises:** `TypeError` where the parameters belong to one lattice.
        """
        raise TypeError(
            f"The parameters of a {type(self).__name__} belong to its lattice {self.manifold.lattice}: it has no method `on`."
        )

    def transferred(self, theory: AbstractTheory) -> "AbstractTransport":
        """A start for another theory: other extents, and the coupling where the transport follows it.

        **Raises:** `TypeError` as `on`.
        """
        return self.on(theory.manifold)
