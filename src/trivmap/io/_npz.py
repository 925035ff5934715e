"""Ensembles as NumPy archives, under a checksum of all their bytes in the comment that ends a ZIP file."""

import hashlib
import io
import os
import zipfile
from typing import Any

import numpy as np

from ..statistics import Ensemble, Source
from ._atomic import write_bytes
from ._content import check_arrays, check_kind, file_bytes, npy_record, record_array
from ._fields import flat, nested
from ._gauge_links import GaugeFileError
from ._matrix_last import from_matrix_last, to_matrix_last

_COMMENT = b"trivmap, SHA-256 of the bytes before: "
_COMMENT_BYTES = len(_COMMENT) + 64
_CAUTIONS = "cautions"
_GROUPS = ("configurations/", "observables/")
_OPTIONAL = ("phases", "noisy_log_weights")
_SOURCE = ("source", "source_shape")
_END = b"PK\x05\x06"  # the record that ends a ZIP file: 22 bytes, of which the last two count those of the comment
_END_BYTES = 22


def write_npz(path: str | os.PathLike, ensemble: Ensemble) -> None:
    """Write an ensemble as a NumPy archive, atomically: `configurations`, or `configurations/NAME` for products,
    `log_weights`, `observables/NAME`, `phases`, `noisy_log_weights`, `source` and `source_shape`, as far as there are such.

    SU(N) links are written matrix last, `(samples, d, *lattice, n, n)`; angles and scalars as they are. Cautions of the
    ensemble are the bytes of `cautions`, one a line.
    """
    check_kind("write_npz", ensemble, Ensemble, "write_chain")
    arrays: dict[str, Any] = {"log_weights": ensemble.log_weights}
    arrays |= {name: getattr(ensemble, name) for name in _OPTIONAL if getattr(ensemble, name) is not None}
    if ensemble.source is not None:
        arrays |= dict(zip(_SOURCE, (ensemble.source.index, np.asarray(ensemble.source.shape)), strict=True))
    arrays |= flat("observables", ensemble.observables)
    fields = flat("configurations", ensemble.configurations)
    arrays |= {name: to_matrix_last(x, batch_axes=1) if np.iscomplexobj(x) else x for name, x in fields.items()}
    if ensemble.cautions:
        arrays[_CAUTIONS] = np.frombuffer("\n".join(ensemble.cautions).encode(), np.uint8)
    check_arrays("write_npz", arrays)
    archive = io.BytesIO()
    np.savez(archive, **arrays)
    archive.seek(-2, os.SEEK_END)
    archive.write(_COMMENT_BYTES.to_bytes(2, "little"))
    content = archive.getbuffer()
    write_bytes(path, content, _COMMENT, hashlib.sha256(content).hexdigest().encode())


def read_npz(path: str | os.PathLike) -> Ensemble:
    """An ensemble of `write_npz`.

    Verified: the checksum of all bytes, names included; in archives of earlier versions, which have none, the checksums of
    the members. **Raises:** `GaugeFileError` if the archive is missing, damaged or of another kind.
    """
    try:
        arrays = _members(file_bytes(path))
        for name in [name for name in arrays if name.partition("/")[0] == "configurations"]:
            if np.iscomplexobj(arrays[name]):
                arrays[name] = from_matrix_last(arrays[name], batch_axes=1)
        if "log_weights" not in arrays:
            raise ValueError("it has no log_weights")
        if "source" in arrays:
            index, shape = (arrays.pop(name) for name in _SOURCE)
            more = {"source": Source(index, tuple(shape.tolist()))}
        else:
            more = {}
        cautions = arrays.pop(_CAUTIONS, np.empty(0, np.uint8)).tobytes().decode().splitlines()
        return Ensemble(cautions=cautions, **({"configurations": None} | nested(arrays) | more))
    except OSError as error:
        raise GaugeFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    # zipfile reports damage by many exceptions.
    except Exception as error:
        raise GaugeFileError(f"{path}: not an intact archive of write_npz ({error}). Nothing was loaded") from error


def _members(content: bytes) -> dict[str, np.ndarray]:
    _check_end(content)
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > len(content):
            raise ValueError("it claims more data than it has bytes")
        for member in members:
            name = member.filename.removesuffix(".npy")
            plain = ("configurations", "log_weights", _CAUTIONS, *_OPTIONAL, *_SOURCE)
            known = name in plain or name.startswith(_GROUPS)
            if name == member.filename or not known:
                raise ValueError(f"it has a member {member.filename!r}")
            if name in arrays:
                raise ValueError(f"it has two members {name!r}")
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name!r} is compressed, which write_npz does not do")
            arrays[name] = _array(archive.read(member))
    return arrays


def _array(data: bytes) -> np.ndarray:
    record = npy_record(data)
    if record.stop != len(data) or record.dtype.kind not in "biufc":
        raise ValueError("a member is not one array of numbers")
    return record_array(record)


def _check_end(content: bytes) -> None:
    """The archive ends with our checksum, or, as those of NumPy, without a comment. **Raises:** `ValueError`."""
    stated = content[-_COMMENT_BYTES:]
    if stated.startswith(_COMMENT):
        if hashlib.sha256(memoryview(content)[:-_COMMENT_BYTES]).hexdigest().encode() != stated[len(_COMMENT) :]:
            raise ValueError("its checksum is wrong")
    elif not content.startswith(b"PK") or content[-_END_BYTES:][:4] != _END or content[-2:] != b"\0\0":
        raise ValueError("it is no archive, or cut short, or followed by something else")
