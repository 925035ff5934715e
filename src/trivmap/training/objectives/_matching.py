"""Training on stored configurations: score matching for diffusions, flow matching for continuous flows."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Key

from ..._checks import at_least
from ..._parameters import fixed_numbers
from ..._trees import add, precision, scale, subtract
from ..._types import Configuration
from ...flows import ContinuousFlow
from ...manifolds import LinkField, RealField
from ...models import transport_of
from ...statistics import Chain, Ensemble, StoredConfigurations
from ...stochastic import ScoreDiffusion, logarithm
from ...theories import AbstractTheory

# Noise times below this have no denoising target to speak of: 1/sigma^2 diverges.
_FIRST_TIME = 1e-3


class ScoreMatching(eqx.Module):
    r"""Training of a `ScoreDiffusion` on stored configurations of the theory.

    With noised configurations $x_\tau$, times spread evenly, and the score s,

    $$ L_{denoising} = \langle \sigma^2 |s(x_\tau) - \partial \log p(x_\tau | x_0)|^2 \rangle, \quad
       L_{implicit} = \langle \sigma^2 (|s|^2 + 2\, \mathrm{div}\, s) \rangle, $$

    which differ by a constant. The target of the first is the score of the normal distribution or of the heat kernel; the
    second uses the exact divergence of the field and needs no target, at the price of a loss that is not bounded by zero.
    Denoising on SU(N) is biased by the random walk that stands for Brownian motion, a few percent at late times; the weights
    of the diffusion are exact all the same.

    **Arguments:** `data`: a `Chain` or an `Ensemble` (resampled by its weights) with configurations, or an array with
    configurations along its first axis; `kind`: `"denoising"` or `"implicit"`; `anchor`: weight of $|s(x_0) + \partial S|^2$
    at noise time zero, where the score is that of the theory (arXiv:2510.26081).

    The log weights that an objective reports are not known here and are NaN: sample to see them.

    **Raises:** `ValueError` when observables were kept instead of configurations; `TypeError` for another transport.

        >>> objective = tm.objectives.ScoreMatching(chain)
    """

    data: StoredConfigurations
    kind: str = eqx.field(static=True)
    anchor: float = eqx.field(static=True)

    def __init__(
        self,
        data: Chain | Ensemble | Array | np.ndarray | dict,
        kind: str = "denoising",
        anchor: float = 0.0,
    ):
        if kind not in ("denoising", "implicit"):
            raise ValueError(f'ScoreMatching: kind is "denoising" or "implicit", but {kind!r} was given.')
        at_least("ScoreMatching: anchor", anchor, 0)
        self.data, self.kind, self.anchor = StoredConfigurations(data, type(self).__name__), kind, anchor

    def __call__(
        self, key: Key[Array, ""], model: Any, theory: AbstractTheory, batch_size: int, *, dtype: DTypeLike | None = None
    ) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
        diffusion = transport_of("ScoreMatching trains", model, ScoreDiffusion)
        data_key, time_key, key = jax.random.split(key, 3)
        x = self.data.draw(data_key, batch_size, dtype)
        tau = _stratified(time_key, batch_size, precision(x))
        losses = jax.vmap(lambda k, tau, x: self._loss(diffusion, theory, k, tau, x))(
            jax.random.split(key, batch_size), tau, x
        )
        return jnp.mean(losses), jnp.full(batch_size, jnp.nan)

    def _loss(self, diffusion: ScoreDiffusion, theory: AbstractTheory, key: Array, tau: Array, x: Any) -> Array:
        manifold, noising = diffusion.manifold, diffusion.noising
        noised, target = jax.lax.stop_gradient(noising.noised(key, tau, x))
        s, divergence = diffusion.score(1 - tau, noised)
        variance = noising.marginal(tau)[1]
        if isinstance(variance, dict):
            loss = self._by_field(manifold, variance, subtract(s, target))
        else:
            difference = subtract(s, target)
            known = self.kind == "denoising"
            loss = manifold.inner(difference, difference) if known else manifold.inner(s, s) + 2 * divergence
            loss = variance.astype(loss.dtype) * loss
        if self.anchor:
            force = add(theory.gradient(x), diffusion.score(jnp.ones_like(tau), x)[0])
            loss = loss + self.anchor * manifold.inner(force, force).astype(loss.dtype)
        return loss / manifold.dimension

    def _by_field(self, manifold: Any, variance: Any, difference: Any) -> Array:
        """Of a product, each field in units of its own noise."""
        if self.kind == "implicit":
            raise TypeError(
                "ScoreMatching: kind='implicit' needs the divergence of each field of a ProductNoising, and a vector field "
                "knows that of all together; use kind='denoising'."
            )
        scaled = scale(jax.tree.map(jnp.sqrt, variance), difference)
        return manifold.inner(scaled, scaled)


class FlowMatching(eqx.Module):
    r"""Training of a `ContinuousFlow` on stored configurations, without integrating it (arXiv:2210.02747, 2302.03660).

    A prior configuration z and one of the theory are joined by a geodesic, $x_t = e^{t L} z$ with $L = \log(x z^{-1})$ (the
    difference for scalars, the shortest algebra element on links), and the velocity of the flow is regressed on L:

    $$ \langle |v(t, x_t) - L|^2 \rangle. $$

    The flow then carries the prior to the theory up to what the field cannot express; the log weights of its samples are
    exact as for any continuous flow. On U(1) and SU(N) the geodesic breaks at the cut locus, which only costs smoothness.

    With `noise` a the path is a stochastic interpolant (arXiv:2303.08797), $x_t = e^{\gamma(t) \xi} e^{tL} z$ with
    $\gamma = a \sin \pi t$ and normal $\xi$, and the velocity is regressed on its derivative $\dot x_t x_t^{-1}$: ends stay
    where they are, densities in between are smoother.

    **Arguments:** `data`: as for `ScoreMatching`; log weights are NaN likewise. `noise`: a, in units of the field.

    **Raises:** `ValueError` when observables were kept instead of configurations, or for negative noise; `TypeError` for
    another transport.

        >>> objective = tm.objectives.FlowMatching(chain)
    """

    data: StoredConfigurations
    noise: float = eqx.field(static=True)

    def __init__(self, data: Chain | Ensemble | Array | np.ndarray | dict, noise: float = 0.0):
        if noise < 0:
            raise ValueError(f"FlowMatching needs noise >= 0, but {noise} was given.")
        self.data, self.noise = StoredConfigurations(data, type(self).__name__), float(noise)

    def __call__(
        self, key: Key[Array, ""], model: Any, theory: AbstractTheory, batch_size: int, *, dtype: DTypeLike | None = None
    ) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
        flow = transport_of("FlowMatching trains", model, ContinuousFlow)
        prior = fixed_numbers(model.prior)
        data_key, time_key, key = jax.random.split(key, 3)
        x = self.data.draw(data_key, batch_size, dtype)
        t = _stratified(time_key, batch_size, precision(x))
        manifold = flow.manifold

        def loss(key, t, x):
            prior_key, noise_key = jax.random.split(key)
            moved, velocity = interpolant(manifold, noise_key, t, prior.sample(prior_key, dtype), x, self.noise)
            error = flow.field(t, moved)[0] - velocity
            return manifold.inner(error, error) / manifold.dimension

        losses = jax.vmap(loss)(jax.random.split(key, batch_size), t, x)
        return jnp.mean(losses), jnp.full(batch_size, jnp.nan)


@functools.singledispatch
def geodesic(manifold: Any, z: Configuration, x: Configuration) -> Configuration:
    """The tangent vector L with exp(L) z = x, shortest on links."""
    raise TypeError(
        f"FlowMatching: got a {type(manifold).__name__}, expected a RealField or a LinkField: the geodesic between two "
        "configurations is not known elsewhere; train with reverse_kl or ForwardKL."
    )


@geodesic.register
def _(manifold: RealField, z: Any, x: Any) -> Any:
    return x - z


@geodesic.register
def _(manifold: LinkField, z: Any, x: Any) -> Any:
    group = manifold.group
    return jax.vmap(lambda z, x: logarithm(group, group.multiply(x, group.adjoint(z))))(z, x)


def interpolant(
    manifold: Any,
    key: Key[Array, ""],
    t: Float[Array, ""],
    z: Configuration,
    x: Configuration,
    noise: float,
) -> tuple[Configuration, Configuration]:
    """The configuration at time t on the way from z to x, and its velocity."""
    direction = geodesic(manifold, z, x)

    def straight(t: Array) -> Array:
        return manifold.exp(t.astype(z.dtype) * direction, z)

    if noise == 0:
        return straight(t), direction
    xi = manifold.random_tangent(key, jnp.real(z).dtype)

    def curve(t: Array) -> Array:
        return manifold.exp((noise * jnp.sin(jnp.pi * t)).astype(z.dtype) * xi, straight(t))

    moved, rate = jax.jvp(curve, (t,), (jnp.ones_like(t),))
    if not jnp.iscomplexobj(moved):
        return moved, rate
    group = manifold.group
    turned = jax.vmap(lambda rate, moved: group.project_algebra(group.multiply(rate, group.adjoint(moved))))
    return moved, turned(rate, moved)


def _stratified(key: Array, count: int, dtype: DTypeLike) -> Array:
    """One time in each of `count` equal parts of the interval."""
    u = (jnp.arange(count, dtype=dtype) + jax.random.uniform(key, (count,), dtype)) / count
    return _FIRST_TIME + (1 - _FIRST_TIME) * u
