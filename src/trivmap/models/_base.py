"""The interface of models: densities that can be sampled, with the log density of each sample."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int, Key

from .._parameters import fixed_numbers
from .._types import Configuration
from ..manifolds import AbstractManifold
from ..theories import AbstractTheory


class AbstractModel(eqx.Module):
    r"""A density q on a manifold, known through its samples and their log q; weights towards a theory are -S(x) - log q(x).

    `sample`, `fit`, `gauss_newton`, `step_halving` and all metrics take any model. One of your own gives `manifold` and
    `sample_and_log_prob`, and `log_prob` where the density of a given configuration is known. What only some models can do
    raises an error with the reason until a class defines it.

        class Normal(tm.models.AbstractModel):
            log_width: jax.Array
            manifold: tm.RealField = eqx.field(static=True)

            def sample_and_log_prob(self, key, dtype=None):
                z = jax.random.normal(key, self.manifold.shape, dtype or float)
                log_q = -jnp.sum(z**2) / 2 - z.size * (self.log_width + jnp.log(2 * jnp.pi) / 2)
                return jnp.exp(self.log_width).astype(z.dtype) * z, log_q

        >>> x, log_q = model.sample_and_log_prob(key)
        >>> float(model.log_prob(x))
    """

    manifold: eqx.AbstractVar[AbstractManifold]

    @abc.abstractmethod
    def sample_and_log_prob(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""]]:
        """One configuration and its log density, in the given real precision (JAX's default when `None`)."""

    def log_prob(self, x: Configuration) -> Float[Array, ""]:
        """The log density of a given configuration.

        **Raises:** `TypeError` where it is not known.
        """
        raise TypeError(
            f"A {type(self).__name__} has no method log_prob: the density of a given configuration is not known. Use an "
            "objective that needs samples only, such as reverse_kl, or define log_prob(x)."
        )

    def sample_with_error(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Float[Array, ""]]:
        """A configuration, its log density, and the squared error of integration (zero where nothing is integrated)."""
        x, log_q = self.sample_and_log_prob(key, dtype)
        return x, log_q, jnp.zeros_like(log_q)

    def sample_with_score(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Configuration, Float[Array, ""]]:
        r"""A configuration, its log density, $\partial \log q$ there at fixed parameters, and the error of integration.

        **Raises:** `TypeError` where the density is not known.
        """
        x, log_q, error = self.sample_with_error(key, dtype)
        return x, log_q, jax.grad(fixed_numbers(self).log_prob)(jax.lax.stop_gradient(x)), error

    @property
    def source_shape(self) -> tuple[int, int] | None:
        """(chains, configurations per chain) of stored configurations from which samples start, where they do."""
        return None

    def source_index(self, key: Key[Array, ""]) -> Int[Array, " 2"] | None:
        """Chain and position of the stored configuration from which `sample_and_log_prob(key)` starts, where it does."""
        return None

    @property
    def refinable(self) -> bool:
        """Whether there are integration steps that `refined` makes smaller."""
        return False

    def refined(self, factor: int = 2) -> "AbstractModel":
        """The model with `factor` times as many integration steps.

        **Raises:** `ValueError` where nothing is integrated in a fixed number of steps.
        """
        raise ValueError(f"A {type(self).__name__} has no fixed number of integration steps to refine.")

    def transferred(self, theory: AbstractTheory) -> "AbstractModel":
        """A start for another theory, see `transfer`.

        **Raises:** `TypeError` where the parameters belong to one theory.
        """
        raise TypeError(f"transfer: a {type(self).__name__} has no method `transferred(theory)`.")

    def at(self, theory: AbstractTheory) -> "AbstractModel":
        """The model for a theory: itself, whereas a `ConditionalModel` has one for each."""
        return self
