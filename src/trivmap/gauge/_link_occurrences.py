"""How single links occur in the terms of a family: which ones share a term, how often, and how large derivatives are."""

import functools

import numpy as np

from ._family import LoopFamily
from ._paths import letters


@functools.lru_cache(maxsize=64)
def loop_reach(family: LoopFamily) -> tuple[tuple[int, ...], ...]:
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
def loops_are_linear(family: LoopFamily) -> bool:
    """Whether no given term contains a link twice, so that terms are linear in every single link."""
    for images in family.program.images[: family.given]:
        for image in images:
            links = [(letter.site, letter.mu) for loop in image for letter in letters(loop)]
            if len(set(links)) < len(links):
                return False
    return True
