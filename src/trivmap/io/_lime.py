"""LIME: records with a big-endian header of 144 bytes and payloads padded to eight bytes."""

import struct
from collections.abc import Iterator

from ._gauge_links import GaugeFileError

_HEADER = struct.Struct(">IHHQ128s")
_MAGIC = 0x456789AB
_VERSION = 1
_MESSAGE_BEGIN, _MESSAGE_END = 0x8000, 0x4000


def lime_records(name: str, content: bytes) -> Iterator[tuple[str, memoryview]]:
    """Type and payload of every record. **Raises:** `GaugeFileError` where the structure is broken."""
    position = 0
    view = memoryview(content)
    if not content:
        raise GaugeFileError(f"{name}: the file is empty")
    while position < len(view):
        if len(view) - position < _HEADER.size:
            raise GaugeFileError(f"{name}: truncated in the header of a record at byte {position}")
        magic, version, _, length, kind = _HEADER.unpack_from(view, position)
        if magic != _MAGIC or version != _VERSION:
            swapped = magic == int.from_bytes(_MAGIC.to_bytes(4, "big"), "little")
            why = "in little-endian order, but LIME is big-endian" if swapped else "damaged, or not LIME at all"
            raise GaugeFileError(f"{name}: no record starts at byte {position} (the file is {why})")
        start = position + _HEADER.size
        padded = -(-length // 8) * 8  # which some codes leave out at the end of the file
        if length > len(view) - start:
            raise GaugeFileError(
                f"{name}: truncated: a record of {length} bytes at byte {position}, but {len(view) - start} are left"
            )
        yield kind.split(b"\0", 1)[0].decode("latin-1"), view[start : start + length]
        position = start + padded


def lime_bytes(records: list[tuple[str, bytes]]) -> bytes:
    """One message of records."""
    parts = []
    for i, (kind, payload) in enumerate(records):
        flags = (_MESSAGE_BEGIN if i == 0 else 0) | (_MESSAGE_END if i == len(records) - 1 else 0)
        parts.append(_HEADER.pack(_MAGIC, _VERSION, flags, len(payload), kind.encode()))
        parts.append(payload + b"\0" * (-len(payload) % 8))
    return b"".join(parts)
