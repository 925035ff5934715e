import math
from functools import lru_cache

import numpy as np

from ._errors import NoExactResultError

_NOISE = 4e-15  # relative to P(0); powers of the volume round more
# From this |beta| on the weight of a plaquette is a peak that vanishes to rounding at the far side of the circle.
_SHARP = 40.0
_BLOCK = 2_000_000  # values of f at a time
_MOST_TERMS = 50_000
# Share of the sum of absolute values that has to be left of the sum over n: six digits of it are right.
_LEAST_SHARE = 1e-9


@lru_cache(maxsize=32)
def charge_probabilities(couplings: tuple[tuple[float, int], ...]) -> tuple[np.ndarray, np.ndarray]:
    r"""All charges $-Q_{max} ... Q_{max}$ and $P(Q)$ for U(1) on a torus, from pairs of a beta and a number of plaquettes.

    $Z(\theta) = \sum_n \prod_P f_{\beta_P}(n + \theta / 2\pi)$ with
    $f_\beta(\nu) = \int_{-\pi}^{\pi} e^{\beta \cos p} \cos(\nu p)\, dp / 2\pi$; its Fourier coefficients are $Z P(Q)$.
    Absolute accuracy about 1e-15, smaller values are zero.
    """
    volume = sum(count for _, count in couplings)
    if volume <= 2:
        # Two plaquettes sum to zero: no room for a charge.
        return np.array([0]), np.array([1.0])
    # |Q| < V/2 makes Z a trigonometric polynomial; on large lattices the width of P(Q) allows fewer points: Q^2 is V/12 at
    # beta = 0, V/(4 pi^2 beta) at large beta, and up to V/4 where plaquettes lie near -1.
    width = max(9.0 if beta < 0 else 6.0 * min(1.0, 1.1 / math.sqrt(max(beta, 1.0))) for beta, _ in couplings)
    points = min(volume, 40 + math.ceil(width * math.sqrt(volume))) | 1
    theta_over_2pi = (np.arange(points) - points // 2) / points
    z = _partition_function(theta_over_2pi, couplings)
    largest = points // 2
    charges = np.arange(-largest, largest + 1)
    probabilities = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(z)).real) / points
    # P falls monotonically; beyond the first value of the size of rounding, noise would spoil high moments.
    noise = (probabilities / probabilities[largest] < max(_NOISE, volume * 1e-16))[largest:]
    last = int(np.argmax(noise)) if noise.any() else largest + 1
    probabilities = np.where(np.abs(charges) < min(last, volume / 2), probabilities, 0.0)
    return charges, probabilities / probabilities.sum()


def theta_sums(beta: float, volume: int, theta: float) -> tuple[float, float]:
    r"""$\sum_n r^V$ and $\sum_n r^{V-1} r'$ at $\nu = n + \theta/2\pi$ with $r = f(\nu)/f(0)$ and $r' = f'_\beta(\nu)/f(0)$.

    The second over the first is the mean plaquette at theta.
    """
    from scipy.special import ive

    if abs(beta) >= _SHARP:
        raise NoExactResultError(f"no exact plaquette at theta for U(1) at beta={beta}: expected |beta| < {_SHARP:g}.")
    reach, cutoff = _reach(beta, volume), 20 + math.ceil(10 * math.sqrt(abs(beta)))
    nu = np.arange(-reach, reach + 1) + theta / (2 * np.pi)
    orders = np.arange(-cutoff, cutoff + 1)
    value = ive(orders, beta) / ive(0, beta)
    slope = (ive(orders - 1, beta) + ive(orders + 1, beta)) / (2 * ive(0, beta))
    kernels = np.sinc(nu[:, None] - orders)
    r, first = kernels @ value, kernels @ slope
    return float(np.sum(r**volume)), float(np.sum(r ** (volume - 1) * first))


def _partition_function(fraction: np.ndarray, couplings: tuple[tuple[float, int], ...]) -> np.ndarray:
    z, size = np.zeros_like(fraction), np.zeros_like(fraction)
    volume = sum(count for _, count in couplings)
    # A product of different f falls at least as fast as that of the one that falls slowest.
    reach = max(_reach(beta, volume) for beta, _ in couplings)
    rows = max(1, _BLOCK // fraction.size)
    for start in range(-reach, reach + 1, rows):
        n = np.arange(start, min(start + rows, reach + 1))
        terms = np.ones((n.size, fraction.size))
        for beta, count in couplings:
            one = _by_bessel if abs(beta) < _SHARP else _by_quadrature
            terms = terms * one(n[:, None] + fraction, beta, reach) ** count
        z += np.sum(terms, axis=0)
        size += np.sum(np.abs(terms), axis=0)
    if not z.max() > _LEAST_SHARE * size.max():
        raise NoExactResultError(
            f"no exact charge distribution for U(1) with the couplings {couplings} (beta, plaquettes): terms of alternating "
            "sign cancel. Take a smaller |beta|, or an even number of plaquettes."
        )
    return z


def _reach(beta: float, volume: int) -> int:
    """Terms of the sum over n with f(n)^V above rounding."""
    cutoff = 20 + math.ceil(10 * math.sqrt(abs(beta)))
    # f(nu)/f(0) falls like exp(-nu^2/2 beta) as long as that is above exp(-2 beta); for negative beta like sqrt(|beta|)/nu.
    if beta > _SHARP:
        reach = min(cutoff, 3 + math.ceil(12 * math.sqrt(beta / volume)))
    elif volume >= 100:
        reach = min(cutoff, 3 + math.ceil(3 * math.sqrt(abs(beta)) * 10 ** (20 / volume)))
    else:
        # f has a kink at +-pi, so f(nu) ~ exp(-beta) / (pi nu): small volumes need a long sum over n.
        reach = cutoff + min(20_000, math.ceil(10 ** (17 / (volume - 1))))
    if reach > _MOST_TERMS:
        raise NoExactResultError(
            f"no exact charge distribution for U(1) at beta={beta} on {volume} plaquettes: it is a sum of {reach} terms, at "
            f"most {_MOST_TERMS} are taken. At such a beta the charge is frozen."
        )
    return reach


def _by_bessel(nu: np.ndarray, beta: float, reach: int) -> np.ndarray:
    """f(nu)/f(0): exp(beta cos p) = sum_m I_m exp(imp) turns the integral into a sum of sinc(nu - m)."""
    from scipy.special import ive

    cutoff = 20 + math.ceil(10 * math.sqrt(abs(beta)))
    orders = np.arange(-cutoff, cutoff + 1)
    bessel = ive(orders, beta) / ive(0, beta)
    return sum((i * np.sinc(nu - m) for i, m in zip(bessel, orders, strict=True)), np.zeros_like(nu, float))


def _by_quadrature(nu: np.ndarray, beta: float, reach: int) -> np.ndarray:
    """The same for a sharp peak of exp(beta cos p), at 0 or (beta < 0) at pi, by Gauss-Legendre where it is above e^-40."""
    edge = math.acos(1 - 40 / abs(beta))
    # A quarter of the largest phase nu p and the peak itself, with a margin.
    nodes, weights = np.polynomial.legendre.leggauss(80 + math.ceil((reach + 1) * edge))
    q = 0.5 * edge * (nodes + 1)
    weights = weights * np.exp(-2 * abs(beta) * np.sin(q / 2) ** 2)
    weights = weights / weights.sum()
    p = q if beta > 0 else np.pi - q
    flat = nu.reshape(-1)
    blocks = (flat[k : k + 8192] for k in range(0, flat.size, 8192))
    return np.concatenate([np.cos(np.outer(block, p)) @ weights for block in blocks]).reshape(nu.shape)
