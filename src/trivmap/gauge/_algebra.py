"""Terms (products of traces of loops) and their derivatives, exactly and without a lattice.

The single-link rules of SU(N), with tr(T_a T_b) = -delta_ab/2 and the derivative d_a f(U) = d/ds f(exp(s T_a) U): d_a
inserts T_a before every U and -T_a after every U^dagger, and completeness contracts two insertions,

    sum_a T_a T_a = -C_F,
    sum_a tr(A T_a B T_a) = -1/2 [tr A tr B - (1/N) tr(AB)],        (both in one trace: it splits)
    sum_a tr(A T_a) tr(B T_a) = -1/2 [tr(AB) - (1/N) tr A tr B].     (in two traces: they merge)

U(1) has T = i, so that every contraction is -1 times the term.
"""

import dataclasses
import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import TypeAlias

from ._abelian import circuits
from ._casimir import casimir
from ._paths import (
    Letter,
    Loop,
    Path,
    Site,
    closed_paths,
    hypercubic_group,
    least_rotation,
    letters,
    opened,
    reverse,
    sites,
    transformed,
    without_backtracks,
)

Term: TypeAlias = tuple[Loop, ...]
"""A product of traces, sorted; the empty term is one. Of a term only the real part counts."""

Expression: TypeAlias = dict[Term, Fraction]
"""A linear combination of terms."""


def translated(term: Term, by: Site) -> Term:
    """Moves every loop of a term; the order of the loops does not change."""
    return tuple(Loop(tuple(c + s for c, s in zip(loop.start, by, strict=True)), loop.steps) for loop in term)


def corner(term: Term) -> Site:
    """Least coordinates over all sites of a term."""
    return tuple(map(min, zip(*(site for loop in term for site in sites(loop)), strict=True)))


@dataclasses.dataclass(frozen=True)
class LoopAlgebra:
    """Terms of one gauge group in `dim` dimensions: canonical forms, Laplacians, inner products.

    **Arguments:** `n`: number of colours, 1 for U(1); `dim`: number of lattice dimensions.

        >>> algebra = tm.gauge.LoopAlgebra(3, 2)
        >>> algebra.laplacian(algebra.term((1, 2, -1, -2)))
    """

    n: int
    dim: int

    def __post_init__(self):
        if self.n < 1 or self.dim < 1:
            raise ValueError(
                f"LoopAlgebra: got n = {self.n} and dim = {self.dim}, expected positive integers (n = 1 is U(1))."
            )

    @property
    def casimir(self) -> Fraction:
        return casimir(self.n)

    @functools.cached_property
    def _canonical(self) -> dict[Term, Term]:
        return {}

    # --- normal forms -----------------------------------------------------------------------------------------------

    def product(self, loops: Iterable[Loop]) -> tuple[Fraction, Term]:
        """The product of traces in normal form, with the factor tr 1 = N of every loop that cancels to nothing."""
        factor, kept = Fraction(1), []
        for loop in map(without_backtracks, loops):
            if not loop.steps:
                factor *= self.n
                continue
            kept.append(least_rotation(loop))
        if self.n == 1:
            return Fraction(1), circuits(kept)
        if self.n == 2:
            # Traces of SU(2) are real: a loop is its own reverse.
            kept = [min(loop, least_rotation(Loop(loop.start, reverse(loop.steps))), key=lambda x: x.steps) for loop in kept]
        return factor, tuple(sorted(kept))

    def term(self, *paths: Path | Loop) -> Term:
        """The term with the given loops: paths from the origin, or `Loop(start, steps)`.

        **Raises:** `ValueError` if a path is not closed or leaves the dimensions.
        """
        loops = [path if isinstance(path, Loop) else Loop((0,) * self.dim, tuple(path)) for path in paths]
        for loop in loops:
            if any(step == 0 or abs(step) > self.dim for step in loop.steps):
                raise ValueError(f"loop {loop.steps}: expected steps +-1 ... +-{self.dim}.")
            if any(loop.steps.count(mu) != loop.steps.count(-mu) for mu in range(1, self.dim + 1)):
                raise ValueError(f"loop {loop.steps}: not closed; every direction needs as many steps back as forth.")
        return self.product(loops)[1]

    def placed(self, term: Term) -> Term:
        """The translate whose least coordinates are zero."""
        if not term:
            return term
        return translated(term, tuple(-c for c in corner(term)))

    def conjugate(self, term: Term) -> Term:
        """The complex conjugate: every loop walked backwards."""
        return self.product(Loop(loop.start, reverse(loop.steps)) for loop in term)[1]

    def canonical(self, term: Term) -> Term:
        """The first of all translates, conjugates and hypercubic images."""
        term = self.placed(term)
        found = self._canonical.get(term)
        if found is None:
            found = min(self._all_images(term), default=term)
            self._canonical[term] = found
        return found

    def images(self, term: Term) -> list[Term]:
        """The distinct hypercubic images of a term, one of each pair of complex conjugates, all `placed`."""
        found: dict[Term, None] = {}
        for element in hypercubic_group(self.dim):
            image = self._image(term, element)
            if image not in found and self.placed(self.conjugate(image)) not in found:
                found[image] = None
        return sorted(found)

    def _image(self, term: Term, element: tuple[int, ...]) -> Term:
        return self.placed(self.product(transformed(loop, element) for loop in term)[1])

    def _all_images(self, term: Term) -> set[Term]:
        images = {self._image(term, element) for element in hypercubic_group(self.dim)}
        # The hypercubic group maps the images to each other: those of the conjugate are known when one of them is.
        if self.placed(self.conjugate(term)) in images:
            return images
        return images | {self.placed(self.conjugate(image)) for image in images}

    def loops(self, length: int) -> list[Term]:
        """All loops of one length as canonical terms of one trace, one of each symmetry class."""
        found = {self.canonical(self.term(path)) for path in closed_paths(self.dim, length)}
        return sorted(term for term in found if sum(len(loop.steps) for loop in term) == length)

    # --- derivatives ------------------------------------------------------------------------------------------------

    def laplacian(self, term: Term) -> Expression:
        """-sum_{e,a} d_a d_a of a term."""
        result: Expression = defaultdict(Fraction)
        occurrences = [(f, letter) for f, loop in enumerate(term) for letter in letters(loop)]
        result[term] += self.casimir * len(occurrences)
        by_link: dict[tuple, list[tuple[int, Letter]]] = defaultdict(list)
        for f, letter in occurrences:
            by_link[letter.site, letter.mu].append((f, letter))
        for group in by_link.values():
            for (f, a), (g, b) in itertools.combinations(group, 2):
                sign = -2 * a.sign * b.sign
                rest = tuple(loop for h, loop in enumerate(term) if h not in (f, g))
                if f == g:
                    self._split(result, sign, term[f], a, b, rest)
                else:
                    self._merge(result, sign, (term[f], a), (term[g], b), rest)
        return _nonzero(result)

    def inner(self, x: Term, y: Term) -> Expression:
        """sum_{e,a} (d_a x)(d_a y) over the links that both terms contain, where they are placed."""
        result: Expression = defaultdict(Fraction)
        by_link: dict[tuple, list[tuple[int, Letter]]] = defaultdict(list)
        for g, loop in enumerate(y):
            for letter in letters(loop):
                by_link[letter.site, letter.mu].append((g, letter))
        for f, loop in enumerate(x):
            for a in letters(loop):
                for g, b in by_link.get((a.site, a.mu), ()):
                    rest = x[:f] + x[f + 1 :] + y[:g] + y[g + 1 :]
                    self._merge(result, a.sign * b.sign, (loop, a), (y[g], b), rest)
        return _nonzero(result)

    def real_inner(self, x: Term, y: Term) -> Expression:
        """sum_{e,a} (d_a Re x)(d_a Re y) = Re [<dx, dy> + <dx, dy*>]/2."""
        result: Expression = defaultdict(Fraction)
        for other in (y, self.conjugate(y)):
            for term, coefficient in self.inner(x, other).items():
                result[term] += coefficient / 2
        return _nonzero(result)

    def inner_by_offset(self, x: Term, y: Term) -> dict[Site, Expression]:
        """All inner products <d Re x(0), d Re y(r)> of a term with the translates of another.

        **Returns:** for every offset r at which the two share a link the expression, whose terms are placed relative to
        the origin of `x`; its value at any site follows by translation.
        """
        links_of_x, links_of_y = ([(a.site, a.mu) for loop in term for a in letters(loop)] for term in (x, y))
        offsets = {
            tuple(s - t for s, t in zip(at, other, strict=True))
            for at, mu in links_of_x
            for other, nu in links_of_y
            if mu == nu
        }
        found = {offset: self.real_inner(x, translated(y, offset)) for offset in sorted(offsets)}
        return {offset: expression for offset, expression in found.items() if expression}

    def _split(self, result: Expression, sign: int, loop: Loop, a: Letter, b: Letter, rest: Term) -> None:
        if self.n == 1:
            self._add(result, Fraction(-sign), (loop, *rest))
            return
        first, second = sorted((a.cut, b.cut))
        steps = loop.steps
        inside, outside = Loop(a.site, steps[first:second]), Loop(a.site, steps[second:] + steps[:first])
        self._add(result, Fraction(-sign, 2), (inside, outside, *rest))
        self._add(result, Fraction(sign, 2 * self.n), (loop, *rest))

    def _merge(self, result: Expression, sign: int, x: tuple[Loop, Letter], y: tuple[Loop, Letter], rest: Term) -> None:
        (first, a), (second, b) = x, y
        if self.n == 1:
            self._add(result, Fraction(-sign), (first, second, *rest))
            return
        joined = Loop(a.site, opened(first, a.cut) + opened(second, b.cut))
        self._add(result, Fraction(-sign, 2), (joined, *rest))
        self._add(result, Fraction(sign, 2 * self.n), (first, second, *rest))

    def _add(self, result: Expression, coefficient: Fraction, loops: Iterable[Loop]) -> None:
        factor, term = self.product(loops)
        result[term] += coefficient * factor

    # --- sums over the lattice and its symmetries --------------------------------------------------------------------

    def symmetric(self, expression: Mapping[Term, Fraction]) -> Expression:
        """The expression of canonical terms that agrees with this one after a sum over translations and symmetries."""
        result: Expression = defaultdict(Fraction)
        for term, coefficient in expression.items():
            result[self.canonical(term)] += coefficient
        return _nonzero(result)

    def plaquettes_at(self, letter: Letter) -> Iterator[tuple[Loop, Letter]]:
        """All oriented plaquettes that contain the link of a letter, with their own letter on it."""
        step = letter.mu + 1
        for side in range(-self.dim, self.dim + 1):
            if side and abs(side) != step:
                loop = Loop(letter.site, (step, side, -step, -side))
                yield loop, Letter(letter.site, letter.mu, 1, 0)
                yield Loop(letter.site, reverse(loop.steps)), Letter(letter.site, letter.mu, -1, 4)

    def inner_with_plaquettes(self, expression: Mapping[Term, Fraction]) -> Expression:
        """<dX, dP> with P the sum of tr U_p over all plaquettes in both orientations, summed over the symmetries."""
        result: Expression = defaultdict(Fraction)
        for term, coefficient in expression.items():
            raw: Expression = defaultdict(Fraction)
            for f, loop in enumerate(term):
                rest = term[:f] + term[f + 1 :]
                for a in letters(loop):
                    for plaquette, b in self.plaquettes_at(a):
                        self._merge(raw, a.sign * b.sign, (loop, a), (plaquette, b), rest)
            for other, value in self.symmetric(raw).items():
                result[other] += coefficient * value
        return _nonzero(result)


def _nonzero(expression: Expression) -> Expression:
    return {term: coefficient for term, coefficient in expression.items() if coefficient}
