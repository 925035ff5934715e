"""`metrics.jsonl`: one record per chunk of training, each line with a checksum of its own."""

import json
import os
from pathlib import Path
from typing import Any

from ..io import encode_json, write_text
from ._errors import CommandError
from ._signed import signed, verified


def append_record(file: Path, record: dict[str, Any]) -> None:
    """Add a line, on the disk before this returns."""
    with open(file, "a", encoding="utf-8") as stream:
        stream.write(encode_json(signed(record)) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_records(file: Path) -> list[dict[str, Any]]:
    """All records; a last line that a crash cut off or damaged is left out.

    **Raises:** `CommandError` for any other line that is not as it was written.
    """
    lines = file.read_bytes().split(b"\n") if file.exists() else []
    if lines and not lines[-1]:
        lines.pop()
    found = [_record(line) for line in lines]
    if found and found[-1] is None:
        found.pop()
    for number, record in enumerate(found, 1):
        if record is None:
            raise CommandError(
                f"{file}, line {number}: no right checksum (damaged, or of an earlier version). "
                "Restore the file, or train in another folder."
            )
    return [record for record in found if record is not None]


def restore_records(file: Path, last: dict[str, Any] | None, count: int) -> None:
    """Make the file hold what a checkpoint has seen: `count` records up to `last`.

    Records behind it are dropped; the last one, which the checkpoint knows, is added where it was cut off.

    **Raises:** `CommandError` if others are missing.
    """
    step = -1 if last is None else last["step"]
    kept = [record for record in read_records(file) if record["step"] <= step]
    if last is not None and (not kept or kept[-1]["step"] < step):
        kept.append(last)
    if len(kept) != count:
        raise CommandError(
            f"{file}: holds {len(kept)} records up to step {step}, the checkpoint has seen {count}. "
            "Restore the file from a copy, or train in another folder."
        )
    write_text(file, "".join(encode_json(signed(record)) + "\n" for record in kept))


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = verified(json.loads(line))
    except (ValueError, RecursionError):
        return None
    return record if record is not None and isinstance(record.get("step"), int) else None
