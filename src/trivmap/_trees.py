"""Arithmetic on configurations and tangent vectors, which are arrays or, on products of manifolds, dictionaries of arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["add", "cast", "length", "precision", "scale", "select", "shapes", "stacked", "subtract"]


def precision(x: Any) -> Any:
    """The real dtype of a configuration; that of its first field where there are several."""
    return jnp.finfo(jax.tree.leaves(x)[0].dtype).dtype


def shapes(x: Any) -> Any:
    """The shape of every array, in the structure of `AbstractManifold.shape`."""
    return jax.tree.map(np.shape, x)


def length(x: Any) -> int:
    """Extent of the leading axis, which all arrays share."""
    return len(jax.tree.leaves(x)[0])


def scale(factor: Any, v: Any) -> Any:
    """A real number times every array, in the dtypes of these; or a number for each field of a product, by name."""
    return jax.tree.map(lambda f, part: jax.tree.map(lambda a: f.astype(a.dtype) * a, part), factor, v)


def add(v: Any, w: Any) -> Any:
    """Sum array by array."""
    return jax.tree.map(lambda a, b: a + b, v, w)


def subtract(v: Any, w: Any) -> Any:
    """Difference array by array."""
    return jax.tree.map(lambda a, b: a - b, v, w)


def select(condition: Any, x: Any, y: Any) -> Any:
    """`x` where the scalar condition holds, else `y`."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), x, y)


def stacked(x: Any, count: int) -> Any:
    """The same configuration `count` times along a new leading axis."""
    return jax.tree.map(lambda a: jnp.broadcast_to(a[None], (count, *a.shape)), x)


def cast(x: Any, dtype: Any) -> Any:
    """The same numbers in another real precision; complex arrays take the complex type of this precision."""
    pair = jnp.complex64 if jnp.dtype(dtype) == jnp.float32 else jnp.complex128
    return jax.tree.map(lambda a: a.astype(pair if jnp.iscomplexobj(a) else dtype), x)
