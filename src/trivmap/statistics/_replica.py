"""Chains of a ladder of theories that exchange configurations, and how well the ladder works."""

from typing import Any

import equinox as eqx
import numpy as np

from ._data import Chain
from ._estimate import Estimate
from ._gamma import gamma_method


class ReplicaChains(eqx.Module):
    """The rungs of replica exchange, `rungs[i]` being the `Chain` of rung i, and the exchanges between them.

    - `chains`: one for each rung, which share walkers: estimates of several rungs are correlated;
    - `swapped`: `(chains, exchanges, pairs)`, 1 where neighbours were exchanged, 0 where refused, -1 where not tried;
    - `log_ratio`: d of the acceptance min(1, e^d), nan where not tried;
    - `returned`: whether flows came back within the tolerance;
    - `walkers`: `(chains, exchanges, rungs)`, which walker is on which rung after an exchange;
    - `state`: what `replica_exchange` needs to go on, bit for bit.

        >>> ladder = [tm.WilsonAction(tm.U1(), (4, 4), beta) for beta in (1.0, 2.0)]
        >>> rungs = tm.replica_exchange(key, ladder, 20, kernel=tm.kernels.HeatbathKernel())
        >>> tm.statistics.swap_acceptance(rungs).shape
        (1,)
    """

    chains: tuple[Chain, ...]
    swapped: np.ndarray
    log_ratio: np.ndarray
    returned: np.ndarray
    walkers: np.ndarray
    state: Any

    def __init__(self, chains: Any, swapped: Any, log_ratio: Any, returned: Any, walkers: Any, state: Any = None):
        self.chains = tuple(chains)
        self.swapped, self.log_ratio = np.asarray(swapped), np.asarray(log_ratio)
        self.returned, self.walkers = np.asarray(returned), np.asarray(walkers)
        self.state = state

    def __getitem__(self, rung: int) -> Chain:
        return self.chains[rung]

    def __len__(self) -> int:
        return len(self.chains)


def swap_acceptance(replicas: ReplicaChains) -> np.ndarray:
    """Fraction of accepted exchanges of each pair of neighbours, `(pairs,)`.

    >>> ladder = [tm.WilsonAction(tm.U1(), (4, 4), beta) for beta in (1.0, 2.0)]
    >>> rungs = tm.replica_exchange(key, ladder, 20, kernel=tm.kernels.HeatbathKernel())
    >>> tm.statistics.swap_acceptance(rungs)
    """
    tried = replicas.swapped >= 0
    return np.sum(replicas.swapped == 1, axis=(0, 1)) / np.maximum(1, np.sum(tried, axis=(0, 1)))


def swap_identity(replicas: ReplicaChains, pair: int) -> Estimate:
    r"""$\langle e^d \rangle$ of the exchanges of rungs `pair` and `pair + 1`: one in equilibrium.

    Of heavy tail where few exchanges are accepted; look at it above an acceptance of one half.

        >>> ladder = [tm.WilsonAction(tm.U1(), (4, 4), beta) for beta in (1.0, 1.2)]
        >>> rungs = tm.replica_exchange(key, ladder, 50, kernel=tm.kernels.HeatbathKernel())
        >>> tm.statistics.swap_identity(rungs, 0)
    """
    tried = replicas.swapped[..., pair] >= 0
    counts = tried.sum(axis=1)
    if len(set(counts.tolist())) > 1:  # a random schedule tries pairs at different times in different chains
        shortest = int(counts.min())
        rows = [row[mask][:shortest] for row, mask in zip(replicas.log_ratio[..., pair], tried, strict=True)]
    else:
        rows = [row[mask] for row, mask in zip(replicas.log_ratio[..., pair], tried, strict=True)]
    return gamma_method(np.exp(np.stack(rows)))


def round_trips(replicas: ReplicaChains) -> float:
    """Journeys of walkers from the lowest rung to the highest and back, per exchange and chain, over all walkers.

    >>> ladder = [tm.WilsonAction(tm.U1(), (4, 4), beta) for beta in (1.0, 1.2)]
    >>> rungs = tm.replica_exchange(key, ladder, 50, kernel=tm.kernels.HeatbathKernel())
    >>> tm.statistics.round_trips(rungs) > 0
    True
    """
    chains, exchanges, rungs = replicas.walkers.shape
    return sum(_journeys(row, rungs) for row in replicas.walkers) / (chains * exchanges)


def _journeys(walkers: np.ndarray, rungs: int) -> int:
    """Of one chain: visits of the lowest rung by a walker that has been at the highest since its visit before."""
    seen_top = np.zeros(rungs, bool)
    started = np.zeros(rungs, bool)
    count = 0
    for bottom, top in zip(walkers[:, 0], walkers[:, -1], strict=True):
        if seen_top[bottom] and started[bottom]:
            count += 1
        started[bottom], seen_top[bottom] = True, False
        seen_top[top] = True
    return count


def round_trip_bound(replicas: ReplicaChains) -> float:
    r"""The largest rate of `round_trips` that the rejections r of all pairs allow, $1/(2 + 2\sum r/(1-r))$ per exchange.

    Of the schedule "deo", where every exchange of a pair is independent of the last (arXiv:1905.02939). Twice that for two
    rungs, whose pair is tried at every exchange instead of every second one.

        >>> ladder = [tm.WilsonAction(tm.U1(), (4, 4), beta) for beta in (1.0, 1.2)]
        >>> rungs = tm.replica_exchange(key, ladder, 50, kernel=tm.kernels.HeatbathKernel())
        >>> tm.statistics.round_trip_bound(rungs) < 1
        True
    """
    rejection = 1 - swap_acceptance(replicas)
    # Of two rungs the only pair is tried at every exchange, of more every second time.
    period = 1 if len(replicas) == 2 else 2
    with np.errstate(divide="ignore"):
        return float(1 / (period + period * np.sum(rejection / (1 - rejection))))


def communication_barrier(replicas: ReplicaChains) -> float:
    r"""$\Lambda = \sum r$, the sum of the rejections of all pairs: nearly the same for all ladders between the same theories.

    The best ladder has about $2\Lambda + 1$ rungs (arXiv:1905.02939).

        >>> ladder = [tm.WilsonAction(tm.U1(), (4, 4), beta) for beta in (1.0, 1.2)]
        >>> rungs = tm.replica_exchange(key, ladder, 50, kernel=tm.kernels.HeatbathKernel())
        >>> tm.statistics.communication_barrier(rungs) < 1
        True
    """
    return float(np.sum(1 - swap_acceptance(replicas)))


def predicted_acceptance(spacing: Any, variance: Any) -> Any:
    r"""Acceptance of plain exchanges at couplings $\Delta$ apart, $\mathrm{erfc}(\Delta \sqrt{\mathrm{Var}} / 2)$.

    For actions $\lambda A$ whose A has the given variance, the mean of both rungs, and a normal d of mean
    $-\Delta^2 \mathrm{Var}$.

        >>> round(float(tm.statistics.predicted_acceptance(0.25, 14.4)), 2)
        0.5
    """
    from scipy.special import erfc

    return erfc(np.asarray(spacing) * np.sqrt(variance) / 2)


def equal_acceptance(couplings: Any, variances: Any, rungs: int) -> np.ndarray:
    r"""Couplings of a ladder whose neighbours are exchanged equally often, from variances of A at some couplings.

    $\int \sqrt{\mathrm{Var}\, A}\, d\lambda$ is the same between all neighbours; the root is interpolated linearly between
    the couplings given, the first and last of which stay.

    **Arguments:** `couplings`: increasing; `variances`: of A, of the action $\lambda A$, at each of them; `rungs`: how many.

    **Raises:** `ValueError` for couplings that do not increase, or variances that are not positive.

        >>> tm.statistics.equal_acceptance([1.0, 2.0], [4.0, 1.0], 3).round(2)
        array([1.  , 1.42, 2.  ])
    """
    couplings, density = np.asarray(couplings, float), np.sqrt(np.asarray(variances, float))
    if couplings.ndim != 1 or couplings.shape != density.shape or len(couplings) < 2 or np.any(np.diff(couplings) <= 0):
        raise ValueError(f"equal_acceptance: got couplings {couplings}, expected two or more that increase, with variances.")
    if not np.all(density > 0):
        raise ValueError(f"equal_acceptance: got variances {np.asarray(variances)}, expected positive ones.")
    fine = np.linspace(couplings[0], couplings[-1], 4001)
    values = np.interp(fine, couplings, density)
    length = np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) / 2 * np.diff(fine))])
    return np.interp(np.linspace(0, length[-1], rungs), length, fine)
