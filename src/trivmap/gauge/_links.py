"""Links as matrices, in all directions."""

import jax
import jax.numpy as jnp

from .._types import Array
from ..groups import adjoint
from ..lattice import shift


def link_matrices(links: Array) -> Array:
    """Links `(dim, n, n, *lattice)` as they are, angles `(dim, *lattice)` of U(1) as 1 x 1 matrices."""
    return links if jnp.iscomplexobj(links) else jax.lax.complex(jnp.cos(links), jnp.sin(links))[:, None, None]


def oriented_links(matrices: Array, length: int = 1) -> Array:
    """Parallel transport to x from x + mu, then from x - mu: `U_mu(x)` and `U_mu(x - mu)^dagger`, `(2 dim, n, n, *lattice)`.

    **Arguments:** `matrices`: as `link_matrices` returns them, or products of `length` links along each direction.
    """
    dim = len(matrices)
    backward = [adjoint(shift(u, mu, -length, dim)) for mu, u in enumerate(matrices)]
    return jnp.concatenate([matrices, jnp.stack(backward)])
