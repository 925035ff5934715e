"""What the noise of estimated weights costs."""

import dataclasses

import numpy as np

from ._data import Ensemble
from ._weights import check_log_weights, ess_fraction


@dataclasses.dataclass(frozen=True)
class WeightNoise:
    r"""Effective sample sizes with and without the noise of weights that are estimates.

    - `ess`: of the weights in use, the means of the estimates;
    - `noiseless_ess`: an estimate of that of the exact weights;
    - `spread`: standard deviation of the log of a single estimate at a given sample, averaged over samples.

        >>> tm.statistics.WeightNoise(ess=0.25, noiseless_ess=0.5, spread=1.0).loss
        0.5
    """

    ess: float
    noiseless_ess: float
    spread: float

    @property
    def loss(self) -> float:
        """The share of the effective sample size that the noise takes."""
        return 1.0 - self.ess / self.noiseless_ess


def weight_noise(ensemble: Ensemble) -> WeightNoise:
    r"""The loss of effective sample size from the noise of the weights.

    The product of two independent estimates of a weight is an unbiased estimate of its square, so that
    $(\sum_i \bar w_i)^2 / (N \sum_i \overline{w_a w_b}_i)$, a and b running over pairs of different estimates, is the
    effective sample size that exact weights would have.

    **Arguments:** `ensemble`: with `noisy_log_weights` of two estimates or more, as from `sample(..., estimates=2)`.

    **Raises:** `ValueError` without them.

        >>> noise = tm.statistics.weight_noise(tm.sample(key, model, theory, 100, estimates=2))
    """
    noisy = ensemble.noisy_log_weights
    if noisy is None or noisy.shape[1] < 2:
        given = "no noisy_log_weights" if noisy is None else "one estimate of each weight"
        raise ValueError(f"weight_noise: got {given}, expected two or more: sample(..., estimates=2).")
    check_log_weights(ensemble)
    w = np.exp(noisy - noisy.max())
    count = noisy.shape[1]
    pairs = (w.sum(axis=1) ** 2 - (w**2).sum(axis=1)) / (count * (count - 1))
    exact = float(w.mean() ** 2 / pairs.mean()) if pairs.mean() > 0.0 else float("nan")
    with np.errstate(invalid="ignore"):
        variances = np.var(noisy, axis=1, ddof=1)
    return WeightNoise(ess_fraction(ensemble), exact, float(np.sqrt(np.mean(variances[np.isfinite(variances)]))))
