"""Reasons not to trust an error bar of the Gamma method."""

import math

import numpy as np

from ._outliers import outlier_cautions

_LENGTH = 50  # in tau_int, or measurements
_DISAGREEMENT = 1e-4  # probability of the spread of the chains
_TRANSITIONS = 10
_BEGINNING, _CANDIDATES = 100, 1000  # of the search for a period
# Of the spread of all data: steps as small are rounding, and a walk of them would take 1e8 measurements.
_STILL = 1e-4
# Means of two halves over their mean width: 2.65 for a normal distribution, 3.46 for a uniform one.
_SEPARATION = 4.0
_SMALLEST_MODE = 0.01
_POINTS = 20_000


def chain_cautions(deltas: np.ndarray, mean: float, tau_int: float, resolved: float) -> tuple[str, ...]:
    """From fluctuations (chains, n) about a mean, their autocorrelation time and the smallest one that n can resolve."""
    chains, n = deltas.shape
    if not math.isfinite(tau_int):
        return ("the data never change: their autocorrelation time and error are unknown",)
    found = []
    if n < _LENGTH:
        found.append(f"the chains have {n} measurements, fewer than {_LENGTH}: the error itself is uncertain")
    if n < _LENGTH * tau_int:
        found.append(f"the chains have {n} measurements, fewer than {_LENGTH} tau_int = {_LENGTH * tau_int:.0f}")
    if tau_int < resolved:
        found.append(
            f"the data are anticorrelated: their autocorrelations nearly cancel, and {n} measurements do not resolve "
            f"tau_int below {resolved:.1g}"
        )
    found.extend(_stuck(deltas) or _periodic(deltas))
    found.extend(outlier_cautions(deltas.ravel()))
    if chains > 1 and (probability := _agreement(deltas, tau_int)) < _DISAGREEMENT:
        found.append(f"the chains disagree with one another (probability {probability:.0e})")
    found.extend(_two_modes(deltas[:, :: max(1, deltas.size // _POINTS)], mean))
    return tuple(found)


def _stuck(deltas: np.ndarray) -> list[str]:
    """A chain that keeps one value, up to rounding, for more than half of its length, while the data vary."""
    chains, n = deltas.shape
    scaled = deltas / np.abs(deltas).max()
    still = _STILL * math.sqrt(np.mean(scaled**2))
    lengths = [_longest_run(chain, still) for chain in scaled]
    worst = int(np.argmax(lengths))
    if 2 * lengths[worst] <= n or n < _TRANSITIONS:
        return []
    which = f"chain {worst}" if chains > 1 else "the chain"
    return [f"{which} keeps one value for {lengths[worst]} of {n} measurements: it may be stuck"]


def _periodic(deltas: np.ndarray) -> list[str]:
    """A chain that goes through the same values again and again: bins of its period have equal means, and no error."""
    still = _STILL * math.sqrt(np.mean((deltas / np.abs(deltas).max()) ** 2)) * np.abs(deltas).max()
    for which, chain in enumerate(deltas):
        if (period := _period(chain, still)) is not None:
            return [f"chain {which} repeats its first {period} values again and again: it does not explore the distribution"]
    return []


def _period(chain: np.ndarray, still: float) -> int | None:
    """The smallest period of at most a third of the chain, or none."""
    beginning = chain[:_BEGINNING]
    last = len(chain) // 3
    for period in 1 + np.flatnonzero(np.abs(chain[1 : last + 1] - chain[0]) <= still)[:_CANDIDATES]:
        # Few candidates pass on the beginning alone, so that a long chain is compared once or never.
        repeated = chain[period : period + _BEGINNING]
        if np.all(np.abs(repeated - beginning[: len(repeated)]) <= still) and np.all(
            np.abs(chain[period:] - chain[:-period]) <= still
        ):
            return int(period)
    return None


def _longest_run(chain: np.ndarray, still: float) -> int:
    changes = np.flatnonzero(np.concatenate([[True], np.abs(np.diff(chain)) > still, [True]]))
    return int(np.diff(changes).max())


def _agreement(deltas: np.ndarray, tau_int: float) -> float:
    """Probability of a larger chi^2 of the chains' means, their variances taken within the chains."""
    chains, n = deltas.shape
    scale = np.abs(deltas).max()
    means = deltas.mean(axis=1) / scale
    variance = 2.0 * max(tau_int, 0.5) * np.mean((deltas / scale - means[:, None]) ** 2) / n
    if variance == 0.0:
        return 0.0 if np.ptp(means) > 0.0 else 1.0
    from scipy.special import gammaincc

    return float(gammaincc((chains - 1) / 2, np.sum((means - means.mean()) ** 2) / variance / 2))


def _two_modes(deltas: np.ndarray, mean: float) -> list[str]:
    """Two well separated groups of values with few moves between them."""
    lowest, width = deltas.min(), np.ptp(deltas)
    if width == 0.0:
        return []
    data = (deltas - lowest) / width  # from 0 to 1, whatever the size of the fluctuations
    upper = data > _threshold(data.ravel())
    share = min(upper.mean(), 1.0 - upper.mean())
    if share < _SMALLEST_MODE:
        return []
    high, low = data[upper], data[~upper]
    inner = math.sqrt((high.var() + low.var()) / 2)
    moves = int(np.sum(upper[:, 1:] != upper[:, :-1]))
    if high.mean() - low.mean() <= _SEPARATION * inner or moves >= _TRANSITIONS:
        return []
    low_value, high_value = (mean + lowest + width * group.mean() for group in (low, high))
    return [f"the history has two modes, near {low_value:.3g} and {high_value:.3g}, with {moves} transitions between them"]


def _threshold(values: np.ndarray) -> float:
    """The cut with the largest variance between both sides (Otsu), from a histogram of values in [0, 1]."""
    counts, edges = np.histogram(values, bins=64, range=(0.0, 1.0))
    centres = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts), counts.sum()
    first = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (first[-1] * below / total - first) ** 2 / (below * (total - below))
    return float(edges[1 + np.nanargmax(between[:-1])])
