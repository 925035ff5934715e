"""The sum of vector fields."""

import functools

from jaxtyping import Array, Float

from .._trees import add
from .._types import Configuration, Tangent
from ..manifolds import AbstractManifold
from ..theories import AbstractTheory
from ._base import AbstractVectorField


class SumField(AbstractVectorField):
    r"""The sum of vector fields on one manifold.

    $$ v = \sum_k v_k, \qquad \mathrm{div}\, v = \sum_k \mathrm{div}\, v_k $$

    **Arguments:** `fields`: one or more, one after the other.

    **Raises:** `ValueError` for none, or for different manifolds.

        >>> holonomies = tm.fields.HolonomyField(key, theory.manifold, times=2)
        >>> field = tm.fields.SumField(tm.GatedConvolutionField(theory.manifold), holonomies)
    """

    fields: tuple[AbstractVectorField, ...]

    def __init__(self, *fields: AbstractVectorField):
        if not fields or any(field.manifold != fields[0].manifold for field in fields):
            given = ", ".join(f"{type(field).__name__} on {field.manifold}" for field in fields) or "no field"
            raise ValueError(f"SumField: got {given}; expected one or more fields on the same manifold.")
        self.fields = fields

    @property
    def manifold(self) -> AbstractManifold:
        return self.fields[0].manifold

    def on(self, manifold: AbstractManifold) -> "SumField":
        """The sum of the same fields on a lattice of other extents."""
        return SumField(*(field.on(manifold) for field in self.fields))

    def transferred(self, theory: AbstractTheory) -> "SumField":
        return SumField(*(field.transferred(theory) for field in self.fields))

    def __call__(self, t: Float[Array, ""], x: Configuration) -> tuple[Tangent, Float[Array, ""]]:
        return functools.reduce(add, (field(t, x) for field in self.fields))
