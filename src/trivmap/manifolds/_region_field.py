"""Fields that move in a region of the lattice only."""

from typing import Any

import equinox as eqx

from .._types import PRNGKey, Shape
from ..lattice import Region
from ._base import AbstractManifold


class RegionField(AbstractManifold):
    """The configurations of a manifold, of which a region moves and the rest stays bit for bit.

    Tangent vectors vanish outside of the region: so do momenta and gradients, and whatever follows them stays.

    **Arguments:** `manifold`: of the whole field; `region`: what moves.

        >>> manifold = tm.manifolds.RegionField(tm.RealField((8, 8)), tm.lattice.slab((8, 8), 0, 1, 7))
    """

    manifold: AbstractManifold
    region: Region = eqx.field(static=True)

    def __init__(self, manifold: AbstractManifold, region: Region):
        self.manifold, self.region = manifold, region

    @property
    def lattice(self) -> Shape:
        return self.manifold.lattice

    @property
    def shape(self) -> Any:
        return self.manifold.shape

    @property
    def tangent_shape(self) -> Any:
        return self.manifold.tangent_shape

    @property
    def dimension(self) -> int:
        return self.manifold.dimension

    def exp(self, v: Any, x: Any) -> Any:
        return self.region.where(self.manifold.exp(v, x), x)

    def reference_sample(self, key: PRNGKey, dtype: Any = None) -> Any:
        return self.manifold.reference_sample(key, dtype)

    def cold(self, dtype: Any = None) -> Any:
        return self.manifold.cold(dtype)

    def hot(self, key: PRNGKey, dtype: Any = None) -> Any:
        return self.manifold.hot(key, dtype)

    def random_tangent(self, key: PRNGKey, dtype: Any = None) -> Any:
        return self.region.restricted(self.manifold.random_tangent(key, dtype))

    def inner(self, v: Any, w: Any) -> Any:
        return self.manifold.inner(v, w)

    def coordinates(self, v: Any) -> Any:
        return self.manifold.coordinates(v)

    def from_coordinates(self, c: Any) -> Any:
        return self.region.restricted(self.manifold.from_coordinates(c))

    def pull_back(self, x: Any, cotangent: Any) -> Any:
        return self.region.restricted(self.manifold.pull_back(x, cotangent))

    def still(self, x: Any) -> Any:
        return self.manifold.still(x)

    @property
    def generators(self) -> tuple[int, ...]:
        return self.manifold.generators

    def spread(self, mask: Any, like: Any) -> Any:
        return self.manifold.spread(mask, like)

    def largest(self, v: Any) -> Any:
        return self.manifold.largest(v)

    def motion(self, v: Any, x: Any) -> Any:
        return self.region.restricted(self.manifold.motion(v, x))

    def effective(self, v: Any, x: Any) -> Any:
        return self.region.restricted(self.manifold.effective(v, x))

    def bracket(self, v: Any, w: Any) -> Any:
        return self.manifold.bracket(v, w)

    def project(self, x: Any) -> Any:
        return self.region.where(self.manifold.project(x), x)

    def defect(self, x: Any) -> Any:
        return self.manifold.defect(x)

    def distance(self, x: Any, y: Any) -> Any:
        return self.manifold.distance(x, y)

    def check(self, x: Any) -> None:
        self.manifold.check(x)
