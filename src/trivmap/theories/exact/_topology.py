import math
from functools import lru_cache

import numpy as np

_NOISE = 4e-15


@lru_cache(maxsize=32)
def charge_probabilities(beta: float, volume: int) -> tuple[np.ndarray, np.ndarray]:
    r"""All charges $-Q_{max} ... Q_{max}$ and $P(Q)$ for U(1) on a torus of `volume` plaquettes.

    $Z(\theta) = \sum_n f(n + \theta / 2\pi)^V$ with
    $f(\nu) = \int_{-\pi}^{\pi} e^{\beta \cos p} \cos(\nu p)\, dp / 2\pi$; its Fourier coefficients are $Z P(Q)$.
    Absolute accuracy about 1e-15, smaller values are zero.
    """
    if volume <= 2:
        # Two plaquettes sum to zero: no room for a charge.
        return np.array([0]), np.array([1.0])
    # |Q| < V/2 makes Z a trigonometric polynomial; Q^2 <= V/12 on average allows fewer points on large lattices.
    points = min(volume, 40 + math.ceil(6 * math.sqrt(volume))) | 1
    theta_over_2pi = (np.arange(points) - points // 2) / points
    z = _partition_function(theta_over_2pi, beta, volume)
    largest = points // 2
    charges = np.arange(-largest, largest + 1)
    probabilities = np.cos(2 * np.pi * np.outer(charges, theta_over_2pi)) @ z / points
    # P falls monotonically; beyond the first value of the size of rounding, noise would spoil high moments.
    noise = (probabilities / probabilities[largest] < _NOISE)[largest:]
    last = int(np.argmax(noise)) if noise.any() else largest + 1
    probabilities = np.where(np.abs(charges) < min(last, volume / 2), probabilities, 0.0)
    return charges, probabilities / probabilities.sum()


def _partition_function(fraction: np.ndarray, beta: float, volume: int) -> np.ndarray:
    from scipy.special import ive

    cutoff = 20 + math.ceil(10 * math.sqrt(abs(beta)))
    orders = np.arange(-cutoff, cutoff + 1)
    bessel = ive(orders, beta) / ive(0, beta)
    # f has a kink at +-pi, so f(nu) ~ exp(-beta) / (pi nu): small volumes need a long sum over n.
    reach = cutoff + min(20_000, math.ceil(10 ** (17 / (volume - 1))))
    z = np.zeros_like(fraction)
    for start in range(-reach, reach + 1, 1024):
        n = np.arange(start, min(start + 1024, reach + 1))
        nu = n[:, None] + fraction
        # exp(beta cos p) = sum_m I_m exp(imp) turns the integral into a sum of sinc(nu - m).
        f = sum(i * np.sinc(nu - m) for i, m in zip(bessel, orders, strict=True))
        z += np.sum(f**volume, axis=0)
    return z
