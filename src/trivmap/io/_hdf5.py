"""Ensembles and chains in HDF5: one data set per array, one checked header.

The rows of an ensemble come in segments, one per append, each under a checksum of its own.
"""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..statistics import Chain, Ensemble
from ._atomic import write_bytes
from ._lock import locked
from ._versions import versions

_CHUNK_BYTES = 1 << 20
_FORMAT = 2
_WAIT = 60.0  # seconds for another process that appends
_CHAIN_ARRAYS = ("configurations", "accepted", "delta_h", "indices")
_CHAIN_NUMBERS = {"force_evaluations": int, "unitarity_defect": float}


class EnsembleFileError(ValueError):
    """An HDF5 file that is missing, damaged or of another kind than expected."""


def write_ensemble(path: str | os.PathLike, ensemble: Ensemble, attributes: dict[str, Any] | None = None) -> None:
    """Write an ensemble to HDF5, atomically.

    **Arguments:**

    - `path`: the file; an existing one is replaced only once the new one is complete.
    - `ensemble`: data sets `log_weights`, `configurations` (unless `None`) and `observables/NAME`, samples first.
    - `attributes`: JSON values to keep beside the data: theory, beta, seed. Versions are added.
    """
    arrays = {"configurations": ensemble.configurations, "log_weights": ensemble.log_weights}
    _write(path, "ensemble", arrays, ensemble.observables, {}, attributes)


def append_ensemble(path: str | os.PathLike, ensemble: Ensemble, attributes: dict[str, Any] | None = None) -> None:
    """Add samples to a file of `write_ensemble`, or start one.

    The file is copied, extended and renamed: an interrupt leaves the old one. Only the new rows are read and checked.

    **Arguments:** `path`; `ensemble`: arrays of the same names, shapes per sample and dtypes as in the file;
    `attributes`: `None`, or what the file says already: samples of another theory, model or seed do not belong here.

    **Raises:** `EnsembleFileError` if the file is damaged, of another kind, or does not fit.
    """
    import h5py

    data = _named({"configurations": ensemble.configurations, "log_weights": ensemble.log_weights}, ensemble.observables)
    with locked(path, wait=_WAIT):
        if not Path(path).exists():
            write_ensemble(path, ensemble, attributes)
            return
        content = io.BytesIO(Path(path).read_bytes())
        try:
            with h5py.File(content, "r+") as file:
                _extend(path, file, data, attributes)
        except _DAMAGE as error:
            raise _damaged(path, str(error)) from error
        write_bytes(path, content.getbuffer())


def read_ensemble(path: str | os.PathLike) -> tuple[Ensemble, dict[str, Any]]:
    """An ensemble and its attributes.

    **Raises:** `EnsembleFileError` if the file is missing, damaged (every byte that is returned is under a checksum) or
    holds something else.
    """
    arrays, observables, _, attributes = _read(path, "ensemble")
    return Ensemble(arrays.get("configurations"), arrays["log_weights"], observables), attributes


def write_chain(path: str | os.PathLike, chain: Chain, attributes: dict[str, Any] | None = None) -> None:
    """Write Markov chains to HDF5 like `write_ensemble`, axes (chains, n, ...); the sampler's state is not stored."""
    arrays = {name: getattr(chain, name) for name in _CHAIN_ARRAYS}
    given = {name: getattr(chain, name) for name in _CHAIN_NUMBERS}
    numbers = {name: None if value is None else _CHAIN_NUMBERS[name](value) for name, value in given.items()}
    _write(path, "chain", arrays, chain.observables, numbers, attributes)


def read_chain(path: str | os.PathLike) -> tuple[Chain, dict[str, Any]]:
    """Chains and their attributes, checked like `read_ensemble`."""
    arrays, observables, numbers, attributes = _read(path, "chain")
    configurations = arrays.pop("configurations", None)
    return Chain(configurations, observables, **arrays, **numbers), attributes


def file_kind(path: str | os.PathLike) -> str:
    """What a file holds, "ensemble" or "chain". **Raises:** `EnsembleFileError` if it is neither."""
    import h5py

    path = _existing(path)
    try:
        with h5py.File(path, "r") as file:
            return _header(path, file)["kind"]
    except (OSError, RuntimeError) as error:
        raise _damaged(path, str(error)) from error


# h5py reports damage to its own structures by whatever exception its C library maps to.
_DAMAGE = (OSError, RuntimeError, KeyError, TypeError, UnicodeDecodeError, MemoryError)


def _named(arrays: dict, observables: dict) -> dict[str, np.ndarray]:
    data = {name: np.asarray(value) for name, value in arrays.items() if value is not None}
    return data | {f"observables/{name}": np.asarray(value) for name, value in observables.items()}


def _write(path, kind: str, arrays: dict, observables: dict, numbers: dict, attributes: dict | None) -> None:
    data = _named(arrays, observables)
    header = {"format": _FORMAT, "kind": kind, "numbers": numbers, "versions": versions(), "data": sorted(data)}
    header |= {"attributes": attributes or {}}
    encoded = json.dumps(header)
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, value in data.items():
            chunks = _chunks(kind, value)
            grows = kind == "ensemble" and chunks is not None
            limit = (None, *value.shape[1:]) if grows else None
            file.create_dataset(name, data=value, chunks=chunks, maxshape=limit)
        file.attrs["trivmap"] = encoded
        _sign(file, encoded, [[_rows(kind, data), _digest(encoded, data)]])
    with locked(path, wait=_WAIT):
        write_bytes(path, content.getbuffer())


def _rows(kind: str, data: dict[str, np.ndarray]) -> int | None:
    """Samples of a segment; a chain is one segment."""
    return len(data["log_weights"]) if kind == "ensemble" else None


def _sign(file: Any, header: str, segments: list[list[Any]]) -> None:
    encoded = json.dumps(segments)
    file.attrs["segments"] = encoded
    file.attrs["sha256"] = hashlib.sha256((header + encoded).encode()).hexdigest()


def _extend(path, file: Any, data: dict[str, np.ndarray], attributes: dict[str, Any] | None) -> None:
    header = _header(path, file)
    segments = _segments(path, file)
    if header["kind"] != "ensemble":
        raise EnsembleFileError(f"{path}: holds {header['kind']!r}; samples can be appended to ensembles only")
    if attributes is not None and json.loads(json.dumps(attributes)) != header["attributes"]:
        raise EnsembleFileError(f"{path}: holds samples of {header['attributes']}, not of {attributes}")
    stored = {name: f"{file[name].dtype}{list(file[name].shape[1:])}" for name in header["data"]}
    given = {name: f"{value.dtype}{list(value.shape[1:])}" for name, value in sorted(data.items())}
    if stored != given:
        raise EnsembleFileError(f"{path}: holds {stored} per sample, cannot append {given}")
    if segments[0][0] is None or any(file[name].maxshape[0] is not None for name in stored):
        raise EnsembleFileError(f"{path}: was written in full and cannot grow; read it and write it again")
    rows = len(data["log_weights"])
    for name, value in data.items():
        dataset = file[name]
        dataset.resize(len(dataset) + rows, axis=0)
        dataset[len(dataset) - rows :] = value
    encoded = str(file.attrs["trivmap"])
    _sign(file, encoded, [*segments, [rows, _digest(encoded, data)]])


def _segments(path, file: Any) -> list[list[Any]]:
    """Rows and checksum of every segment; files of the first format are one segment."""
    header = str(file.attrs["trivmap"])
    if "segments" not in file.attrs:
        return [[None, str(file.attrs["sha256"])]]
    encoded = str(file.attrs["segments"])
    if hashlib.sha256((header + encoded).encode()).hexdigest() != file.attrs["sha256"]:
        raise _damaged(path, "its checksum is wrong")
    return json.loads(encoded)


def _intact(path, file: Any, data: dict[str, np.ndarray]) -> bool:
    header, start = str(file.attrs["trivmap"]), 0
    for rows, digest in _segments(path, file):
        if rows is not None and any(value.ndim == 0 for value in data.values()):
            return False
        part = data if rows is None else {name: value[start : start + rows] for name, value in data.items()}
        if _digest(header, part) != digest:
            return False
        start += rows or 0
    return start == 0 or all(len(value) == start for value in data.values())


def _chunks(kind: str, value: np.ndarray) -> tuple[int, ...] | None:
    """About a megabyte of consecutive samples, of one chain, so that a few can be read without the rest."""
    lead = 1 if kind == "ensemble" else 2
    if value.size == 0 or value.ndim < lead:
        return None
    row = value.itemsize * int(np.prod(value.shape[lead:]))
    rows = min(value.shape[lead - 1], max(_CHUNK_BYTES // row, 1))
    return (1,) * (lead - 1) + (rows,) + value.shape[lead:]


def _digest(header: str, data: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(data):
        value = np.ascontiguousarray(data[name])
        digest.update(f"{name} {value.dtype.str} {value.shape}".encode())
        digest.update(value.tobytes() if value.size else b"")
    return digest.hexdigest()


def _existing(path: str | os.PathLike) -> Path:
    if not Path(path).is_file():
        raise EnsembleFileError(f"{path}: no such file")
    return Path(path)


def _damaged(path, why: str) -> EnsembleFileError:
    return EnsembleFileError(
        f"{path}: not an intact HDF5 file of trivmap ({why}). Nothing was loaded; use a copy or sample again."
    )


def _header(path, file: Any) -> dict[str, Any]:
    if "trivmap" not in file.attrs or "sha256" not in file.attrs:
        raise _damaged(path, "it has no trivmap header")
    try:
        return json.loads(str(file.attrs["trivmap"]))
    except ValueError as error:
        raise _damaged(path, "its header is not readable") from error


def _read(path, kind: str) -> tuple[dict, dict, dict, dict]:
    import h5py

    path = _existing(path)
    try:
        with h5py.File(path, "r") as file:
            header = _header(path, file)
            data = {name: np.asarray(file[name]) for name in header["data"]}
            intact = _intact(path, file, data)
    except _DAMAGE as error:
        raise _damaged(path, str(error)) from error
    if not intact:
        raise _damaged(path, "its checksum is wrong")
    if header["kind"] != kind:
        stored = header["kind"]
        raise EnsembleFileError(f"{path}: holds {stored!r}, expected {kind!r}; read it with read_{stored}")
    arrays = {name: value for name, value in data.items() if "/" not in name}
    observables = {name.split("/", 1)[1]: value for name, value in data.items() if "/" in name}
    return arrays, observables, header["numbers"], header["attributes"] | {"versions": header["versions"]}
