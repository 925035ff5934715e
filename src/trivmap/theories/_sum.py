from typing import Any

import jax

from .._types import Array, PRNGKey
from ..manifolds import AbstractManifold
from ._base import AbstractTheory


class SumTheory(AbstractTheory):
    r"""The theory whose action is the sum of several, $S = \sum_i S_i$, on one manifold, each with a force of its own.

    Nested integrators move each term on a time scale of its own, see `kernels.NestedIntegrator`: there the terms stand in
    the order of their time scales, slow and expensive ones first.

    **Arguments:** `terms`: two theories or more.

    **Raises:** `ValueError` for fewer, or for different manifolds.

        >>> twice = tm.theories.SumTheory(theory, theory)
        >>> bool(twice.action(links) == 2 * theory.action(links))
        True
    """

    summands: tuple[AbstractTheory, ...]

    def __init__(self, *terms: Any):
        if len(terms) < 2:
            raise ValueError(f"SumTheory: got {len(terms)} terms, expected two or more.")
        if any(term.manifold != terms[0].manifold for term in terms):
            raise ValueError(
                f"SumTheory: the terms live on {[term.manifold for term in terms]}; expected one manifold for all of them."
            )
        self.summands = tuple(terms)

    @property
    def manifold(self) -> AbstractManifold:
        return self.summands[0].manifold

    @property
    def terms(self) -> tuple[AbstractTheory, ...]:
        return self.summands

    def check_couplings(self) -> None:
        for term in self.summands:
            term.check_couplings()

    def action(self, x: Any) -> Array:
        return _sum([term.action(x) for term in self.summands])

    def noisy_action(self, key: PRNGKey, x: Any) -> Array:
        keys = jax.random.split(key, len(self.summands))
        return _sum([term.noisy_action(k, x) for k, term in zip(keys, self.summands, strict=True)])

    def gradient(self, x: Any) -> Any:
        return jax.tree.map(lambda *parts: _sum(list(parts)), *(term.gradient(x) for term in self.summands))


def _sum(parts: list[Array]) -> Array:
    # Real and complex terms, under strict promotion of types.
    dtype = max((part.dtype for part in parts), key=lambda d: (d.kind == "c", d.itemsize))
    return sum((part.astype(dtype) for part in parts[1:]), parts[0].astype(dtype))
