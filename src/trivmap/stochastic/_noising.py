"""Noise that turns configurations of a theory into those of a prior, with known transition densities."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .._checks import integers, positive, within
from .._types import Configuration
from ..gauge import casimir
from ..groups import AbstractGroup
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold, ProductManifold, RealField, links_of
from ..priors import AbstractPrior, GaussianPrior, HaarPrior, ProductPrior
from ._heat_kernel import brownian_motion, heat_kernel_score


class AbstractNoising(eqx.Module):
    r"""A diffusion over the time $\tau$ from 0 (the theory) to 1 (the prior): $x_\tau = \alpha x_0 + \sigma \xi$.

    On links alpha is one and the sum stands for Brownian motion on the group.

        >>> noising = tm.stochastic.HeatKernelNoising(theory.manifold)
        >>> diffusion = tm.ScoreDiffusion(noising, model.transport.field, 4)
    """

    manifold: eqx.AbstractVar[AbstractManifold]

    @property
    @abc.abstractmethod
    def prior(self) -> AbstractPrior:
        """The density at the end."""

    @abc.abstractmethod
    def marginal(self, tau: Float[Array, ""]) -> tuple[Any, Any]:
        r"""$\alpha(\tau)$ and the variance $\sigma^2(\tau)$ of each coordinate, numbers; of a product, numbers by name."""

    @abc.abstractmethod
    def noised(self, key: Key[Array, ""], tau: Float[Array, ""], x: Configuration) -> tuple[Configuration, Configuration]:
        """A configuration at time tau from x at time zero, and the score of its transition density."""

    @abc.abstractmethod
    def background(self, tau: Float[Array, ""], x: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        """The score, with its divergence, that a learned field is added to."""

    @abc.abstractmethod
    def share(self, tau: Float[Array, ""]) -> Float[Array, ""]:
        """The factor of the learned field in the score: how much of the structure it describes is left at time tau."""

    def transition(self, tau: Float[Array, ""], later: Float[Array, ""]) -> tuple[Any, Any]:
        """The factor a and the variance v of the step between two times: x' = a x + sqrt(v) xi."""
        alpha, variance = self.marginal(tau)
        alpha_later, variance_later = self.marginal(later)
        a = jax.tree.map(jnp.divide, alpha_later, alpha)
        return a, jax.tree.map(lambda later, a, v: later - a**2 * v, variance_later, a, variance)


class _GaussianNoising(AbstractNoising):
    """What the diffusions of real fields share; `data_width`: standard deviation per site assumed of the theory."""

    data_width: eqx.AbstractVar[float]

    def _width_squared(self, tau):
        alpha, variance = self.marginal(tau)
        return alpha**2 * self.data_width**2 + variance

    @property
    def prior(self) -> AbstractPrior:
        with jax.ensure_compile_time_eval():
            width = float(jnp.sqrt(self._width_squared(jnp.ones(()))))
        return GaussianPrior(self.manifold, width)

    def noised(self, key, tau, x):
        alpha, variance = self.marginal(tau)
        shift = jnp.sqrt(variance) * self.manifold.random_tangent(key, x.dtype)
        return alpha * x + shift, -shift / variance

    def share(self, tau):
        return jnp.ones_like(tau)

    def background(self, tau, x):
        inverse = 1 / self._width_squared(tau)
        return -inverse * x, -inverse * self.manifold.dimension


class VariancePreserving(_GaussianNoising):
    r"""$dx = -\tfrac12 \beta(\tau) x\, d\tau + w \sqrt{\beta(\tau)}\, dW$ with linear beta: stationary in the prior
    (arXiv:2011.13456).

    **Arguments:** `manifold`: a `RealField`; `data_width`: the width w of the prior, best that of the theory; `rates`: beta
    at 0 and 1.

        >>> noising = tm.stochastic.VariancePreserving(scalar.manifold)
        >>> diffusion = tm.ScoreDiffusion(noising, tm.GatedConvolutionField(scalar.manifold), 4)
    """

    manifold: AbstractManifold = eqx.field(static=True)
    data_width: float = eqx.field(static=True, default=0.5)
    rates: tuple[float, float] = eqx.field(static=True, default=(0.5, 10.0))

    def __check_init__(self):
        _check_real("VariancePreserving", self.manifold, data_width=self.data_width, rates=np.asarray(self.rates))

    def marginal(self, tau):
        decay = _decay(self.rates, tau)
        return jnp.exp(-decay / 2), -jnp.expm1(-decay) * self.data_width**2


class SubVariancePreserving(_GaussianNoising):
    r"""$dx = -\tfrac12 \beta x\, d\tau + w \sqrt{\beta (1 - e^{-2B})}\, dW$, $B = \int_0^\tau \beta$: the decay of
    `VariancePreserving` with the smaller variance $w^2 (1 - e^{-B})^2$ (arXiv:2011.13456).

    **Arguments:** those of `VariancePreserving`; the prior has the width w up to a factor of order $e^{-B}$.

        >>> noising = tm.stochastic.SubVariancePreserving(scalar.manifold)
        >>> diffusion = tm.ScoreDiffusion(noising, tm.GatedConvolutionField(scalar.manifold), 4)
    """

    manifold: AbstractManifold = eqx.field(static=True)
    data_width: float = eqx.field(static=True, default=0.5)
    rates: tuple[float, float] = eqx.field(static=True, default=(0.5, 10.0))

    def __check_init__(self):
        _check_real("SubVariancePreserving", self.manifold, data_width=self.data_width, rates=np.asarray(self.rates))

    def marginal(self, tau):
        decay = _decay(self.rates, tau)
        return jnp.exp(-decay / 2), (jnp.expm1(-decay) * self.data_width) ** 2


class VarianceExploding(_GaussianNoising):
    r"""$dx = \sqrt{d\sigma^2/d\tau}\, dW$ with geometric $\sigma$, from no noise to one far wider than the data
    (arXiv:2011.13456).

    **Arguments:** `manifold`: a `RealField`; `data_width`: standard deviation per site of the theory; `sigma`: the last
    $\sigma$; `ratio`: of the last to the first scale of the geometric schedule $\sigma^2 \propto ratio^{2 \tau} - 1$.

        >>> noising = tm.stochastic.VarianceExploding(scalar.manifold)
        >>> diffusion = tm.ScoreDiffusion(noising, tm.GatedConvolutionField(scalar.manifold), 4)
    """

    manifold: AbstractManifold = eqx.field(static=True)
    data_width: float = eqx.field(static=True, default=0.5)
    sigma: float = eqx.field(static=True, default=5.0)
    ratio: float = eqx.field(static=True, default=50.0)

    def __check_init__(self):
        _check_real("VarianceExploding", self.manifold, data_width=self.data_width, sigma=self.sigma)
        positive("VarianceExploding: ratio - 1", self.ratio - 1)

    def marginal(self, tau):
        growth = 2 * float(np.log(self.ratio))
        return jnp.ones_like(tau), self.sigma**2 * jnp.expm1(growth * tau) / (self.ratio**2 - 1)


class HeatKernelNoising(AbstractNoising):
    r"""Brownian motion on the links, in a time in which plaquettes decay linearly (arXiv:2605.06134).

    With $\sigma^2(\tau) = \log[1/(1 - c \tau)]/(2 C_F)$ the four links of a plaquette give
    $\langle P\rangle_\tau = (1 - c \tau) \langle P\rangle_0$ ($C_F = (N^2-1)/(2N)$; one for U(1)), $1 - c$ being `remainder`.
    The score is $1 - c \tau$ times the learned field, as it fades with the plaquettes.

    **Arguments:** `manifold`: a `LinkField`; `remainder`: the share of the plaquette left at the end, where the prior is
    Haar measure; `walk`: steps of the random walk that stands for Brownian motion on SU(N).

        >>> noising = tm.stochastic.HeatKernelNoising(theory.manifold)
        >>> diffusion = tm.ScoreDiffusion(noising, model.transport.field, 4)
    """

    manifold: AbstractManifold = eqx.field(static=True)
    remainder: float = eqx.field(static=True, default=1e-2)
    walk: int = eqx.field(static=True, default=8)

    def __check_init__(self):
        message = f"HeatKernelNoising acts on links, but was given {self.manifold}; see VariancePreserving."
        links_of(AbstractGroup, self.manifold, message)
        positive("HeatKernelNoising: remainder", self.remainder)
        within("HeatKernelNoising: remainder", self.remainder, 0, 1)
        integers("HeatKernelNoising", 1, walk=self.walk)

    @property
    def prior(self) -> AbstractPrior:
        return HaarPrior(self.manifold)

    @property
    def _group(self) -> AbstractGroup:
        return self.manifold.local_group

    def marginal(self, tau):
        group = self._group
        return jnp.ones_like(tau), -jnp.log1p(-(1 - self.remainder) * tau) / (2 * float(casimir(group.n)))

    def noised(self, key, tau, x):
        group, variance = self._group, self.marginal(tau)[1]
        sites = jnp.moveaxis(x, 0, len(group.element_shape))
        moved = brownian_motion(key, group, sites, variance, self.walk)
        score = heat_kernel_score(group, group.multiply(moved, group.adjoint(sites)), variance)
        return tuple(jnp.moveaxis(a, len(group.element_shape), 0) for a in (moved, score))

    def share(self, tau):
        # The velocity of the probability flow, half dsigma^2/dtau times the score, is then the field times a constant.
        return 1 - (1 - self.remainder) * tau

    def background(self, tau, x):
        return jnp.zeros_like(x), jnp.zeros((), jnp.real(x).dtype)


class ProductNoising(AbstractNoising):
    r"""Noise of its own for each field of a product of manifolds, at the same times.

    **Arguments:** `**components`: noisings by name, such as `links=HeatKernelNoising(...)`, `phi=VariancePreserving(...)`.

    The learned field is the score beyond the backgrounds of all components. `probability_flow` and implicit score matching
    are refused, as they need the divergence of each field by itself.

    **Raises:** `ValueError` for none or for different lattices.

        >>> of_links = tm.stochastic.HeatKernelNoising(tm.LinkField(tm.U1(), (4, 4)))
        >>> noising = tm.stochastic.ProductNoising(links=of_links, phi=tm.stochastic.VariancePreserving(tm.RealField((4, 4))))
    """

    components: dict[str, AbstractNoising]

    def __init__(self, **components: AbstractNoising):
        self.components = {name: components[name] for name in sorted(components)}
        _ = self.manifold  # refuses different lattices

    @property
    def manifold(self) -> ProductManifold:
        return ProductManifold(**{name: noising.manifold for name, noising in self.components.items()})

    @property
    def prior(self) -> AbstractPrior:
        return ProductPrior(**{name: noising.prior for name, noising in self.components.items()})

    def marginal(self, tau):
        parts = {name: noising.marginal(tau) for name, noising in self.components.items()}
        return {name: part[0] for name, part in parts.items()}, {name: part[1] for name, part in parts.items()}

    def noised(self, key, tau, x):
        keys = jax.random.split(key, len(self.components))
        parts = {n: noising.noised(k, tau, x[n]) for k, (n, noising) in zip(keys, self.components.items(), strict=True)}
        return {name: part[0] for name, part in parts.items()}, {name: part[1] for name, part in parts.items()}

    def background(self, tau, x):
        parts = {name: noising.background(tau, x[name]) for name, noising in self.components.items()}
        divergence = jnp.sum(jnp.stack([jnp.asarray(part[1], accumulator_dtype()) for part in parts.values()]))
        return {name: part[0] for name, part in parts.items()}, divergence

    def share(self, tau):
        # One factor for all, so that the divergence of the score is that of the field; a field on links fades by itself.
        return jnp.ones_like(tau)


def _decay(rates: tuple[float, float], tau: Array) -> Array:
    """Integral of the linear beta from zero to tau."""
    first, last = rates
    return first * tau + (last - first) * tau**2 / 2


def _check_real(name: str, manifold: AbstractManifold, **sizes: Any) -> None:
    if not isinstance(manifold, RealField):
        raise TypeError(f"{name} acts on a RealField, but was given {manifold}; for links use HeatKernelNoising.")
    for argument, size in sizes.items():
        positive(f"{name}: {argument}", size)
