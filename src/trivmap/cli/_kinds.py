"""What commands choose by the fields of a theory."""

import functools
from typing import Literal, TypeAlias

from ..manifolds import AbstractManifold, LinkField, RealField

Kind: TypeAlias = Literal["scalar", "u1", "su", "other"]


@functools.singledispatch
def kind_of(manifold: AbstractManifold) -> Kind:
    """Real numbers, links of U(1) or SU(N), anything else."""
    return "other"


@kind_of.register
def _(manifold: RealField) -> Kind:
    return "scalar" if manifold.components is None else "other"


@kind_of.register
def _(manifold: LinkField) -> Kind:
    return "su" if manifold.group.complex_elements else "u1"
