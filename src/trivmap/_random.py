"""Random numbers on the host."""

import jax
import numpy as np

__all__ = ["host_generator"]


def host_generator(key: jax.Array) -> np.random.Generator:
    """A NumPy generator seeded by a JAX key, for work in float64 on the host whatever the JAX precision."""
    data = jax.random.key_data(key) if jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([int(word) for word in np.ravel(data)])))
