"""Reasons not to trust an error bar of reweighting."""

import math

import numpy as np

from ._tail import tail_index

_FEWEST = 20
# Cochran's rule: the normal distribution serves a mean of n numbers of skewness g where n > 25 g^2 or so. The mean of 30 is
# measured (docs/statistics.md): at 25, one in seven ensembles of ESS 0.3 and 1000 samples passed, those that missed the tail.
_COCHRAN = 30.0
_LARGEST_INDEX = 0.4
_LARGEST_WEIGHT = 0.1


def weight_cautions(weights: np.ndarray) -> tuple[str, ...]:
    """Of estimates from samples with weights of sum one."""
    found = []
    n = len(weights)
    effective = min(1.0 / float(np.sum(weights**2)), float(n))
    needed = _COCHRAN * _skewness(effective / n) ** 2
    with np.errstate(divide="ignore"):
        index = tail_index(np.log(weights))
    if n < _FEWEST:
        found.append(f"only {n} samples: the error itself is uncertain")
    elif n < needed:
        found.append(
            f"only {effective:.0f} effective samples: weights as uneven need {needed:.1g} samples, not {n}; the error itself "
            "is uncertain, the effective size overrated"
        )
    if index > _LARGEST_INDEX:
        found.append(f"the weights have a heavy tail (index {index:.2f} > {_LARGEST_INDEX}): the error is underrated")
    if n >= _FEWEST and weights.max() > _LARGEST_WEIGHT:
        found.append(f"one sample carries {100 * weights.max():.0f} % of the weight: the model misses part of the theory")
    return tuple(found)


def _skewness(ess: float) -> float:
    """Of lognormal weights with this effective sample size per sample.

    The sample's own skewness would depend on whether it has met the tail.
    """
    return (1.0 / ess + 2.0) * math.sqrt(max(1.0 / ess - 1.0, 0.0))
