"""Aliases for array shapes: sites trail, directions and colours lead, no batch axis."""

from collections.abc import Callable
from typing import TypeAlias

from jaxtyping import Array, Complex, Float, Inexact, Int, Key, PyTree

__all__ = [
    "Array",
    "Callable",
    "Complex",
    "Configuration",
    "Float",
    "Inexact",
    "Int",
    "Key",
    "Links",
    "PRNGKey",
    "PyTree",
    "RealScalar",
    "ScalarField",
    "Shape",
    "Tangent",
]

Shape: TypeAlias = tuple[int, ...]
PRNGKey: TypeAlias = Key[Array, ""]
RealScalar: TypeAlias = Float[Array, ""]
ScalarField: TypeAlias = Float[Array, "*lattice"]
# Real angles (dim, *lattice) for U(1), complex matrices (dim, n, n, *lattice) for SU(n).
Links: TypeAlias = Inexact[Array, "dim *rest"]
# One array, or a dictionary of arrays on a product of manifolds; within one function all of them have the same shapes.
Configuration: TypeAlias = PyTree[Inexact[Array, "?*shape"], "Fields"]  # pyright: ignore[reportUndefinedVariable]
# Of the same structure; on spheres of other shapes.
Tangent: TypeAlias = PyTree[Inexact[Array, "..."]]
