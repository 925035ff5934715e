"""The Gamma method: errors from the summed autocorrelation function (U. Wolff, hep-lat/0306017)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ._autocovariance import autocovariance
from ._chain_cautions import chain_cautions
from ._derived import linearise, of_means, project, undefined_cautions
from ._estimate import Estimate
from ._input import real_array
from ._rounding import CONSTANT, fluctuations, resolution, root_sum_squares, rounding_cautions

MIN_LENGTH = 4
_FIRST_LAGS = 256
# The Parzen window of n / 20 lags has about 37 degrees of freedom: it knows a variance to a quarter, an error to an eighth.
_PARZEN_PARTS = 20
_PARZEN_SHORTEST = 10
# Times 1 / lags, the smallest tau_int that is believed: an alternating series of this tau_int forgets within n / 200 or so.
_RESOLVED = 2.2
_PARZEN_VARIANCE = 2 * 0.539


def gamma_method(
    data: Any,
    function: Any = None,
    s: float = 2.0,
    *,
    correct_bias: bool = False,
    cautions: tuple[str, ...] = (),
    epsilon: float | None = None,
) -> Estimate:
    r"""Mean, error and integrated autocorrelation time of Monte Carlo data.

    The error is $\sigma^2 = 2\tau_{int}\,\Gamma(0)/N$ with $\tau_{int} = \tfrac12 + \sum_{t=1}^{W}\Gamma(t)/\Gamma(0)$,
    so that `tau_int` is 1/2 for white noise. The window W balances truncation against noise automatically
    (equations 50 to 52), the bias from the subtracted mean is corrected (equation 49), and
    $\delta\tau_{int}^2 = 4 (W + \tfrac12 - \tau_{int})\tau_{int}^2/N$ (equation 42).

    Where the sum falls clearly below that of white noise, `tau_int` is $\tfrac12\sum_t k(t/M)\Gamma(t)/\Gamma(0)$ with
    Parzen's window k of M = n/20 lags (Ann. Math. Stat. 32 (1961) 951), which is never negative: the sum with a sharp window
    of anticorrelated data, as HMC with long trajectories makes them, comes out near or below zero by chance.

    **Arguments:**

    - `data`: `(n,)`, `(chains, n)` or `(chains, n, ...)`; the chains are replica of one another and share their mean.
    - `function`: for a derived quantity, a map from the vector of means to a scalar or vector (or a `DerivedObservable` of
      which `data` are the primary values); the error follows from the projection of the data on its gradient. Without it
      every component of `data` is estimated by itself.
    - `s`: assumed ratio of the exponential to the integrated autocorrelation time, zero for data known to be independent;
      larger windows for larger `s`.
    - `correct_bias`: subtract the O(1/N) bias of a derived quantity, measured by its mean over single chains.
    - `cautions`: those that the data bring along.
    - `epsilon`: relative precision to which the data were computed, by default that of their type.

    **Returns:** an `Estimate`, whose `cautions` say where its error cannot be trusted. Data without any variation beyond
    rounding have error zero and `tau_int` nan: a frozen chain cannot tell its own autocorrelation time.

    **Raises:** `ValueError` for fewer than four measurements per chain, nan, infinite or masked values, or a bad `s`;
    `TypeError` for complex data.

        >>> estimate = tm.statistics.gamma_method(np.random.default_rng(0).normal(size=(4, 1000)))
        >>> estimate.tau_int
    """
    check_s(s)
    function = of_means(function)
    samples = as_chains(data)
    shape = samples.shape[2:]
    epsilon = resolution(data) if epsilon is None else epsilon
    means, deltas = fluctuations(samples, (0, 1), epsilon)
    value, projected = means, deltas
    if function is not None:
        spread = root_sum_squares(deltas.reshape(-1, *shape)) / (samples.shape[0] * samples.shape[1])
        value, jacobian = linearise(function, means, spread)
        projected = _without_rounding(project(deltas, jacobian, len(shape)), deltas, jacobian)
        shape = np.shape(value)
    flat, at = projected.reshape(*samples.shape[:2], -1), np.ravel(value)
    columns = [_analyse(flat[:, :, k], s) for k in range(flat.shape[2])]
    error, tau, dtau, derror, resolved = (np.reshape(column, shape) for column in zip(*columns, strict=True))
    found = [c for k in range(flat.shape[2]) for c in chain_cautions(flat[:, :, k], at[k], tau.flat[k], resolved.flat[k])]
    if correct_bias and function is not None:
        value = value - _bias(function, samples, value)
    found = [*cautions, *undefined_cautions(value), *rounding_cautions(samples, deltas, (0, 1), epsilon), *found]
    return Estimate.of(value, error, tau, dtau, derror, cautions=tuple(dict.fromkeys(found)))


def _without_rounding(projected: np.ndarray, deltas: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
    """Zero where fluctuations cancel in a derived quantity, as those of a ratio of proportional data."""
    spread = np.abs(deltas).max(axis=(0, 1), keepdims=True)
    possible = project(spread, np.asarray(np.abs(jacobian)), deltas.ndim - 2)[0, 0]
    cancelled = np.abs(projected).max(axis=(0, 1)) <= CONSTANT * np.finfo(np.float64).eps * possible
    return np.where(cancelled, 0.0, projected)


def check_s(s: Any) -> None:
    if isinstance(s, bool) or not isinstance(s, int | float | np.number) or not 0.0 <= s < math.inf:
        raise ValueError(f"got s = {s!r}, expected a finite number, positive or zero for independent data (2 by default)")


def _bias(function: Callable, samples: np.ndarray, value: Any) -> Any:
    """Of a function of means, from the difference of one long and several short chains (equation 28)."""
    chains = len(samples)
    if chains < 2:
        raise ValueError("the bias is estimated from the difference between chains; one chain has none to compare with")
    single = np.mean([np.asarray(function(mean), np.float64) for mean in samples.mean(axis=1)], axis=0)
    return (single - value) / (chains - 1)


def autocorrelation(data: Any) -> np.ndarray:
    """Normalised autocorrelation function rho(t), t = 0 ... n/2 - 1, of scalar data `(n,)` or `(chains, n)`.

    Data that never change have none: nan.

        >>> rho = tm.statistics.autocorrelation(np.random.default_rng(0).normal(size=1000))
    """
    deltas = scalar_fluctuations(data, "autocorrelation")
    gamma = autocovariance(deltas)
    return gamma / gamma[0] if gamma[0] > 0 else np.full_like(gamma, np.nan)


def scalar_fluctuations(data: Any, user: str) -> np.ndarray:
    """Deviations (chains, n) of scalar data from their mean, at most one in size; zero for data that never change."""
    samples = as_chains(data)
    if samples.ndim != 2:
        raise ValueError(f"{user} needs scalar data (n,) or (chains, n), got shape {np.shape(data)}")
    _, deltas = fluctuations(samples, (0, 1), resolution(data))
    return deltas / (np.abs(deltas).max() or 1.0)


def as_chains(data: Any) -> np.ndarray:
    samples = np.atleast_2d(real_array(data, "an autocorrelation analysis", "estimate"))
    if samples.shape[1] < MIN_LENGTH:
        raise ValueError(
            f"an autocorrelation analysis needs at least {MIN_LENGTH} measurements per chain, got data of shape "
            f"{np.shape(data)}; expected (n,), (chains, n) or (chains, n, ...)"
        )
    if samples.size == 0:
        raise ValueError(f"got data of shape {np.shape(data)}: there is nothing to analyse")
    bad = samples.size - np.isfinite(samples).sum()
    if bad:
        raise ValueError(f"{bad} of {samples.size} measured values are nan or infinite; remove or repair them first")
    return samples


def _analyse(deltas: np.ndarray, s: float) -> tuple[float, float, float, float, float]:
    """(error, tau_int, dtau_int, derror, smallest tau_int that can be resolved) of fluctuations (chains, n)."""
    total, scale = deltas.size, float(np.abs(deltas).max())
    if scale == 0.0:
        return 0.0, np.nan, np.nan, 0.0, 0.0
    scaled = deltas / scale
    gamma, window = gamma_and_window(scaled, s)
    variance = gamma[0] + 2.0 * gamma[1 : window + 1].sum()
    gamma = gamma + max(variance, gamma[0] / total) / total
    variance = gamma[0] + 2.0 * gamma[1 : window + 1].sum()
    relative = 2.0 * math.sqrt((window + 0.5) / total)  # error of the variance
    lags = max(deltas.shape[1] // _PARZEN_PARTS, _PARZEN_SHORTEST)
    if variance < gamma[0]:
        smooth, spread = _parzen_sum(scaled, lags), math.sqrt(_PARZEN_VARIANCE * lags / total)
        # The sum of the window's terms has the error of white noise at least, however small it comes out.
        if smooth * spread < gamma[0] * math.sqrt((4 * window + 2) / total):
            variance, relative = min(max(smooth, gamma[0] / total), gamma[0]), spread
    tau = variance / (2.0 * gamma[0])
    error = scale * math.sqrt(variance / total)
    dtau = tau * (relative if tau < 0.5 else 2.0 * math.sqrt(abs(window + 0.5 - tau) / total))
    return error, float(tau), float(dtau), 0.5 * error * relative, _RESOLVED / lags


def _parzen_sum(deltas: np.ndarray, lags: int) -> float:
    """Sum of the autocovariances at all lags with a window that is the fourth convolution of a box: never negative."""
    n = deltas.shape[1]
    gamma = autocovariance(deltas, lags)
    # The sum is a square where every lag is divided by n instead of the number of its pairs.
    gamma = gamma * (1.0 - np.arange(len(gamma)) / n)
    x = np.arange(len(gamma)) / lags
    window = np.where(x < 0.5, 1.0 - 6.0 * x**2 * (1.0 - x), 2.0 * (1.0 - x) ** 3)
    return float(gamma[0] + 2.0 * np.dot(window[1:], gamma[1:]))


def gamma_and_window(deltas: np.ndarray, s: float) -> tuple[np.ndarray, int]:
    """Autocovariance up to the automatic window and beyond; long lags are computed only where it lies there."""
    most = max(deltas.shape[1] // 2, 1)
    lags = min(_FIRST_LAGS, most)
    while True:
        gamma = autocovariance(deltas, lags)
        window = _automatic_window(gamma / gamma[0], deltas.size, s)
        if window is not None or lags == most:
            return gamma, lags - 1 if window is None else window
        lags = min(max(4 * lags, _expected_window(gamma[-1] / gamma[0], lags, deltas.size)), most)


def _expected_window(rho: float, lag: int, total: int) -> int:
    """A generous guess from a single decay exp(-t/tau) with the given value at a lag, so that few passes are needed."""
    if not 0.0 < rho < 1.0:
        return 0
    tau = -lag / np.log(rho)
    window = int(1.5 * tau * max(np.log(np.sqrt(total / tau)), 1.0))
    return 1 << min(window, total).bit_length()  # a length that transforms fast


def _automatic_window(rho: np.ndarray, total: int, s: float) -> int | None:
    """First W at which exp(-W/tau) < tau/sqrt(W N), with tau = s / log((2 tau_int + 1)/(2 tau_int - 1)), if any."""
    if len(rho) < 2 or s == 0.0:
        return 0
    w = np.arange(1, len(rho))
    tau_int = 0.5 + np.cumsum(rho[1:])
    # Wolff stops at W = 1 when the sum falls below 1/2, which cuts an alternating rho(t) after its most negative term
    # and underestimates the error grossly (HMC with long trajectories does this). The moduli keep the window open.
    tau_int = np.where(tau_int > 0.5, tau_int, 0.5 + np.cumsum(np.abs(rho[1:])) + np.finfo(float).eps)
    tau = s / np.log((2.0 * tau_int + 1.0) / (2.0 * tau_int - 1.0))
    g = np.exp(-w / tau) - tau / np.sqrt(w * total)
    below = np.flatnonzero(g < 0.0)
    return int(w[below[0]]) if len(below) else None
