"""JSON that every reader accepts: numbers that are not finite become null."""

import json
import math
from collections.abc import Mapping
from typing import Any


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
    """JSON text of plain values."""
    return json.dumps(finite(value), indent=indent, allow_nan=False)
