"""Annealed flows: annealing by reversible kernels, with deterministic layers in between."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .._checks import integers
from .._types import Configuration
from ..flows import AbstractFlow
from ..kernels import AbstractKernel, reversible_kernel
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ..priors import AbstractPrior
from ..theories import AbstractTheory
from ._base import AbstractStochasticFlow
from ._path import Schedule, interpolate, with_prior, with_theory
from ._scan import scan_steps


class AnnealedFlow(AbstractStochasticFlow):
    r"""Annealing steps from a prior to a theory: in each a deterministic layer, if any, then steps of a reversible kernel.

    Without layers this is annealed importance sampling (Jarzynski's equality, arXiv:cond-mat/9610209), with layers a
    stochastic normalizing flow (arXiv:2002.06707, 2201.08862). At annealing step k

    $$ y = g_k(x_{k-1}), \quad x_k \sim F_k(\cdot | y), \quad
       \ell \mathrel{+}= \log|\det g_k'| + U_{\lambda_k}(x_k) - U_{\lambda_k}(y), $$

    where the kernel F_k is reversible with respect to exp(-U) of its step, so that the ratio of transition densities is that
    of the Boltzmann weights. The last step ends at the theory itself.

    Gradients flow through the layers; decisions of kernels are constants, noise is reparametrised.

    **Arguments:** `prior`, `theory`: on one manifold; `kernel`: any reversible `AbstractKernel`, started anew at each step;
    `steps`: number K of annealing steps or a `Schedule`; `repeats`: steps of the kernel per annealing step; `layers`: one
    flow whose arrays carry a leading axis of K (made by `stack_layers`), or `None`; `checkpoint`: recompute annealing steps
    in the backward pass.

    **Raises:** `ValueError` for different manifolds, a number of layers that is not K, or a kernel that is not reversible.

        >>> prior = tm.HaarPrior(theory.manifold)
        >>> annealed = tm.Model(prior, tm.AnnealedFlow(prior, theory, tm.kernels.HeatbathKernel(), 4))
    """

    prior: AbstractPrior
    theory: AbstractTheory
    kernel: AbstractKernel
    schedule: Schedule
    layers: AbstractFlow | None
    repeats: int = eqx.field(static=True)
    checkpoint: bool = eqx.field(static=True)

    def __init__(
        self,
        prior: AbstractPrior,
        theory: AbstractTheory,
        kernel: AbstractKernel,
        steps: int | Schedule,
        *,
        repeats: int = 1,
        layers: AbstractFlow | None = None,
        checkpoint: bool = True,
    ):
        if prior.manifold != theory.manifold:
            raise ValueError(f"The prior lives on {prior.manifold}, the theory on {theory.manifold}.")
        integers("AnnealedFlow", 1, repeats=repeats)
        self.prior, self.theory, self.layers = prior, theory.phase_quenched, layers
        self.kernel = reversible_kernel("AnnealedFlow", kernel)
        self.schedule = Schedule.of(steps)
        self.repeats, self.checkpoint = repeats, checkpoint
        if layers is not None:
            lengths = {leaf.shape[:1] for leaf in jax.tree.leaves(eqx.filter(layers, eqx.is_array))}
            if layers.manifold != theory.manifold or lengths != {(self.schedule.steps,)}:
                raise ValueError(
                    f"AnnealedFlow needs one layer per annealing step, stacked by stack_layers: expected a leading axis of "
                    f"{self.schedule.steps} on {theory.manifold}, got {sorted(lengths)} on {layers.manifold}."
                )

    @property
    def manifold(self) -> AbstractManifold:
        return self.theory.manifold

    def frozen_fields(self) -> tuple[str, ...]:
        """The ends of the path: in a `Model` the prior is that of the model, which may be learned there."""
        return ("prior", "theory")

    def started_from(self, prior: AbstractPrior) -> "AnnealedFlow":
        return with_prior(self, prior)

    def towards(self, theory: AbstractTheory) -> "AnnealedFlow":
        return with_theory(self, theory)

    @property
    def evaluations(self) -> int | None:
        """Of the force in the steps of the kernel, and of layers; `None` where the kernel does not say."""
        per_step = self.kernel.force_evaluations
        if per_step is None:
            return None
        return self.schedule.steps * (self.repeats * (per_step + 1) + (self.layers is not None))

    def forward_and_log_weight(self, key: Key[Array, ""], z: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        return self._run(key, z, self._up, 1)

    def backward_and_log_weight(self, key: Key[Array, ""], x: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        return self._run(key, x, self._down, -1)

    def annealing_steps(self) -> tuple[Any, Callable[[Any], tuple[AbstractTheory, AbstractFlow | None]]]:
        """Arrays with a leading axis of K, and the function of one slice of them that gives theory and layer of a step."""
        arrays, static = eqx.partition(self.layers, eqx.is_array)

        def at(level):
            weight, arrays = level
            return interpolate(self.prior, self.theory, weight), eqx.combine(arrays, static)

        return (self.schedule()[1:], arrays), at

    def updated(self, key: Key[Array, ""], theory: AbstractTheory, x: Configuration) -> Configuration:
        """After the kernel steps of one annealing step."""
        return self.kernel.repeated(key, theory, x, self.repeats)

    def _run(self, key: Array, x: Any, level, direction: int) -> tuple[Any, Array]:
        self.manifold.check(x)
        levels, at = self.annealing_steps()
        stacked = jax.tree.map(lambda a: a[::direction], (levels, jax.random.split(key, self.schedule.steps)))

        def advance(carry, inputs):
            x, log_weight = carry
            x, change = level(*at(inputs[0]), inputs[1], x)
            return (x, log_weight + change.astype(log_weight.dtype)), None

        start = (x, jnp.zeros((), accumulator_dtype()))
        (x, log_weight), _ = scan_steps(advance, start, stacked, checkpoint=self.checkpoint)
        return x, log_weight

    def _up(self, theory, layer, key, x):
        log_det = jnp.zeros((), accumulator_dtype())
        if layer is not None:
            x, log_det = layer.forward_and_log_det(x)
        moved = self.updated(key, theory, x)
        return moved, log_det.astype(accumulator_dtype()) + theory.action(moved) - theory.action(x)

    def _down(self, theory, layer, key, x):
        moved = self.updated(key, theory, x)
        change = theory.action(moved) - theory.action(x)
        if layer is None:
            return moved, change
        moved, log_det = layer.inverse_and_log_det(moved)
        return moved, change + log_det


def stack_layers(layers: list) -> AbstractFlow:
    """Layers of one kind as a single module with a leading axis on its arrays.

    >>> layers = tm.stochastic.stack_layers([flow] * 4)
    """
    arrays, static = zip(*(eqx.partition(layer, eqx.is_array) for layer in layers), strict=True)
    return eqx.combine(jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays), static[0])
