"""Jackknife and bootstrap, plain or weighted."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .._checks import integer, integers
from ._estimate import Estimate
from ._weights import normalised_weights


def jackknife(
    data: Any,
    function: Callable | None = None,
    *,
    log_weights: Any = None,
    bins: int | None = None,
    correct_bias: bool = False,
) -> Estimate:
    r"""Function of the means of `data` with its delete-one-bin jackknife error.

    $\sigma^2 = \frac{B-1}{B}\sum_b (f_b - \bar f)^2$ where $f_b$ leaves out bin b.

    **Arguments:**

    - `data`: `(samples, ...)`; in Monte Carlo order when autocorrelated.
    - `function`: map from the mean (shape of one sample) to a scalar or array; identity by default.
    - `log_weights`: `(samples,)` for reweighted means; the bins then carry unequal weights and the error refers to the
      ratio of sums.
    - `bins`: number of bins, each much longer than the autocorrelation time; one sample each (at most 200) by default.
    - `correct_bias`: subtract the jackknife estimate $(B - 1)(\overline{f_b} - f)$ of the O(1/N) bias.
    """
    samples, weights = _prepare(data, log_weights)
    n = len(weights)
    bins = min(n, 200) if bins is None else bins
    integer("jackknife: bins", bins)
    if not 2 <= bins <= n:
        raise ValueError(f"the number of bins must lie between 2 and the number of samples {n}, got {bins}")
    edges = np.linspace(0, n, bins + 1).astype(int)[:-1]
    weighted = samples * weights.reshape(-1, *[1] * (samples.ndim - 1))
    sums, norms = np.add.reduceat(weighted, edges, axis=0), np.add.reduceat(weights, edges)
    rest = 1.0 - norms
    if np.any(rest <= 0.0):
        raise ValueError("one bin holds all of the weight: the effective sample size is too small for a jackknife")
    means = (weighted.sum(axis=0) - sums) / rest.reshape(-1, *[1] * (samples.ndim - 1))
    replica = _apply(function, means)
    error = np.sqrt((bins - 1) / bins * np.sum((replica - replica.mean(axis=0)) ** 2, axis=0))
    value = _apply(function, weighted.sum(axis=0)[None])[0]
    if correct_bias:
        value = value - (bins - 1) * (replica.mean(axis=0) - value)
    return Estimate.of(value, error)


def bootstrap(
    key: jax.Array,
    data: Any,
    function: Callable | None = None,
    *,
    log_weights: Any = None,
    resamples: int = 500,
    block: int = 1,
) -> Estimate:
    """Function of the means of `data` with its bootstrap error: the spread over resampled data.

    Blocks of `block` consecutive samples are drawn with replacement; choose them longer than the autocorrelation
    time. `data`, `function` and `log_weights` are as for `jackknife`.
    """
    samples, weights = _prepare(data, log_weights)
    integers("bootstrap", 2, resamples=resamples)
    integers("bootstrap", 1, block=block)
    blocks = len(weights) // block
    if blocks < 2:
        raise ValueError(f"a block of {block} samples leaves fewer than two blocks of {len(weights)} samples")
    edges = np.arange(blocks) * block
    weighted = samples * weights.reshape(-1, *[1] * (samples.ndim - 1))
    kept = blocks * block
    sums = np.add.reduceat(weighted[:kept], edges, axis=0)
    norms = np.add.reduceat(weights[:kept], edges)
    rng = host_generator(key)
    replica = []
    for _ in range(resamples):
        counts = rng.multinomial(blocks, np.full(blocks, 1.0 / blocks)).astype(float)
        replica.append(np.tensordot(counts, sums, axes=1) / np.dot(counts, norms))
    error = np.std(_apply(function, np.stack(replica)), axis=0, ddof=1)
    return Estimate.of(_apply(function, weighted.sum(axis=0)[None])[0], error)


def host_generator(key: jax.Array) -> np.random.Generator:
    """A NumPy generator seeded by a JAX key, for work in float64 on the host whatever the JAX precision."""
    data = jax.random.key_data(key) if jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([int(word) for word in np.ravel(data)])))


def _prepare(data: Any, log_weights: Any) -> tuple[np.ndarray, np.ndarray]:
    samples = np.asarray(data)
    if samples.ndim == 0:
        raise ValueError("data need a leading sample axis")
    if np.iscomplexobj(samples):
        raise TypeError("the data are complex: resample the real part, the imaginary part or the modulus")
    samples = samples.astype(np.float64)
    if log_weights is None:
        return samples, np.full(len(samples), 1.0 / len(samples))
    weights = normalised_weights(log_weights)
    if len(weights) != len(samples):
        raise ValueError(f"{len(samples)} samples, but {len(weights)} log weights")
    # A sample of weight zero may hold anything, nan included.
    zero = (weights == 0.0).reshape(-1, *[1] * (samples.ndim - 1))
    return np.where(zero, 0.0, samples), weights


def _apply(function: Callable | None, means: np.ndarray) -> np.ndarray:
    return means if function is None else np.stack([np.asarray(function(m), np.float64) for m in means])
