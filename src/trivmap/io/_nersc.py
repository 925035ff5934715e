"""The NERSC format: an ASCII header and raw SU(N) links in four dimensions."""

import hashlib
import math
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._atomic import write_bytes
from ._gauge_links import (
    UNITARITY_TOLERANCE,
    GaugeFileError,
    check_lattice,
    check_size,
    checked_links,
    from_file_order,
    link_trace,
    mean_plaquette,
    source_bytes,
    to_file_order,
    verify,
)

_BEGIN, _END = b"BEGIN_HEADER\n", b"END_HEADER\n"
_DIGEST = "TRIVMAP_SHA256"
_LONGEST_HEADER = 1 << 16
_DATATYPE = re.compile(r"4D_SU(\d)_GAUGE(?:_(\d)x(\d))?")
_FLOATING_POINT = {
    "IEEE32BIG": (32, ">"),
    "IEEE64BIG": (64, ">"),
    "IEEE32LITTLE": (32, "<"),
    "IEEE64LITTLE": (64, "<"),
    "IEEE32": (32, "<"),
    "IEEE64": (64, "<"),
}


def write_nersc(
    path: str | os.PathLike,
    links: Any,
    *,
    precision: int | None = None,
    rows: int | None = None,
    byte_order: str = "big",
    header: dict[str, Any] | None = None,
) -> None:
    r"""Write SU(N) links in four dimensions in the NERSC format, atomically.

    **Arguments:**

    - `links`: complex `(4, n, n, t, x, y, z)`; direction and axis 0 are time, x, y, z are written as dimensions 1 to 3.
    - `precision`: 32 or 64 bits per real number, by default those of `links`.
    - `rows`: 3 (`4D_SU3_GAUGE_3x3`, the default) or, for SU(3), 2 (`4D_SU3_GAUGE`).
    - `byte_order`: "big", which all codes read, or "little".
    - `header`: further entries, such as `{"ENSEMBLE_ID": ..., "SEQUENCE_NUMBER": ...}`.

    **Raises:** `TypeError`, `ValueError` for other fields, and for links that are not unitary.
    """
    array, precision = checked_links(links, "write_nersc", precision)
    n = array.shape[1]
    rows = n if rows is None else rows
    if rows != n and (n, rows) != (3, 2):
        raise ValueError(f"write_nersc: got rows={rows} of SU({n}), expected {n}, or 2 for SU(3)")
    if byte_order not in ("big", "little"):
        raise ValueError(f"write_nersc: got byte_order={byte_order!r}, expected 'big' or 'little'")
    order = {"big": ">", "little": "<"}[byte_order]
    data = to_file_order(array[:, :rows]).astype(f"{order}c{precision // 4}").tobytes()
    t, x, y, z = array.shape[3:]
    entries = {
        "HDR_VERSION": "1.0",
        "DATATYPE": f"4D_SU{n}_GAUGE" + (f"_{n}x{n}" if rows == n else ""),
        "STORAGE_FORMAT": "1.0",
        **{f"DIMENSION_{i}": extent for i, extent in enumerate((x, y, z, t), 1)},
        "LINK_TRACE": f"{link_trace(array):.12f}",
        "PLAQUETTE": f"{mean_plaquette(array):.12f}",
        **{f"BOUNDARY_{i}": "PERIODIC" for i in range(1, 5)},
        "CHECKSUM": f"{_checksum(data, order):x}",
        _DIGEST: hashlib.sha256(data).hexdigest(),
        "CREATOR": "trivmap",
        "FLOATING_POINT": f"IEEE{precision}{byte_order.upper()}",
    }
    text = "".join(f"{name} = {_one_line(value)}\n" for name, value in ((header or {}) | entries).items())
    write_bytes(path, _BEGIN, text.encode("ascii", "replace"), _END, data)


def read_nersc(
    source: str | os.PathLike | bytes, *, lattice: Sequence[int] | None = None, max_defect: float | None = None
) -> tuple[np.ndarray, dict[str, str]]:
    r"""Links and header of a file in the NERSC format; nothing that fails a check is returned.

    Verified: length, the checksum (sum of the 32-bit words), $U U^\dagger = 1$ and $\det U = 1$, the mean plaquette to
    1e-5 and the mean link trace to 1e-6 (the tolerances of Grid). The sum does not notice two words that trade bytes; where
    that also leaves the links unitary within rounding, only the digest in files of `write_nersc` does.

    **Arguments:**

    - `source`: a path, or the bytes of a file.
    - `lattice`: extents (t, x, y, z) that the file must have.
    - `max_defect`: largest accepted deviation from SU(N); by default 5e-6 for 32-bit data and 1e-10 for 64-bit data.

    **Returns:** links `(4, n, n, t, x, y, z)`, complex64 or complex128 as stored, and the header, name to text.

    **Raises:** `GaugeFileError` with the reason.
    """
    name, content = source_bytes(source)
    header, data = _split(name, content)
    n, rows, extents = _geometry(name, header)
    precision, order = _floating_point(name, header)
    check_lattice(name, extents, lattice)
    t, x, y, z = extents
    expected = math.prod(extents) * 4 * rows * n * precision // 4
    check_size(name, len(data), expected, f"{rows} rows of SU({n}) in {precision} bits on {extents} (t, x, y, z)")
    _verify_checksum(name, header, data, order)
    stored = np.frombuffer(data, f"{order}c{precision // 4}").reshape(t, z, y, x, 4, rows, n)
    links = from_file_order(stored.astype(np.complex64 if precision == 32 else np.complex128))
    if rows < n:
        third = np.conj(np.cross(links[:, 0], links[:, 1], axis=1))
        links = np.concatenate([links, third[:, None]], axis=1)
    averages = {"plaquette": _number(name, header, "PLAQUETTE"), "link trace": _number(name, header, "LINK_TRACE")}
    verify(name, links, averages, UNITARITY_TOLERANCE[precision] if max_defect is None else max_defect)
    return links, header


def _one_line(value: Any) -> str:
    return str(value).replace("\n", " ")


def _split(name: str, content: bytes) -> tuple[dict[str, str], bytes]:
    if not content.startswith(_BEGIN):
        raise GaugeFileError(f"{name}: not a NERSC file (it does not start with BEGIN_HEADER)")
    end = content.find(b"\n" + _END, 0, _LONGEST_HEADER)
    if end < 0:
        raise GaugeFileError(f"{name}: the header has no end (no line END_HEADER)")
    header: dict[str, str] = {}
    for line in content[len(_BEGIN) : end].decode("latin-1").split("\n"):
        key, separator, value = line.partition("=")
        if not separator:
            raise GaugeFileError(f"{name}: the line {line!r} of the header is not NAME = VALUE")
        if key.strip() in header:
            raise GaugeFileError(f"{name}: the header gives {key.strip()} twice")
        header[key.strip()] = value.strip()
    return header, content[end + 1 + len(_END) :]


def _entry(name: str, header: dict[str, str], key: str) -> str:
    if key not in header:
        raise GaugeFileError(f"{name}: the header has no {key}, without which the data cannot be verified")
    return header[key]


def _number(name: str, header: dict[str, str], key: str) -> float:
    text = _entry(name, header, key)
    try:
        return float(text)
    except ValueError as error:
        raise GaugeFileError(f"{name}: {key} = {text} is not a number") from error


def _geometry(name: str, header: dict[str, str]) -> tuple[int, int, tuple[int, ...]]:
    text = _entry(name, header, "DATATYPE")
    match = _DATATYPE.fullmatch(text)
    full = match is not None and match[2] is not None
    if (
        match is None
        or int(match[1]) < 2
        or (full and not match[1] == match[2] == match[3])
        or (not full and match[1] != "3")
    ):
        raise GaugeFileError(f"{name}: DATATYPE = {text}, expected 4D_SU3_GAUGE or 4D_SUn_GAUGE_nxn")
    n = int(match[1])
    extents = []
    for i in (4, 1, 2, 3):
        extent = _entry(name, header, f"DIMENSION_{i}")
        if not re.fullmatch(r"[0-9]{1,6}", extent) or int(extent) < 1:
            raise GaugeFileError(f"{name}: DIMENSION_{i} = {extent} is not an extent")
        extents.append(int(extent))
    return n, n if full else 2, tuple(extents)


def _floating_point(name: str, header: dict[str, str]) -> tuple[int, str]:
    text = _entry(name, header, "FLOATING_POINT")
    if text not in _FLOATING_POINT:
        raise GaugeFileError(f"{name}: FLOATING_POINT = {text}, expected one of {', '.join(_FLOATING_POINT)}")
    return _FLOATING_POINT[text]


def _checksum(data: bytes, order: str) -> int:
    """Sum of the 32-bit words modulo 2^32; the halves of a 64-bit number count in any order."""
    return int(np.sum(np.frombuffer(data, f"{order}u4"), dtype=np.uint64)) & 0xFFFFFFFF


def _verify_checksum(name: str, header: dict[str, str], data: bytes, order: str) -> None:
    text = _entry(name, header, "CHECKSUM")
    if not re.fullmatch(r"(?:0x)?[0-9a-fA-F]{1,8}", text):
        raise GaugeFileError(f"{name}: CHECKSUM = {text} is not a 32-bit number in hexadecimal")
    expected, found = int(text, 16), _checksum(data, order)
    if found == expected:
        # The sum does not notice words that trade places or bytes; files written here hold a digest that does.
        if _DIGEST in header and hashlib.sha256(data).hexdigest() != header[_DIGEST]:
            raise GaugeFileError(f"{name}: {_DIGEST} does not fit the data: they were changed. Nothing was loaded")
        return
    if _checksum(data, "<" if order == ">" else ">") == expected:
        why = f"it fits the other byte order, so FLOATING_POINT = {header['FLOATING_POINT']} is wrong"
    else:
        why = "the data were changed after writing"
    raise GaugeFileError(f"{name}: the checksum is {found:x}, the header says {expected:x}: {why}. Nothing was loaded")
