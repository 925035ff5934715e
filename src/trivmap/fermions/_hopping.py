"""The hopping term of Wilson fermions, on a whole lattice or between its even and odd halves."""

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp

from .._types import Array
from ._gamma import block_times, chiral_blocks

# Value at x + steps mu of a field of sites: shift(field, mu, steps).
Shift: TypeAlias = Callable[[Array, int, int], Array]


def hopping(here: Array, there: Array, psi: Array, shift: Shift, dagger: bool = False) -> Array:
    r"""$(H\psi)(x) = \sum_\mu (1 - \gamma_\mu) U_\mu(x) \psi(x+\mu) + (1 + \gamma_\mu) U_\mu(x-\mu)^\dagger \psi(x-\mu)$.

    $(1 \mp \gamma_\mu) \psi$ has half of the spin components: with $\psi = (u, l)$ the upper half is $h = u \mp s_\mu
    l$, the lower one $\mp s_\mu^\dagger h$. Only h is transported.

    **Arguments:** `here`: links at the sites of the result, `(dim, n, n, *sites)`; `there`: at the sites of psi (the same
    array on a whole lattice); `psi`: `(spin, n, *sites)`; `shift`: of fields between them; `dagger`: $H^\dagger$, in which
    the projectors change places.
    """
    blocks, half = chiral_blocks(len(here)), psi.shape[0] // 2
    upper, lower = psi[:half], psi[half:]
    above, below = jnp.zeros_like(upper), jnp.zeros_like(lower)
    for mu, block in enumerate(blocks):
        turned = block_times(block, lower)
        minus, plus = upper - turned, upper + turned
        forward = _times(here[mu], shift(plus if dagger else minus, mu, 1))
        backward = shift(_adjoint_times(there[mu], minus if dagger else plus), mu, -1)
        above = above + forward + backward
        difference = forward - backward if dagger else backward - forward
        below = below + block_times(block.conj().T, difference)
    return jnp.concatenate([above, below])


def _times(u: Array, h: Array) -> Array:
    """Matrices `(n, n, *sites)` times colour vectors `(half, n, *sites)`: a loop over contiguous sites."""
    return jnp.sum(u[None] * h[:, None], axis=2)


def _adjoint_times(u: Array, h: Array) -> Array:
    return jnp.sum(u.conj()[None] * h[:, :, None], axis=1)
