"""Configurations of several fields in files: one array `configurations/NAME` for each, as observables have."""

from typing import Any

import numpy as np


def flat(name: str, value: Any) -> dict[str, np.ndarray]:
    """The arrays of a file for an array, for a dictionary of arrays by name, or for `None`.

    **Raises:** `ValueError` for names that are no text.
    """
    if isinstance(value, dict):
        if wrong := [part for part in value if not isinstance(part, str)]:
            raise ValueError(f"cannot store {name}/{wrong[0]!r}: names are printable text, in parts joined by /")
        return {f"{name}/{part}": np.asarray(array) for part, array in value.items()}
    return {} if value is None else {name: np.asarray(value)}


def nested(data: dict[str, np.ndarray]) -> dict[str, Any]:
    """The reverse of `flat` for all arrays of a file. **Raises:** `ValueError` for an array and parts of the same name."""
    found: dict[str, Any] = {}
    for name, array in data.items():
        group, _, part = name.partition("/")
        here = found.setdefault(group, {} if part else array)
        if isinstance(here, dict) != bool(part):
            raise ValueError(f"it has {group!r} as an array and in parts")
        if part:
            here[part] = array
    return found
