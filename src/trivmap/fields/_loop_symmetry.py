"""What the symmetries of the lattice do to pairs of loops, and to the loops around a loop."""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..gauge import Loop, Path, Site, hypercubic_group, sites, transformed
from ._loop_tables import anchored


@functools.lru_cache(maxsize=64)
def tied_displacements(lattice: tuple[int, ...], paths: tuple[Path, ...], radius: int | None) -> tuple[np.ndarray, int]:
    """Labels (k, l, d), a loop k at x and a loop l at x + d, by their orbits under the symmetries of the lattice.

    **Arguments:** `paths`: `anchored` loops, closed under the symmetries; `radius`: largest distance of the centres along
    any axis.

    **Returns:** labels `(paths, paths, *lattice)` from 0 without gaps, and their number, which labels what is out of reach.
    """
    kinds, dim = len(paths), len(lattice)
    number = {path: k for k, path in enumerate(paths)}
    grid = np.stack(np.meshgrid(*map(np.arange, lattice), indexing="ij")).reshape(dim, -1)
    first = np.full((kinds, kinds, grid.shape[1]), np.iinfo(np.int64).max)
    for element in hypercubic_group(dim):
        axes = [abs(step) - 1 for step in element]
        if any(lattice[axis] != lattice[image] for axis, image in enumerate(axes)):
            continue
        moved = np.empty_like(grid)
        for axis, step in enumerate(element):
            moved[abs(step) - 1] = grid[axis] if step > 0 else -grid[axis]
        images = [anchored(transformed(Loop((0,) * dim, path), element))[:2] for path in paths]
        for k, (path, start) in enumerate(images):
            for m, (other, at) in enumerate(images):
                offset = (np.array(at) - np.array(start))[:, None]
                index = np.ravel_multi_index((moved + offset) % np.array(lattice)[:, None], lattice)
                index = index + grid.shape[1] * (kinds * number[path] + number[other])
                first[k, m] = np.minimum(first[k, m], index)
    near = np.stack([[_distance(lattice, grid, p, q) for q in paths] for p in paths])
    far = near > (max(lattice) if radius is None else radius)
    values = np.unique(first[~far])
    first[far] = np.iinfo(np.int64).max
    return np.searchsorted(values, first).astype(np.int32).reshape(kinds, kinds, *lattice), len(values)


def centre(path: Path, start: Sequence[int]) -> np.ndarray:
    """The mean of the sites of a loop."""
    return np.mean(np.array(sites(Loop(tuple(start), path))), axis=0)


def _distance(lattice: tuple[int, ...], grid: np.ndarray, p: Path, q: Path) -> np.ndarray:
    """Between the centre of p at zero and that of q at all sites, along the axis where it is largest."""
    origin, extents = (0,) * len(lattice), np.array(lattice, float)[:, None]
    difference = grid + (centre(q, origin) - centre(p, origin))[:, None]
    return np.max(np.abs(difference - extents * np.round(difference / extents)), axis=0)


class Surroundings(NamedTuple):
    """Loops around every orientation of one loop, listed in corresponding order.

    `loops`, `signs` `(orientations, members)` and `shifts` `(orientations, members, dim)` give the path, whether it is
    walked backwards (-1), and the displacement of its start from that of the loop in the middle. Row i of `order` and `flips`
    `(images, members)` is a symmetry that keeps the middle: member c takes the place of `order[i, c]`, its direction
    changes by `flips[i, c]`.
    """

    loops: np.ndarray
    shifts: np.ndarray
    signs: np.ndarray
    order: np.ndarray
    flips: np.ndarray


@functools.lru_cache(maxsize=64)
def surroundings(paths: tuple[Path, ...], dim: int, stencil: float, directed: bool) -> Surroundings:
    """All loops whose centres are near that of the first path: the distances along the axes add up to `stencil` or less.

    **Arguments:** `directed`: whether directions matter; then charge conjugation counts among the symmetries.
    """
    number, origin = {path: k for k, path in enumerate(paths)}, (0,) * dim
    middle = Loop(origin, paths[0])
    members = _near(paths, dim, stencil)
    orientations: dict[int, list[tuple[int, Site, int]]] = {}
    images: dict[tuple, None] = {}
    for element in hypercubic_group(dim):
        kind, at, _ = anchored(transformed(middle, element))
        moved = []
        for k, shift in members:
            path, start, sign = anchored(transformed(Loop(shift, paths[k]), element))
            moved.append((number[path], tuple(a - b for a, b in zip(start, at, strict=True)), sign if directed else 1))
        orientations.setdefault(number[kind], moved)
        if kind == paths[0]:
            order = tuple(members.index((k, shift)) for k, shift, _ in moved)
            for conjugation in (1, -1) if directed else (1,):
                images[order, tuple(conjugation * sign for _, _, sign in moved)] = None
    listed = [orientations[k] for k in sorted(orientations)]
    return Surroundings(
        loops=np.array([[k for k, _, _ in row] for row in listed]),
        shifts=np.array([[shift for _, shift, _ in row] for row in listed]),
        signs=np.array([[sign for _, _, sign in row] for row in listed]),
        order=np.array([order for order, _ in images]),
        flips=np.array([flips for _, flips in images]),
    )


def _near(paths: tuple[Path, ...], dim: int, stencil: float) -> list[tuple[int, Site]]:
    origin, reach = (0,) * dim, int(np.ceil(stencil)) + max(map(len, paths))
    found = []
    for k, path in enumerate(paths):
        between = centre(path, origin) - centre(paths[0], origin)
        for shift in itertools.product(range(-reach, reach + 1), repeat=dim):
            distance = np.sum(np.abs(between + np.array(shift)))
            if distance < stencil + 1e-9:
                found.append((float(distance), k, shift))
    return [(k, shift) for _, k, shift in sorted(found)]
