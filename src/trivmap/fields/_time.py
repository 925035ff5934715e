"""Functions of the flow time that multiply learned coefficients."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def cosine_basis(t: Float[Array, ""], size: int) -> Float[Array, " size"]:
    """cos(pi k t), k = 0..size-1: complete on [0, 1] and not periodic, so that both ends of the flow are independent."""
    return jnp.cos(t * jnp.asarray(np.pi * np.arange(size), t.dtype))


def fourier_basis(t: Float[Array, ""], frequencies: int) -> Float[Array, " 2*{frequencies}+1"]:
    """(1, sin 2 pi k t, cos 2 pi k t), k = 1..frequencies: the time features of arXiv:2207.00283."""
    phase = t * jnp.asarray(2 * np.pi * np.arange(1, frequencies + 1), t.dtype)
    return jnp.concatenate([jnp.ones(1, t.dtype), jnp.sin(phase), jnp.cos(phase)])


def chebyshev_basis(s: Float[Array, ""], size: int) -> Float[Array, " size"]:
    """Chebyshev polynomials T_0..T_{size-1} of 2 s - 1: complete on [0, 1], and exact for interpolated coefficients."""
    x = 2 * s - 1
    terms = [jnp.ones_like(x), x]
    for _ in range(size - 2):
        terms.append(2 * x * terms[-1] - terms[-2])
    return jnp.stack(terms[:size])
