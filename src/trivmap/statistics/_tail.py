"""How heavy the tail of positive numbers is."""

import math

import numpy as np

_PRIOR = 10.0  # weight of k = 1/2, in samples (Vehtari et al.)


def tail_index(log_weights: np.ndarray) -> float:
    r"""Index k of the tail $P(w > x) \sim x^{-1/k}$ of weights: their variance is finite for k < 1/2, their mean for k < 1.

    The mean of two estimates from the largest $\min(M/5, 3\sqrt M)$ of M weights: the generalised Pareto fit of Zhang and
    Stephens (Technometrics 51 (2009) 316) as Vehtari et al. use it (arXiv:1507.02646), and that of Hill (Ann. Statist. 3
    (1975) 1163), which has a third of its statistical error but is too large for light tails. Zero for fewer than 25 weights
    and for a tail of equal ones.
    """
    ordered = np.sort(log_weights)
    count = int(min(0.2 * len(ordered), 3.0 * math.sqrt(len(ordered))))
    if count < 5 or not np.isfinite(ordered[-count - 1]):
        return 0.0
    excess = ordered[-count:] - ordered[-count - 1]
    if not excess[0] > 0.0:
        return 0.0
    # Relative to the threshold, and of finite size: a factor changes neither estimate.
    exceedances = np.exp(excess - excess[-1]) - math.exp(-excess[-1])
    if not exceedances[0] > 0.0:
        return float(excess.mean())
    return 0.5 * (_generalised_pareto(exceedances) + float(excess.mean()))


def _generalised_pareto(x: np.ndarray) -> float:
    """Shape of a generalised Pareto distribution from sorted exceedances, with a weak prior."""
    n = len(x)
    points = 30 + int(math.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    b = 1.0 / x[-1] + (1.0 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))) / (3.0 * quartile)
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    likelihood = n * (np.log(-b / k) - k - 1.0)
    with np.errstate(over="ignore"):  # of hopeless points
        posterior = 1.0 / np.exp(likelihood - likelihood[:, None]).sum(axis=1)
    mean = float(np.sum(b * posterior) / posterior.sum())
    shape = float(np.log1p(-mean * x).mean())
    return (n * shape + _PRIOR * 0.5) / (n + _PRIOR)
