"""Index tables of loops whose traces are kept site by site: which links they contain, and which of them share links."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ..gauge import Loop, Path, Site, hypercubic_group, letters, move, reverse, transformed

Key = tuple[int, int, Site]


@dataclasses.dataclass(frozen=True)
class Windows:
    """Row r of a result is channel `channels[r]` of an array, displaced by `shifts[r]`."""

    channels: np.ndarray
    shifts: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class LoopTables:
    """Functions w_f(x): real and, behind them, imaginary parts of (1/N) tr of the loops `paths` that start at x.

    `lengths` groups the paths by their length: positions and the cuts at which the open loop is needed. `rows` lists the
    links of all functions by direction, `(dim, rows per direction)`: the open loop of a row, its displacement from the link
    (minus that of the link from the start of the loop), and the sign of the link; `functions` names the w_f it belongs to.
    `pairs` are all (f, g, r) with <dw_f(x), dw_g(x + r)> not zero, in the order of the windows `pair_windows`, one per size
    of a group of common links, `(size, pairs)` flattened.
    """

    lattice: tuple[int, ...]
    paths: tuple[Path, ...]
    imaginary: bool
    lengths: tuple[tuple[int, np.ndarray, tuple[int, ...]], ...]
    open_loops: Windows
    signs: np.ndarray
    functions: np.ndarray
    pairs: tuple[Key, ...]
    pair_windows: tuple[tuple[int, Windows], ...]

    @property
    def size(self) -> int:
        """Number of functions."""
        return len(self.paths) * (2 if self.imaginary else 1)


def anchored(loop: Loop) -> tuple[Path, Site, int]:
    """A path that stands for all rotations and both directions of a loop, its start, and -1 if it was reversed.

    Of the rotations the one is taken whose open loops, at all cuts, need the fewest conjugations by links.
    """
    rotations = [(_cost(p), p, cut, sign) for sign in (1, -1) for cut, p in _rotations(_directed(loop.steps, sign))]
    _, path, cut, sign = min(rotations)
    return path, move(loop.start, _directed(loop.steps, sign)[:cut]), sign


def _directed(steps: Path, sign: int) -> Path:
    return steps if sign > 0 else reverse(steps)


def _rotations(steps: Path) -> list[tuple[int, Path]]:
    return [(cut, steps[cut:] + steps[:cut]) for cut in range(len(steps))]


def _cost(path: Path) -> int:
    cuts = _cuts(path)
    return max(cuts) - min(cuts)


def _cuts(path: Path) -> set[int]:
    """Cuts of the letters, counted from -n/2 to n/2."""
    n = len(path)
    cuts = {letter.cut % n for letter in letters(Loop((0,) * max(map(abs, path)), path))}
    return {cut if cut <= n // 2 else cut - n for cut in cuts} | {0}


def all_images(paths: Sequence[Path], dim: int) -> tuple[Path, ...]:
    """The loops in all orientations with respect to the axes, those of the first path first, as `anchored` paths.

    **Raises:** `ValueError` for paths that are not closed, leave the dimensions, or walk along a link twice.
    """
    found: dict[Path, None] = {}
    for path in map(tuple, paths):
        loop = Loop((0,) * dim, path)
        if not path or any(step == 0 or abs(step) > dim for step in path):
            raise ValueError(f"loop {path}: expected steps +-1 ... +-{dim}, at least four.")
        if move(loop.start, path) != loop.start:
            raise ValueError(f"loop {path}: not closed; every direction needs as many steps back as forth.")
        images = {anchored(transformed(loop, element))[0] for element in hypercubic_group(dim)}
        found |= dict.fromkeys(sorted(images, key=lambda p: (sorted(map(abs, p)), p)))
    return tuple(found)


@functools.lru_cache(maxsize=64)
def make_tables(lattice: tuple[int, ...], paths: tuple[Path, ...], imaginary: bool) -> LoopTables:
    """The tables for `anchored` paths on a lattice.

    **Raises:** `ValueError` if a loop walks along a link twice, possibly around the lattice.
    """
    dim = len(lattice)
    by_length = defaultdict(list)
    for k, path in enumerate(paths):
        _check_links(lattice, path)
        by_length[len(path)].append(k)
    lengths, open_rows = [], {}
    for length, members in sorted(by_length.items()):
        cuts = sorted(set().union(*(_cuts(paths[k]) for k in members)))
        for cut in cuts:
            for k in members:
                open_rows[k, cut % length] = len(open_rows)
        lengths.append((length, np.array(members, np.int32), tuple(cuts)))
    rows = [[] for _ in range(dim)]
    for part in range(2 if imaginary else 1):
        for k, path in enumerate(paths):
            for letter in letters(Loop((0,) * dim, path)):
                row = open_rows[k, letter.cut % len(path)] + part * len(open_rows)
                rows[letter.mu].append((part * len(paths) + k, row, letter.site, letter.sign))
    pairs, windows = _pairs(lattice, rows)
    flat = [row for direction in rows for row in direction]
    return LoopTables(
        lattice=lattice,
        paths=paths,
        imaginary=imaginary,
        lengths=tuple(lengths),
        open_loops=Windows(np.array([row[1] for row in flat]), -np.array([row[2] for row in flat])),
        signs=np.array([row[3] for row in flat]),
        functions=np.array([row[0] for row in flat]),
        pairs=pairs,
        pair_windows=windows,
    )


def _check_links(lattice: tuple[int, ...], path: Path) -> None:
    links = [(wrap(letter.site, lattice), letter.mu) for letter in letters(Loop((0,) * len(lattice), path))]
    if len(set(links)) < len(links):
        raise ValueError(
            f"loop {path}: walks along a link twice on the lattice {lattice}; use larger extents or simple loops "
            "(LoopPotential takes any)."
        )


def wrap(site: Sequence[int], lattice: tuple[int, ...]) -> Site:
    """The representative of a site on the lattice."""
    return tuple(int(c) % extent for c, extent in zip(site, lattice, strict=True))


def _pairs(lattice: tuple[int, ...], rows: list[list]) -> tuple[tuple[Key, ...], tuple[tuple[int, Windows], ...]]:
    """Pairs of functions that share links, and where in the Gram matrices of the links `(dim, rows, rows)` they are."""
    width = len(rows[0])
    members: dict[Key, list[tuple[int, Site]]] = defaultdict(list)
    for mu, direction in enumerate(rows):
        for i, (f, _, at, _) in enumerate(direction):
            for j, (g, _, other, _) in enumerate(direction):
                offset = wrap([a - b for a, b in zip(at, other, strict=True)], lattice)
                members[f, g, offset].append(((mu * width + i) * width + j, at))
    by_size = defaultdict(list)
    for key in sorted(members):
        by_size[len(members[key])].append(key)
    windows = []
    for size, keys in sorted(by_size.items()):
        entries = [members[key][m] for m in range(size) for key in keys]
        windows.append((size, Windows(np.array([e[0] for e in entries]), np.array([e[1] for e in entries]))))
    return tuple(key for _, keys in sorted(by_size.items()) for key in keys), tuple(windows)
