"""Which half paths serve a family of loops: every loop is tr(A B^dagger) of two paths between the same two sites."""

import random
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from ._paths import Loop, Path, least_rotation, move, reverse

_SWEEPS = 60
_ATTEMPTS = 16


class Halves(NamedTuple):
    """A loop as `left` followed by the reverse of `right`, which start `cut` steps after the start of the loop."""

    cut: int
    left: Path
    right: Path


def orient(loop: Loop) -> tuple[Loop, bool]:
    """The least rotation of a loop or of its reverse, and whether it was reversed (its trace conjugated)."""
    forward = least_rotation(loop)
    backward = least_rotation(Loop(loop.start, reverse(loop.steps)))
    return (backward, True) if backward.steps < forward.steps else (forward, False)


def halve(loops: Iterable[Path]) -> dict[Path, Halves]:
    """Chooses where to cut each loop so that few different prefixes of the halves occur.

    Loops change their minds in turn, with noise that dies away (simulated annealing); small families try several times.
    """
    order = sorted(loops, key=lambda loop: (len(loop), loop))
    options = {loop: [(h, _prefixes(h)) for h in _cuts(loop)] for loop in order}
    # Seeded: the same family always gives the same program.
    attempts = [_anneal(order, options, seed) for seed in range(max(1, min(_ATTEMPTS, 400 // max(1, len(order)))))]
    return min(attempts, key=lambda cuts: len({p for h in cuts.values() for p in _prefixes(h)}))


def _anneal(order: list[Path], options: dict[Path, list[tuple[Halves, list[Path]]]], seed: int) -> dict[Path, Halves]:
    draw = random.Random(seed)
    used: Counter = Counter()
    chosen: dict[Path, tuple[Halves, list[Path]]] = {}
    for sweep in range(_SWEEPS):
        # In units of a path to multiply out; the rest breaks ties.
        noise = 2.5 * (1 - sweep / _SWEEPS) + 1e-3
        for loop in order if sweep == 0 else draw.sample(order, len(order)):
            if loop in chosen:
                used.subtract(chosen[loop][1])
            chosen[loop] = min(options[loop], key=lambda o: sum(used[p] <= 0 for p in o[1]) + noise * draw.random())  # noqa: B023
            used.update(chosen[loop][1])
    return {loop: chosen[loop][0] for loop in order}


def _cuts(loop: Path) -> list[Halves]:
    middle = len(loop) // 2
    rotations = [(cut, loop[cut:] + loop[:cut]) for cut in range(len(loop))]
    return [Halves(cut, path[:middle], reverse(path[middle:])) for cut, path in rotations]


def _prefixes(halves: Halves) -> list[Path]:
    """Paths that have to be multiplied out, each once."""
    paths = (halves.left, halves.right)
    return sorted({path[:length] for path in paths for length in range(2, len(path) + 1)})


def end(path: Path, dim: int) -> tuple[int, ...]:
    """The displacement of a path."""
    return move((0,) * dim, path)
