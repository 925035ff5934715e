"""Configurations in the layout of other Python codes: sites first, matrices last."""

from typing import Any

import numpy as np


def to_matrix_last(links: Any, *, batch_axes: int = 0) -> np.ndarray:
    """SU(N) links `(*batch, d, n, n, *lattice)` -> `(*batch, d, *lattice, n, n)`, a contiguous NumPy array.

    `batch_axes` counts leading axes, one for the configurations of an `Ensemble`, two for those of a `Chain`.

        >>> tm.io.to_matrix_last(tm.LinkField(tm.SU(3), (4, 4)).cold()).shape
    """
    array, dim = _checked(links, batch_axes, "to_matrix_last", (batch_axes + 1, batch_axes + 2))
    sites = range(batch_axes + 3, batch_axes + 3 + dim)
    return np.ascontiguousarray(array.transpose(*range(batch_axes), batch_axes, *sites, batch_axes + 1, batch_axes + 2))


def from_matrix_last(array: Any, *, batch_axes: int = 0) -> np.ndarray:
    """The inverse of `to_matrix_last`: `(*batch, d, *lattice, n, n)` -> `(*batch, d, n, n, *lattice)`.

    >>> tm.io.from_matrix_last(np.broadcast_to(np.eye(3), (2, 4, 4, 3, 3))).shape
    """
    array, dim = _checked(array, batch_axes, "from_matrix_last", (-2, -1))
    last = array.ndim - 1
    sites = range(batch_axes + 1, batch_axes + 1 + dim)
    return np.ascontiguousarray(array.transpose(*range(batch_axes), batch_axes, last - 1, last, *sites))


def _checked(links: Any, batch_axes: int, caller: str, matrix: tuple[int, int]) -> tuple[np.ndarray, int]:
    array = np.asarray(links)
    dim = array.ndim - batch_axes - 3
    if dim < 1 or array.shape[batch_axes] != dim or array.shape[matrix[0]] != array.shape[matrix[1]]:
        layout = "(d, n, n, *lattice)" if matrix[0] > 0 else "(d, *lattice, n, n)"
        raise ValueError(
            f"{caller}: got shape {array.shape} with batch_axes={batch_axes}, expected {layout} with d lattice axes after "
            "the batch axes"
        )
    return array, dim
