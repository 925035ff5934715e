"""Quality and normalisation of importance weights, in float64 on the host."""

import math
from typing import Any

import numpy as np

from ._complex import sign_problem
from ._data import Ensemble
from ._estimate import Estimate, merged_cautions
from ._input import plain_array
from ._source_errors import sum_errors
from ._weight_cautions import weight_cautions

_ROUNDING = 1e-9  # of an average of effective sample sizes


def check_log_weights(log_weights: Any) -> np.ndarray:
    """Log weights as a float64 vector; `-inf` (weight zero) is allowed, nan, `+inf` and all-zero weights are not."""
    if isinstance(log_weights, Ensemble):
        log_weights = log_weights.log_weights
    lw = np.asarray(plain_array(log_weights, "log weights"), np.float64)
    if lw.ndim != 1 or lw.size == 0:
        raise ValueError(f"log weights must have shape (samples,) with at least one sample, got shape {lw.shape}")
    bad = np.isnan(lw) | (lw == np.inf)
    if bad.any():
        raise ValueError(
            f"{bad.sum()} of {lw.size} log weights are nan or +inf, the first at index {int(np.argmax(bad))}. "
            "Look at the action and at log q of that sample; dropping such samples silently would bias every estimate"
        )
    if np.all(lw == -np.inf):
        raise ValueError("all log weights are -inf: no sample has any weight")
    return lw


def phase_factors(data: Any) -> np.ndarray | None:
    """exp(i theta) of every sample of an ensemble or a chain, `None` where weights are real."""
    return None if data.phases is None else np.exp(1j * data.phases)


def log_mean_exp(x: np.ndarray) -> float:
    """Exact for equal numbers."""
    top = x.max()
    return float(top + np.log(np.mean(np.exp(x - top))))


def relative_weights(log_weights: Any) -> np.ndarray:
    """Weights divided by the largest one."""
    lw = check_log_weights(log_weights)
    return np.exp(lw - lw.max())


def normalised_weights(log_weights: Any) -> np.ndarray:
    """Weights with sum one.

    >>> weights = tm.statistics.normalised_weights(ensemble.log_weights)
    """
    w = relative_weights(log_weights)
    return w / w.sum()


def ess_fraction(log_weights: Any) -> float:
    r"""Effective sample size per sample, $(\sum w)^2 / (M \sum w^2) \in (0, 1]$.

    Biased upwards for few samples, and blind to modes that the model never visits: see also `forward_ess`.
    `log_weights` is a vector or an `Ensemble`.

        >>> tm.ess_fraction(ensemble.log_weights)
    """
    w = relative_weights(log_weights)
    return min(float(np.mean(w) ** 2 / np.mean(w**2)), 1.0)


def forward_ess(log_weights: Any) -> float:
    r"""Effective sample size per sample from configurations of the *theory*: $1 / (E_p[w]\,E_p[1/w]) \in [0, 1]$.

    The log weights $-S - \log q$ are those of configurations drawn from the theory (by HMC, say). Unlike
    `ess_fraction` it sees modes that the model misses.

        >>> tm.statistics.forward_ess(np.zeros(100))
    """
    lw = check_log_weights(log_weights)
    if np.any(lw == -np.inf):
        raise ValueError("a configuration drawn from the theory cannot have weight zero, but a log weight is -inf")
    return min(math.exp(-log_mean_exp(lw) - log_mean_exp(-lw)), 1.0)


def log_z(ensemble: Any) -> Estimate:
    r"""Logarithm of the partition function, $\log\frac1M\sum_i w_i$ with variance $(1/\mathrm{ESS} - 1)/M$.

    The normalisation is that of the reference measure: Haar measure of volume one for SU(N), $d\theta/2\pi$ for U(1),
    plain $d\phi$ for scalars. Biased downwards where the effective sample size is small. `ensemble` is an `Ensemble` or
    a vector of log weights (arXiv:2007.07115).

    Complex weights give a complex estimate, $\log|Z| + i \arg Z$. Where samples start from stored chains, the error holds the
    autocorrelation of these.

        >>> tm.log_z(ensemble)
    """
    lw = check_log_weights(ensemble)
    w = relative_weights(lw)
    given = ensemble if isinstance(ensemble, Ensemble) else Ensemble(None, lw)
    cautions = merged_cautions(given.cautions, weight_cautions(w / w.sum()))
    factors = phase_factors(given)
    # The variance of w / mean(w), from the differences: 1/ESS - 1 would leave nothing of weights that are nearly equal.
    if factors is None and given.source is None:
        error = math.sqrt(float(np.mean((w / w.mean() - 1.0) ** 2)) / w.size) if w.size > 1 else math.nan
        return Estimate(log_mean_exp(lw), error, cautions=cautions)
    turned = w if factors is None else w * factors
    mean = turned.mean()
    error, found = sum_errors((turned / mean - 1.0) / w.size, given.source)
    value = log_mean_exp(lw)
    if factors is not None:
        phase = mean / w.mean()
        spread, _ = sum_errors(w / w.sum() * (factors - phase), given.source)
        value, found = value + np.log(phase), (*sign_problem(phase, complex(spread)), *found)
    return Estimate.of(value, error if w.size > 1 else math.nan, cautions=merged_cautions(cautions, found))


def expected_acceptance(log_weights: Any) -> float:
    r"""Acceptance of independence Metropolis in equilibrium, $E_{w \sim p,\,w' \sim q}\min(1, w'/w)$.

    The average runs over all pairs, $\sum_{i \ne j}\min(w_i, w_j) / ((M - 1)\sum_i w_i)$, by sorting once.

        >>> tm.statistics.expected_acceptance(ensemble.log_weights)
    """
    lw = np.sort(check_log_weights(log_weights))
    if lw.size < 2:
        raise ValueError("the acceptance needs at least two log weights")
    w = np.exp(lw - lw[-1])
    pairs = np.arange(lw.size - 1, -1, -1)
    return min(float(2.0 * np.dot(w, pairs) / ((lw.size - 1) * w.sum())), 1.0)


def lognormal_acceptance(ess: float) -> float:
    r"""Acceptance $\mathrm{erfc}(s/2)$ that belongs to an effective sample size $e^{-s^2}$ when weights are lognormal.

    A consistency check between a reported `ess_fraction` and a reported acceptance; a large difference tells of tails.

        >>> tm.statistics.lognormal_acceptance(0.9)
    """
    if not 0.0 <= ess <= 1.0 + _ROUNDING:
        raise ValueError(f"an effective sample size per sample lies in [0, 1], got {ess}")
    return math.erfc(0.5 * math.sqrt(-math.log(min(ess, 1.0)))) if ess > 0.0 else 0.0
