"""Continuous flows: the solution of dx/dt = v(t, x) from t = 0 to t = 1."""

from typing import Any, Literal

import equinox as eqx
import jax
from jaxtyping import Array, DTypeLike, Float, Key

from .._checks import integers
from .._types import Configuration
from ..fields import AbstractVectorField
from ..manifolds import AbstractManifold
from ..priors import AbstractPrior
from ..solvers import LSCFRK4, Integration, integrate
from ..theories import AbstractTheory
from ._base import AbstractFlow

# In the embedded error: the configuration moves along many directions at once, the log-det is a single number that enters
# the weight directly.
_POSITION_WEIGHT = 10.0


class StepHalving(eqx.Module):
    """How one solution changes when every step is halved: the size of the integration error that its weight carries.

    `distance` is the geodesic distance of the two end points, `log_det_change` the refined minus the original log-det.

        >>> change = flow.step_halving(links)
        >>> float(change.log_det_change)
    """

    distance: Float[Array, ""]
    log_det_change: Float[Array, ""]


class ContinuousFlow(AbstractFlow):
    """The flow of a vector field over unit time, with the integral of its divergence as log-det.

    dx/dt = v(t, x),   log |det df/dz| = int_0^1 (div v)(t, x_t) dt,   both with the stages of one Runge-Kutta scheme.

    The log-det is that of the exact flow up to the integrator's error, which is extensive: look at `step_halving` before
    weights are used. Gradients are those of the discrete steps.

    **Arguments:**

    - `field`: an `AbstractVectorField`.
    - `steps`: number of equal steps, or `None` when a `controller` chooses them.
    - `solver`: a scheme of `trivmap` (default `LSCFRK4`) or a diffrax solver wrapped by `RKMK`.
    - `controller`: a diffrax step size controller, for evaluation to a tolerance.
    - `checkpoint`: recompute a step in the backward pass, so that memory grows by a few configurations per step; `"stage"`
      recomputes stage by stage, which needs less still; `False` keeps everything and is fastest on small lattices.
    - `max_steps`: bound for adaptive steps.

    **Raises:** `ValueError` unless exactly one of `steps` and `controller` is given, or if `steps` is not positive.

        >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=4)
        >>> x, log_det = flow.forward_and_log_det(links)
    """

    field: AbstractVectorField
    solver: Any
    controller: Any
    steps: int | None = eqx.field(static=True)
    checkpoint: bool | Literal["stage"] = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        field: AbstractVectorField,
        *,
        steps: int | None = None,
        solver: Any = None,
        controller: Any = None,
        checkpoint: bool | Literal["stage"] = True,
        max_steps: int = 4096,
    ):
        if (steps is None) == (controller is None):
            raise ValueError(
                f"ContinuousFlow needs either steps or controller, but was given steps={steps}, controller={controller}."
            )
        if steps is not None:
            integers("ContinuousFlow", 1, steps=steps)
        integers("ContinuousFlow", 1, max_steps=max_steps)
        self.field = field
        self.solver = LSCFRK4() if solver is None else solver
        self.controller = controller
        self.steps = steps
        self.checkpoint = checkpoint
        self.max_steps = max_steps

    @property
    def manifold(self) -> AbstractManifold:
        return self.field.manifold

    def frozen_fields(self) -> tuple[str, ...]:
        """Tableaus and tolerances are not learned."""
        return ("solver", "controller")

    def integrate(self, x: Configuration, t0: float = 0.0, t1: float = 1.0, *, error: bool = False) -> Integration:
        """The solution from t0 to t1 with its log-det, and with the embedded errors of the steps if `error` is set."""
        return integrate(
            self.field,
            self.manifold,
            x,
            t0=t0,
            t1=t1,
            solver=self.solver,
            steps=self.steps,
            controller=self.controller,
            error=error,
            checkpoint=self.checkpoint,
            max_steps=self.max_steps,
        )

    def forward_and_log_det(self, z: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        result = self.integrate(z)
        return result.x, result.log_det

    def inverse_and_log_det(self, x: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        result = self.integrate(x, 1.0, 0.0)
        return result.x, result.log_det

    def forward_with_error(self, z: Configuration) -> tuple[Configuration, Float[Array, ""], Float[Array, ""]]:
        """The same with the embedded error, the sum over steps of e_logdet^2 + 10 |e_x|^2."""
        result = self.integrate(z, error=True)
        assert result.error_x is not None
        assert result.error_log_det is not None
        return result.x, result.log_det, result.error_log_det + _POSITION_WEIGHT * result.error_x

    def sample_with_score(
        self, key: Key[Array, ""], prior: AbstractPrior, dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Configuration, Float[Array, ""]]:
        x, log_q, error = self.sample_with_error(key, prior, dtype)
        score = jax.grad(prior.log_prob)(prior.sample(key, dtype))
        return x, log_q, self.score_by_inverse(x, score), error

    @property
    def evaluations(self) -> int | None:
        """Of the field; unknown for adaptive steps."""
        return None if self.steps is None else self.steps * self.solver.evaluations

    @property
    def refinable(self) -> bool:
        return self.steps is not None

    def on(self, manifold: AbstractManifold) -> "ContinuousFlow":
        return eqx.tree_at(lambda flow: flow.field, self, self.field.on(manifold))

    def transferred(self, theory: AbstractTheory) -> "ContinuousFlow":
        return eqx.tree_at(lambda flow: flow.field, self, self.field.transferred(theory))

    def refined(self, factor: int = 2) -> "ContinuousFlow":
        """The same flow with `factor` times as many steps.

        **Raises:** `ValueError` for adaptive flows, whose accuracy is set by the controller.
        """
        if self.steps is None:
            raise ValueError("An adaptive flow has no number of steps to refine; tighten the tolerances of its controller.")
        return ContinuousFlow(
            self.field,
            steps=factor * self.steps,
            solver=self.solver,
            checkpoint=self.checkpoint,
            max_steps=self.max_steps,
        )

    def step_halving(self, z: Configuration) -> StepHalving:
        """The change of the forward solution from z when every step is halved."""
        x, log_det = self.forward_and_log_det(z)
        refined, refined_log_det = self.refined().forward_and_log_det(z)
        return StepHalving(self.manifold.distance(x, refined), refined_log_det - log_det)
