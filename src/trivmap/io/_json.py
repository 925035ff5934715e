"""JSON that every reader accepts: numbers that are not finite become null."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def finite(value: Any) -> Any:
    """The value with `None` in place of nan and infinities, which JSON does not have; tuples become lists."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return value


def encode_json(value: Any, indent: int | None = None) -> str:
    """JSON text of plain values, and of numbers of NumPy and JAX."""
    return json.dumps(finite(value), indent=indent, allow_nan=False, default=_number)


def _number(value: Any) -> Any:
    """**Raises:** `TypeError` for what is no single number."""
    if getattr(value, "shape", None) == () and getattr(value, "dtype", np.dtype(object)).kind in "biuf":
        return finite(value.item())
    raise TypeError(
        f"attributes are JSON values (numbers, text, lists, dictionaries with text as keys), got a {type(value).__name__}: "
        f"{value!r:.100}"
    )
