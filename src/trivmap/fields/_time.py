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
