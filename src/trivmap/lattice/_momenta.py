"""Circular convolution with kernels that are even along every axis.

Such kernels are diagonal in the separable Hartley basis, cas(a) = cos(a) + sin(a), which is real and its own inverse. It
halves the arithmetic of a complex Fourier transform. As a matrix product per axis it is faster than by a real FFT up to
extents of about 100 (one core, 17 arrays of 64x64 in float32: 0.09 ms against 0.15 ms).
"""

import functools
import string

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_LARGEST_MATRIX_EXTENT = 96


@functools.cache
def _hartley_matrix(extent: int) -> np.ndarray:
    index = np.arange(extent)
    angle = 2 * np.pi * np.outer(index, index) / extent
    return (np.cos(angle) + np.sin(angle)) / np.sqrt(extent)


def hartley(x: Float[Array, "*shape"], dimension: int) -> Float[Array, "*shape"]:
    """The orthonormal, self-inverse separable Hartley transform over the last `dimension` axes."""
    if max(x.shape[-dimension:]) > _LARGEST_MATRIX_EXTENT:
        return _hartley_by_fft(x, dimension)
    sites, momenta = string.ascii_lowercase[:dimension], string.ascii_uppercase[:dimension]
    matrices = [jnp.asarray(_hartley_matrix(extent), x.dtype) for extent in x.shape[-dimension:]]
    pairs = ",".join(s + m for s, m in zip(sites, momenta, strict=True))
    return jnp.einsum(f"...{sites},{pairs}->...{momenta}", x, *matrices)


def hartley_reversed(x: Float[Array, "*shape"], dimension: int) -> Float[Array, "*momenta"]:
    """The same with the transformed axes in reverse order, also its own inverse.

    A product with the matrix of an axis wants that axis last. Leaving the axes where this puts them saves one transposition
    of all data, which costs more than the product itself where the data do not fit into the cache: derivatives of fields of
    17 channels on 64x64 sites take less than half of the time.
    """
    if max(x.shape[-dimension:]) > _LARGEST_MATRIX_EXTENT:
        rest = x.ndim - dimension
        return _hartley_by_fft(x, dimension).transpose(*range(rest), *reversed(range(rest, x.ndim)))
    for done in range(dimension):
        x = x @ jnp.asarray(_hartley_matrix(x.shape[-1]), x.dtype)
        x = jnp.moveaxis(x, -1, done - dimension)
    return x


def _hartley_by_fft(x: Float[Array, "*shape"], dimension: int) -> Float[Array, "*shape"]:
    for axis in range(x.ndim - dimension, x.ndim):
        spectrum = jnp.fft.rfft(x, axis=axis, norm="ortho")
        cosine, sine = spectrum.real, -spectrum.imag
        # The other half of the momenta: cosine(L - k) = cosine(k), sine(L - k) = -sine(k).
        mirrored = jax.lax.slice_in_dim(cosine - sine, 1, (x.shape[axis] + 1) // 2, axis=axis)
        x = jnp.concatenate([cosine + sine, jnp.flip(mirrored, axis)], axis)
    return x


def symbol(kernel: Float[Array, "*shape"], dimension: int) -> Float[Array, "*shape"]:
    """Eigenvalues of the convolution with an even kernel, from its values at the displacements."""
    return hartley(kernel, dimension) * np.sqrt(np.prod(kernel.shape[-dimension:])).item()


def displacements(symbols: Float[Array, "*shape"], dimension: int) -> Float[Array, "*shape"]:
    """Values of an even kernel at the displacements, from its eigenvalues: the inverse of `symbol`."""
    return hartley(symbols, dimension) / np.sqrt(np.prod(symbols.shape[-dimension:])).item()


def convolve(symbols: Float[Array, "channels *lattice"], x: Float[Array, "channels *lattice"]) -> Float[Array, "*lattice"]:
    """Sum over channels of circular convolutions with even kernels, given by their eigenvalues."""
    dimension = x.ndim - 1
    return hartley(jnp.sum(symbols * hartley(x, dimension), axis=0), dimension)


def squared_momentum(lattice: tuple[int, ...], axes: tuple[int, ...] | None = None) -> np.ndarray:
    """khat^2 = sum over `axes` of 2 - 2 cos(2 pi k / L), an array over the momenta of the lattice."""
    total = np.zeros(lattice)
    for axis in range(len(lattice)) if axes is None else axes:
        shape = [1] * len(lattice)
        shape[axis] = lattice[axis]
        total = total + (2 - 2 * np.cos(2 * np.pi * np.arange(lattice[axis]) / lattice[axis])).reshape(shape)
    return total
