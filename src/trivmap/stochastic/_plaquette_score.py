"""The score of two-dimensional U(1) theory under noise, in closed form to first order."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import DTypeLike

from ..fields import GatedConvolutionField
from ..groups import U1
from ..lattice import hypercubic_orbits, squared_momentum
from ..manifolds import LinkField
from ..theories import WilsonAction
from ._noising import HeatKernelNoising

_ANGLES, _TIMES = 64, 200


def plaquette_score(
    noising: HeatKernelNoising,
    theory: WilsonAction,
    *,
    features: int = 6,
    gates: int = 3,
    times: int = 10,
    dtype: DTypeLike | None = None,
) -> GatedConvolutionField:
    r"""A field for `ScoreDiffusion` that starts from the noised density of two-dimensional U(1) theory, to first order.

    Noise of variance v on the links damps a product of plaquette characters with charges $k_x$ by
    $\exp(-\tfrac{v}{2} \sum_{\langle xy\rangle} (k_x - k_y)^2)$, hence

    $$ \log p = \sum_x A(P_x) - v \sum_{\langle xy\rangle} A'(P_x) A'(P_y) + O(v^2), \quad
       A(P) = \log \sum_k I_k(\beta)\, e^{-2 v k^2} \cos kP, $$

    with neighbouring plaquettes x, y. Higher orders are summed as chains of neighbours in which A'' is replaced by its mean
    -J (N the sum over the four neighbours of a plaquette):

    $$ \partial \log p/\partial P_x = A'(P_x) - v A''(P_x) \Big[\frac{N}{1 - v J N} A'(P)\Big]_x, $$

    exact for $v \to 0$, for strong noise, and for all v where the distribution is Gaussian (large beta). Harmonics beyond
    `features` of A' and beyond `gates` of A'' are left out, and coefficients are fitted by `times` functions of t; training
    adds the rest.

    **Arguments:** `noising`, `theory`: on one manifold of two-dimensional U(1) links; sizes as for `GatedConvolutionField`.

    **Raises:** `TypeError` for another theory or dimension: plaquettes are independent in two dimensions only.

        >>> score = tm.stochastic.plaquette_score(tm.stochastic.HeatKernelNoising(theory.manifold), theory)
    """
    manifold = noising.manifold
    if not isinstance(theory, WilsonAction) or not isinstance(theory.group, U1) or len(theory.lattice) != 2:
        raise TypeError(f"plaquette_score needs the WilsonAction of U1() in two dimensions, but was given {theory}.")
    if manifold != theory.manifold or not isinstance(manifold, LinkField):
        raise TypeError(f"plaquette_score: the noising lives on {manifold}, the theory on {theory.manifold}.")
    field = GatedConvolutionField(manifold, features=features, gates=gates, times=times, dtype=dtype)
    t = np.linspace(0.0, 1.0, _TIMES)
    force, curvature, information, variance = _harmonics(noising, float(theory.beta), 1 - t, features, gates)
    orbits = hypercubic_orbits(manifold.lattice)
    momentum = np.zeros(int(orbits.max()) + 1)
    momentum[orbits.reshape(-1)] = squared_momentum(manifold.lattice).reshape(-1)
    neighbours = 4 - momentum
    chains = -variance[:, None] * neighbours / (1 - (variance * information)[:, None] * neighbours)
    # The features are sin(jP)/j^2 and cos(lP)/l; the constant of A'' multiplies a convolution of the features.
    linear = (force * np.arange(1, features + 1) ** 2)[:, :, None]
    ungated = linear * (1 + curvature[:, 0, None, None] * chains[:, None])
    gated = (curvature[:, 1:] * np.arange(1, gates + 1))[:, :, None, None] * (linear * chains[:, None])[:, None]
    share = np.asarray(noising.share(jnp.asarray(1 - t)))
    basis = np.cos(np.pi * t[:, None] * np.arange(times))
    fit = lambda a: np.linalg.lstsq(basis, a.reshape(len(t), -1) / share[:, None], rcond=None)[0]  # noqa: E731
    convolution = field.convolution
    new: Any = (
        fit(ungated).reshape(convolution.linear.shape),
        fit(gated).reshape(convolution.gate.shape),
        # The gradient of a function of the plaquettes: no division by the squared momentum.
        np.concatenate([(momentum - 1)[None], np.zeros((times - 1, len(momentum)))]),
    )
    real = convolution.linear.dtype
    return eqx.tree_at(
        lambda f: (f.convolution.linear, f.convolution.gate, f.smoothing), field, tuple(jnp.asarray(a, real) for a in new)
    )


def _harmonics(noising: HeatKernelNoising, beta: float, tau: np.ndarray, features: int, gates: int):
    """Coefficients of sin(jP), j >= 1, in A', of cos(lP), l >= 0, in A'', J and the variance v, at each noise time."""
    angle = 2 * np.pi * np.arange(_ANGLES) / _ANGLES
    variance = np.asarray(noising.marginal(jnp.asarray(tau))[1], float)
    # The coefficients of exp(beta cos P) are the modified Bessel functions.
    bessel = np.fft.rfft(np.exp(beta * (np.cos(angle) - 1))).real
    charges = np.arange(len(bessel))
    damped = bessel * np.exp(-2 * variance[:, None] * charges**2)
    density, slope = np.fft.irfft(damped, _ANGLES), np.fft.irfft(1j * charges * damped, _ANGLES)
    second = np.fft.irfft(-(charges**2) * damped, _ANGLES)
    force = slope / density
    curvature = second / density - force**2
    sines = -2 * np.fft.rfft(force).imag[:, 1 : features + 1] / _ANGLES
    cosines = np.fft.rfft(curvature).real[:, : gates + 1] / _ANGLES
    cosines[:, 1:] *= 2
    information = np.sum(density * force**2, axis=1) / np.sum(density, axis=1)
    return sines, cosines, information, variance
