"""Regions of a periodic lattice: sets of sites or of links, as masks and as lists of indices."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import integers
from .._types import Shape
from ._colouring import colour_sites
from ._sites import check_lattice


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Region:
    r"""A set of sites, or of links, of a periodic lattice: what a sweep moves, what a layer reads, what stays fixed.

    Static and hashable. Of sites, it holds all links that start there. `~region`, `region & other` and `region | other` are
    the other sites, those of both, and those of one of them.

    **Arguments:** `mask`: booleans `(*lattice)`, or with `links` `(dim, *lattice)`; shared, do not write to it.

    **Raises:** `TypeError` for a mask of numbers, `ValueError` for one of links with another number of directions.

        >>> even, odd = tm.lattice.checkerboard((4, 4))
        >>> boundary = ~tm.lattice.slab((8, 8), axis=0, start=1, stop=7)
    """

    mask: Any
    links: bool = False

    def __post_init__(self):
        mask = np.array(self.mask)
        if mask.dtype != bool:
            raise TypeError(f"Region: got a mask of {mask.dtype}, expected booleans.")
        if self.links and mask.shape[0] != mask.ndim - 1:
            raise ValueError(f"Region: got a mask of links of shape {mask.shape}, expected (dim, *lattice).")
        mask.setflags(write=False)
        object.__setattr__(self, "mask", mask)

    @property
    def lattice(self) -> Shape:
        """Extents of the lattice."""
        return self.mask.shape[1:] if self.links else self.mask.shape

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Region) and self.links == other.links and np.array_equal(self.mask, other.mask)

    def __hash__(self) -> int:
        return hash((self.links, self.mask.shape, self.mask.tobytes()))

    def __repr__(self) -> str:
        return f"Region({len(self)} of {self.mask.size} {'links' if self.links else 'sites'} of {self.lattice})"

    def __len__(self) -> int:
        """Number of its sites or links."""
        return int(np.count_nonzero(self.mask))

    def __invert__(self) -> "Region":
        return Region(~self.mask, links=self.links)

    def __and__(self, other: "Region") -> "Region":
        return Region(self.mask & self._like(other), links=self.links)

    def __or__(self, other: "Region") -> "Region":
        return Region(self.mask | self._like(other), links=self.links)

    @property
    def indices(self) -> np.ndarray:
        """Flat indices of its sites (or links, the direction first), in lattice order."""
        return np.flatnonzero(self.mask)

    def where(self, inside: Any, outside: Any) -> Any:
        """`inside` in the region and `outside` elsewhere, for configurations or tangent vectors of any field."""
        return jax.tree.map(lambda a, b: jnp.where(self._aligned(a.shape), a, b), inside, outside)

    def restricted(self, v: Any) -> Any:
        """`v` in the region and zero elsewhere."""
        return self.where(v, jax.tree.map(jnp.zeros_like, v))

    def of_links(self) -> np.ndarray:
        """The mask of its links, `(dim, *lattice)`."""
        return self.mask if self.links else np.broadcast_to(self.mask, (len(self.lattice), *self.lattice))

    def _aligned(self, shape: Shape) -> np.ndarray:
        """The mask with axes of one for colours, so that it broadcasts to a field of this shape."""
        dim = len(self.lattice)
        if shape[len(shape) - dim :] != self.lattice or (self.links and shape[:1] != (dim,)):
            kind = "links" if self.links else "sites"
            raise ValueError(f"Region: got a field of shape {shape} for {kind} of the lattice {self.lattice}.")
        ones = (1,) * (len(shape) - self.mask.ndim)
        return self.mask.reshape((*self.mask.shape[: self.mask.ndim - dim], *ones, *self.lattice))

    def _like(self, other: "Region") -> np.ndarray:
        if self.links != other.links or self.lattice != other.lattice:
            raise ValueError(f"Region: got {self} and {other}, expected regions of one lattice and of one kind.")
        return other.mask


def checkerboard(lattice: Shape) -> tuple[Region, Region]:
    """The even and the odd sites, which are no neighbours of their own kind where all extents are even.

    >>> even, odd = tm.lattice.checkerboard((4, 4))
    """
    parity = np.indices(check_lattice(lattice)).sum(axis=0) % 2
    return Region(parity == 0), Region(parity == 1)


def slab(lattice: Shape, axis: int, start: int, stop: int) -> Region:
    """Sites with `start <= x_axis < stop`.

    >>> len(tm.lattice.slab((8, 8), axis=0, start=1, stop=7))
    48
    """
    lattice = check_lattice(lattice)
    integers("slab", 0, axis=axis, start=start, stop=stop)
    if axis >= len(lattice) or not start < stop <= lattice[axis]:
        raise ValueError(f"slab: got axis = {axis} and [{start}, {stop}) on {lattice}, expected layers of this lattice.")
    position = np.indices(lattice)[axis]
    return Region((position >= start) & (position < stop))


def colour_classes(lattice: Shape, displacements: tuple[Shape, ...]) -> tuple[Region, ...]:
    """Regions that together are the lattice, in none of which a displacement connects two sites; see `colour_sites`."""
    colours = colour_sites(lattice, displacements)
    return tuple(Region(colours == colour) for colour in range(int(colours.max()) + 1))
