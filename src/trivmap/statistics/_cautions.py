"""Reasons not to trust an error bar."""

import math

import numpy as np

_LENGTH = 50  # in tau_int
_EFFECTIVE_SAMPLES = 100
_LARGEST_WEIGHT = 0.1
_DISAGREEMENT = 1e-4  # probability of the spread of the chains
_TRANSITIONS = 10
# Means of two halves over their mean width: 2.65 for a normal distribution, 3.46 for a uniform one.
_SEPARATION = 4.0
_SMALLEST_MODE = 0.01
_POINTS = 20_000


def weight_cautions(weights: np.ndarray) -> tuple[str, ...]:
    """Of reweighting, from weights of sum one."""
    found = []
    effective = 1.0 / float(np.sum(weights**2))
    if effective < _EFFECTIVE_SAMPLES:
        found.append(f"only {effective:.0f} effective samples: the error itself is uncertain, the effective size overrated")
    if weights.max() > _LARGEST_WEIGHT:
        found.append(f"one sample carries {100 * weights.max():.0f} % of the weight: the model misses part of the theory")
    return tuple(found)


def chain_cautions(data: np.ndarray, tau_int: float) -> tuple[str, ...]:
    """Of the Gamma method, from scalar data (chains, n) and their autocorrelation time."""
    chains, n = data.shape
    if not math.isfinite(tau_int):
        return ("the data never change: their autocorrelation time and error are unknown",)
    found = []
    if n < _LENGTH * tau_int:
        found.append(f"the chains have {n} measurements, fewer than {_LENGTH} tau_int = {_LENGTH * tau_int:.0f}")
    if chains > 1 and (probability := _agreement(data, tau_int)) < _DISAGREEMENT:
        found.append(f"the chains disagree with one another (probability {probability:.0e})")
    found.extend(_two_modes(data[:, :: max(1, data.size // _POINTS)]))
    return tuple(found)


def _agreement(data: np.ndarray, tau_int: float) -> float:
    """Probability of a larger chi^2 of the chains' means, their variances taken within the chains."""
    chains, n = data.shape
    means = data.mean(axis=1)
    variance = 2.0 * max(tau_int, 0.5) * np.mean((data - means[:, None]) ** 2) / n
    if variance == 0.0:
        return 0.0 if np.ptp(means) > 0.0 else 1.0
    from scipy.special import gammaincc

    return float(gammaincc((chains - 1) / 2, np.sum((means - means.mean()) ** 2) / variance / 2))


def _two_modes(data: np.ndarray) -> list[str]:
    """Two well separated groups of values with few moves between them."""
    upper = data > _threshold(data.ravel())
    share = min(upper.mean(), 1.0 - upper.mean())
    if share < _SMALLEST_MODE:
        return []
    high, low = data[upper], data[~upper]
    width = math.sqrt((high.var() + low.var()) / 2)
    moves = int(np.sum(upper[:, 1:] != upper[:, :-1]))
    if high.mean() - low.mean() <= _SEPARATION * width or moves >= _TRANSITIONS:
        return []
    shown = f"{low.mean():.3g} and {high.mean():.3g}"
    return [f"the history has two modes, near {shown}, with {moves} transitions between them"]


def _threshold(values: np.ndarray) -> float:
    """The cut with the largest variance between both sides (Otsu), from a histogram."""
    if np.ptp(values) == 0.0:
        return float(values[0])
    counts, edges = np.histogram(values, bins=64)
    centres = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts), counts.sum()
    first = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (first[-1] * below / total - first) ** 2 / (below * (total - below))
    return float(edges[1 + np.nanargmax(between[:-1])])
