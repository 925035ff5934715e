"""Lattice paths as tuples of signed steps: `mu + 1` leads from x to x + mu, `-(mu + 1)` from x to x - mu."""

import functools
import itertools
from typing import NamedTuple, TypeAlias

Path: TypeAlias = tuple[int, ...]
Site: TypeAlias = tuple[int, ...]


class Loop(NamedTuple):
    """A closed path that starts (and ends) at a site; its trace does not depend on where along the loop it starts.

    >>> plaquette = tm.gauge.Loop((0, 0), (1, 2, -1, -2))
    >>> tm.gauge.sites(plaquette)
    """

    start: Site
    steps: Path


class Letter(NamedTuple):
    """One link of a loop: the link that leaves `site` in direction `mu`, as U (sign +1) or U^dagger (sign -1).

    `cut` is the position in the loop at which the derivative with respect to the link inserts a generator: before U and
    after U^dagger, in both cases at `site`.
    """

    site: Site
    mu: int
    sign: int
    cut: int


def reverse(path: Path) -> Path:
    """The same path walked backwards."""
    return tuple(-step for step in reversed(path))


def move(site: Site, steps: Path) -> Site:
    """The site at the end of a path."""
    coordinates = list(site)
    for step in steps:
        coordinates[abs(step) - 1] += 1 if step > 0 else -1
    return tuple(coordinates)


def sites(loop: Loop) -> list[Site]:
    """The start of every step."""
    found, coordinates = [], list(loop.start)
    for step in loop.steps:
        found.append(tuple(coordinates))
        coordinates[abs(step) - 1] += 1 if step > 0 else -1
    return found


def letters(loop: Loop) -> list[Letter]:
    """The links of a loop in order."""
    found, site = [], loop.start
    for position, step in enumerate(loop.steps):
        end = move(site, (step,))
        if step > 0:
            found.append(Letter(site, step - 1, 1, position))
        else:
            found.append(Letter(end, -step - 1, -1, position + 1))
        site = end
    return found


def opened(loop: Loop, cut: int) -> Path:
    """The steps of a loop, beginning at position `cut`."""
    return loop.steps[cut:] + loop.steps[:cut]


def without_backtracks(loop: Loop) -> Loop:
    """Cancels every step that is followed by its reverse, also across the start."""
    start = loop.start
    kept: list[int] = []
    for step in loop.steps:
        if kept and kept[-1] == -step:
            kept.pop()
        else:
            kept.append(step)
    first, last = 0, len(kept)
    while first < last - 1 and kept[first] == -kept[last - 1]:
        start = move(start, (kept[first],))
        first, last = first + 1, last - 1
    return Loop(start, tuple(kept[first:last]))


def least_rotation(loop: Loop) -> Loop:
    """The cyclic rotation whose steps come first in lexicographic order."""
    steps = loop.steps
    best = min(range(len(steps)), key=lambda cut: steps[cut:] + steps[:cut], default=0)
    return Loop(move(loop.start, steps[:best]), steps[best:] + steps[:best])


@functools.cache
def hypercubic_group(dim: int) -> tuple[tuple[int, ...], ...]:
    """The 2^d d! signed permutations of the axes: entry mu is the signed step that `mu + 1` turns into."""
    axes = itertools.permutations(range(1, dim + 1))
    signs = list(itertools.product((1, -1), repeat=dim))
    return tuple(tuple(s * a for s, a in zip(sign, axis, strict=True)) for axis in axes for sign in signs)


def transformed(loop: Loop, element: tuple[int, ...]) -> Loop:
    """The image of a loop under a signed permutation of the axes about the origin."""
    start = [0] * len(element)
    for coordinate, step in zip(loop.start, element, strict=True):
        start[abs(step) - 1] = coordinate if step > 0 else -coordinate
    return Loop(tuple(start), tuple(element[s - 1] if s > 0 else -element[-s - 1] for s in loop.steps))


def closed_paths(dim: int, length: int) -> list[Path]:
    """All closed paths of the given length without backtracks that are their own least rotation, in order.

    A loop appears in both orientations and in every orientation with respect to the axes.
    """
    directions = [step for step in range(-dim, dim + 1) if step]
    found: list[Path] = []

    def extend(path: Path, position: tuple[int, ...]) -> None:
        left = length - len(path)
        if sum(map(abs, position)) > left:
            return
        if left == 0:
            if path[0] != -path[-1] and least_rotation(Loop((0,) * dim, path)).steps == path:
                found.append(path)
            return
        for step in directions:
            if not path or (step != -path[-1] and step >= path[0]):
                extend((*path, step), move(position, (step,)))

    if length > 0:
        extend((), (0,) * dim)
    return found
