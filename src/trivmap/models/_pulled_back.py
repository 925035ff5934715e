"""A theory in the variables of a flow."""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from .._types import Array
from ..flows import AbstractFlow
from ..manifolds import AbstractManifold
from ..statistics import Chain
from ..theories import AbstractTheory


class PulledBackTheory(AbstractTheory):
    r"""A theory in the variables z of a flow, x = f(z): $S_f(z) = S(f(z)) - \log\det f(z)$.

    Any kernel that knows no more than the action runs on it, and its chain, carried back by f, samples the theory exactly,
    however bad the flow: HMC in trivialised variables (arXiv:0907.5491), Fourier acceleration (a `FourierFlow`), a learned
    flow. A force costs one of the theory and one pass through the flow and back. Fields of HMC are z: give prior and kernel
    the scale of the flow's variables, and measure functions of z by `measured`.

    **Arguments:** `theory`; `flow`: an `AbstractFlow` onto its manifold, with its parameters frozen.

    **Raises:** `ValueError` for a flow on another manifold.

        >>> free = tm.models.PulledBackTheory(scalar, tm.flows.FourierFlow(scalar.manifold, mass=1.0))
        >>> chain = tm.hmc(key, free, 10, steps=4, trajectory_length=1.0)
        >>> tm.expectation(free.carried(chain), tm.magnetisation)
    """

    theory: AbstractTheory
    flow: AbstractFlow

    def __init__(self, theory: AbstractTheory, flow: AbstractFlow):
        if flow.manifold != theory.manifold:
            raise ValueError(
                f"PulledBackTheory: got a flow on {flow.manifold}, expected {theory.manifold}, that of the theory."
            )
        self.theory, self.flow = theory, flow

    @property
    def manifold(self) -> AbstractManifold:
        return self.flow.manifold

    def action(self, x: Any) -> Array:
        """The action of z: that of f(z) less the log-det."""
        y, log_det = self.flow.forward_and_log_det(x)
        return self.theory.action(y) - log_det

    def measured(self, functions: dict[str, Any]) -> dict[str, Any]:
        """Observables of the theory as functions of z, for `measure=`.

        >>> still = tm.models.PulledBackTheory(scalar, tm.flows.FourierFlow(scalar.manifold))
        >>> sorted(still.measured({"M": tm.magnetisation}))
        ['M']
        """
        return {name: lambda z, f=f: f(self.flow.forward(z)) for name, f in functions.items()}

    def carried(self, chain: Chain, batch_size: int = 64) -> Chain:
        """The chain of z as one of x = f(z), in its order, with its decisions.

        **Raises:** `ValueError` for a chain without configurations.
        """
        if chain.configurations is None:
            raise ValueError("PulledBackTheory.carried: the chain has no configurations; use measure=theory.measured(...).")
        chains, n = chain.shape
        flat = jax.tree.map(lambda a: a.reshape(chains * n, *a.shape[2:]), chain.configurations)
        # One shape for all batches: the last one is filled up with samples of the first.
        parts = []
        for start in range(0, chains * n, batch_size):
            index = (start + np.arange(batch_size)) % (chains * n)
            parts.append(jax.tree.map(np.asarray, _forward(self.flow, jax.tree.map(lambda a, i=index: a[i], flat))))
        joined = jax.tree.map(lambda *a: np.concatenate(a)[: chains * n], *parts)
        return Chain(
            jax.tree.map(lambda a: a.reshape(chains, n, *a.shape[1:]), joined),
            accepted=chain.accepted,
            delta_h=chain.delta_h,
            force_evaluations=chain.force_evaluations,
            unitarity_defect=chain.unitarity_defect,
            cautions=chain.cautions,
            info=chain.info,
        )


@eqx.filter_jit
def _forward(flow: AbstractFlow, z: Any) -> Any:
    return jax.vmap(flow.forward)(z)
