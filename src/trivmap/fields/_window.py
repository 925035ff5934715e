"""A part of the time of a vector field."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import within
from .._trees import scale
from .._types import Configuration, Tangent
from ..manifolds import AbstractManifold
from ..theories import AbstractTheory
from ._base import AbstractVectorField


class WindowField(AbstractVectorField):
    r"""A vector field from the time `start` on, over unit time: $w(s, x) = (1 - a)\, v(a + (1 - a) s, x)$ with a = `start`.

    A field that carries the uniform measure at t = 0 to a coupling $\beta$ at t = 1 through the couplings $\beta t$ carries
    $a \beta$ to $\beta$ from t = a on: a flow between two couplings, as replica exchange needs.

    **Arguments:** `field`; `start`: between 0 and 1.

    **Raises:** `ValueError` for another start.

        >>> gated = tm.GatedConvolutionField.trivializing(theory.manifold, 7.0)
        >>> from_three = tm.ContinuousFlow(tm.fields.WindowField(gated, 3.0 / 7.0), steps=8)
    """

    field: AbstractVectorField
    start: Array

    def __init__(self, field: AbstractVectorField, start: Any):
        within("WindowField: start", start, 0, 1, closed=True)
        self.field, self.start = field, jnp.asarray(start, float)

    def frozen_fields(self) -> tuple[str, ...]:
        """The start says which coupling the flow comes from."""
        return ("start",)

    @property
    def manifold(self) -> AbstractManifold:
        return self.field.manifold

    def on(self, manifold: AbstractManifold) -> "WindowField":
        """The same part of the field on a lattice of other extents."""
        return WindowField(self.field.on(manifold), self.start)

    def transferred(self, theory: AbstractTheory) -> "WindowField":
        return WindowField(self.field.transferred(theory), self.start)

    def __call__(self, t: Float[Array, ""], x: Configuration) -> tuple[Tangent, Float[Array, ""]]:
        length = 1 - self.start
        velocity, divergence = self.field(self.start.astype(t.dtype) + length.astype(t.dtype) * t, x)
        return scale(length, velocity), length.astype(divergence.dtype) * divergence
