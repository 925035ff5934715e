"""Which links of a residual flow move together, and where their staples are."""

import dataclasses
import functools
import math

import numpy as np

from ..fields._reach import Reach, colour_table, directions_and_generators
from ..lattice._sites import check_lattice
from ..loops import LoopFamily
from ..loops._paths import letters
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
    directions, _ = directions_and_generators(manifold)
    labels = colour_table(reach, directions, manifold.lattice).ravel()
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
def staple_links(lattice: tuple[int, ...], active: Masks) -> np.ndarray:
    """Links of the staples of active links: `(masks, 2, dim - 1, 3, width)`, above and below, in the order of `staples`."""
    lattice = check_lattice(lattice)
    dim, volume = len(lattice), math.prod(lattice)
    links = np.minimum(active.active, active.size - 1)
    mu, flat = links // volume, links % volume
    sites = np.stack(np.unravel_index(flat, lattice))

    def number(direction: np.ndarray, site: np.ndarray) -> np.ndarray:
        return direction * volume + np.ravel_multi_index(tuple(site), lattice, mode="wrap")

    ahead = sites + np.eye(dim, dtype=int)[mu].transpose(2, 0, 1)
    found = []
    for k in range(1, dim):
        nu = (mu + k) % dim
        step = np.eye(dim, dtype=int)[nu].transpose(2, 0, 1)
        above = [number(nu, ahead), number(mu, sites + step), number(nu, sites)]
        below = [number(nu, ahead - step), number(mu, sites - step), number(nu, sites - step)]
        found.append(np.stack([np.stack(above), np.stack(below)]))
    # (planes, side, 3, masks, width) -> (masks, side, planes, 3, width)
    return np.stack(found).transpose(3, 1, 0, 2, 4).astype(np.int32)


@functools.lru_cache(maxsize=64)
def loops_are_linear(family: LoopFamily) -> bool:
    """Whether no given term contains a link twice, so that terms are linear in every single link."""
    for images in family.program.images[: family.given]:
        for image in images:
            links = [(letter.site, letter.mu) for loop in image for letter in letters(loop)]
            if len(set(links)) < len(links):
                return False
    return True
