"""Which links of a residual flow move together, and where their staples are."""

import dataclasses
import functools
import math

import numpy as np

from ..fields import Reach, colour_table
from ..gauge import staple_links
from ..lattice import neighbours
from ..manifolds import AbstractManifold


@dataclasses.dataclass(frozen=True, eq=False)
class Masks:
    """Row m of `active` lists the links mu V + x that mask m moves; rows are filled up with the number of all links."""

    active: np.ndarray
    size: int

    @property
    def count(self) -> int:
        return len(self.active)

    @property
    def used(self) -> np.ndarray:
        """One for links, zero for filling, `(masks, width)`."""
        return self.active < self.size


@functools.lru_cache(maxsize=64)
def make_masks(manifold: AbstractManifold, reach: Reach) -> Masks:
    """Sets of links of one direction that do not depend on each other, as few as a colouring finds."""
    labels = colour_table(reach, len(manifold.generators), manifold.lattice).ravel()
    members = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
    width = max(map(len, members))
    rows = [np.concatenate([m, np.full(width - len(m), labels.size)]) for m in members]
    return Masks(np.stack(rows).astype(np.int32), labels.size)


@functools.lru_cache(maxsize=64)
def active_staples(lattice: tuple[int, ...], active: Masks) -> np.ndarray:
    """`staple_links` of the active links of every mask, `(masks, 2, dim - 1, 3, width)`; those of the filling are any."""
    links = np.minimum(active.active, active.size - 1)
    mu, sites = np.divmod(links, math.prod(lattice))
    return np.moveaxis(staple_links(neighbours(lattice), mu, sites), -2, 0).astype(np.int32)
