from typing import Any

import jax

from .._types import Array, PRNGKey
from ..manifolds import AbstractManifold, ProductManifold
from ._base import AbstractTheory
from ._extended import ExtendedTheory, components_of


class SumTheory(AbstractTheory):
    r"""The theory whose action is the sum of several, $S = \sum_i S_i$, each with a force of its own.

    All live on one manifold, or on products whose fields of the same name are the same. Then the sum lives on all fields,
    and a theory of a single one, such as a gauge action beside pseudofermions, acts on the field whose manifold is its own.
    Nested integrators move each term on a time scale of its own, see `kernels.NestedIntegrator`: there the terms (of sums
    inside of the sum: theirs) stand in the order of their time scales, slow and expensive ones first.

    **Arguments:** `terms`: two theories or more.

    **Raises:** `ValueError` for fewer, for manifolds that do not fit, or where two terms would share pseudofermions.

        >>> twice = tm.theories.SumTheory(theory, theory)
        >>> bool(twice.action(links) == 2 * theory.action(links))
        True
    """

    summands: tuple[AbstractTheory, ...]

    def __init__(self, *terms: Any):
        if len(terms) < 2:
            raise ValueError(f"SumTheory: got {len(terms)} terms, expected two or more.")
        manifold = _joined([term.manifold for term in terms])
        self.summands = tuple(term if term.manifold == manifold else ExtendedTheory(term, manifold) for term in terms)
        names = self.pseudofermions
        if len(set(names)) < len(names):
            raise ValueError(
                f"SumTheory: got pseudofermions of the names {names}, expected different ones: a field that two terms share "
                "has another integral. Give PseudofermionAction(..., name=)."
            )

    @property
    def manifold(self) -> AbstractManifold:
        return self.summands[0].manifold

    @property
    def terms(self) -> tuple[AbstractTheory, ...]:
        return tuple(term for summand in self.summands for term in summand.terms)

    @property
    def pseudofermions(self) -> tuple[str, ...]:
        return tuple(name for summand in self.summands for name in summand.pseudofermions)

    def refresh(self, key: PRNGKey, x: Any) -> Any:
        for k, summand in zip(jax.random.split(key, len(self.summands)), self.summands, strict=True):
            x = summand.refresh(k, x)
        return x

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


def _joined(manifolds: list[Any]) -> Any:
    """The one manifold, or the product of all fields."""
    if all(manifold == manifolds[0] for manifold in manifolds):
        return manifolds[0]
    fields: dict[str, AbstractManifold] = {}
    for name, part in (item for manifold in manifolds for item in components_of(manifold).items()):
        if fields.setdefault(name, part) != part:
            raise ValueError(f"SumTheory: got the field {name!r} on {fields[name]} and on {part}, expected one manifold.")
    if not fields:
        raise ValueError(f"SumTheory: the terms live on {manifolds}; expected one manifold for all of them.")
    return ProductManifold(**fields)


def _sum(parts: list[Array]) -> Array:
    # Real and complex terms, under strict promotion of types.
    dtype = max((part.dtype for part in parts), key=lambda d: (d.kind == "c", d.itemsize))
    return sum((part.astype(dtype) for part in parts[1:]), parts[0].astype(dtype))
