"""Annealed Langevin dynamics with exact path weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .._checks import positive
from .._trees import precision, scale
from .._types import Configuration
from ..fields import AbstractVectorField
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ..priors import AbstractPrior
from ..theories import AbstractTheory
from ._base import AbstractStochasticFlow
from ._path import Schedule, end_gradients, level_gradient, with_prior, with_theory
from ._scan import scan_steps
from ._step import gaussian_step


class LangevinFlow(AbstractStochasticFlow):
    r"""Langevin steps through the theories between a prior and a theory, with a drift, unbiased at any step size.

    At annealing step k, with $s_k = -\partial U_{\lambda_k}$ and the drift b at time $t_k = (k - 1/2)/K$,

    $$ x' = e^{\Delta} x, \quad \Delta = h_k s_k(x) + b(t_k, x)/K + \sqrt{2 h_k}\, \xi, $$

    and the log weight of the step is that of the reversed step with the drift turned around,

    $$ \log N(-\Delta;\, h_k s_k(x') - b(t_k, x')/K,\, 2 h_k) - \log N(\Delta;\, h_k s_k(x) + b(t_k, x)/K,\, 2 h_k). $$

    No Jacobian of the exponential appears (see `gaussian_step`). One gradient per step serves the end of a step and the
    start of the next.

    **Arguments:**

    - `prior`, `theory`: on one manifold; of a complex action the path follows the magnitude (`theory.phase_quenched`).
    - `steps`: K, or a `Schedule` with interpolation weights of its own; distances between them are learned.
    - `step_size`: initial $h_k$ in units of 1/gradient^2, one number or one per step; learned as its logarithm.
    - `drift`: any vector field of the library, such as a `GradientField`; its divergence is not needed.
    - `checkpoint`: recompute steps in the backward pass, so that training stores about 2 root(K) states.

    **Raises:** `ValueError` for different manifolds, or step sizes that are not positive.

    Path weights: arXiv:1810.00813 and 2201.08862; drift with both signs: arXiv:2307.01050.

        >>> prior = tm.HaarPrior(theory.manifold)
        >>> langevin = tm.Model(prior, tm.LangevinFlow(prior, theory, 8, step_size=0.02))
    """

    prior: AbstractPrior
    theory: AbstractTheory
    schedule: Schedule
    log_step_sizes: Float[Array, " steps"]
    drift: AbstractVectorField | None
    checkpoint: bool = eqx.field(static=True)

    def __init__(
        self,
        prior: AbstractPrior,
        theory: AbstractTheory,
        steps: int | Schedule,
        *,
        step_size: float | np.ndarray = 0.01,
        drift: AbstractVectorField | None = None,
        checkpoint: bool = True,
    ):
        for name, other in (("prior", prior), ("drift", drift)):
            if other is not None and other.manifold != theory.manifold:
                raise ValueError(f"The {name} lives on {other.manifold}, the theory on {theory.manifold}.")
        self.prior, self.theory, self.drift = prior, theory.phase_quenched, drift
        self.schedule = Schedule.of(steps)
        positive("LangevinFlow: step_size", step_size)
        sizes = np.broadcast_to(np.asarray(step_size, float), (self.schedule.steps,))
        self.log_step_sizes = jnp.asarray(np.log(sizes), jnp.zeros(0).dtype)
        self.checkpoint = checkpoint

    @property
    def manifold(self) -> AbstractManifold:
        return self.theory.manifold

    def frozen_fields(self) -> tuple[str, ...]:
        """The ends of the path: in a `Model` the prior is that of the model, which may be learned there."""
        return ("prior", "theory")

    def started_from(self, prior: AbstractPrior) -> "LangevinFlow":
        return with_prior(self, prior)

    def towards(self, theory: AbstractTheory) -> "LangevinFlow":
        return with_theory(self, theory)

    @property
    def evaluations(self) -> int:
        """Of the force, and of the drift at both ends of a step."""
        return self.schedule.steps * (1 if self.drift is None else 3) + 1

    def forward_and_log_weight(self, key: Key[Array, ""], z: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        return self._run(key, z, 1)[:2]

    def backward_and_log_weight(self, key: Key[Array, ""], x: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        return self._run(key, x, -1)[:2]

    def path(
        self, key: Key[Array, ""], z: Configuration
    ) -> tuple[Configuration, Float[Array, ""], Any, Float[Array, " steps"]]:
        """The end and the log weight of a forward path, and the configurations and log weights after each step."""
        x, log_weight, kept = self._run(key, z, 1, keep=True)
        return x, log_weight, *kept

    def times(self) -> Float[Array, " steps"]:
        """The times at which the drift is evaluated."""
        steps = self.schedule.steps
        return (jnp.arange(steps, dtype=self.log_step_sizes.dtype) + 0.5) / steps

    def _run(self, key: Array, x: Any, direction: int, keep: bool = False) -> tuple[Any, Array, Any]:
        """Steps in either direction: backwards, annealing steps come in reversed order and the drift has the other sign."""
        steps = self.schedule.steps
        self.manifold.check(x)
        levels = (self.schedule()[1:], jnp.exp(self.log_step_sizes), self.times())
        levels = jax.tree.map(lambda a: a[::direction], levels)

        def advance(carry, level):
            carry = self._step(carry, level, direction)
            return carry, (carry[0], carry[2]) if keep else None

        zero = jnp.zeros((), accumulator_dtype())
        start = (x, end_gradients(self.prior, self.theory, x), zero)
        inputs = (*levels, jax.random.split(key, steps))
        (x, _, log_weight), kept = scan_steps(advance, start, inputs, checkpoint=self.checkpoint)
        return self.manifold.project(x), log_weight, kept

    def _step(self, carry, level, direction: int):
        x, parts, log_weight = carry
        weight, size, t, key = level
        manifold = self.manifold
        real = precision(x)
        size, t = size.astype(real), t.astype(real)

        def back(moved):
            parts = end_gradients(self.prior, self.theory, moved)
            return self._mean(weight, size, t, moved, parts, -direction), 2 * size, parts

        mean = self._mean(weight, size, t, x, parts, direction)
        moved, change, parts = gaussian_step(manifold, key, x, mean, 2 * size, back)
        return moved, parts, log_weight + change.astype(log_weight.dtype)

    def _mean(self, weight, size, t, x, parts, direction: int) -> Any:
        mean = scale(-size, level_gradient(weight, parts))
        if self.drift is None:
            return mean
        velocity, _ = self.drift(t, x)
        return jax.tree.map(lambda a, b: a + b * (direction / self.schedule.steps), mean, velocity)
