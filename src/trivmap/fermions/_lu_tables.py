"""Where the blocks of an incomplete LU decomposition stand, and in which order its sites are eliminated."""

import functools
import itertools
import math
from typing import Any

import numpy as np

from .._types import Shape
from ..lattice import colour_sites


class LUTables:
    r"""Index tables of block matrices whose entries connect sites no further apart than a distance.

    Entry (i, a) is the block between site i and its neighbour `neighbours[i, a]` at displacement a; displacement 0 is
    none. Sites of one level are not neighbours, so that a level is eliminated, or solved for, at once. Hashable by
    identity; made once for each lattice.
    """

    def __init__(self, lattice: Shape, sites: np.ndarray, distance: int):
        steps = _displacements(lattice, sites, distance)
        number = np.full(lattice, -1)
        number[tuple(sites.T)] = np.arange(len(sites))
        column = np.full(lattice, len(steps))
        column[tuple(steps.T)] = np.arange(len(steps))
        at = lambda table, x: table[tuple(np.moveaxis(x % lattice, -1, 0))]  # noqa: E731
        self.lattice = lattice
        self.steps = steps
        self.neighbours = at(number, sites[:, None] + steps)
        self.opposite = at(column, -steps)
        # The displacement from neighbour a of a site to its neighbour c; len(steps) where that is too far.
        self.between = at(column, steps[None] - steps[:, None])
        self.level = _levels(self.neighbours, _order(lattice, sites, steps))
        later = self.level[self.neighbours] > self.level[:, None]
        self.later, self.earlier = later, self.level[self.neighbours] < self.level[:, None]
        self.batches = _batches(self.level)


@functools.lru_cache(maxsize=64)
def _cached(lattice: Shape, odd: bool, distance: int) -> LUTables:
    sites = np.indices(lattice).reshape(len(lattice), -1).T
    return LUTables(lattice, sites[sites.sum(axis=1) % 2 == 1] if odd else sites, distance)


def lu_tables(operator: Any, distance: int) -> LUTables:
    """The tables for the sites of an operator."""
    return _cached(operator.dirac.lattice, len(operator.sites) < math.prod(operator.dirac.lattice), distance)


def _displacements(lattice: Shape, sites: np.ndarray, distance: int) -> np.ndarray:
    """Displacements between sites up to a distance, modulo the extents, zero first, the near ones before the far ones."""
    steps = (sites - sites[0]) % lattice
    length = np.minimum(steps, np.array(lattice) - steps).sum(axis=1)
    near = np.flatnonzero(length <= distance)
    return steps[near[np.argsort(length[near], kind="stable")]]


def _order(lattice: Shape, sites: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Ranks of the sites: red-black, then red-black again on the coarse lattices of each parity class, then by colour.

    Measured on the odd sites of 30 fields on 8x8 at kappa = 0.276, blocks up to distance 4, eight roots: harmonic mean of the
    conditional ESS 0.66 to 0.70, by colours alone 0.53, in lexicographic order 0.27.
    """
    colour = colour_sites(lattice, tuple(map(tuple, steps.tolist())))[tuple(sites.T)]
    parity = sites.sum(axis=1) % 2
    classes = [1 - sites[:, axis] % 2 for axis in range(len(lattice))]
    coarse = (sites // 2).sum(axis=1) % 2
    # lexsort: the last key counts most.
    rank = np.empty(len(sites), int)
    rank[np.lexsort((colour, coarse, *classes[::-1], parity))] = np.arange(len(sites))
    return rank


def _levels(neighbours: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """One more than the highest level of the neighbours of lower rank."""
    level = np.zeros(len(rank), int)
    for site in np.argsort(rank):
        before = neighbours[site][rank[neighbours[site]] < rank[site]]
        level[site] = 1 + level[before].max(initial=-1)
    return level


def _batches(level: np.ndarray) -> np.ndarray:
    """The sites of each level, `(levels, width)`, filled up with one site more than there are."""
    groups = [np.flatnonzero(level == k) for k in range(level.max() + 1)]
    width = max(map(len, groups))
    return np.array([list(itertools.islice(itertools.chain(g, itertools.repeat(len(level))), width)) for g in groups])
