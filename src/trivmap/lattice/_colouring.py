"""Colourings of periodic lattices: sites that a set of displacements connects never share a colour."""

import functools
import itertools
import math

import numpy as np

from .._types import Shape
from ._sites import check_lattice

# Bounds of the work of a search, in comparisons: for one modulus of a homomorphism, and for first fit (about 0.1 s).
_SEARCH, _FIRST_FIT = 4_000_000, 400_000


def colour_sites(lattice: Shape, displacements: tuple[Shape, ...]) -> np.ndarray:
    """Colours the sites so that x and x + d have different colours for every displacement d that is not zero.

    The best of three constructions: colours (sum_i a_i x_i) mod m with the least m that is compatible with the periods,
    products of colourings of the axes, which exist for all extents, and first fit on small lattices. Where the
    displacements reach around the lattice this ends at one colour per site.

    **Arguments:** `displacements`: integer vectors; each stands for its negative and its periodic images as well.

    **Returns:** an integer array `(*lattice)` with labels from 0 without gaps. Shared between calls: do not write to it.
    """
    return _colour_sites(check_lattice(lattice), tuple(map(tuple, displacements)))


@functools.lru_cache(maxsize=64)
def _colour_sites(lattice: Shape, displacements: tuple[Shape, ...]) -> np.ndarray:
    steps = np.array(displacements, dtype=np.int64).reshape(-1, len(lattice)) % lattice
    steps = steps[steps.any(axis=1)]
    folded = np.minimum(steps, lattice - steps)
    radii = folded.max(axis=0, initial=0).tolist()
    axes = [_colour_cycle(extent, radius) for extent, radius in zip(lattice, radii, strict=True)]
    counts = [int(axis.max()) + 1 for axis in axes]
    sites = np.indices(lattice)
    table = np.ravel_multi_index([axis[x] for axis, x in zip(axes, sites, strict=True)], counts)
    if table.size * len(steps) <= _FIRST_FIT:
        table = min(table, _first_fit(lattice, steps), key=np.max)
    found = _homomorphism(lattice, steps, int(table.max()) + 1)
    if found is not None:
        modulus, coefficients = found
        table = np.tensordot(coefficients, sites, axes=1) % modulus
    # A homomorphism that is not onto leaves gaps.
    table = np.unique(table, return_inverse=True)[1].reshape(lattice).astype(np.int32)
    table.setflags(write=False)
    return table


def _colour_cycle(extent: int, radius: int) -> np.ndarray:
    """Colours a cycle, equal ones further than `radius` apart: blocks of nearly equal length, numbered from zero.

    The least possible number, ceil(extent / floor(extent / (radius + 1))).
    """
    blocks = max(extent // (radius + 1), 1)
    return np.concatenate([np.arange(len(block)) for block in np.array_split(np.arange(extent), blocks)])


def _homomorphism(lattice: Shape, steps: np.ndarray, below: int) -> tuple[int, np.ndarray] | None:
    """The least modulus under `below`, with coefficients, for which no step maps to zero; `None` if there is none."""
    for modulus in range(1, below):
        # sum_i a_i x_i mod m is periodic if m divides every a_i L_i.
        options = [range(0, modulus, modulus // math.gcd(modulus, extent)) for extent in lattice]
        if math.prod(map(len, options)) * max(len(steps), 1) > _SEARCH:
            continue
        coefficients = np.array(list(itertools.product(*options)), dtype=np.int64)
        good = ((coefficients @ steps.T) % modulus != 0).all(axis=1)
        if good.any():
            return modulus, coefficients[np.argmax(good)]
    return None


def _first_fit(lattice: Shape, steps: np.ndarray) -> np.ndarray:
    """Gives the sites in order the least colour that no connected site has."""
    sites = np.indices(lattice).reshape(len(lattice), -1).T
    both = np.concatenate([steps, -steps])
    connected = np.asarray(np.ravel_multi_index(tuple((sites[:, None] + both).T), lattice, mode="wrap")).T
    # The last label stands for sites without colour yet.
    labels = np.full(len(sites), len(sites))
    for site in range(len(sites)):
        free = np.ones(len(sites) + 1, dtype=bool)
        free[labels[connected[site]]] = False
        labels[site] = np.argmax(free)
    return labels.reshape(lattice)
