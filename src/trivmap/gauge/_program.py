"""A family of terms as index tables: what `_evaluate` needs to know, all of it NumPy arrays.

Why halves: of the trace tr(L R^dagger) of a loop of length 2 k the last product costs N^2 instead of N^3 operations, and the
halves, paths of at most k steps, are few: loops of six steps in two dimensions need at most 36 paths of three, whatever
their number. Paths are built step by step, each from the one without its last step, so that a level needs the one below
it only; derivatives go through the levels in the opposite order and store nothing else.
"""

import dataclasses
import functools
from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

from ._algebra import LoopAlgebra, Term
from ._paths import Loop, Path, move
from ._plan import Halves, end, halve, orient


@dataclasses.dataclass(frozen=True)
class Level:
    """All half paths of one length.

    A path is that of row `heads` one level below, times the link of the same row of `links` `(rows, 1 + dim)`: oriented step
    (mu, or dim + mu for -mu) and displacement. A loop whose halves have this length is the trace of row `left` times the
    adjoint of row `right`; its number is `loops.start` plus its position.

    `classes` cuts the paths into stretches of rows with as many `partners` and `children` each: partner l is the right half
    of loop l (with its conjugate weight), partner `len(left) + l` the left one; children are paths one level above.
    """

    heads: np.ndarray
    links: np.ndarray
    left: np.ndarray
    right: np.ndarray
    loops: slice
    classes: tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclasses.dataclass(frozen=True)
class Products:
    """Terms of one number of traces. Row r is the product of all traces but one, seen from that one's site.

    `others` `(rows, factors - 1)` are rows of the table of displaced traces; `own` is the trace left out, `term` and
    `multiplicity` say how often the row occurs in the derivative of which term; `image_rows` picks one row per image of a
    term, `image_terms` the term.
    """

    others: np.ndarray
    own: np.ndarray
    term: np.ndarray
    multiplicity: np.ndarray
    image_rows: np.ndarray
    image_terms: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class HalfPaths:
    """What it takes to evaluate the traces of some loops; `halo` is the largest displacement of a link."""

    algebra: LoopAlgebra
    levels: tuple[Level, ...]
    halo: int


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """Index tables of a family: term k is the sum over sites and hypercubic images of the real part of a product of traces.

    `shifts` `(rows, 1 + dim)` lists displaced traces: loop (plus the number of loops if conjugated) and displacement, at
    most `trace_halo` long. `single` `(loops, terms)` counts the terms of one trace.
    """

    paths: HalfPaths
    terms: tuple[Term, ...]
    images: tuple[tuple[Term, ...], ...]
    shifts: np.ndarray
    products: tuple[Products, ...]
    single: np.ndarray
    trace_halo: int

    @property
    def algebra(self) -> LoopAlgebra:
        return self.paths.algebra


@dataclasses.dataclass(frozen=True, eq=False)
class SiteProgram:
    """Index tables of placed terms, site by site: term `terms[k]` is a product of the displaced traces `factors[k]`."""

    paths: HalfPaths
    shifts: np.ndarray
    trace_halo: int
    factors: tuple[tuple[int, ...], ...]


def make_program(algebra: LoopAlgebra, terms: tuple[Term, ...]) -> Program:
    """The tables for a family of canonical terms; the same family gives the same object."""
    return _make_program(algebra.n, algebra.dim, terms)


@functools.lru_cache(maxsize=64)
def _make_program(n: int, dim: int, terms: tuple[Term, ...]) -> Program:
    algebra = LoopAlgebra(n, dim)
    images = tuple(tuple(algebra.images(term)) for term in terms)
    paths, halves, loops = _half_paths(algebra, [image for family in images for image in family])
    factors = [[[_factor(loop, halves, loops) for loop in term] for term in family] for family in images]
    shifts, products, single = _products(factors, len(loops), dim)
    return Program(
        paths=paths,
        terms=terms,
        images=images,
        shifts=shifts,
        products=products,
        single=single,
        trace_halo=int(np.abs(shifts[:, 1:]).max(initial=0)),
    )


@functools.lru_cache(maxsize=64)
def make_site_program(n: int, dim: int, terms: tuple[Term, ...]) -> SiteProgram:
    """The tables for terms as they are placed, without sums."""
    paths, halves, loops = _half_paths(LoopAlgebra(n, dim), terms)
    found = [[_factor(loop, halves, loops) for loop in term] for term in terms]
    displaced = [[(row + len(loops) * flag, *site) for row, flag, site in term] for term in found]
    table = {entry: row for row, entry in enumerate(sorted({entry for term in displaced for entry in term}))}
    shifts = np.array(list(table), np.int32).reshape(-1, 1 + dim)
    factors = tuple(tuple(table[entry] for entry in term) for term in displaced)
    return SiteProgram(paths, shifts, int(np.abs(shifts[:, 1:]).max(initial=0)), factors)


def _half_paths(algebra: LoopAlgebra, terms: Iterable[Term]) -> tuple[HalfPaths, dict[Path, Halves], dict[Path, int]]:
    """The half paths of all loops of some terms, how the loops are cut, and their numbers."""
    # Loops as they occur anywhere: a trace and its complex conjugate are one loop, and translates share its values.
    halves = halve({orient(loop)[0].steps for term in terms for loop in term})
    # Loops are numbered by the length of their halves, so that every level owns a slice of them.
    loops = {path: row for row, path in enumerate(sorted(halves, key=lambda p: (len(p), p)))}
    levels = _levels(halves, loops, algebra.dim)
    halo = max((int(np.abs(level.links[:, 1:]).max()) for level in levels), default=0)
    return HalfPaths(algebra, levels, halo), halves, loops


def _levels(halves: dict[Path, Halves], loops: dict[Path, int], dim: int) -> tuple[Level, ...]:
    paths = {path[:k] for h in halves.values() for path in (h.left, h.right) for k in range(1, len(path) + 1)}
    depth = max(map(len, paths), default=0)
    closing = [[loop for loop in loops if len(halves[loop].left) == k + 1] for k in range(depth)]
    uses = Counter(path for h in halves.values() for path in (h.left, h.right))
    heads = Counter(path[:-1] for path in paths)
    # In the order of the numbers of their partners and children: rows with equal numbers are one stretch of `_classes`, which
    # is evaluated by one gather of fixed shape instead of a scatter.
    by_length = [sorted((p for p in paths if len(p) == k + 1), key=lambda p: (uses[p], heads[p], p)) for k in range(depth)]
    rows = {path: row for level in by_length for row, path in enumerate(level)}
    levels = []
    for k, level in enumerate(by_length):
        mine = closing[k]
        left, right = ([rows[getattr(halves[loop], side)] for loop in mine] for side in ("left", "right"))
        levels.append(
            Level(
                heads=np.array([rows[path[:-1]] for path in level] if k else [], np.int32),
                links=np.array([_link(path, dim) for path in level], np.int32),
                left=np.array(left, np.int32),
                right=np.array(right, np.int32),
                loops=slice(loops[mine[0]], loops[mine[-1]] + 1) if mine else slice(0, 0),
                classes=_classes(level, left + right, by_length[k + 1] if k + 1 < depth else [], rows),
            )
        )
    return tuple(levels)


def _link(path: Path, dim: int) -> tuple[int, ...]:
    """Orientation and displacement of the last step of a path."""
    step = path[-1]
    return (step - 1 if step > 0 else dim - step - 1, *end(path[:-1], dim))


def _classes(level: list[Path], halves: list[int], above: list[Path], rows: dict[Path, int]) -> tuple:
    members = defaultdict(list)
    for path in level:
        partners = [i for i, row in enumerate(halves) if row == rows[path]]
        children = [rows[child] for child in above if child[:-1] == path]
        members[len(partners), len(children)].append((partners, children))
    stretches = []
    # The paths are sorted by these numbers.
    for sizes, pairs in members.items():
        partners, children = (
            np.array(column, np.int32).reshape(len(pairs), size)
            for column, size in zip(zip(*pairs, strict=True), sizes, strict=True)
        )
        # In two parts, since XLA stores a concatenation and would evaluate a single piece again for every use.
        middle = len(pairs) // 2
        parts = (slice(0, middle), slice(middle, None)) if middle else (slice(None),)
        stretches += [(partners[part], children[part]) for part in parts]
    return tuple(stretches)


def _factor(loop: Loop, halves, loops) -> tuple[int, bool, tuple[int, ...]]:
    """Row of the loop, whether its trace is conjugated, and the site from which its halves start."""
    oriented, conjugated = orient(loop)
    cut = halves[oriented.steps].cut
    return loops[oriented.steps], conjugated, move(oriented.start, oriented.steps[:cut])


def _products(factors, loops: int, dim: int) -> tuple[np.ndarray, tuple[Products, ...], np.ndarray]:
    single = np.zeros((loops, len(factors)))
    rows: dict[int, Counter] = defaultdict(Counter)
    image_keys: dict[int, list] = defaultdict(list)
    for term, family in enumerate(factors):
        for image in family:
            if len(image) == 1:
                single[image[0][0], term] += 1
            elif image:
                keys = [_seen_from(image, focus, term, loops) for focus in range(len(image))]
                rows[len(image)].update(keys)
                image_keys[len(image)].append(keys[0])
    shifts = {other: i for i, other in enumerate(sorted({o for keys in rows.values() for key in keys for o in key[2]}))}
    products = []
    for size in sorted(rows):
        numbers = {key: row for row, key in enumerate(rows[size])}
        products.append(
            Products(
                others=np.array([[shifts[other] for other in others] for _, _, others in numbers], np.int32),
                own=np.array([own for own, _, _ in numbers], np.int32),
                term=np.array([term for _, term, _ in numbers], np.int32),
                multiplicity=np.array(list(rows[size].values()), np.float64),
                image_rows=np.array([numbers[key] for key in image_keys[size]], np.int32),
                image_terms=np.array([key[1] for key in image_keys[size]], np.int32),
            )
        )
    table = np.array(list(shifts), np.int32).reshape(-1, 1 + dim)
    return table, tuple(products), single


def _seen_from(image, focus: int, term: int, loops: int) -> tuple:
    """One trace, the term, and all other traces relative to it; conjugated throughout if that one is conjugated."""
    own, conjugated, at = image[focus]
    others = sorted(
        (row + loops * (flag != conjugated), *(c - o for c, o in zip(site, at, strict=True)))
        for i, (row, flag, site) in enumerate(image)
        if i != focus
    )
    return own, term, tuple(others)
