r"""Errors of sums over samples that were drawn from stored chains.

With $G_j$ the sum of the terms of all samples that start from the stored configuration j, the sum over samples is one over a
stationary series in Monte Carlo time, and

$$ \sigma^2 = \sum_j G_j^2 + 2 \sum_{t \ge 1} \sum_j G_j G_{j+t} . $$

Both what the samples have of their own (the noise of a path, repeated draws) and what they share is in it.
"""

import math

import numpy as np

from ._autocovariance import autocovariance
from ._rounding import root_sum_squares
from ._source import Source

_LENGTH = 50  # in tau_int, as for chains
_SMALLEST = 1e-9  # of a tau_int above that of white noise
_MATTERS = 1.2  # of the variance, over that of independent samples


def sum_errors(terms: np.ndarray, source: Source | None, s: float = 2.0) -> tuple[np.ndarray, tuple[str, ...]]:
    """Standard errors of sums of terms (samples, ...) of mean zero, of both parts where they are complex; and cautions."""
    if np.iscomplexobj(terms):
        (re, first), (im, second) = (sum_errors(part, source, s) for part in (np.real(terms), np.imag(terms)))
        return np.asarray(re + 1j * im), (*first, *second)
    if source is None:
        return root_sum_squares(terms), ()
    columns = terms.reshape(len(terms), -1).T
    found = [_error(column, source, s) for column in columns]
    errors = np.reshape([error for error, _, _ in found], terms.shape[1:])
    return errors, tuple(c for _, tau, share in found for c in _cautions(tau, share, source.shape[1]))


def source_time(terms: np.ndarray, source: Source, s: float = 2.0) -> float:
    """The longest integrated autocorrelation time of the terms as functions of the stored configuration."""
    if np.iscomplexobj(terms):
        return max(source_time(part, source, s) for part in (np.real(terms), np.imag(terms)))
    return max((_error(column, source, s)[1] for column in terms.reshape(len(terms), -1).T), default=0.5)


def _error(terms: np.ndarray, source: Source, s: float) -> tuple[float, float, float]:
    """(error, tau_int of the stored chain, variance over that of independent samples)."""
    scale = float(np.abs(terms).max(initial=0.0))
    if scale == 0.0:
        return 0.0, 0.5, 1.0
    terms = terms / scale
    total = source.shape[0] * source.shape[1]
    series = np.bincount(source.flat, weights=terms, minlength=total).reshape(source.shape)
    gamma = autocovariance(series)
    own = float(np.sum(terms**2)) / total
    # Pairs of different samples: the own noise of samples does not dilute the autocorrelation from which the window follows.
    # Where every configuration has one sample there are no such pairs: what neighbours share is less by little.
    shared = max(gamma[0] - own, gamma[1] if len(gamma) > 1 else 0.0, gamma[0] * math.sqrt(2.0 / total))
    rho = np.concatenate([[1.0], gamma[1:] / shared])
    window = _window(rho, shared / gamma[0], total, s)
    variance = total * (gamma[0] + 2.0 * float(gamma[1 : window + 1].sum()))
    # The subtracted mean (equation 49 of hep-lat/0306017).
    variance += (2 * window + 1) * max(variance, 0.0) / total
    variance = max(variance, own * total)
    tau = 0.5 + float(rho[1 : window + 1].sum())
    return scale * math.sqrt(variance), tau, variance / (own * total)


def _window(rho: np.ndarray, share: float, total: int, s: float) -> int:
    r"""The window of the Gamma method for a series of which only a share has this autocorrelation, and the rest is white.

    The sum up to W then has the relative error $2 c \sqrt{W/N}$ with $c = 1 + 1 / (2 \tau_{int} \cdot \mathrm{share})$: the
    second term is the white noise of every lag.
    """
    if len(rho) < 2:
        return 0
    w = np.arange(1, len(rho))
    tau_int = np.maximum(0.5 + np.cumsum(rho[1:]), 0.5 + _SMALLEST)
    tau = s / np.log((2.0 * tau_int + 1.0) / (2.0 * tau_int - 1.0))
    c = 1.0 + 1.0 / (2.0 * tau_int * share)
    below = np.flatnonzero(np.exp(-w / tau) - c * tau / np.sqrt(w * total) < 0.0)
    return int(w[below[0]]) if len(below) else len(rho) - 1


def _cautions(tau: float, share: float, n: int) -> tuple[str, ...]:
    if n == 1 or share < _MATTERS or n >= _LENGTH * tau:
        return ()
    return (f"samples start from stored chains of {n} configurations, fewer than {_LENGTH} tau_int = {_LENGTH * tau:.0f}",)
