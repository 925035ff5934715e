"""The format of the International Lattice Data Grid: SU(3) links in LIME records."""

import math
import os
import re
import warnings
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._atomic import write_bytes
from ._gauge_links import (
    PLAQUETTE_TOLERANCE,
    UNITARITY_TOLERANCE,
    GaugeFileError,
    GaugeFileWarning,
    check_lattice,
    check_size,
    checked_links,
    from_file_order,
    mean_plaquette,
    source_bytes,
    to_file_order,
    verify,
)
from ._lime import lime_bytes, lime_records

_NAMESPACE = "http://www.lqcd.org/ildg"
_LONGEST_XML = 1 << 16
_UNIQUE = ("ildg-format", "ildg-binary-data", "scidac-checksum")
_PLAQUETTE = re.compile(r"\bplaquette\s*[=:]\s*([^\s,;\0]+)", re.IGNORECASE)
# Of Re tr U_P / 3, averaged over sites and planes, or of one minus it: traces, sums over the six planes, over three of them.
_NORMALISATIONS = (1.0, 3.0, 1 / 3, 6.0, 18.0, 9.0, 2.0, 1 / 2, 1 / 6, 1 / 9, 1 / 18)
_XML_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)


def write_ildg(
    path: str | os.PathLike,
    links: Any,
    *,
    precision: int | None = None,
    lfn: str | None = None,
    info: dict[str, Any] | None = None,
) -> None:
    """Write SU(3) links in four dimensions as an ILDG file (LIME, big-endian, SciDAC checksums), atomically.

    **Arguments:**

    - `links`: complex `(4, 3, 3, t, x, y, z)`, direction and axis 0 are time.
    - `precision`: 32 or 64 bits per real number, by default those of `links`.
    - `lfn`: logical file name, for the record `ildg-data-lfn`.
    - `info`: further lines of the record `xlf-info`, beside the plaquette, such as `{"beta": 6.0}`.

    **Raises:** `TypeError`, `ValueError` for other fields, and for links that are not unitary.

        >>> tm.io.write_ildg(folder / "i", tm.LinkField(tm.SU(3), (2, 2, 2, 2)).reference_sample(key))
    """
    array, precision = checked_links(links, "write_ildg", precision)
    if array.shape[1] != 3:
        raise ValueError(f"write_ildg: got SU({array.shape[1]}), but ILDG files hold SU(3); write_nersc takes any SU(N)")
    t, x, y, z = array.shape[3:]
    data = to_file_order(array).astype(f">c{precision // 4}").tobytes()
    description = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ildgFormat xmlns="{_NAMESPACE}">\n<version>1.0</version>\n'
        f"<field>su3gauge</field>\n<precision>{precision}</precision>\n"
        f"<lx>{x}</lx>\n<ly>{y}</ly>\n<lz>{z}</lz>\n<lt>{t}</lt>\n</ildgFormat>\n"
    )
    suma, sumb = _scidac_sums(data, math.prod(array.shape[3:]))
    checksum = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<scidacChecksum><version>1.0</version>'
        f"<suma>{suma:x}</suma><sumb>{sumb:x}</sumb></scidacChecksum>"
    )
    lines = {"plaquette": f"{mean_plaquette(array):.14e}"} | {k: v for k, v in (info or {}).items() if k != "plaquette"}
    records = [
        ("xlf-info", "".join(f"{key} = {value}\n" for key, value in lines.items()).encode()),
        ("ildg-format", description.encode()),
        ("ildg-binary-data", data),
        ("scidac-checksum", checksum.encode()),
    ]
    if lfn is not None:
        records.append(("ildg-data-lfn", lfn.encode()))
    write_bytes(path, lime_bytes(records))


def read_ildg(
    source: str | os.PathLike | bytes,
    *,
    lattice: Sequence[int] | None = None,
    max_defect: float | None = None,
    require_checksum: bool = True,
) -> tuple[np.ndarray, dict[str, Any]]:
    r"""Links and description of an ILDG file; nothing that fails a check is returned.

    Verified: the structure of the records, both SciDAC checksums (crc32 of every site, rotated by the site's rank modulo
    29 and 31), $U U^\dagger = 1$ and $\det U = 1$, and the mean plaquette to 1e-5 where a record `xlf-info` gives it, in
    whatever usual normalisation. No checksum protects the extents; without that record only `lattice` does.

    **Arguments:**

    - `source`: a path, or the bytes of a file.
    - `lattice`: extents (t, x, y, z) that the file must have.
    - `max_defect`: largest accepted deviation from SU(3); by default 5e-6 for 32-bit data and 1e-10 for 64-bit data.
    - `require_checksum`: refuse files without a record `scidac-checksum`.

    **Returns:** links `(4, 3, 3, t, x, y, z)`, complex64 or complex128 as stored, and a description: `precision`,
    `plaquette` (of the data), and where present `lfn`, `suma`, `sumb`, `xlf-info`.

    **Warns:** `GaugeFileWarning` where that plaquette is no number, or that of the data in another normalisation.

    **Raises:** `GaugeFileError` with the reason.

        >>> tm.io.write_ildg(folder / "i", tm.LinkField(tm.SU(3), (2, 2, 2, 2)).reference_sample(key))
        >>> u, header = tm.io.read_ildg(folder / "i")
    """
    name, content = source_bytes(source)
    records = _records(name, content)
    precision, extents = _format(name, records)
    check_lattice(name, extents, lattice)
    t, x, y, z = extents
    data = bytes(records["ildg-binary-data"])
    expected = math.prod(extents) * 36 * precision // 4
    check_size(name, len(data), expected, f"SU(3) in {precision} bits on {extents} (t, x, y, z)")
    description: dict[str, Any] = {"precision": precision}
    description |= _verify_checksum(name, records, data, math.prod(extents), require_checksum)
    stored = np.frombuffer(data, f">c{precision // 4}").reshape(t, z, y, x, 4, 3, 3)
    links = from_file_order(stored.astype(np.complex64 if precision == 32 else np.complex128))
    info = bytes(records.get("xlf-info", b"")).decode("latin-1")
    verify(name, links, {}, UNITARITY_TOLERANCE[precision] if max_defect is None else max_defect)
    description["plaquette"] = _verified_plaquette(name, links, info)
    if info:
        description["xlf-info"] = info
    if "ildg-data-lfn" in records:
        description["lfn"] = bytes(records["ildg-data-lfn"]).decode("latin-1").rstrip("\0")
    return links, description


def _records(name: str, content: bytes) -> dict[str, memoryview]:
    found: dict[str, memoryview] = {}
    for kind, payload in lime_records(name, content):
        if kind in _UNIQUE and kind in found and payload != found[kind]:
            raise GaugeFileError(f"{name}: holds more than one record {kind}; split the file first")
        if kind == "xlf-info" and kind in found:
            payload = memoryview(bytes(found[kind]).rstrip(b"\0") + b"\n" + bytes(payload))
        found[kind] = payload
    for kind in ("ildg-format", "ildg-binary-data"):
        if kind not in found:
            raise GaugeFileError(f"{name}: no record {kind}: not an ILDG file (it has {', '.join(found)})")
    return found


def _xml(name: str, kind: str, payload: memoryview) -> dict[str, str]:
    """The elements below the root by their local names. Entities are refused: they can grow without bound."""
    from xml.etree import ElementTree

    text = _XML_COMMENT.sub(b"", bytes(payload[:_LONGEST_XML]).split(b"\0", 1)[0]).strip()
    if len(payload) > _LONGEST_XML or b"<!" in text:
        raise GaugeFileError(f"{name}: the record {kind} is not a plain XML element")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that does not exist
        raise GaugeFileError(f"{name}: the record {kind} is not XML: {error}") from error
    return {element.tag.rsplit("}", 1)[-1]: (element.text or "").strip() for element in root}


def _format(name: str, records: dict[str, memoryview]) -> tuple[int, tuple[int, ...]]:
    entries = _xml(name, "ildg-format", records["ildg-format"])
    if entries.get("field", "").lower() != "su3gauge":
        raise GaugeFileError(f"{name}: the field is {entries.get('field')!r}, expected 'su3gauge'")
    if entries.get("precision") not in ("32", "64"):
        raise GaugeFileError(f"{name}: the precision is {entries.get('precision')!r}, expected 32 or 64")
    texts = [entries.get(key, "") for key in ("lt", "lx", "ly", "lz")]
    if not all(re.fullmatch(r"[0-9]{1,6}", text) and int(text) > 0 for text in texts):
        raise GaugeFileError(f"{name}: the extents lt, lx, ly, lz are {texts}, expected positive integers")
    return int(entries["precision"]), tuple(map(int, texts))


def _scidac_sums(data: bytes, sites: int) -> tuple[int, int]:
    """SciDAC checksums: crc32 of each site in file order, rotated left by its rank modulo 29 and 31, joined by xor."""
    size = len(data) // sites
    view = memoryview(data)
    crc = np.fromiter((zlib.crc32(view[i : i + size]) for i in range(0, len(data), size)), np.uint32, sites)
    rank = np.arange(sites)

    def rotated(modulus: int) -> int:
        shift = (rank % modulus).astype(np.uint32)
        return int(np.bitwise_xor.reduce((crc << shift) | (crc >> (np.uint32(32) - shift))))

    return rotated(29), rotated(31)


def _verify_checksum(name: str, records: dict[str, memoryview], data: bytes, sites: int, required: bool) -> dict[str, str]:
    if "scidac-checksum" not in records:
        if required:
            raise GaugeFileError(f"{name}: no record scidac-checksum; pass require_checksum=False to load it unverified")
        return {}
    entries = _xml(name, "scidac-checksum", records["scidac-checksum"])
    found = _scidac_sums(data, sites)
    for key, value in zip(("suma", "sumb"), found, strict=True):
        text = entries.get(key, "")
        if not re.fullmatch(r"(?:0[xX])?0*[0-9a-fA-F]{1,8}", text) or int(text, 16) != value:
            raise GaugeFileError(
                f"{name}: the SciDAC checksum {key} is {value:x}, the file says {text!r}: the data were changed after "
                "writing. Nothing was loaded"
            )
    return {"suma": f"{found[0]:x}", "sumb": f"{found[1]:x}"}


def _verified_plaquette(name: str, links: np.ndarray, info: str) -> float:
    """The plaquette of the data, where one of those that are stated is it. **Raises:** `GaugeFileError` otherwise."""
    plaquette = mean_plaquette(links)
    stated = [_number(name, text) for text in _PLAQUETTE.findall(info)]
    if not stated or any(abs(value - plaquette) <= PLAQUETTE_TOLERANCE for value in stated):
        return plaquette
    shown = " and ".join(f"{value:.8g}" for value in stated)
    usual = [factor * value for factor in _NORMALISATIONS for value in (plaquette, 1 - plaquette)]
    tolerances = [factor * PLAQUETTE_TOLERANCE for factor in _NORMALISATIONS for _ in range(2)]
    close = any(abs(value - other) <= allowed for value in stated for other, allowed in zip(usual, tolerances, strict=True))
    if close or any(math.isnan(value) for value in stated):
        warnings.warn(
            f"{name}: the checksums are right and Re tr U_P / 3 is {plaquette:.8f}, but xlf-info says {shown}: another "
            "normalisation, or no number. No checksum protects the extents: pass lattice= to be sure of them",
            GaugeFileWarning,
            stacklevel=3,
        )
        return plaquette
    raise GaugeFileError(
        f"{name}: the plaquette of the data is {plaquette:.8f}, xlf-info says {shown} (allowed {PLAQUETTE_TOLERANCE:g}): "
        "data or extents are not those that were written. Nothing was loaded"
    )


def _number(name: str, text: str) -> float:
    """A number as C or Fortran print it, whose overflow is a row of stars."""
    try:
        return float("nan" if set(text) == {"*"} else text.lower().replace("d", "e"))
    except ValueError as error:
        raise GaugeFileError(f"{name}: the plaquette {text} in xlf-info is not a number") from error
