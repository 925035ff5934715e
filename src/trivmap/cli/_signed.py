"""JSON that carries a checksum of its own content: numbers that changed on the disk are never read."""

import hashlib
import json
from typing import Any

from ..io import finite

_KEY = "sha256"


def signed(value: dict[str, Any]) -> dict[str, Any]:
    """The value with a checksum in it; numbers that are not finite are null, as they are written."""
    value = finite(value)
    return value | {_KEY: _digest(value)}


def verified(value: Any) -> dict[str, Any] | None:
    """What `signed` was given, or `None` where there is no checksum or another one."""
    if not isinstance(value, dict) or _KEY not in value:
        return None
    content = {name: entry for name, entry in value.items() if name != _KEY}
    return content if _digest(content) == value[_KEY] else None


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
