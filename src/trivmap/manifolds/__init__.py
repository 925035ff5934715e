"""Manifolds of field configurations: reference measure, tangent vectors, exponential map, gradients."""

from ._base import AbstractManifold as AbstractManifold
from ._expected import links_of as links_of
from ._expected import scalar_field as scalar_field
from ._link_field import LinkField as LinkField
from ._product import ProductManifold as ProductManifold
from ._real_field import RealField as RealField
from ._region_field import RegionField as RegionField
from ._sphere_field import SphereField as SphereField
