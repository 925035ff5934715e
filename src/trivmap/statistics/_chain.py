"""Numbers that characterise a Markov chain."""

from typing import Any

import numpy as np

from ._data import Chain
from ._estimate import Estimate
from ._expectation import expectation
from ._gamma import gamma_method


def n_eff(chain: Chain, observable: Any, *, batch_size: int = 256) -> Any:
    """Effective number of independent measurements, `N / (2 tau_int)`, over all chains together."""
    chains, n = chain.shape
    tau_int = np.asarray(expectation(chain, observable, batch_size=batch_size).tau_int, float)
    result = chains * n / (2.0 * tau_int)
    return float(result) if result.ndim == 0 else result


def acceptance_rate(chain: Chain) -> float:
    """Fraction of accepted proposals, over all chains."""
    if chain.accepted is None:
        raise ValueError("this chain records no Metropolis decisions")
    return float(np.mean(chain.accepted))


def longest_rejection(chain: Chain) -> int:
    """Length of the longest run of consecutive rejections in any chain.

    A plateau much longer than `tau_int` suggests tells of a region that the proposal density underrates
    (arXiv:2202.11712 met runs beyond 1000).
    """
    if chain.accepted is None:
        raise ValueError("this chain records no Metropolis decisions")
    longest = 0
    for row in np.asarray(chain.accepted, bool):
        edges = np.flatnonzero(np.concatenate([[True], row, [True]]))
        longest = max(longest, int(np.max(np.diff(edges))) - 1)
    return longest


def creutz(chain: Chain) -> Estimate:
    r"""Creutz equality of HMC: $\langle e^{-\Delta H}\rangle$, which is one in equilibrium."""
    if chain.delta_h is None:
        raise ValueError("this chain records no energy violations; only HMC does")
    return gamma_method(np.exp(-np.asarray(chain.delta_h, float)))
