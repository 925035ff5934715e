"""The Gamma method: errors from the summed autocorrelation function (U. Wolff, hep-lat/0306017)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._autocovariance import autocovariance
from ._cautions import chain_cautions
from ._derived import linearise, project
from ._estimate import Estimate

_MIN_LENGTH = 4
_FIRST_LAGS = 256


def gamma_method(data: Any, function: Callable | None = None, s: float = 2.0, *, correct_bias: bool = False) -> Estimate:
    r"""Mean, error and integrated autocorrelation time of Monte Carlo data.

    The error is $\sigma^2 = 2\tau_{int}\,\Gamma(0)/N$ with $\tau_{int} = \tfrac12 + \sum_{t=1}^{W}\Gamma(t)/\Gamma(0)$,
    so that `tau_int` is 1/2 for white noise. The window W balances truncation against noise automatically
    (equations 50 to 52), the bias from the subtracted mean is corrected (equation 49), and
    $\delta\tau_{int}^2 = 4 (W + \tfrac12 - \tau_{int})\tau_{int}^2/N$ (equation 42).

    **Arguments:**

    - `data`: `(n,)`, `(chains, n)` or `(chains, n, ...)`; the chains are replica of one another and share their mean.
    - `function`: for a derived quantity, a map from the vector of means to a scalar or vector; the error follows from
      the projection of the data onto its gradient. Without it every component of `data` is estimated by itself.
    - `s`: assumed ratio of the exponential to the integrated autocorrelation time; larger windows for larger `s`.
    - `correct_bias`: subtract the O(1/N) bias of a derived quantity, measured by its mean over single chains.

    **Returns:** an `Estimate`, whose `cautions` say where its error cannot be trusted. Data without any variation have
    error zero and `tau_int` nan: a frozen chain cannot tell its own autocorrelation time.
    """
    samples = as_chains(data)
    shape = samples.shape[2:]
    means = samples.mean(axis=(0, 1))
    if function is None:
        value, projected = means, samples
    else:
        spread = np.sqrt(samples.reshape(-1, *shape).var(axis=0) / (samples.shape[0] * samples.shape[1]))
        value, jacobian = linearise(function, means, spread)
        projected = project(samples - means, jacobian, len(shape))
        shape = np.shape(value)
    flat = projected.reshape(*samples.shape[:2], -1)
    columns = [_analyse(flat[:, :, k], s) for k in range(flat.shape[2])]
    error, tau, dtau, derror = (np.reshape(column, shape) for column in zip(*columns, strict=True))
    if correct_bias and function is not None:
        value = value - _bias(function, samples, value)
    cautions = [caution for k in range(flat.shape[2]) for caution in chain_cautions(flat[:, :, k], columns[k][1])]
    return Estimate.of(value, error, tau, dtau, derror, cautions=tuple(dict.fromkeys(cautions)))


def _bias(function: Callable, samples: np.ndarray, value: Any) -> Any:
    """Of a function of means, from the difference of one long and several short chains (equation 28)."""
    chains = len(samples)
    if chains < 2:
        raise ValueError("the bias is estimated from the difference between chains; one chain has none to compare with")
    single = np.mean([np.asarray(function(mean), np.float64) for mean in samples.mean(axis=1)], axis=0)
    return (single - value) / (chains - 1)


def autocorrelation(data: Any) -> np.ndarray:
    """Normalised autocorrelation function rho(t), t = 0 ... n/2 - 1, of scalar data `(n,)` or `(chains, n)`."""
    samples = as_chains(data)
    if samples.ndim != 2:
        raise ValueError(f"autocorrelation needs scalar data (n,) or (chains, n), got shape {np.shape(data)}")
    gamma = autocovariance(samples - samples.mean())
    return gamma / gamma[0] if gamma[0] > 0 else np.full_like(gamma, np.nan)


def as_chains(data: Any) -> np.ndarray:
    samples = np.asarray(data)
    if np.iscomplexobj(samples):
        raise TypeError(
            "the data are complex: estimate the real part, the imaginary part or the modulus, "
            "for example with `lambda x: jnp.real(observable(x))`"
        )
    samples = np.atleast_2d(samples.astype(np.float64))
    if samples.shape[1] < _MIN_LENGTH:
        raise ValueError(
            f"an autocorrelation analysis needs at least {_MIN_LENGTH} measurements per chain, got data of shape "
            f"{np.shape(data)}; expected (n,), (chains, n) or (chains, n, ...)"
        )
    bad = samples.size - np.isfinite(samples).sum()
    if bad:
        raise ValueError(f"{bad} of {samples.size} measured values are nan or infinite; remove or repair them first")
    return samples


def _analyse(data: np.ndarray, s: float) -> tuple[float, float, float, float]:
    """(error, tau_int, dtau_int, derror) of scalar data (chains, n)."""
    deltas = data - data.mean()
    scale = np.abs(data).max()
    total = data.size
    # Rounding of the mean is all that varies in constant data.
    if np.mean(deltas**2) <= (8 * np.finfo(float).eps * scale) ** 2:
        return 0.0, np.nan, np.nan, 0.0
    gamma, window = gamma_and_window(deltas, s)
    # A strictly positive floor keeps strongly anticorrelated data from an imaginary error.
    variance = max(gamma[0] + 2.0 * gamma[1 : window + 1].sum(), gamma[0] / total)
    gamma = gamma + variance / total
    variance = max(gamma[0] + 2.0 * gamma[1 : window + 1].sum(), gamma[0] / total)
    tau = variance / (2.0 * gamma[0])
    error = np.sqrt(variance / total)
    dtau = 2.0 * tau * np.sqrt(abs(window + 0.5 - tau) / total)
    return float(error), float(tau), float(dtau), float(error * np.sqrt((window + 0.5) / total))


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
