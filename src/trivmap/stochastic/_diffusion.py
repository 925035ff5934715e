"""Score diffusion: the reverse of a noising process, as a stochastic flow or as an ODE."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .._checks import integers, positive
from .._trees import add, length, precision, scale, subtract
from .._types import Configuration
from ..fields import AbstractVectorField
from ..flows import ContinuousFlow
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ._base import AbstractStochasticFlow
from ._noising import AbstractNoising
from ._path import Schedule
from ._scan import scan_steps
from ._step import gaussian_step

# Of a factor or a variance: one number, or one for each component of a product.
_each = jax.tree.map


class ScoreDiffusion(AbstractStochasticFlow):
    r"""The reverse of a noising process with a learned score, in few steps and with exact path weights.

    The score at time t (0 at the prior, 1 at the theory, noise time $\tau = 1 - t$) is that of the background plus a field. A
    step between two noise levels undoes one of the noise, x = a x' + sqrt(v) xi, by Tweedie's formula:

    $$ x' = e^\Delta x, \quad \Delta = (1/a - 1)\, x + (v/a)\, s(t, x) + \sqrt{c_k v}\, \xi, $$

    (a = 1 on links). Its log weight is the ratio of the density of the noise for the way back to that of this Gaussian, so
    that weights are exact for any score and number of steps: what a poor score costs is effective samples. The factors $c_k$
    of the variance are parameters, one at the start; `calibrated` finds good ones.

    With `corrections` every step (predictor) is followed by Langevin steps (correctors) at the time of its end,
    $\Delta = h_k s(t, x) + \sqrt{2 h_k}\, \xi$ with $h_k$ = size times the variance of the noise of the step, learned as its
    logarithm. Their path weights are included, so that weights stay exact for any size.

    `probability_flow` gives the deterministic flow with the same marginals, a `ContinuousFlow` with the exact divergence of
    the field. Train with `ScoreMatching`; both can be trained further by `reverse_kl`.

    **Arguments:**

    - `noising`: `VariancePreserving`, `SubVariancePreserving`, `VarianceExploding` or `HeatKernelNoising`; `noising.prior` is
      the prior to start from.
    - `field`: a vector field on the same manifold, such as a `GatedConvolutionField`.
    - `steps`: number of steps, or a `Schedule` of noise levels in t.
    - `checkpoint`: recompute steps in the backward pass.
    - `corrections`: Langevin steps after each step. `correction_size`: their size in units of the variance of the step.

    **Raises:** `ValueError` for different manifolds, or a number or size of corrections that is not allowed.

    Scores and their ODE: arXiv:2011.13456; on groups arXiv:2202.02763, 2605.06134.

        >>> noising = tm.stochastic.VariancePreserving(scalar.manifold)
        >>> diffusion = tm.ScoreDiffusion(noising, tm.GatedConvolutionField(scalar.manifold), 4)
    """

    noising: AbstractNoising
    field: AbstractVectorField
    schedule: Schedule
    log_variance_factors: Float[Array, " steps"]
    log_correction_sizes: Float[Array, " steps"] | None
    corrections: int = eqx.field(static=True)
    checkpoint: bool = eqx.field(static=True)

    def __init__(
        self,
        noising: AbstractNoising,
        field: AbstractVectorField,
        steps: int | Schedule,
        *,
        checkpoint: bool = True,
        corrections: int = 0,
        correction_size: float = 0.1,
    ):
        if noising.manifold != field.manifold:
            raise ValueError(f"The noising lives on {noising.manifold}, the field on {field.manifold}.")
        integers("ScoreDiffusion", 0, corrections=corrections)
        positive("ScoreDiffusion: correction_size", correction_size)
        self.noising, self.field, self.checkpoint, self.corrections = noising, field, checkpoint, corrections
        self.schedule = Schedule.of(steps)
        self.log_variance_factors = jnp.zeros_like(self.schedule.log_increments)
        sizes = jnp.full_like(self.log_variance_factors, jnp.log(correction_size))
        self.log_correction_sizes = sizes if corrections else None

    @property
    def manifold(self) -> AbstractManifold:
        return self.field.manifold

    def frozen_fields(self) -> tuple[str, ...]:
        """The noise, which the prior is made for."""
        return ("noising",)

    def score(self, t: Float[Array, ""], x: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        """The score at time t, and its divergence."""
        return _score(self.noising, self.field, t, x)

    def probability_flow(self, **options: Any) -> ContinuousFlow:
        """The ODE with the marginals of the diffusion; `options`: those of `ContinuousFlow`, such as `steps`."""
        return ContinuousFlow(ProbabilityFlowField(self.noising, self.field), **options)  # pyright: ignore[reportCallIssue]

    def calibrated(self, key: Key[Array, ""], configurations: Any) -> "ScoreDiffusion":
        """The diffusion with the variance factors that suit its score, from noised configurations (arXiv:2201.06503).

        The best variance of a step is the mean square of what its mean misses. Few hundred configurations are enough.
        """

        factors = _log_variance_factors(self, key, configurations).astype(self.log_variance_factors.dtype)
        return eqx.tree_at(lambda d: d.log_variance_factors, self, factors)

    @property
    def evaluations(self) -> int:
        return self.schedule.steps

    def forward_and_log_weight(self, key: Key[Array, ""], z: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        return self._run(key, z, 1)

    def backward_and_log_weight(self, key: Key[Array, ""], x: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        return self._run(key, x, -1)

    def noise_levels(self) -> tuple[Float[Array, " steps"], ...]:
        """Times t at the start and at the end of each step, and logarithms of the variance factors."""
        levels = self.schedule()
        return levels[:-1], levels[1:], self.log_variance_factors

    def reverse(self, level: Any, x: Configuration) -> tuple[Configuration, Any]:
        """Mean and variance of the step between two noise levels from x."""
        start, end, log_factor = level
        a, v = self.noising.transition(1 - end, 1 - start)
        s, _ = self.score(start, x)
        mean = add(scale(_each(lambda a: 1 / a - 1, a), x), scale(_each(lambda v, a: v / a, v, a), s))
        return mean, _each(lambda v: v * jnp.exp(log_factor), v)

    def _noise(self, level: Any, x: Any) -> tuple[Any, Any]:
        start, end, _ = level
        a, v = self.noising.transition(1 - end, 1 - start)
        return scale(_each(lambda a: a - 1, a), x), v

    def _corrected(self, key: Array, level: Any, log_size: Array, carry: tuple[Any, Array]) -> tuple[Any, Array]:
        """Langevin steps at the end of a step, the same there and back."""
        start, end, _ = level
        size = _each(lambda v: jnp.exp(log_size) * v, self.noising.transition(1 - end, 1 - start)[1])
        variance = _each(lambda s: 2 * s, size)

        def mean(x):
            return scale(size, self.score(end, x)[0])

        def back(y):
            there = mean(y)
            return there, variance, there  # the mean of the way back is that of the next step

        def once(carry, key):
            x, log_weight, there = carry
            x, change, there = gaussian_step(self.manifold, key, x, there, variance, back)
            return (x, log_weight + change.astype(log_weight.dtype), there), None

        x, log_weight = carry
        keys = jax.random.split(key, self.corrections)
        return jax.lax.scan(once, (x, log_weight, mean(x)), keys)[0][:2]

    def _run(self, key: Array, x: Any, direction: int) -> tuple[Any, Array]:
        self.manifold.check(x)
        levels = (self.noise_levels(), self.log_correction_sizes)
        levels = jax.tree.map(lambda a: a[::direction].astype(precision(x)), levels)
        there, back = (self.reverse, self._noise)[::direction]

        def predicted(key, level, _, carry):
            x, log_weight = carry
            x, change, _ = gaussian_step(self.manifold, key, x, *there(level, x), lambda y: (*back(level, y), None))
            return x, log_weight + change.astype(log_weight.dtype)

        parts = (predicted, self._corrected) if self.corrections else (predicted,)

        def advance(carry, inputs):
            (level, log_size), key = inputs
            keys = jax.random.split(key, 2) if self.corrections else [key]
            for part, key in list(zip(parts, keys, strict=True))[::direction]:
                carry = part(key, level, log_size, carry)
            return carry, None

        start = (x, jnp.zeros((), accumulator_dtype()))
        inputs = (levels, jax.random.split(key, self.schedule.steps))
        (x, log_weight), _ = scan_steps(advance, start, inputs, checkpoint=self.checkpoint)
        return self.manifold.project(x), log_weight


# Compiled once for diffusions of one structure, as those of several seeds are.
@eqx.filter_jit
def _log_variance_factors(diffusion: ScoreDiffusion, key: Array, configurations: Any) -> Array:
    def factor(inputs):
        level, key = inputs
        keys = jax.random.split(key, length(configurations))
        return jnp.log(jnp.mean(jax.vmap(lambda k, x: _missed(diffusion, level, k, x))(keys, configurations)))

    levels = jax.tree.map(lambda a: a.astype(precision(configurations)), diffusion.noise_levels())
    return jax.lax.map(factor, (levels, jax.random.split(key, diffusion.schedule.steps)))


def _missed(diffusion: ScoreDiffusion, level: Any, key: Array, x: Any) -> Array:
    """What the mean of a step misses of the way back from its noise, squared, in units of the variance."""
    manifold = diffusion.manifold
    noise_key, step_key = jax.random.split(key)
    x = diffusion.noising.noised(noise_key, 1 - level[1], x)[0]
    mean, v = diffusion._noise(level, x)
    noise = manifold.random_tangent(step_key, precision(x))
    shift = add(mean, scale(_each(jnp.sqrt, v), noise))
    rest = add(shift, diffusion.reverse(level, manifold.exp(shift, x))[0])
    rest = scale(_each(lambda v: 1 / jnp.sqrt(v), v), rest)
    return manifold.inner(rest, rest) / manifold.dimension


class ProbabilityFlowField(AbstractVectorField):
    r"""The velocity $\dot x = -f + \tfrac12 g^2 s$ in the time t = 1 - tau, for the noise dx = f dtau + g dW.

    >>> noising = tm.stochastic.HeatKernelNoising(theory.manifold)
    >>> field = tm.stochastic.ProbabilityFlowField(noising, model.transport.field)
    """

    noising: AbstractNoising
    field: AbstractVectorField

    @property
    def manifold(self) -> AbstractManifold:
        return self.field.manifold

    def frozen_fields(self) -> tuple[str, ...]:
        """The noise, which the prior is made for."""
        return ("noising",)

    def __call__(self, t: Float[Array, ""], x: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        tau = (1 - t).astype(precision(x))
        (alpha, variance), (d_alpha, d_variance) = jax.jvp(self.noising.marginal, (tau,), (jnp.ones_like(tau),))
        if isinstance(alpha, dict):
            raise TypeError(
                "probability_flow: the fields of a ProductNoising move at rates of their own, which takes the divergence of "
                "each, and a vector field knows that of all together; sample by the diffusion itself."
            )
        rate = d_alpha / alpha
        half = (d_variance - 2 * rate * variance) / 2
        s, divergence = _score(self.noising, self.field, 1 - tau, x)
        expansion = (rate * self.manifold.dimension).astype(divergence.dtype)  # zero on links, where alpha is one
        divergence = half.astype(divergence.dtype) * divergence - expansion
        return subtract(scale(half, s), scale(rate, x)), divergence


def _score(noising: AbstractNoising, field: AbstractVectorField, t: Array, x: Any) -> tuple[Any, Array]:
    t = t.astype(precision(x))
    background, of_background = noising.background(1 - t, x)
    velocity, divergence = field(t, x)
    share = noising.share(1 - t)
    return add(background, scale(share, velocity)), share.astype(divergence.dtype) * divergence + of_background.astype(
        divergence.dtype
    )
