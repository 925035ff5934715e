"""Families of theories that lead from a prior to a theory."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import integers
from .._trees import scale
from .._types import Configuration
from ..manifolds import AbstractManifold
from ..priors import AbstractPrior, EnsemblePrior
from ..theories import AbstractTheory, WilsonAction


class Interpolation(AbstractTheory):
    r"""The theory between a prior and a theory: $U_\lambda = -(1 - \lambda) \log r + \lambda S$.

    **Arguments:** `prior`, `theory`: on one manifold; `weight`: lambda, zero at the prior and one at the theory.

    **Raises:** `ValueError` for different manifolds.
    """

    prior: AbstractPrior
    theory: AbstractTheory
    weight: Float[Array, ""]

    def __check_init__(self):
        if self.prior.manifold != self.theory.manifold:
            raise ValueError(
                f"The prior lives on {self.prior.manifold}, the theory on {self.theory.manifold}. "
                "Build the prior from theory.manifold."
            )

    @property
    def manifold(self) -> AbstractManifold:
        return self.theory.manifold

    def action(self, x: Configuration) -> Float[Array, ""]:
        action = self.theory.action(x)
        weight = self.weight.astype(action.dtype)
        if self.prior.uniform:
            return weight * action
        return weight * action - (1 - weight) * self.prior.log_prob(x).astype(action.dtype)


def interpolate(prior: AbstractPrior, theory: AbstractTheory, weight: Float[Array, ""]) -> AbstractTheory:
    """The `Interpolation`; from Haar measure or Wilson's action to Wilson's action it is Wilson's action again.

    Updates that know this action, such as `HeatbathKernel`, then apply at every annealing step.
    """
    if isinstance(theory, WilsonAction) and prior.manifold == theory.manifold and (start := _beta(prior)) is not None:
        weight, start = weight.astype(theory.beta.dtype), start.astype(theory.beta.dtype)
        return eqx.tree_at(lambda t: t.beta, theory, theory.beta * weight + start * (1 - weight))
    return Interpolation(prior, theory, weight)  # pyright: ignore[reportCallIssue]


def _beta(prior: AbstractPrior) -> Array | None:
    """The coupling of Wilson's action whose weight is the prior, if it is of this kind."""
    if prior.uniform:
        return jnp.zeros(())
    if isinstance(prior, EnsemblePrior) and isinstance(prior.theory, WilsonAction):
        return jax.lax.stop_gradient(prior.theory.beta)
    return None


def with_prior(flow: Any, prior: AbstractPrior) -> Any:
    """The flow with another prior of the same kind; one of another kind is not the start of this path."""
    same = jax.tree.structure(flow.prior) == jax.tree.structure(prior)
    return eqx.tree_at(lambda f: f.prior, flow, prior) if same else flow


def with_theory(flow: Any, theory: AbstractTheory) -> Any:
    """The flow with another theory at its end: of a complex action the magnitude, which has a density."""
    if theory.manifold != flow.manifold:
        raise ValueError(
            f"{type(flow).__name__}: got a theory on {theory.manifold}, expected one on {flow.manifold}, as the flow."
        )
    return eqx.tree_at(lambda f: f.theory, flow, theory.phase_quenched)


def end_gradients(prior: AbstractPrior, theory: AbstractTheory, x: Any) -> tuple[Any, Any]:
    """Gradients of S and of -log r (`None` where it is constant): every theory in between is a sum of them."""
    if prior.uniform:
        return theory.gradient(x), None
    return theory.gradient(x), theory.manifold.gradient(lambda y: -prior.log_prob(y))(x)


def level_gradient(weight: Array, parts: tuple[Any, Any]) -> Any:
    """Gradient of the interpolation from `end_gradients`."""
    gradient, of_prior = parts
    return scale(weight, gradient) if of_prior is None else jax.tree.map(_between(weight), gradient, of_prior)


def _between(weight: Array) -> Callable[[Array, Array], Array]:
    def average(a: Array, b: Array) -> Array:
        share = weight.astype(a.dtype)
        return share * a + (1 - share) * b

    return average


class Schedule(eqx.Module):
    r"""Annealing steps: interpolation weights $0 = \lambda_0 < \lambda_1 < \dots < \lambda_K = 1$ with learned distances.

    **Arguments:** `steps`: their number K, for equal distances, or the values $\lambda_0 \dots \lambda_K$ themselves.

    **Raises:** `ValueError` for values that do not increase from 0 to 1.

        >>> schedule = tm.stochastic.Schedule((0.0, 0.2, 0.5, 1.0))
        >>> noisy = tm.LangevinFlow(tm.HaarPrior(theory.manifold), theory, schedule)
    """

    log_increments: Float[Array, " steps"]

    def __init__(self, steps: int | Sequence[float] | Array | np.ndarray):
        if np.ndim(steps) == 0:
            integers("Schedule", 1, steps=steps)
        values = np.linspace(0.0, 1.0, int(np.asarray(steps)) + 1) if np.ndim(steps) == 0 else np.asarray(steps, float)
        if values.ndim != 1 or len(values) < 2 or values[0] != 0 or values[-1] != 1 or not np.all(np.diff(values) > 0):
            raise ValueError(f"Schedule: got {steps}, expected a positive number or values that increase from 0 to 1.")
        self.log_increments = jnp.asarray(np.log(np.diff(values)), jnp.zeros(0).dtype)

    @classmethod
    def of(cls, steps: "int | Schedule") -> "Schedule":
        """A schedule as it is, or equal distances for a number of steps."""
        return steps if isinstance(steps, cls) else cls(steps)  # pyright: ignore[reportArgumentType]

    @property
    def steps(self) -> int:
        return len(self.log_increments)

    def __call__(self) -> Float[Array, " weights"]:
        """The K + 1 interpolation weights."""
        inner = jnp.cumsum(jax.nn.softmax(self.log_increments))
        return jnp.concatenate([jnp.zeros(1, inner.dtype), inner[:-1], jnp.ones(1, inner.dtype)])
