"""Refusal of manifolds that a field or a flow is not made for."""

from ..groups import AbstractGroup
from ._base import AbstractManifold
from ._link_field import LinkField
from ._real_field import RealField


def scalar_field(manifold: AbstractManifold, message: str) -> RealField:
    """The manifold, if it is a real field of one component.

    **Raises:** `TypeError` with the message for any other.
    """
    if not isinstance(manifold, RealField) or manifold.components is not None:
        raise TypeError(message)
    return manifold


def links_of(group: type[AbstractGroup], manifold: AbstractManifold, message: str) -> LinkField:
    """The manifold, if it is of links of a kind of group, `AbstractGroup` for any.

    **Raises:** `TypeError` with the message for any other.
    """
    if not isinstance(manifold, LinkField) or not isinstance(manifold.group, group):
        raise TypeError(message)
    return manifold
