"""Luescher's recursion for the trivializing potential, solved exactly in the loop algebra (arXiv:0907.5491)."""

import functools
from fractions import Fraction

from ._algebra import Expression, LoopAlgebra, Term


def solve_laplacian(algebra: LoopAlgebra, source: Expression) -> Expression:
    """Canonical terms X with -sum d_a d_a X = source up to a constant, both summed over the lattice and its symmetries.

    The Laplacian acts on finitely many terms at a time, because it keeps the net number of times that a link is walked
    along. Where trace identities of small N relate the terms of a block, its matrix M is singular; M X = source is then
    replaced by M M X = M source: what is left over is annihilated by M, hence it is a constant.

    **Raises:** `ArithmeticError` if a block has no solution.
    """
    rows: dict[Term, Expression] = {}
    pending = [term for term in source if term]
    while pending:
        term = pending.pop()
        if term in rows:
            continue
        rows[term] = {t: c for t, c in algebra.symmetric(algebra.laplacian(term)).items() if t}
        pending += [t for t in rows[term] if t not in rows]
    solution: Expression = {}
    for block in _blocks(rows):
        right = [source.get(term, Fraction(0)) for term in block]
        # Column j holds the Laplacian of term j.
        matrix = [[rows[column].get(row, Fraction(0)) for column in block] for row in block]
        values = _solve(matrix, right)
        if values is None:
            values = _solve(_multiply(matrix, matrix), [row[0] for row in _multiply(matrix, [[r] for r in right])])
        if values is None:
            raise ArithmeticError(f"L_0 X = source has no solution for N = {algebra.n} in the block of {block[0]}.")
        solution |= {term: value for term, value in zip(block, values, strict=True) if value}
    return solution


@functools.cache
def trivializing_series(n: int, dim: int, order: int) -> tuple[LoopAlgebra, tuple[Expression, ...]]:
    """S~^(0), ..., S~^(order) of the Wilson action at beta = 1, each as a combination of canonical terms.

    A term stands for the mean over its hypercubic images of Re(term), summed over sites. S~^(k) is proportional to
    beta^(k+1); L_0 S~^(0) = S and L_0 S~^(k) = -(dS, dS~^(k-1)) up to constants.
    """
    algebra = LoopAlgebra(n, dim)
    planes = dim * (dim - 1) // 2
    plaquette = algebra.canonical(algebra.term((1, 2, -1, -2)))
    action = {plaquette: Fraction(-planes, n)}
    series = [solve_laplacian(algebra, action)]
    for _ in range(order):
        # S = -(1/2N) sum over both orientations of tr U_p, so that -(dS, dX) = <dX, dP>/(2N).
        force = algebra.inner_with_plaquettes(series[-1])
        series.append(solve_laplacian(algebra, {t: c / (2 * n) for t, c in force.items() if t}))
    return algebra, tuple(series)


def _blocks(rows: dict[Term, Expression]) -> list[list[Term]]:
    """Connected components of the terms under the Laplacian, in order."""
    neighbours: dict[Term, set[Term]] = {term: set() for term in rows}
    for term, row in rows.items():
        for other in row:
            neighbours[term].add(other)
            neighbours[other].add(term)
    blocks, seen = [], set()
    for term in sorted(rows):
        if term in seen:
            continue
        block, pending = set(), [term]
        while pending:
            member = pending.pop()
            if member not in block:
                block.add(member)
                pending += neighbours[member]
        seen |= block
        blocks.append(sorted(block))
    return blocks


def _multiply(a: list[list[Fraction]], b: list[list[Fraction]]) -> list[list[Fraction]]:
    columns = list(zip(*b, strict=True))
    return [
        [sum((x * y for x, y in zip(row, column, strict=True) if x and y), Fraction(0)) for column in columns] for row in a
    ]


def _solve(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction] | None:
    """Gauss-Jordan elimination; free unknowns are zero, `None` if there is no solution."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size, pivots = len(matrix), []
    for column in range(size):
        rank = len(pivots)
        found = next((i for i in range(rank, size) if rows[i][column]), None)
        if found is None:
            continue
        rows[rank], rows[found] = rows[found], rows[rank]
        pivot = rows[rank][column]
        rows[rank] = [x / pivot if x else x for x in rows[rank]]
        for i in range(size):
            factor = rows[i][column]
            if i != rank and factor:
                rows[i] = [x - factor * y if y else x for x, y in zip(rows[i], rows[rank], strict=True)]
        pivots.append(column)
    if any(row[size] for row in rows[len(pivots) :]):
        return None
    solution = [Fraction(0)] * size
    for row, column in zip(rows, pivots, strict=False):
        solution[column] = row[size]
    return solution
