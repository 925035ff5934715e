"""Theories of the user's own in a comparison: what JSON says about them."""

import hashlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...theories import AbstractTheory
from .._errors import CommandError

_SHOWN = 16  # entries of an array that are listed; of larger ones a checksum is
_ADDRESS = re.compile(r" at 0x[0-9a-f]+|0x[0-9a-f]+")


def own_theory_as_json(theory: AbstractTheory) -> dict[str, Any]:
    """Class, lattice, parameters, and a checksum of the action as JAX traces it: another action is another theory.

    **Raises:** `CommandError` if the action cannot be traced, or is not one number.
    """
    kind = type(theory)
    try:
        x = jax.eval_shape(theory.manifold.cold)
        program, value = jax.make_jaxpr(theory.action, return_shape=True)(x)
    except Exception as error:
        raise CommandError(f"{kind.__name__}.action fails on a configuration: {type(error).__name__}: {error}") from error
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape != () or dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise CommandError(f"{kind.__name__}.action gives {dtype}{list(shape or [])}, expected one real number.")
    leaves = jax.tree_util.tree_leaves_with_path(theory)
    return {
        "kind": f"{kind.__module__}.{kind.__qualname__}",
        "lattice": list(getattr(theory.manifold, "lattice", x.shape)),
        "parameters": {jax.tree_util.keystr(path).lstrip("."): _plain(leaf) for path, leaf in leaves},
        "action": _digest(str(program), *map(_bytes, program.consts)),
    }


def _plain(leaf: Any) -> Any:
    if isinstance(leaf, bool | int | float | str):
        return leaf
    if hasattr(leaf, "dtype") and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        values = np.asarray(leaf)
        return values.tolist() if values.size <= _SHOWN and values.dtype.kind in "biuf" else _digest(_bytes(leaf))
    return _ADDRESS.sub("", repr(leaf))


def _bytes(array: Any) -> str:
    values = np.asarray(array)
    return f"{values.dtype}{values.shape}" + hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _digest(*texts: str) -> str:
    return hashlib.sha256(_ADDRESS.sub("", "\n".join(texts)).encode()).hexdigest()[:16]
