"""Which links of a residual flow move together, and where their staples are."""

import dataclasses
import functools
import math

import numpy as np

from ..fields import Reach, colour_table
from ..gauge import LoopFamily, letters, staple_links
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
def loop_reach(family: LoopFamily) -> Reach:
    """Pairs of links that a term of a family has in common, as entries (mu, nu, *displacement)."""
    found = set()
    for images in family.program.images[: family.given]:
        for image in images:
            links = {(letter.site, letter.mu) for loop in image for letter in letters(loop)}
            for site, mu in links:
                for other, nu in links:
                    found.add((mu, nu, *(b - a for a, b in zip(site, other, strict=True))))
    return tuple(sorted(found))


@functools.lru_cache(maxsize=64)
def loop_curvatures(family: LoopFamily) -> np.ndarray:
    r"""Bounds of the second derivatives of every given term with respect to one link, `(terms,)`.

    A link that occurs m times in a term contributes m^2 pairs of derivatives, each at most 1/(2 N) of a product of normalised
    traces: |tr(V A W B)| <= |V| |W| = 1/2 for unit vectors of su(N) in the norm -2 tr(V V). (U(1): one.)
    """
    n, dim = family.algebra.n, family.algebra.dim
    each = 1 / (2 * n) if n > 1 else 1.0
    found = np.zeros(family.given)
    for k, images in enumerate(family.program.images[: family.given]):
        counts = np.zeros(dim)
        for image in images:
            occurrences: dict[tuple, int] = {}
            for loop in image:
                for letter in letters(loop):
                    key = (letter.site, letter.mu)
                    occurrences[key] = occurrences.get(key, 0) + 1
            for (_, mu), m in occurrences.items():
                counts[mu] += m**2
        found[k] = counts.max() * each
    return found


@functools.lru_cache(maxsize=64)
def active_staples(lattice: tuple[int, ...], active: Masks) -> np.ndarray:
    """`staple_links` of the active links of every mask, `(masks, 2, dim - 1, 3, width)`; those of the filling are any."""
    links = np.minimum(active.active, active.size - 1)
    mu, sites = np.divmod(links, math.prod(lattice))
    return np.moveaxis(staple_links(neighbours(lattice), mu, sites), -2, 0).astype(np.int32)


@functools.lru_cache(maxsize=64)
def loops_are_linear(family: LoopFamily) -> bool:
    """Whether no given term contains a link twice, so that terms are linear in every single link."""
    for images in family.program.images[: family.given]:
        for image in images:
            links = [(letter.site, letter.mu) for loop in image for letter in letters(loop)]
            if len(set(links)) < len(links):
                return False
    return True
