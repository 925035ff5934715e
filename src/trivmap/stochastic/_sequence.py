"""Stochastic flows one after the other, and reversible kernels as one of them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .._types import Configuration
from ..kernels import AbstractKernel, reversible_kernel
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ..priors import AbstractPrior
from ..theories import AbstractTheory
from ._base import AbstractStochasticFlow


class StochasticSequence(AbstractStochasticFlow):
    """Stochastic flows applied in order; log weights add up.

    **Arguments:** `flows`: one or more, on one manifold.

    **Raises:** `TypeError` for deterministic flows, `ValueError` for no flow or different manifolds.

        >>> noisy = tm.LangevinFlow(tm.HaarPrior(theory.manifold), theory, 4)
        >>> metropolis = tm.stochastic.KernelFlow(theory, tm.kernels.HMCKernel(steps=2))
        >>> sequence = tm.stochastic.StochasticSequence(noisy, metropolis)
    """

    flows: tuple[AbstractStochasticFlow, ...]

    def __init__(self, *flows: Any):
        if wrong := [type(flow).__name__ for flow in flows if not isinstance(flow, AbstractStochasticFlow)]:
            raise TypeError(
                f"StochasticSequence: got {', '.join(wrong)}, expected stochastic flows; give deterministic ones as layers "
                "of AnnealedFlow, or chain them with FlowSequence."
            )
        manifolds = {str(flow.manifold) for flow in flows}
        if len(manifolds) != 1:
            raise ValueError(f"StochasticSequence: got flows on {sorted(manifolds)}, expected one manifold for all.")
        self.flows = flows

    @property
    def manifold(self) -> AbstractManifold:
        return self.flows[0].manifold

    def started_from(self, prior: AbstractPrior) -> "StochasticSequence":
        return StochasticSequence(self.flows[0].started_from(prior), *self.flows[1:])

    @property
    def evaluations(self) -> int | None:
        known = [count for flow in self.flows if (count := flow.evaluations) is not None]
        return sum(known) if len(known) == len(self.flows) else None

    def forward_and_log_weight(self, key: Key[Array, ""], z: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        log_weight = jnp.zeros((), accumulator_dtype())
        for flow, part in zip(self.flows, jax.random.split(key, len(self.flows)), strict=True):
            z, change = flow.forward_and_log_weight(part, z)
            log_weight = log_weight + change
        return z, log_weight

    def backward_and_log_weight(self, key: Key[Array, ""], x: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        log_weight = jnp.zeros((), accumulator_dtype())
        for flow, part in zip(self.flows[::-1], jax.random.split(key, len(self.flows)), strict=True):
            x, change = flow.backward_and_log_weight(part, x)
            log_weight = log_weight + change
        return x, log_weight


class KernelFlow(AbstractStochasticFlow):
    r"""Steps of a reversible kernel of one theory as a stochastic flow.

    $\ell = S(x') - S(x)$: the weight of a path that ends at the same theory does not change, while its configuration comes
    closer to equilibrium, which lowers the error of observables though not that of log Z. Behind a `ScoreDiffusion`, with
    `HMCKernel(steps=1)`, this is annealed Langevin sampling with a Metropolis decision at the last noise level
    (arXiv:2502.05504): exact with its weights, and without them in the limit of many steps.

    **Arguments:** `theory`, whose complex action counts by its real part; `kernel`: reversible, such as `HMCKernel`;
    `repeats`: number of steps.

    **Raises:** `ValueError` for fewer than one repeat, or a kernel that is not reversible.

        >>> metropolis = tm.stochastic.KernelFlow(theory, tm.kernels.HMCKernel(steps=2), repeats=2)
        >>> x, log_weight = metropolis.forward_and_log_weight(key, links)
    """

    theory: AbstractTheory
    kernel: AbstractKernel
    repeats: int = eqx.field(static=True)

    def __init__(self, theory: AbstractTheory, kernel: AbstractKernel, repeats: int = 1):
        if repeats < 1:
            raise ValueError(f"KernelFlow needs repeats >= 1, but {repeats} was given.")
        self.theory, self.kernel, self.repeats = theory.phase_quenched, reversible_kernel("KernelFlow", kernel), repeats

    @property
    def manifold(self) -> AbstractManifold:
        return self.theory.manifold

    def frozen_fields(self) -> tuple[str, ...]:
        """The theory, which is physics."""
        return ("theory",)

    def forward_and_log_weight(self, key: Key[Array, ""], z: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        x = self.kernel.repeated(key, self.theory, z, self.repeats)
        return x, self.theory.action(x) - self.theory.action(z)

    def backward_and_log_weight(self, key: Key[Array, ""], x: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        return self.forward_and_log_weight(key, x)
