"""The start of a flow between two couplings by linear regression on a chain, without a training loop."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Configuration, Tangent
from ..fields import AbstractVectorField
from ..flows import ContinuousFlow
from ..manifolds import AbstractManifold
from ..statistics import Chain, Ensemble, SteinFit, stein_fit
from ..theories import AbstractTheory


@dataclasses.dataclass(frozen=True)
class SteinRegression:
    r"""The field of a family that follows a coupling best, and what a step with it would be worth.

    - `field`: the fitted one; `coefficients`: its numbers, of the parameters in a row.
    - `variance`: of g = dS/d coupling, which is Var(log w) per squared step of plain reweighting; `remainder`: the same with
      the field, on samples that were not used for its coefficients.

        >>> field = tm.GradientField(tm.LoopPotential(theory.manifold, time="constant"))
        >>> found = tm.training.stein_regression(ensemble, theory, "beta", field)
        >>> found.unexplained, found.ess(0.1)
    """

    field: AbstractVectorField
    coefficients: Any
    variance: float
    remainder: float

    @property
    def unexplained(self) -> float:
        """1 - R^2, what is left of the variance of log w."""
        return self.remainder / self.variance if self.variance else math.nan

    def ess(self, step: float) -> float:
        """Effective sample size of reweighting after a small step of the coupling with the field, for normal log weights."""
        return math.exp(-(step**2) * self.remainder)

    def swap_acceptance(self, step: float) -> float:
        r"""Acceptance of replica exchange over a small step, $\mathrm{erfc}(\Delta\sqrt{\mathrm{Var}}/2)$."""
        return math.erfc(abs(step) * math.sqrt(self.remainder) / 2)

    def flow(self, step: float, *, steps: int = 4) -> ContinuousFlow:
        """A flow over a finite step of the coupling, with this field all the way: `steps` of integration."""
        return ContinuousFlow(_Scaled(self.field, jnp.asarray(float(step))), steps=steps)  # pyright: ignore[reportCallIssue]

    def __str__(self) -> str:
        return (
            f"Var(dS/d coupling) = {self.variance:.4g}, with the field {self.remainder:.4g} ({100 * self.unexplained:.2g} %) "
            f"of {len(self.coefficients)} coefficients"
        )


def stein_regression(
    data: Chain | Ensemble,
    theory: AbstractTheory,
    direction: Any,
    field: AbstractVectorField,
    *,
    parameters: Callable[[Any], Any] | None = None,
    images: Callable[[Any], Any] | None = None,
    folds: int = 2,
    batch_size: int = 64,
) -> SteinRegression:
    r"""The field of a linear family for which the change of the weight by a coupling is most nearly constant.

    $$ \min_c \; \mathrm{Var}(L_{v(c)} - g), \qquad L_v = \mathrm{div}\, v - v\cdot\partial S, \quad g = dS/d\lambda, $$

    is the trivializing equation in the mean square (arXiv:0907.5491), one least-squares problem on samples at one coupling.
    The field that is returned is fitted to all data; what is reported of it is measured on parts that were not used.

    **Arguments:** as for `statistics.derivative`; `direction`: the name of a coupling, or g itself as a function of one
    configuration.

    **Returns:** a `SteinRegression`: field, share of the variance that is left, predictions, a flow to start from.

    **Raises:** `ValueError` for data without configurations, an unknown coupling, or fewer than four samples per coefficient.

        >>> field = tm.GradientField(tm.LoopPotential(theory.manifold, time="constant"))
        >>> print(tm.training.stein_regression(ensemble, theory, "beta", field))
    """
    found: SteinFit = stein_fit("stein_regression", data, theory, direction, field, parameters, folds, batch_size, images)
    return SteinRegression(found.field, found.coefficients, found.variance, found.remainder)


class _Scaled(AbstractVectorField):
    """A multiple of a field, the same at all times."""

    field: AbstractVectorField
    factor: Float[Array, ""]

    @property
    def manifold(self) -> AbstractManifold:
        return self.field.manifold

    def on(self, manifold: AbstractManifold) -> "_Scaled":
        return _Scaled(self.field.on(manifold), self.factor)  # pyright: ignore[reportCallIssue]

    def frozen_fields(self) -> tuple[str, ...]:
        """The step is where the flow goes."""
        return ("factor",)

    def __call__(self, t: Float[Array, ""], x: Configuration) -> tuple[Tangent, Float[Array, ""]]:
        velocity, divergence = self.field(jnp.zeros_like(t), x)
        return jax.tree.map(lambda v: self.factor.astype(v.dtype) * v, velocity), self.factor * divergence
