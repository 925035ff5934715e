"""Kernels of convolutions moved to a lattice of other extents."""

import itertools

import jax.numpy as jnp
import numpy as np

from .._types import Array, Shape
from ..lattice import displacements, hypercubic_orbits, symbol


def regrid_orbits(old: np.ndarray, new: np.ndarray, between: np.ndarray) -> np.ndarray:
    """Matrix `(new orbits, old orbits)` that carries kernels tied on orbits of displacements to another lattice.

    A kernel keeps its values at displacements of the smallest length: a larger lattice has zeros beyond, the edge at half an
    even extent is shared by both signs, and a smaller lattice sums what falls on one displacement. Growing and shrinking back
    is the identity.

    **Arguments:** `old`, `new`: labels `(pairs, *lattice)` of the orbits, `-1` where there is no kernel; `between`: distance
    vectors `(pairs, dim)` of the two ends at displacement zero, which decide what the smallest length is.
    """
    lattice, target = old.shape[1:], new.shape[1:]
    grid = np.stack(np.meshgrid(*map(np.arange, lattice), indexing="ij"))
    result = np.zeros((new.max() + 1, old.max() + 1))
    count = np.bincount(new[new >= 0])
    column = (-1, *(1 for _ in lattice))
    for pair, shift in enumerate(between):
        extents, start = np.reshape(lattice, column), np.reshape(shift, column)
        distance = (grid + start + extents / 2) % extents - extents / 2
        edge = np.abs(distance + extents / 2) < 1e-9
        steps = np.rint(distance - start).astype(int)
        for corner in itertools.product((0, 1), repeat=len(lattice)):
            chosen = np.reshape(corner, column)
            weight = np.prod(np.where(edge, 0.5, 1.0 - chosen), axis=0)
            landed = new[(pair, *((steps + chosen * extents) % np.reshape(target, column)))]
            kept = (weight > 0) & (landed >= 0) & (old[pair] >= 0)
            np.add.at(result, (landed[kept], old[pair][kept]), weight[kept])
    return result / count[:, None]


def regrid_displacements(kernel: Array, lattice: Shape, target: Shape) -> Array:
    """Values at the orbits of displacements, `(..., orbits)`, on another lattice."""
    old, new = (hypercubic_orbits(shape)[None] for shape in (lattice, target))
    matrix = regrid_orbits(old, new, np.zeros((1, len(lattice))))
    return kernel @ jnp.asarray(matrix.T, kernel.dtype)


def regrid_momenta(symbols: Array, lattice: Shape, target: Shape) -> Array:
    """Eigenvalues at the orbits of momenta, `(..., orbits)`, on another lattice.

    The value at the largest displacement, a constant all over the lattice, is a multiple of the mean over the lattice and
    stays one; the rest is regridded at the displacements.
    """
    dim = len(lattice)
    kernel = displacements(symbols[..., hypercubic_orbits(lattice)], dim)
    far = kernel[(..., *(extent // 2 for extent in lattice))]
    local = _means(kernel - far.reshape(*far.shape, *(1 for _ in lattice)), lattice)
    moved = regrid_displacements(local, lattice, target)[..., hypercubic_orbits(target)]
    return _means(symbol(moved, dim), target).at[..., 0].add(far * np.prod(lattice).item())


def _means(values: Array, lattice: Shape) -> Array:
    """Means over the orbits of arrays `(..., *lattice)`."""
    labels = hypercubic_orbits(lattice).ravel()
    flat = values.reshape(*values.shape[: values.ndim - len(lattice)], labels.size)
    sums = jnp.zeros((*flat.shape[:-1], int(labels.max()) + 1), flat.dtype).at[..., labels].add(flat)
    return sums / jnp.asarray(np.bincount(labels), flat.dtype).reshape((1,) * (flat.ndim - 1) + (-1,))
