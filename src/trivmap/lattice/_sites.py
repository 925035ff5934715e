import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._types import Array, Inexact, Shape


def check_lattice(shape: Any) -> Shape:
    """Returns the extents of a periodic lattice as a tuple of positive integers.

    **Arguments:** `shape`: extents `(L_0, ..., L_{d-1})`, axis 0 is Euclidean time.

    **Raises:** `TypeError` for anything but a sequence of integers, `ValueError` for no or non-positive extents.
    """
    advice = "give a tuple of positive integers such as (8, 8)"
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise TypeError(f"lattice: got {shape!r}, expected a sequence of extents; {advice}.")
    try:
        if any(isinstance(extent, bool | np.bool_) for extent in shape):
            raise TypeError
        extents = tuple(operator.index(extent) for extent in shape)
    except TypeError:
        raise TypeError(f"lattice: got {shape!r}, expected integer extents; {advice}.") from None
    if not extents or min(extents) < 1:
        raise ValueError(f"lattice: got extents {extents}, expected at least one, each >= 1; {advice}.")
    return extents


@functools.lru_cache(maxsize=64)
def neighbours(lattice: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of the neighbours of all sites, `(dim, volume)` each: at x + mu, and at x - mu.

    Shared between calls: do not write to them.
    """
    sites = np.arange(math.prod(lattice), dtype=np.int32).reshape(lattice)
    forward, backward = (
        np.stack([np.roll(sites, step, axis=mu).reshape(-1) for mu in range(len(lattice))]) for step in (-1, 1)
    )
    forward.setflags(write=False)
    backward.setflags(write=False)
    return forward, backward


def accumulator_dtype() -> Any:
    """Real dtype of sums over the lattice: float64 when x64 is enabled, else float32."""
    return jnp.result_type(float)


def site_sum(x: Inexact[Array, "..."]) -> Inexact[Array, ""]:
    """Sum over all axes, accumulated in float64 (complex128) when x64 is enabled."""
    kind = complex if jnp.issubdtype(x.dtype, jnp.complexfloating) else float
    return jnp.sum(x, dtype=jnp.result_type(kind))
