"""Ensembles and chains in HDF5: one data set per array, one checked header.

All bytes are under the checksum of `_hdf5_image.seal`. Files of earlier versions have none; there the rows of an ensemble
come in segments, one per append, each under a checksum of its own.
"""

import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from ..statistics import Chain, Ensemble, Source
from ._atomic import write_bytes
from ._content import check_arrays, check_kind, file_bytes, parse_json
from ._fields import flat, nested
from ._flock import is_flocked
from ._hdf5_image import BLOCK, datasets, is_sealed, read_image, sealed, try_out
from ._hdf5_image import attributes as image_attributes
from ._json import encode_json
from ._lock import locked
from ._versions import versions

_CHUNK_BYTES = 1 << 20
_FORMAT = 4  # 1: one checksum of the data; 2: segments; 3: sealed; 4: phases, noisy weights, sources
_WITHOUT = 3  # the format of a file that has none of these
_UNDER_SEAL = ""  # in the place of the checksum of a segment
_WAIT = 60.0  # seconds for another process that appends
_CHAIN_ARRAYS = ("configurations", "accepted", "delta_h", "indices", "phases")
_ENSEMBLE_ARRAYS = ("configurations", "log_weights", "phases", "noisy_log_weights", "source")
_NEW_ARRAYS = {"phases", "noisy_log_weights", "source"}
_GROUPS = ("configurations/", "observables/")
_CHAIN_NUMBERS = {"force_evaluations": int, "unitarity_defect": float}


class EnsembleFileError(ValueError):
    """An HDF5 file that is missing, damaged or of another kind than expected."""


def write_ensemble(path: str | os.PathLike, ensemble: Ensemble, attributes: dict[str, Any] | None = None) -> None:
    """Write an ensemble to HDF5, atomically.

    **Arguments:**

    - `path`: the file; an existing one is replaced only once the new one is complete.
    - `ensemble`: data sets `log_weights`, `observables/NAME` and, unless `None`, `configurations` (`configurations/NAME` for
      products of manifolds), `phases`, `noisy_log_weights` and `source`, samples first.
    - `attributes`: JSON values to keep beside the data: theory, beta, seed. Versions are added.

        >>> tm.write_ensemble(folder / "e.h5", ensemble, {"beta": 2.0})
    """
    check_kind("write_ensemble", ensemble, Ensemble, "write_chain")
    shape = None if ensemble.source is None else ensemble.source.shape
    _write(path, "ensemble", _ensemble_arrays(ensemble), ensemble.observables, {}, ensemble.cautions, attributes, shape)


def append_ensemble(path: str | os.PathLike, ensemble: Ensemble, attributes: dict[str, Any] | None = None) -> None:
    """Add samples to a file of `write_ensemble`, or start one.

    The file is read, checked, extended in memory and replaced: an interrupt or a full disk leaves the old one. One process
    appends at a time; another one waits up to a minute.

    **Arguments:** `path`; `ensemble`: arrays of the same names, shapes per sample and dtypes as in the file;
    `attributes`: `None`, or what the file says already: samples of another theory, model or seed do not belong here.

    **Raises:** `EnsembleFileError` if the file is damaged, of another kind, or does not fit; `LockedError` if another
    process keeps writing to it; `OSError` if it cannot be written.

        >>> tm.io.append_ensemble(folder / "grows.h5", ensemble)
        >>> tm.io.append_ensemble(folder / "grows.h5", ensemble)
    """
    check_kind("append_ensemble", ensemble, Ensemble, "write_chain")
    data = _named(_ensemble_arrays(ensemble), ensemble.observables)
    check_arrays("append_ensemble", data)
    with locked(path, wait=_WAIT):
        if not Path(path).exists():
            write_ensemble(path, ensemble, attributes)
            return
        _write_sealed(path, _extended(path, data, ensemble, attributes))


def read_ensemble(path: str | os.PathLike) -> tuple[Ensemble, dict[str, Any]]:
    """An ensemble and its attributes.

    **Raises:** `EnsembleFileError` if the file is missing, damaged (every byte that is returned is under a checksum) or
    holds something else.

        >>> tm.write_ensemble(folder / "e.h5", ensemble)
        >>> again, attributes = tm.read_ensemble(folder / "e.h5")
    """
    return _load(path, Ensemble)


def write_chain(path: str | os.PathLike, chain: Chain, attributes: dict[str, Any] | None = None) -> None:
    """Write Markov chains to HDF5 like `write_ensemble`, axes (chains, n, ...); the sampler's state is not stored.

    >>> tm.write_chain(folder / "c.h5", chain)
    """
    check_kind("write_chain", chain, Chain, "write_ensemble")
    arrays = {name: getattr(chain, name) for name in _CHAIN_ARRAYS}
    given = {name: getattr(chain, name) for name in _CHAIN_NUMBERS}
    numbers = {name: None if value is None else _CHAIN_NUMBERS[name](value) for name, value in given.items()}
    _write(path, "chain", arrays, chain.observables, numbers, chain.cautions, attributes)


def read_chain(path: str | os.PathLike) -> tuple[Chain, dict[str, Any]]:
    """Chains and their attributes, checked like `read_ensemble`.

    >>> tm.write_chain(folder / "c.h5", chain)
    >>> again, attributes = tm.read_chain(folder / "c.h5")
    """
    return _load(path, Chain)


def file_kind(path: str | os.PathLike) -> str:
    """What a file holds, "ensemble" or "chain". **Raises:** `EnsembleFileError` if it is neither."""
    return _read(path)[0].kind


class _Header(msgspec.Struct):
    format: int
    kind: Literal["ensemble", "chain"]
    numbers: dict[str, int | float | None]
    versions: dict[str, str]
    data: list[str]
    attributes: dict[str, Any]
    cautions: list[str] = []
    source_shape: tuple[int, int] | None = None  # (chains, configurations per chain) behind `source`


def _ensemble_arrays(ensemble: Ensemble) -> dict[str, Any]:
    arrays = {name: getattr(ensemble, name) for name in _ENSEMBLE_ARRAYS}
    return arrays | {"source": None if ensemble.source is None else ensemble.source.index}


def _named(arrays: dict, observables: dict) -> dict[str, np.ndarray]:
    parts = [flat(name, value) for name, value in [*arrays.items(), ("observables", observables)]]
    return {name: value for part in parts for name, value in part.items()}


def _write(
    path,
    kind: str,
    arrays: dict,
    observables: dict,
    numbers: dict,
    cautions: Sequence[str],
    attributes: dict | None,
    source_shape: tuple[int, int] | None = None,
) -> None:
    data = _named(arrays, observables)
    check_arrays(f"write_{kind}", data)
    version = _FORMAT if _NEW_ARRAYS & set(data) else _WITHOUT
    header = {"format": version, "kind": kind, "numbers": numbers, "versions": versions(), "data": sorted(data)}
    header |= {"cautions": list(cautions), "attributes": attributes or {}}
    if source_shape is not None:
        header["source_shape"] = source_shape
    encoded = encode_json(header)
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w", userblock_size=BLOCK) as file:
        for name, value in data.items():
            chunks = _chunks(kind, value)
            grows = kind == "ensemble" and chunks is not None
            limit = (None, *value.shape[1:]) if grows else None
            file.create_dataset(name, data=value, chunks=chunks, maxshape=limit)
        file.attrs["trivmap"] = encoded
        _sign(file, encoded, [[_rows(kind, data), _UNDER_SEAL]])
        file.flush()
    with locked(path, wait=_WAIT):
        _write_sealed(path, image)


def _write_sealed(path, image: io.BytesIO) -> None:
    write_bytes(path, *sealed(image.getbuffer()))


def _rows(kind: str, data: dict[str, np.ndarray]) -> int | None:
    """Samples of a segment; a chain is one segment."""
    return len(data["log_weights"]) if kind == "ensemble" else None


def _sign(file: Any, header: str, segments: Sequence[Sequence[Any]]) -> None:
    encoded = json.dumps(segments)
    file.attrs["segments"] = encoded
    file.attrs["sha256"] = hashlib.sha256((header + encoded).encode()).hexdigest()


def _extended(path, data: dict[str, np.ndarray], ensemble: Ensemble, attributes: dict[str, Any] | None) -> io.BytesIO:
    import h5py

    content, under_seal = _content(path)
    extended = io.BytesIO(content if under_seal else bytes(BLOCK) + content)
    try:
        if not under_seal and not _intact(*read_image(content), under_seal):
            raise ValueError("its checksum is wrong")
        with h5py.File(extended, "r+") as file:
            _extend(path, file, len(content), data, ensemble, attributes)
            file.flush()
    except EnsembleFileError:
        raise
    except Exception as error:  # h5py reports damage by whatever exception its C library maps to
        raise _damaged(path, str(error)) from error
    return extended


def _extend(
    path, file: Any, size: int, data: dict[str, np.ndarray], ensemble: Ensemble, attributes: dict[str, Any] | None
) -> None:
    texts, stored = image_attributes(file), datasets(file, size)
    header, segments = _header(path, texts["trivmap"]), _segments(texts)
    if header.kind != "ensemble":
        raise EnsembleFileError(f"{path}: holds {header.kind!r}; samples can be appended to ensembles only")
    if attributes is not None and json.loads(encode_json(attributes)) != header.attributes:
        raise EnsembleFileError(f"{path}: holds samples of {header.attributes}, not of {attributes}")
    shape = None if ensemble.source is None else ensemble.source.shape
    if shape != header.source_shape:
        raise EnsembleFileError(f"{path}: holds samples from stored chains of {header.source_shape}, not of {shape}")
    if new := set(ensemble.cautions) - set(header.cautions):
        said = "; ".join(sorted(new))
        raise EnsembleFileError(f"{path}: cannot add samples with cautions of their own ({said}); write a new file")
    found = {name: f"{dataset.dtype}{list(dataset.shape[1:])}" for name, dataset in stored.items()}
    given = {name: f"{value.dtype}{list(value.shape[1:])}" for name, value in data.items()}
    if found != given:
        raise EnsembleFileError(f"{path}: holds {found} per sample, cannot append {given}")
    if segments[0][0] is None or any(dataset.maxshape[0] is not None for dataset in stored.values()):
        raise EnsembleFileError(f"{path}: was written in full and cannot grow; read it and write it again")
    if any(len(dataset) != sum(rows or 0 for rows, _ in segments) for dataset in stored.values()):
        raise ValueError("its segments do not add up")
    rows = len(data["log_weights"])
    for name, value in data.items():
        dataset = stored[name]
        dataset.resize(len(dataset) + rows, axis=0)
        dataset[len(dataset) - rows :] = value
    _sign(file, texts["trivmap"], [[rows + sum(before or 0 for before, _ in segments), _UNDER_SEAL]])


def _segments(texts: dict[str, str]) -> list[tuple[int | None, str]]:
    """Rows and checksum of every segment; files of the first format are one segment. **Raises:** `ValueError`."""
    if "segments" not in texts:
        return [(None, texts["sha256"])]
    if hashlib.sha256((texts["trivmap"] + texts["segments"]).encode()).hexdigest() != texts["sha256"]:
        raise ValueError("its checksum is wrong")
    segments = parse_json(texts["segments"], list[tuple[int | None, str]])
    if not segments or (len(segments) > 1 and any(rows is None or rows < 0 for rows, _ in segments)):
        raise ValueError("its segments are none")
    return segments


def _intact(texts: dict[str, str], data: dict[str, np.ndarray], under_seal: bool) -> bool:
    start = 0
    for rows, digest in _segments(texts):
        if rows is not None and any(value.ndim == 0 for value in data.values()):
            return False
        part = data if rows is None else {name: value[start : start + rows] for name, value in data.items()}
        right = under_seal if digest == _UNDER_SEAL else digest == _digest(texts["trivmap"], part)
        if not right:
            return False
        start += rows or 0
    return start == 0 or all(len(value) == start for value in data.values())


def _chunks(kind: str, value: np.ndarray) -> tuple[int, ...] | None:
    """About a megabyte of consecutive samples, of one chain, so that a few can be read without the rest."""
    lead = 1 if kind == "ensemble" else 2
    row = value.itemsize * int(np.prod(value.shape[lead:]))
    if value.ndim < lead or row == 0 or 0 in value.shape[: lead - 1]:
        return None
    rows = max(min(value.shape[lead - 1], _CHUNK_BYTES // row), 1)
    return (1,) * (lead - 1) + (rows,) + value.shape[lead:]


def _digest(header: str, data: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(data):
        value = data[name]
        digest.update(f"{name} {value.dtype.str} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _damaged(path, why: str) -> EnsembleFileError:
    return EnsembleFileError(
        f"{path}: not an intact HDF5 file of trivmap ({why}). Nothing was loaded; use a copy or sample again."
    )


def _content(path: str | os.PathLike) -> tuple[bytes, bool]:
    """The file, fit for HDF5, and whether it is sealed. **Raises:** `EnsembleFileError` if it is missing or was changed."""
    try:
        content = file_bytes(path)
    except FileNotFoundError as error:
        raise EnsembleFileError(f"{path}: no such file") from error
    except OSError as error:
        raise EnsembleFileError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        if not (under_seal := is_sealed(content)):
            try_out(content)
    except ValueError as error:
        if is_flocked(path):
            raise EnsembleFileError(f"{path}: another program has it open to change it; close it there first") from error
        raise _damaged(path, str(error)) from error
    return content, under_seal


def _header(path, text: str) -> _Header:
    """**Raises:** `EnsembleFileError` for later formats, `ValueError` where the header is not one."""
    given = parse_json(text, dict[str, Any])
    if isinstance(given.get("format"), int) and given["format"] > _FORMAT:
        raise EnsembleFileError(f"{path}: is of format {given['format']} of a later trivmap; this one reads up to {_FORMAT}")
    header = parse_json(text, _Header)
    known = _CHAIN_ARRAYS if header.kind == "chain" else _ENSEMBLE_ARRAYS
    unknown = [name for name in header.data if name not in known and not name.startswith(_GROUPS)]
    unknown += [name for name in header.numbers if name not in _CHAIN_NUMBERS or header.kind != "chain"]
    if unknown or (header.kind == "ensemble" and "log_weights" not in header.data) or not _source_complete(header):
        raise ValueError(f"its header names {[*header.data, *header.numbers]}, not the parts of one {header.kind}")
    return header


def _source_complete(header: _Header) -> bool:
    return ("source" in header.data) == (header.source_shape is not None)


def _read(path: str | os.PathLike, kind: str | None = None) -> tuple[_Header, dict[str, np.ndarray]]:
    content, under_seal = _content(path)
    try:
        texts, data = read_image(content)
        header = _header(path, texts["trivmap"])
        if not _intact(texts, data, under_seal):
            raise ValueError("its checksum is wrong")
    except EnsembleFileError:
        raise
    except Exception as error:
        raise _damaged(path, str(error)) from error
    if kind is not None and header.kind != kind:
        raise EnsembleFileError(f"{path}: holds {header.kind!r}, expected {kind!r}; read it with read_{header.kind}")
    return header, data


def _load(path: str | os.PathLike, kind: type) -> tuple[Any, dict[str, Any]]:
    header, data = _read(path, kind.__name__.lower())
    try:
        arrays = {"configurations": None} | nested(data)
        if header.source_shape is not None:
            arrays["source"] = Source(arrays["source"], header.source_shape)
        loaded = kind(**arrays, cautions=header.cautions, **header.numbers)
    except (TypeError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    return loaded, header.attributes | {"versions": header.versions}
