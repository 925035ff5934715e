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
    unitarity_defect,
    verify,
    with_last_row,
)

_BEGIN = re.compile(rb"\s*BEGIN_HEADER[ \t]*\r?\n")
_END = re.compile(rb"\n[ \t]*END_HEADER[ \t]*\r?\n")
_DIGEST = "TRIVMAP_SHA256"
_LONGEST_HEADER = 1 << 24
_DATATYPE = re.compile(r"4D_SU([0-9]{1,3})_GAUGE(?:_([0-9]{1,3})X([0-9]{1,3}))?")
_FLOATING_POINT = re.compile(r"IEEE(32|64)?(BIG|LITTLE)?")
_Layout = tuple[int, int, str]  # rows, bits, byte order


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
    - `header`: further entries, such as `{"ENSEMBLE_ID": ..., "SEQUENCE_NUMBER": ...}`, each on one line in ASCII.

    **Raises:** `TypeError`, `ValueError` for other fields, and for links that are not unitary.

        >>> tm.io.write_nersc(folder / "n", tm.LinkField(tm.SU(3), (2, 2, 2, 2)).reference_sample(key))
    """
    array, precision = checked_links(links, "write_nersc", precision)
    n = array.shape[1]
    rows = n if rows is None else rows
    if rows != n and (n, rows) != (3, 2):
        raise ValueError(f"write_nersc: got rows={rows} of SU({n}), expected {n}, or 2 for SU(3)")
    if byte_order not in ("big", "little"):
        raise ValueError(f"write_nersc: got byte_order={byte_order!r}, expected 'big' or 'little'")
    order = {"big": ">", "little": "<"}[byte_order]
    stored = array[:, :rows]
    data = to_file_order(stored).astype(f"{order}c{precision // 4}").tobytes()
    if rows < n:  # what a reader will have
        array, _ = checked_links(with_last_row(stored), "write_nersc", precision)
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
    text = "".join(f"{name} = {value}\n" for name, value in (_further(header or {}, entries) | entries).items())
    write_bytes(path, b"BEGIN_HEADER\n", text.encode("ascii", "replace"), b"END_HEADER\n", data)


def read_nersc(
    source: str | os.PathLike | bytes, *, lattice: Sequence[int] | None = None, max_defect: float | None = None
) -> tuple[np.ndarray, dict[str, str]]:
    r"""Links and header of a file in the NERSC format; nothing that fails a check is returned.

    Verified: length, the checksum (sum of the 32-bit words), $U U^\dagger = 1$ and $\det U = 1$, the mean plaquette to
    1e-5 and the mean link trace to 1e-6 (the tolerances of Grid), where the header gives them. Where it does not say byte
    order (`IEEE32`), precision or number of rows, size and checksum do, and unitarity. The sum does not notice two words that
    trade bytes; where that also leaves the links unitary within rounding, only the digest in files of `write_nersc` does.

    **Arguments:**

    - `source`: a path, or the bytes of a file.
    - `lattice`: extents (t, x, y, z) that the file must have.
    - `max_defect`: largest accepted deviation from SU(N); by default 5e-6 for 32-bit data and 1e-10 for 64-bit data.

    **Returns:** links `(4, n, n, t, x, y, z)`, complex64 or complex128 as stored, and the header, name to text.

    **Raises:** `GaugeFileError` with the reason.

        >>> tm.io.write_nersc(folder / "n", tm.LinkField(tm.SU(3), (2, 2, 2, 2)).reference_sample(key))
        >>> u, header = tm.io.read_nersc(folder / "n")
    """
    name, content = source_bytes(source)
    header, data = _split(name, content)
    entries = {key.upper(): value for key, value in header.items()}
    n, possible_rows, extents = _geometry(name, entries)
    check_lattice(name, extents, lattice)
    layouts = [(rows, *floating) for rows in possible_rows for floating in _floating_point(name, entries)]
    rows, precision, _ = layouts[0]
    sizes = {layout: math.prod(extents) * 4 * layout[0] * n * layout[1] // 4 for layout in layouts}
    fitting = [layout for layout in layouts if sizes[layout] == len(data)]
    if not fitting:
        what = f"{rows} rows of SU({n}) in {precision} bits on {extents} (t, x, y, z)"
        check_size(name, len(data), sizes[layouts[0]], what)
    orders = _verified_orders(name, entries, data, [order for *_, order in fitting])
    candidates = [layout for layout in fitting if layout[2] in orders]
    links, precision = _first_unitary(data, n, extents, candidates)
    averages = {"plaquette": _number(name, entries, "PLAQUETTE"), "link trace": _number(name, entries, "LINK_TRACE")}
    verify(name, links, averages, UNITARITY_TOLERANCE[precision] if max_defect is None else max_defect)
    return links, header


def _first_unitary(data: bytes, n: int, extents: tuple[int, ...], layouts: list[_Layout]) -> tuple[np.ndarray, int]:
    """Links and precision in the first layout that gives SU(N), or else in the first one."""
    with np.errstate(all="ignore"):
        found = [(_links(data, n, extents, layout), layout[1]) for layout in layouts]
        for links, precision in found if len(found) > 1 else []:
            if np.all(np.abs(links) < 2.0) and unitarity_defect(links) <= UNITARITY_TOLERANCE[32]:
                return links, precision
    return found[0]


def _links(data: bytes, n: int, extents: tuple[int, ...], layout: _Layout) -> np.ndarray:
    rows, precision, order = layout
    t, x, y, z = extents
    stored = np.frombuffer(data, f"{order}c{precision // 4}").reshape(t, z, y, x, 4, rows, n)
    links = from_file_order(stored.astype(np.complex64 if precision == 32 else np.complex128))
    return links if rows == n else with_last_row(links)


def _further(header: dict[str, Any], entries: dict[str, Any]) -> dict[str, str]:
    """The entries of the user, each on one line, without those that the data decide. **Raises:** `ValueError`."""
    further = {}
    for key, value in header.items():
        name = str(key)
        if not re.fullmatch(r"[!-<>-~]+(?: +[!-<>-~]+)*", name):
            raise ValueError(f"write_nersc: the entry {key!r} of the header needs a name in ASCII, on one line without '='")
        if name.upper() not in entries and name.upper() not in (other.upper() for other in further):
            further[name] = " ".join(str(value).split("\n")).strip()
    return further


def _split(name: str, content: bytes) -> tuple[dict[str, str], bytes]:
    begin = _BEGIN.match(content)
    if begin is None:
        raise GaugeFileError(f"{name}: not a NERSC file (it does not start with BEGIN_HEADER)")
    end = _END.search(content, begin.end() - 1, _LONGEST_HEADER)
    if end is None:
        raise GaugeFileError(f"{name}: the header has no end (no line END_HEADER)")
    header: dict[str, str] = {}
    for line in content[begin.end() : end.start() + 1].decode("latin-1").split("\n"):
        key, separator, value = (part.strip() for part in line.partition("="))
        if not separator:
            if key:
                raise GaugeFileError(f"{name}: the line {line!r} of the header is not NAME = VALUE")
            continue
        if any(key.upper() == other.upper() and value != header[other] for other in header):
            raise GaugeFileError(f"{name}: the header gives {key} twice")
        header[key] = value
    return header, content[end.end() :]


def _entry(name: str, header: dict[str, str], key: str) -> str:
    if key not in header:
        raise GaugeFileError(f"{name}: the header has no {key}, without which the data cannot be verified")
    return header[key]


def _number(name: str, header: dict[str, str], key: str) -> float | None:
    if key not in header:
        return None
    try:
        return float(header[key])
    except ValueError as error:
        raise GaugeFileError(f"{name}: {key} = {header[key]} is not a number") from error


def _geometry(name: str, header: dict[str, str]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """N, the numbers of rows that may be stored, and extents; the size of the data tells the number of rows."""
    text = _entry(name, header, "DATATYPE")
    match = _DATATYPE.fullmatch(text.upper())
    if match is None or int(match[1]) < 2 or (match[2] is not None and not match[1] == match[2] == match[3]):
        raise GaugeFileError(f"{name}: DATATYPE = {text}, expected 4D_SU3_GAUGE, 4D_SUn_GAUGE or 4D_SUn_GAUGE_nxn")
    n = int(match[1])
    extents = []
    for i in (4, 1, 2, 3):
        extent = _entry(name, header, f"DIMENSION_{i}")
        if not re.fullmatch(r"[0-9]{1,6}", extent) or int(extent) < 1:
            raise GaugeFileError(f"{name}: DIMENSION_{i} = {extent} is not an extent")
        extents.append(int(extent))
    return n, (n,) if match[2] is not None else (n - 1, n), tuple(extents)


def _floating_point(name: str, header: dict[str, str]) -> list[tuple[int, str]]:
    """Precisions and byte orders that the entry allows: size and checksum tell which one it is."""
    text = header.get("FLOATING_POINT", "IEEE")
    match = _FLOATING_POINT.fullmatch(text.upper())
    if match is None:
        expected = "IEEE32BIG, IEEE64BIG, IEEE32LITTLE, IEEE64LITTLE, IEEE32, IEEE64"
        raise GaugeFileError(f"{name}: FLOATING_POINT = {text}, expected one of {expected}")
    orders = {"BIG": ">", "LITTLE": "<"}.get(match[2], "<>")
    return [(precision, order) for precision in ([int(match[1])] if match[1] else [64, 32]) for order in orders]


def _checksum(data: bytes, order: str) -> int:
    """Sum of the 32-bit words modulo 2^32; the halves of a 64-bit number count in any order."""
    return int(np.sum(np.frombuffer(data, f"{order}u4"), dtype=np.uint64)) & 0xFFFFFFFF


def _verified_orders(name: str, header: dict[str, str], data: bytes, orders: list[str]) -> list[str]:
    """Those byte orders in which the checksum is right. **Raises:** `GaugeFileError` if there is none."""
    text = _entry(name, header, "CHECKSUM")
    if not re.fullmatch(r"(?:0x)?0*[0-9a-fA-F]{1,8}", text):
        raise GaugeFileError(f"{name}: CHECKSUM = {text} is not a 32-bit number in hexadecimal")
    expected = int(text, 16)
    found = {order: _checksum(data, order) for order in "<>"}
    if right := [order for order in orders if found[order] == expected]:
        # The sum does not notice words that trade places or bytes; files written here hold a digest that does.
        if _DIGEST in header and hashlib.sha256(data).hexdigest() != header[_DIGEST]:
            raise GaugeFileError(f"{name}: {_DIGEST} does not fit the data: they were changed. Nothing was loaded")
        return right
    why = "the data were changed after writing"
    if expected in found.values():
        why = f"it fits the other byte order, so FLOATING_POINT = {header['FLOATING_POINT']} is wrong"
    shown = found[orders[0]]
    raise GaugeFileError(f"{name}: the checksum is {shown:x}, the header says {expected:x}: {why}. Nothing was loaded")
