"""Priors known through configurations: a theory that has been sampled already."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int, Key

from .._checks import finite
from .._parameters import all_fields
from .._types import Configuration
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ..statistics import StoredConfigurations
from ..theories import AbstractTheory
from ._base import AbstractPrior


class EnsemblePrior(AbstractPrior):
    r"""A theory that was sampled by other means, as the start of a transport to another one (arXiv:1604.05544, 2412.00200).

    $$ \log r(x) = -S_0(x) - \log Z_0. $$

    With an `AnnealedFlow` this is a quench between two couplings: the work done on equilibrium configurations of the first.
    From Wilson's action to Wilson's action every annealing step has Wilson's action again.

    **Arguments:** `theory`: the theory S_0; `data`: a `Chain` or an `Ensemble` (drawn by its weights) of its configurations,
    or an array with configurations along its first axis; `log_z`: log Z_0, zero if it is not known: then `log_z` of the
    samples is log(Z/Z_0).

    Configurations are drawn with replacement. Samples of `sample` know from which one they start (`Ensemble.source`), and
    errors hold the autocorrelation of the chains and repeated draws. An array counts as one chain, in its order. Data and
    couplings are constants for training.

    **Raises:** `ValueError` when observables were kept instead of configurations, or for the shape of another lattice.

        >>> prior = tm.EnsemblePrior(scalar, chain)
        >>> prior.sample(key).shape
    """

    theory: AbstractTheory
    data: StoredConfigurations
    log_z: Float[Array, ""]

    def __init__(self, theory: AbstractTheory, data: Any, log_z: float = 0.0):
        if theory.complex_action:
            raise ValueError(
                f"EnsemblePrior: the action of {type(theory).__name__} is complex, and exp(-S) no density. Chains of it "
                "follow its magnitude: pass theory.phase_quenched."
            )
        self.theory = theory
        self.data = StoredConfigurations(data, type(self).__name__)
        finite("EnsemblePrior: log_z", log_z)
        self.log_z = jnp.asarray(log_z, accumulator_dtype())
        theory.manifold.check(_first(self.data.configurations))

    @property
    def manifold(self) -> AbstractManifold:
        return self.theory.manifold

    def frozen_fields(self) -> frozenset[str]:
        """All of them: neither the theory nor its configurations are learned."""
        return all_fields(self)

    def sample(self, key: Key[Array, ""], dtype: DTypeLike | None = None) -> Configuration:
        return _first(self.data.draw(key, 1, float if dtype is None else dtype))

    @property
    def source_shape(self) -> tuple[int, int] | None:
        return self.data.source_shape

    def source_index(self, key: Key[Array, ""]) -> Int[Array, " 2"] | None:
        return self.data.source(self.data.indices(key, 1)[0])

    def log_prob(self, x: Configuration) -> Float[Array, ""]:
        theory, log_z = jax.lax.stop_gradient((self.theory, self.log_z))
        return (-theory.action(x) - log_z).astype(accumulator_dtype())


def _first(configurations: Any) -> Any:
    return jax.tree.map(lambda a: a[0], configurations)
