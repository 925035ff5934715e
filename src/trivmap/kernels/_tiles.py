"""Windows that tile a lattice from its origin, for kernels that treat each of them for itself."""

import math

from .._types import Array, Shape


def cut(x: Array, window: Shape) -> Array:
    """The windows that fit, stacked; what is left over at the far ends is in none."""
    tiles, dim = _tiles(x.shape, window), x.ndim
    whole = x[tuple(slice(0, count * size) for count, size in zip(tiles, window, strict=True))]
    split = whole.reshape([n for pair in zip(tiles, window, strict=True) for n in pair])
    return split.transpose([*range(0, 2 * dim, 2), *range(1, 2 * dim, 2)]).reshape(math.prod(tiles), *window)


def paste(x: Array, windows: Array, window: Shape) -> Array:
    """x with other windows, in the order of `cut`."""
    tiles, dim = _tiles(x.shape, window), x.ndim
    order = [axis for mu in range(dim) for axis in (mu, dim + mu)]
    covered = tuple(count * size for count, size in zip(tiles, window, strict=True))
    whole = windows.reshape(*tiles, *window).transpose(order).reshape(covered)
    return x.at[tuple(slice(0, n) for n in covered)].set(whole)


def _tiles(lattice: Shape, window: Shape) -> Shape:
    return tuple(extent // size for extent, size in zip(lattice, window, strict=True))
