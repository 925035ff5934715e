"""Refusal of numbers that cannot be meant, in one wording: "NAME: got X, expected Y".

Arrays are checked number by number. Tracers pass: their numbers are known to the compiled program only.
"""

import operator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

__all__ = ["at_least", "finite", "integer", "integers", "positive", "within"]


def finite(name: str, value: Any) -> None:
    """**Raises:** `TypeError` unless `value` is a real number (or an array of them), `ValueError` for nan and infinity."""
    _require(name, value, lambda x: np.isfinite(x), "a finite number")


def positive(name: str, value: Any) -> None:
    """**Raises:** as `finite`, and `ValueError` unless `value > 0`."""
    _require(name, value, lambda x: np.isfinite(x) & (x > 0), "a positive finite number")


def at_least(name: str, value: Any, bound: float | int) -> None:
    """**Raises:** as `finite`, and `ValueError` unless `value >= bound`."""
    _require(name, value, lambda x: np.isfinite(x) & (x >= bound), f"a finite number of at least {bound:g}")


def within(name: str, value: Any, low: float | int, high: float | int, *, closed: bool = False) -> None:
    """**Raises:** as `finite`, and `ValueError` unless `low <= value < high`, or `value <= high` where `closed`."""
    below = lambda x: (x <= high) if closed else (x < high)  # noqa: E731
    _require(name, value, lambda x: (x >= low) & below(x), f"a number in [{low:g}, {high:g}{']' if closed else ')'}")


def integer(name: str, value: Any, least: int | None = None, below: int | None = None) -> None:
    """**Raises:** `TypeError` unless `value` is an integer (no bool), `ValueError` unless `least <= value < below`."""
    if isinstance(value, Tracer):
        return
    kinds = {None: "an integer", 0: "an integer of zero or more", 1: "a positive integer"}
    expected = kinds.get(least, f"an integer of at least {least}") + ("" if below is None else f" below {below}")
    try:
        number = None if _is_bool(value) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{name}: got {_shown(value)}, expected {expected}.")
    if (least is not None and number < least) or (below is not None and number >= below):
        raise ValueError(f"{name}: got {_shown(value)}, expected {expected}.")


def integers(owner: str, least: int, **values: Any) -> None:
    """Several integers of at least `least`, by name. **Raises:** as `integer`."""
    for name, value in values.items():
        integer(f"{owner}: {name}", value, least)


def _require(name: str, value: Any, holds: Any, expected: str) -> None:
    if isinstance(value, Tracer):
        return
    numbers = np.asarray(value) if hasattr(value, "dtype") else np.asarray(value, None if _is_number(value) else object)
    if numbers.dtype.kind not in "iuf" and not _is_reduced_float(numbers.dtype):
        raise TypeError(f"{name}: got {_shown(value)}, expected {expected}.")
    if not np.all(holds(numbers)):
        raise ValueError(f"{name}: got {_shown(value)}, expected {expected}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_reduced_float(dtype: np.dtype) -> bool:
    return jnp.issubdtype(dtype, np.floating)  # bfloat16 and others that NumPy takes for opaque bytes


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == np.bool_


def _shown(value: Any) -> str:
    """The value as its owner wrote it; large arrays and strings shortened."""
    text = str(value) if hasattr(value, "dtype") else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
