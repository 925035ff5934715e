r"""Gamma matrices in the chiral basis, as data.

$\gamma_\mu = \begin{pmatrix} 0 & s_\mu \\ s_\mu^\dagger & 0 \end{pmatrix}$ with unitary blocks that have one entry
$\pm 1, \pm i$ per row, so that no spin product needs a complex multiplication; $\gamma_5 = \mathrm{diag}(1, -1)$.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._checks import integer
from .._types import Array


@functools.lru_cache(maxsize=8)
def chiral_blocks(dim: int) -> np.ndarray:
    r"""The blocks $s_\mu$, `(dim, half, half)`: $s_0 = 1$, $s_j = -i G_j$ with the matrices $G_j$ of dim - 1 dimensions.

    **Raises:** `ValueError` for an odd dimension, in which there is no chirality.
    """
    integer("gamma matrices: dim", dim, 2)
    if dim % 2:
        raise ValueError(f"gamma matrices: got dimension {dim}, expected an even one (2, 4, ...), where chirality exists.")
    if dim == 2:
        blocks = np.array([[[1.0]], [[-1j]]])
    else:
        lower = gamma_matrices(dim - 2)
        five = gamma_five(dim - 2)
        blocks = np.stack([np.eye(len(five)), *(-1j * g for g in (*lower, five))])
    blocks.setflags(write=False)
    return blocks


def gamma_matrices(dim: int) -> np.ndarray:
    r"""Hermitian $\gamma_\mu$ with $\{\gamma_\mu, \gamma_\nu\} = 2 \delta_{\mu\nu}$ in the chiral basis, `(dim, spin,
    spin)`.

    In two dimensions the Pauli matrices $\sigma_1, \sigma_2$.

    **Arguments:** `dim`: an even dimension; there are $2^{d/2}$ spin components.

    **Raises:** `ValueError` for an odd dimension.

        >>> tm.fermions.gamma_matrices(4).shape
        (4, 4, 4)
    """
    blocks = chiral_blocks(dim)
    zero = np.zeros_like(blocks[0])
    return np.stack([np.block([[zero, s], [s.conj().T, zero]]) for s in blocks])


def gamma_five(dim: int) -> np.ndarray:
    r"""$\gamma_5 = \mathrm{diag}(1, \dots, -1, \dots)$, which anticommutes with all $\gamma_\mu$, `(spin, spin)`.

    >>> tm.fermions.gamma_five(2).diagonal().tolist()
    [1.0, -1.0]
    """
    half = chiral_blocks(dim).shape[1]
    return np.diag(np.repeat([1.0, -1.0], half))


def apply_gamma_five(psi: Array) -> Array:
    r"""$\gamma_5 \psi$ of a spinor `(spin, colour, *lattice)`.

    >>> tm.fermions.apply_gamma_five(jnp.ones((2, 1, 4, 4))).shape
    (2, 1, 4, 4)
    """
    half = psi.shape[0] // 2
    return jnp.concatenate([psi[:half], -psi[half:]])


def block_times(block: np.ndarray, h: Array) -> Array:
    """A chiral block times the spin components `(half, ...)`: each row picks one and multiplies it by 1, -1, i or -i."""
    columns = np.argmax(np.abs(block), axis=1)
    return jnp.stack([_phase_times(complex(row[j]), h[j]) for row, j in zip(block, columns, strict=True)])


def _phase_times(phase: complex, x: Array) -> Array:
    if phase.imag == 0:
        return x if phase.real > 0 else -x
    return lax.complex(-x.imag, x.real) if phase.imag > 0 else lax.complex(x.imag, -x.real)
