"""Configurations in the layout of other Python codes: sites first, matrices last."""

import io
import os
from typing import Any

import numpy as np

from ..statistics import Ensemble
from ._atomic import write_bytes
from ._gauge_links import GaugeFileError


def to_matrix_last(links: Any, *, batch_axes: int = 0) -> np.ndarray:
    """SU(N) links `(*batch, d, n, n, *lattice)` -> `(*batch, d, *lattice, n, n)`, a contiguous NumPy array.

    `batch_axes` counts leading axes, one for the configurations of an `Ensemble`, two for those of a `Chain`.
    """
    array, dim = _checked(links, batch_axes, "to_matrix_last", (batch_axes + 1, batch_axes + 2))
    sites = range(batch_axes + 3, batch_axes + 3 + dim)
    return np.ascontiguousarray(array.transpose(*range(batch_axes), batch_axes, *sites, batch_axes + 1, batch_axes + 2))


def from_matrix_last(array: Any, *, batch_axes: int = 0) -> np.ndarray:
    """The inverse of `to_matrix_last`: `(*batch, d, *lattice, n, n)` -> `(*batch, d, n, n, *lattice)`."""
    array, dim = _checked(array, batch_axes, "from_matrix_last", (-2, -1))
    last = array.ndim - 1
    sites = range(batch_axes + 1, batch_axes + 1 + dim)
    return np.ascontiguousarray(array.transpose(*range(batch_axes), batch_axes, last - 1, last, *sites))


def write_npz(path: str | os.PathLike, ensemble: Ensemble) -> None:
    """Write an ensemble as a NumPy archive, atomically: `configurations`, `log_weights`, `observables/NAME`.

    SU(N) links are written matrix last, `(samples, d, *lattice, n, n)`; angles and scalars as they are.
    """
    arrays: dict[str, Any] = {"log_weights": ensemble.log_weights}
    arrays |= {f"observables/{name}": value for name, value in ensemble.observables.items()}
    if ensemble.configurations is not None:
        x = np.asarray(ensemble.configurations)
        arrays["configurations"] = to_matrix_last(x, batch_axes=1) if np.iscomplexobj(x) else x
    archive = io.BytesIO()
    np.savez(archive, **arrays)
    write_bytes(path, archive.getbuffer())


def read_npz(path: str | os.PathLike) -> Ensemble:
    """An ensemble of `write_npz`. **Raises:** `GaugeFileError` if the archive is missing, damaged or of another kind."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        configurations = arrays.pop("configurations", None)
        if configurations is not None and np.iscomplexobj(configurations):
            configurations = from_matrix_last(configurations, batch_axes=1)
        log_weights = arrays.pop("log_weights")
        return Ensemble(configurations, log_weights, {name.removeprefix("observables/"): v for name, v in arrays.items()})
    # zipfile and NumPy report damage by many exceptions.
    except Exception as error:
        raise GaugeFileError(f"{path}: not an intact archive of write_npz ({error!r}). Nothing was loaded") from error


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
