"""Masses from correlators: least squares with the covariance of the data."""

import dataclasses
from typing import Any

import numpy as np

from ._data import Chain, Ensemble
from ._estimate import Estimate, merged_cautions
from ._expectation import stored_or_measured
from ._gamma import gamma_method
from ._input import real_array
from ._source import Source
from ._source_errors import sum_errors
from ._weight_cautions import weight_cautions
from ._weights import normalised_weights


@dataclasses.dataclass(frozen=True)
class CorrelatorFit:
    r"""Fit of $C(t) = \sum_k A_k (e^{-m_k t} + e^{-m_k (T - t)})$.

    - `masses`, `amplitudes`: `Estimate`s with one component per state, lightest first, in lattice units;
    - `chi2`, `degrees`, `probability`: quality of the fit, with the covariance of the data;
    - `times`, `data`: the fitted times and the `Estimate` of the correlator there; `fitted`: the curve at these times.

        >>> fit = tm.statistics.fit_correlator(chain, tm.observables.two_point, 0, 2)
        >>> fit.masses
    """

    masses: Estimate
    amplitudes: Estimate
    chi2: float
    degrees: int
    probability: float
    times: np.ndarray
    data: Estimate
    fitted: np.ndarray


def fit_correlator(
    data: Ensemble | Chain,
    correlator: Any,
    t_min: int,
    t_max: int | None = None,
    *,
    states: int = 1,
    connected: Any = None,
    correlated: bool = True,
    batch_size: int = 256,
) -> CorrelatorFit:
    r"""Masses of the lightest states from a correlator on a periodic lattice.

    Minimises $\chi^2 = \sum_{tt'} (C - f)(t)\, \mathrm{Cov}^{-1}_{tt'} (C - f)(t')$. The covariance has the errors of the
    Gamma method (of reweighting, for ensembles) and the correlation of single measurements, so that it stays positive. The
    errors of the parameters follow from their linear response to the data, with autocorrelations.

    **Arguments:**

    - `data`: an `Ensemble` or a `Chain`.
    - `correlator`: function of a configuration with values $C(0), \ldots, C(T-1)$, such as `tm.observables.two_point`, or the
      name of such a measurement; `T` is its length.
    - `t_min`, `t_max`: first and last fitted time, `t_max` at most and by default T/2.
    - `states`: number of masses.
    - `connected`: function or name of a scalar whose squared mean is subtracted from every $C(t)$: for the
      correlator `tm.observables.two_point` the magnetisation times $\sqrt{V/T}$.
    - `correlated`: `False` drops the off-diagonal part of the covariance, for data too few to tell it.

    **Raises:** `ValueError` for a range with fewer times than parameters, or data without a decaying signal.

        >>> fit = tm.statistics.fit_correlator(chain, tm.observables.two_point, 0, 2)
        >>> fit.masses
    """
    _check_real(data)
    values = stored_or_measured(data, correlator, batch_size)
    extent = values.shape[-1]
    last = extent // 2 if t_max is None else t_max
    times = np.arange(t_min, last + 1)
    if not 0 <= t_min < last <= extent // 2 or len(times) < 2 * states:
        raise ValueError(
            f"fit_correlator: times {t_min} to {last} of a correlator of length {extent} cannot fix {2 * states} "
            f"parameters; they need at least as many times, all at most {extent // 2}"
        )
    series, weights = _series(data, values, connected, batch_size)
    series = series[..., times]
    source = getattr(data, "source", None)
    estimate, covariance = _covariance(series, weights, source, correlated)
    whitener = np.linalg.inv(np.linalg.cholesky(covariance))
    mean = np.asarray(estimate.value)
    parameters = _minimise(mean, whitener, times, extent, states)
    jacobian = whitener @ _model(parameters, times, extent)[1]
    response = np.linalg.pinv(jacobian) @ whitener  # d parameters / d data at fixed covariance
    errors, further = _propagate(series, mean, weights, source, response)
    cautions = merged_cautions(data.cautions, estimate.cautions, further)
    order = np.argsort(np.exp(parameters[:states]))
    masses, amplitudes = (
        Estimate.of(np.exp(parameters[part])[order], (np.exp(parameters[part]) * errors[part])[order], cautions=cautions)
        for part in (slice(0, states), slice(states, None))
    )
    fitted = _model(parameters, times, extent)[0]
    chi2, degrees = float(np.sum((whitener @ (mean - fitted)) ** 2)), len(times) - 2 * states
    return CorrelatorFit(masses, amplitudes, chi2, degrees, _probability(chi2, degrees), times, estimate, fitted)


def _check_real(data: Any) -> None:
    if getattr(data, "phases", None) is not None:
        raise ValueError(
            "fit_correlator: the weights have phases, and the covariance of complex means is not known to the fit; take "
            "expectation(data, correlator, function=...) for an effective mass"
        )


def _series(data: Any, values: np.ndarray, connected: Any, batch_size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Measurements (chains or 1, n, T) whose mean is the correlator to first order in fluctuations, and weights."""
    values = real_array(values, "the correlator", "fit")
    scalar = None if connected is None else real_array(stored_or_measured(data, connected, batch_size), "connected", "use")
    weights = None
    if not isinstance(data, Chain):
        weights = normalised_weights(data.log_weights)
        values, scalar = values[None], None if scalar is None else scalar[None]
    if scalar is None:
        return values, weights
    mean = float(scalar.mean() if weights is None else weights @ scalar[0])
    return values - (2.0 * mean * scalar - mean**2)[..., None], weights


def _covariance(
    series: np.ndarray, weights: np.ndarray | None, source: Source | None, correlated: bool
) -> tuple[Estimate, np.ndarray]:
    """The correlator and the covariance of its mean."""
    if weights is None:
        estimate = gamma_method(series)
        deltas = (series - estimate.value).reshape(-1, series.shape[-1])
        single = deltas.T @ deltas
    else:
        mean = np.tensordot(weights, series[0], axes=1)
        deltas = weights[:, None] * (series[0] - mean)
        single = deltas.T @ deltas
        sigma, found = (np.sqrt(np.diag(single)), ()) if source is None else sum_errors(deltas, source)
        estimate = Estimate.of(mean, sigma, cautions=merged_cautions(weight_cautions(weights), found))
    sigma = np.asarray(estimate.error)
    if not np.all(sigma > 0.0):
        raise ValueError("fit_correlator: the correlator does not vary from sample to sample: it has no error")
    scale = np.sqrt(np.diag(single))
    correlation = single / np.outer(scale, scale) if correlated else np.eye(len(sigma))
    samples = series.shape[0] * series.shape[1]
    if correlated and samples < 10 * len(sigma):
        raise ValueError(
            f"fit_correlator: {samples} samples cannot tell the correlation of {len(sigma)} times; pass correlated=False"
        )
    return estimate, correlation * np.outer(sigma, sigma)


def _model(parameters: np.ndarray, times: np.ndarray, extent: int) -> tuple[np.ndarray, np.ndarray]:
    """The curve and its derivatives by log masses and log amplitudes."""
    m, a = np.exp(parameters).reshape(2, -1)
    t = times[:, None]
    there, back = np.exp(-m * t), np.exp(-m * (extent - t))
    by_amplitude = a * (there + back)
    by_mass = -a * m * (t * there + (extent - t) * back)
    return by_amplitude.sum(axis=1), np.concatenate([by_mass, by_amplitude], axis=1)


def _minimise(mean: np.ndarray, whitener: np.ndarray, times: np.ndarray, extent: int, states: int) -> np.ndarray:
    from scipy.optimize import least_squares

    if not mean[0] > 0.0:
        raise ValueError(f"fit_correlator: the correlator is {mean[0]:.3g} at t = {times[0]}, expected a positive signal")
    positive = mean[: int(np.argmax(mean <= 0.0)) or len(mean)]
    slope = -np.polyfit(times[: len(positive)], np.log(positive), 1)[0] if len(positive) > 1 else 1.0
    mass = max(slope, 0.05)
    masses = mass * 2.5 ** np.arange(states)
    amplitude = mean[0] / (np.exp(-mass * times[0]) + np.exp(-mass * (extent - times[0]))) / states
    start = np.log(np.concatenate([masses, np.full(states, amplitude)]))
    residual = lambda p: whitener @ (_model(p, times, extent)[0] - mean)  # noqa: E731
    slopes: Any = lambda p: whitener @ _model(p, times, extent)[1]  # noqa: E731
    found = least_squares(residual, start, slopes, method="lm", xtol=1e-12, ftol=1e-12, gtol=1e-12)
    return found.x


def _propagate(
    series: np.ndarray, mean: np.ndarray, weights: np.ndarray | None, source: Source | None, response: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Errors of the parameters, and cautions of their series."""
    projected = (series - mean) @ response.T
    if weights is None:
        found = gamma_method(projected)
        return np.atleast_1d(found.error), found.cautions
    if source is not None:
        return sum_errors(weights[:, None] * projected[0], source)
    return np.sqrt(np.tensordot(weights**2, projected[0] ** 2, axes=1)), ()


def _probability(chi2: float, degrees: int) -> float:
    from scipy.special import gammaincc

    return float(gammaincc(degrees / 2, chi2 / 2)) if degrees > 0 else 1.0
