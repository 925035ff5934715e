"""Jackknife and bootstrap, plain or weighted."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .._checks import integer, integers
from .._random import host_generator
from ._derived import of_means
from ._estimate import Estimate, merged_cautions
from ._gamma import MIN_LENGTH, gamma_method
from ._input import complex_array, real_array
from ._rounding import resolution, root_sum_squares
from ._source import Source
from ._source_errors import source_time
from ._weight_cautions import weight_cautions
from ._weights import normalised_weights

_MOST_BINS = 200
_FEWEST_BINS = 10
_TRUNCATION = 0.1  # of the variance, by bins of finite length


def jackknife(
    data: Any,
    function: Any = None,
    *,
    log_weights: Any = None,
    bins: int | None = None,
    correct_bias: bool = False,
) -> Estimate:
    r"""Function of the means of `data` with its delete-one-bin jackknife error.

    $\sigma^2 = \frac{B-1}{B}\sum_b (f_b - \bar f)^2$ where $f_b$ leaves out bin b.

    **Arguments:**

    - `data`: `(samples, ...)`; in Monte Carlo order when autocorrelated.
    - `function`: map from the mean (shape of one sample) to a scalar or array, or a `DerivedObservable`; identity by default.
    - `log_weights`: `(samples,)` for reweighted means of independent samples, or the `Ensemble` itself, whose phases and
      `source` then count as well; the bins carry unequal weights and the error refers to the ratio of sums. Where samples
      start from stored chains, bins are of consecutive configurations of these, with all samples from them.
    - `bins`: number of bins, each much longer than the autocorrelation time. By default at most 200, and so few that their
      length changes the variance by a tenth at most: of $20 |a| / (1 - a^2)$ measurements with
      $a = (2\tau_{int} - 1) / (2\tau_{int} + 1)$.
    - `correct_bias`: subtract the jackknife estimate $(B - 1)(\overline{f_b} - f)$ of the O(1/N) bias.

    **Returns:** an `Estimate` with the cautions of the Gamma method, or of the weights.

        >>> tm.statistics.jackknife(np.random.default_rng(0).normal(size=1000))
    """
    samples, weights = _prepare(data, log_weights)
    function = of_means(function)
    source = getattr(log_weights, "source", None)
    centre, deltas = _centred(samples, weights)
    weighted = deltas * weights.reshape(-1, *[1] * (samples.ndim - 1))
    length, cautions = _length_and_cautions(samples, log_weights, weights, weighted, resolution(data))
    n: int = len(weights) if source is None else source.shape[0] * source.shape[1]
    bins = max(min(n // length, _MOST_BINS), min(n, 2)) if bins is None else bins
    integer("jackknife: bins", bins)
    if not 2 <= bins <= n:
        raise ValueError(f"the number of bins must lie between 2 and the number of samples {n}, got {bins}")
    edges = np.linspace(0, n, bins + 1).astype(int)[:-1]
    sums, norms = _binned(weighted, edges, source), _binned(weights, edges, source)
    rest = 1.0 - norms
    if np.any(np.abs(rest) <= 0.0) or np.any(rest.real <= 0.0):
        raise ValueError("one bin holds all of the weight: the effective sample size is too small for a jackknife")
    shifts = -sums / rest.reshape(-1, *[1] * (samples.ndim - 1))
    replica, value = _apply(function, centre, shifts), _apply(function, centre, np.zeros((1, *centre.shape)))[0]
    error = math.sqrt((bins - 1) / bins) * _spread(replica - replica.mean(axis=0))
    bias = (bins - 1) * (replica.mean(axis=0) - value) if correct_bias else 0.0
    value = value + (centre if function is None else 0.0) - bias
    return Estimate.of(value, error, cautions=merged_cautions(cautions, _short(n / bins, length, bins)))


def bootstrap(
    key: jax.Array,
    data: Any,
    function: Any = None,
    *,
    log_weights: Any = None,
    resamples: int = 500,
    block: int | None = None,
) -> Estimate:
    """Function of the means of `data` with its bootstrap error: the spread over resampled data.

    Blocks of `block` consecutive samples are drawn with replacement; by default they are as long as the bins of `jackknife`.
    `data`, `function` and `log_weights`, and what is returned, are as for `jackknife`.

        >>> tm.statistics.bootstrap(key, np.random.default_rng(0).normal(size=1000))
    """
    samples, weights = _prepare(data, log_weights)
    function = of_means(function)
    source = getattr(log_weights, "source", None)
    n = len(weights) if source is None else source.shape[0] * source.shape[1]
    integers("bootstrap", 2, resamples=resamples)
    centre, deltas = _centred(samples, weights)
    weighted = deltas * weights.reshape(-1, *[1] * (samples.ndim - 1))
    length, cautions = _length_and_cautions(samples, log_weights, weights, weighted, resolution(data))
    block = min(length, max(n // 2, 1)) if block is None else block
    integers("bootstrap", 1, block=block)
    blocks = n // block
    if blocks < 2:
        raise ValueError(f"a block of {block} samples leaves fewer than two blocks of {n} samples")
    edges = np.arange(blocks) * block
    kept = blocks * block
    sums, norms = _binned(weighted, edges, source, kept), _binned(weights, edges, source, kept)
    if not np.all(np.abs(norms) > 0.0) and np.count_nonzero(norms) < 2:
        raise ValueError("one block holds all of the weight: the effective sample size is too small for a bootstrap")
    rng = host_generator(key)
    replica = []
    while len(replica) < resamples:
        counts = rng.multinomial(blocks, np.full(blocks, 1.0 / blocks)).astype(float)
        if abs(norm := np.dot(counts, norms)) > 0.0:
            replica.append(np.tensordot(counts, sums, axes=1) / norm)
    values = _apply(function, centre, np.stack(replica))
    # Resampled blocks vary by (blocks - 1) / blocks of what the blocks do.
    error = _spread(values - values.mean(axis=0)) * math.sqrt(blocks / ((blocks - 1) * (resamples - 1)))
    value = _apply(function, centre, np.zeros((1, *centre.shape)))[0] + (centre if function is None else 0.0)
    return Estimate.of(value, error, cautions=merged_cautions(cautions, _short(float(block), length, blocks)))


def _length_and_cautions(
    samples: np.ndarray, log_weights: Any, weights: np.ndarray, weighted: np.ndarray, epsilon: float
) -> tuple[int, tuple[str, ...]]:
    """Of bins that lower the variance by a tenth at most, from the slowest component of the data."""
    n = len(samples)
    source = getattr(log_weights, "source", None)
    if log_weights is None and n < MIN_LENGTH:
        return 1, (f"only {n} samples: their autocorrelation is unknown",)
    if log_weights is None:
        estimate = gamma_method(samples.reshape(1, n, -1), epsilon=epsilon)
        tau, cautions = np.nan_to_num(np.asarray(estimate.tau_int), nan=0.5), estimate.cautions
    else:
        cautions = merged_cautions(getattr(log_weights, "cautions", ()), weight_cautions(normalised_weights(log_weights)))
        if source is None or source.shape[1] < MIN_LENGTH:
            return 1, cautions
        tau, n = np.asarray(source_time(weighted, source)), source.shape[0] * source.shape[1]
    # A bin of b measurements lacks 2 sum_t t rho(t) / (2 tau_int b) of the variance, with rho(t) = a^t; it has too much of it
    # where the data are anticorrelated.
    a = np.abs((2.0 * tau - 1.0) / (2.0 * tau + 1.0))
    length = math.ceil(float(np.max(2.0 * a / (1.0 - a * a))) / _TRUNCATION)
    return min(max(length, 1), max(n // 2, 1)), cautions


def _binned(terms: np.ndarray, edges: np.ndarray, source: Source | None, kept: int | None = None) -> np.ndarray:
    """Sums over bins that begin at the edges: of samples in their order, or of the configurations from which they start."""
    if source is None:
        return np.add.reduceat(terms[:kept], edges, axis=0)
    sums = np.zeros((len(edges), *terms.shape[1:]), terms.dtype)
    inside = slice(None) if kept is None else source.flat < kept
    np.add.at(sums, np.searchsorted(edges, source.flat[inside], side="right") - 1, terms[inside])
    return sums


def _spread(deltas: np.ndarray) -> np.ndarray:
    """Root of the sum of squares, of both parts where numbers are complex."""
    if np.iscomplexobj(deltas):
        return np.asarray(root_sum_squares(np.real(deltas)) + 1j * root_sum_squares(np.imag(deltas)))
    return root_sum_squares(deltas)


def _short(given: float, length: int, bins: int) -> tuple[str, ...]:
    """Cautions of bins that are shorter than they should be, or few."""
    found = []
    if 2.0 * given < length:
        found.append(f"bins of {given:.0f} measurements are short for their autocorrelation, which asks for {length}")
    if bins < _FEWEST_BINS:
        found.append(f"only {bins} bins: the error itself is uncertain")
    return tuple(found)


def _centred(samples: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean, and deviations from it: differences of means keep the digits that an offset would take."""
    first = samples[int(np.argmax(np.abs(weights)))]
    centre = first + np.tensordot(weights, samples - first, axes=1)
    return np.asarray(centre), samples - centre


def _prepare(data: Any, log_weights: Any) -> tuple[np.ndarray, np.ndarray]:
    phases = getattr(log_weights, "phases", None)
    samples = (real_array if phases is None else complex_array)(data, "the data", "resample")
    if samples.ndim == 0 or len(samples) < 2:
        raise ValueError(f"got data of shape {samples.shape}, expected a leading axis of two samples or more")
    weights = np.full(len(samples), 1.0 / len(samples)) if log_weights is None else normalised_weights(log_weights)
    if len(weights) != len(samples):
        raise ValueError(f"{len(samples)} samples, but {len(weights)} log weights")
    if phases is not None:
        weights = weights * np.exp(1j * phases)
        weights = weights / weights.sum()
    # A sample of weight zero may hold anything, nan included.
    zero = (weights == 0.0).reshape(-1, *[1] * (samples.ndim - 1))
    samples = np.where(zero, 0.0, samples)
    bad = samples.size - np.isfinite(samples).sum()
    if bad:
        raise ValueError(f"{bad} of {samples.size} values are nan or infinite; remove or repair them first")
    return samples, weights


def _apply(function: Callable | None, centre: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Values at shifted means; of the identity the shifts alone, so that their differences keep all digits."""
    if function is None:
        return shifts
    values = np.stack([np.asarray(function(centre + d)) for d in shifts])
    return values if np.iscomplexobj(values) else values.astype(np.float64)
