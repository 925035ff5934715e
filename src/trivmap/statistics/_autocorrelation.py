"""The autocorrelation function with everything that a plot of it shows."""

import dataclasses
from typing import Any

import numpy as np

from ._autocovariance import autocovariance
from ._gamma import check_s, gamma_and_window, scalar_fluctuations


@dataclasses.dataclass(frozen=True)
class Autocorrelation:
    r"""Autocorrelation of scalar data.

    - `rho`, `drho`: $\rho(t) = \Gamma(t)/\Gamma(0)$ for t = 0, 1, ... and its error (hep-lat/0409106, equation E.11);
    - `tau_int`, `dtau_int`: the integrated autocorrelation time up to each window W and its error;
    - `window`: the automatic choice of W, at which `gamma_method` reads `tau_int`.

        >>> result = tm.statistics.analyse_autocorrelation(np.random.default_rng(0).normal(size=1000))
        >>> result.tau_int
    """

    rho: np.ndarray
    drho: np.ndarray
    tau_int: np.ndarray
    dtau_int: np.ndarray
    window: int


def analyse_autocorrelation(data: Any, s: float = 2.0) -> Autocorrelation:
    """Autocorrelation function and windowed integrals up to a few windows, of `(n,)` or `(chains, n)` scalar data.

    All numbers are nan for data that never change.

    **Arguments:** `data`; `s`: as for `gamma_method`.

        >>> tm.statistics.analyse_autocorrelation(np.random.default_rng(0).normal(size=1000)).tau_int
    """
    check_s(s)
    deltas = scalar_fluctuations(data, "analyse_autocorrelation")
    total = deltas.size
    if not np.any(deltas):
        unknown = np.full(1, np.nan)
        return Autocorrelation(unknown, unknown, unknown, unknown, 0)
    _, window = gamma_and_window(deltas, s)
    gamma = autocovariance(deltas, 4 * window + 20)
    # The subtracted mean lowers every Gamma(t) by the variance of the mean (hep-lat/0306017, equation 49).
    gamma = gamma + (gamma[0] + 2.0 * gamma[1 : window + 1].sum()) / total
    rho = gamma / gamma[0]
    shown = np.arange(min(len(rho), 3 * window + 10))
    tau = 0.5 + np.cumsum(rho)[shown] - 1.0
    dtau = 2.0 * np.abs(tau) * np.sqrt(np.abs(shown + 0.5 - tau) / total)
    return Autocorrelation(rho[shown], _errors(rho, shown, window, total), tau, dtau, window)


def _errors(rho: np.ndarray, lags: np.ndarray, window: int, total: int) -> np.ndarray:
    def at(t: np.ndarray) -> np.ndarray:
        t = np.abs(t)
        return np.where(t < len(rho), rho[np.minimum(t, len(rho) - 1)], 0.0)

    k = np.arange(1, lags[-1] + window + 1)[:, None]
    terms = at(k + lags) + at(k - lags) - 2.0 * at(k) * rho[lags]
    used = k <= lags + window
    return np.sqrt(np.sum(np.where(used, terms, 0.0) ** 2, axis=0) / total)
