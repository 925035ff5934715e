from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._trees import shapes
from .._types import Array
from ..manifolds import AbstractManifold, ProductManifold
from ._base import AbstractTheory


class Replicas(AbstractTheory):
    r"""Several theories of one kind side by side, each with a field of its own: $S(x_1, \dots, x_R) = \sum_r S_r(x_r)$.

    The joint theory that replica exchange samples. Its configurations are dictionaries of one configuration per rung, by the
    names `rungs`.

    **Arguments:** `theories`: two or more on one manifold that differ in the values of their couplings alone: replicas move
    in one compiled program.

    **Raises:** `ValueError` for fewer than two, other manifolds, or theories of several kinds.

        >>> ladder = tm.theories.Replicas([tm.WilsonAction(tm.U1(), (4, 4), beta) for beta in (1.0, 2.0)])
        >>> ladder.rungs
        ('rung0', 'rung1')
    """

    stacked: AbstractTheory
    count: int = eqx.field(static=True)

    def __init__(self, theories: Any):
        theories = tuple(theories)
        _check(theories)
        self.stacked = jax.tree.map(lambda *a: jnp.stack([jnp.asarray(v) for v in a]), *theories)
        self.count = len(theories)

    @property
    def rungs(self) -> tuple[str, ...]:
        """Names of the replicas, whose alphabetical order is theirs."""
        width = len(str(self.count - 1))
        return tuple(f"rung{i:0{width}d}" for i in range(self.count))

    @property
    def manifold(self) -> ProductManifold:
        return ProductManifold(**dict.fromkeys(self.rungs, self.base))

    @property
    def base(self) -> AbstractManifold:
        """The manifold of one replica."""
        return self[0].manifold

    def __getitem__(self, rung: int) -> AbstractTheory:
        return jax.tree.map(lambda a: a[rung], self.stacked)

    def together(self, x: dict[str, Any]) -> Any:
        """The configurations of all replicas with a leading axis for the rungs."""
        return jax.tree.map(lambda *a: jnp.stack(a), *(x[name] for name in self.rungs))

    def apart(self, x: Any) -> dict[str, Any]:
        """The inverse of `together`."""
        return {name: jax.tree.map(lambda a, i=i: a[i], x) for i, name in enumerate(self.rungs)}

    def action(self, x: dict[str, Any]) -> Array:
        self.manifold.check(x)
        return jnp.sum(jax.vmap(lambda theory, y: theory.action(y))(self.stacked, self.together(x)))


def _check(theories: tuple[Any, ...]) -> None:
    if len(theories) < 2:
        raise ValueError(f"Replicas: got {len(theories)} theories, expected two or more.")
    if wrong := [type(t).__name__ for t in theories if not isinstance(t, AbstractTheory)]:
        raise TypeError(f"Replicas: got {', '.join(wrong)}, expected theories such as WilsonAction.")
    manifolds = [theory.manifold for theory in theories]
    if any(manifold != manifolds[0] for manifold in manifolds):
        raise ValueError(f"Replicas: got theories of different manifolds, {manifolds}, expected one for all rungs.")
    kinds = [(jax.tree.structure(theory), jax.tree.leaves(shapes(theory))) for theory in theories]
    if any(kind != kinds[0] for kind in kinds):
        raise ValueError(
            f"Replicas: got {', '.join(type(t).__name__ for t in theories)}, expected theories of one kind that differ "
            "in the values of their couplings; a Wilson action beside a defect is a WeightedWilsonAction of weights one."
        )
    if theories[0].complex_action:
        raise ValueError("Replicas: got theories of complex actions, expected real ones; exchange their phase_quenched.")
