"""Covariant sums along one axis of the lattice: matrices in the axial gauge of that axis, convolved, and brought back.

The axis is the last one of arrays `(n, n, *sites)`. In the frame of the site y = 0 of each line, parallel transport along
the line is trivial, except for the holonomy when the line closes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..groups import AbstractGroup, conjugate, matrix_product


class Frame(NamedTuple):
    """`prefix`: transport from y = 0 to y, `(n, n, *sites)`; `holonomy`: once around each line, with a last axis of one."""

    prefix: Array
    holonomy: Array


def scaled(factor: Array, m: Array) -> Array:
    """Complex matrices times real numbers."""
    factor = factor.reshape((1,) * (m.ndim - factor.ndim) + factor.shape)
    return jax.lax.complex(factor * m.real, factor * m.imag)


def axial_frame(links: Array) -> Frame:
    """Products of the links from y = 0 up to each site, in log2(L) parallel levels."""
    axis = links.ndim - 1
    full = jax.lax.associative_scan(matrix_product, links, axis=axis)
    n = links.shape[0]
    unit = jnp.eye(n, dtype=links.dtype).reshape((n, n) + (1,) * (links.ndim - 2))
    first = jnp.broadcast_to(unit, (*links.shape[:-1], 1))
    return Frame(jnp.concatenate([first, full[..., :-1]], axis=axis), full[..., -1:])


def extend(group: AbstractGroup, frame: Frame, m: Array, size: int) -> Array:
    """Continues lines beyond both ends to `size` sites by symmetric amounts, with the holonomy of every turn.

    **Arguments:** `m`: `(..., n, n, *sites)` in the frame; `size`: at most three times the extent.
    """
    h = (size - m.shape[-1]) // 2
    ahead = conjugate(frame.holonomy, m[..., :h])
    behind = conjugate(group.adjoint(frame.holonomy), m[..., m.shape[-1] - h :])
    return jnp.concatenate([behind, m, ahead], axis=-1)


def tile(field: Array, size: int) -> Array:
    """The periodic continuation of numbers on the sites, aligned with `extend`."""
    h = (size - field.shape[-1]) // 2
    return jnp.concatenate([field[..., field.shape[-1] - h :], field, field[..., :h]], axis=-1)


def next_site(group: AbstractGroup, frame: Frame, m: Array) -> Array:
    """Moves every matrix to the next site by parallel transport; in the frame only the step that closes the line acts."""
    closed = conjugate(group.adjoint(frame.holonomy), m[..., -1:])
    return jnp.concatenate([closed, m[..., :-1]], axis=-1)


def toeplitz(kernel: Array, extent: int) -> Array:
    """Matrices `(outputs, features, extent + 2 h, extent)` that apply weights at offsets -h..h to extended lines."""
    width = kernel.shape[-1]
    offsets = np.arange(extent + width - 1)[:, None] - np.arange(extent)[None]
    inside = (offsets >= 0) & (offsets < width)
    values = kernel[..., np.clip(offsets, 0, width - 1)]
    return jnp.where(np.broadcast_to(inside, values.shape), values, 0)


def convolve(group: AbstractGroup, m: Array, kernel: Array) -> Array:
    """Applies `toeplitz(...)` to algebra elements: `(batch, features, n, n, *rest, E)` to `(batch, outputs, n, n, *rest, L)`.

    The sums run over the real coordinates, half the numbers of a complex matrix.
    """
    coordinates = jax.vmap(jax.vmap(group.coordinates))(m)
    sums = jnp.einsum("sf...e,ofey->so...y", coordinates, kernel)
    return jax.vmap(jax.vmap(group.from_coordinates))(sums)
