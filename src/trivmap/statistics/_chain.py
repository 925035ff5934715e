"""Numbers that characterise a Markov chain."""

import math
from typing import Any

import numpy as np

from ._data import Chain
from ._estimate import Estimate, merged_cautions
from ._expectation import expectation
from ._gamma import gamma_method
from ._weight_cautions import weight_cautions

_LARGEST_FALL = 600.0  # whose exponential is a number


def n_eff(chain: Chain, observable: Any, *, batch_size: int = 256) -> Any:
    """Effective number of independent measurements, `N / (2 tau_int)`, over all chains together.

    More than N for anticorrelated data, nan for data that never change. `expectation` says where it cannot be trusted.

        >>> tm.n_eff(chain, tm.magnetisation)
    """
    chains, n = chain.shape
    tau_int = np.asarray(expectation(chain, observable, batch_size=batch_size).tau_int, float)
    result = chains * n / (2.0 * tau_int)
    return float(result) if result.ndim == 0 else result


def acceptance_rate(chain: Chain) -> float:
    """Fraction of accepted proposals, over all chains.

    >>> tm.acceptance_rate(chain)
    """
    if chain.accepted is None:
        raise ValueError("this chain records no Metropolis decisions")
    return float(np.mean(chain.accepted))


def longest_rejection(chain: Chain) -> int:
    """Length of the longest run of consecutive rejections in any chain.

    A plateau much longer than `tau_int` suggests tells of a region that the proposal density underrates
    (arXiv:2202.11712 met runs beyond 1000).

        >>> tm.statistics.longest_rejection(chain)
    """
    if chain.accepted is None:
        raise ValueError("this chain records no Metropolis decisions")
    longest = 0
    for row in np.asarray(chain.accepted, bool):
        edges = np.flatnonzero(np.concatenate([[True], row, [True]]))
        longest = max(longest, int(np.max(np.diff(edges))) - 1)
    return longest


def creutz(chain: Chain) -> Estimate:
    r"""Creutz equality of HMC: $\langle e^{-\Delta H}\rangle$, which is one in equilibrium.

    A mean of weights, and cautioned like one where few trajectories make it. Infinite where an energy has fallen by more than
    600, as it does on the way to equilibrium.

        >>> tm.statistics.creutz(chain)
    """
    if chain.delta_h is None:
        raise ValueError("this chain records no energy violations; only HMC does")
    falls = -np.asarray(chain.delta_h, float)
    if np.max(falls) > _LARGEST_FALL:
        fall = f"the energy falls by {np.max(falls):.0f} in a trajectory: the chain is not in equilibrium"
        return Estimate(math.inf, math.nan, math.nan, math.nan, math.nan, cautions=merged_cautions(chain.cautions, (fall,)))
    weights = np.exp(falls)
    tail = weight_cautions(weights.ravel() / weights.sum()) if np.any(weights) else ()
    return gamma_method(weights, cautions=merged_cautions(chain.cautions, tail))
