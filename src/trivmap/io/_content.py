"""What the readers share: bytes of files, JSON of known types, arrays in NumPy's format, none of them trusted."""

import errno
import io
import json
import math
import os
import stat
from typing import Any, NamedTuple

import msgspec
import numpy as np


def file_bytes(path: str | os.PathLike) -> bytes:
    """A whole file. **Raises:** `OSError` if it is missing, cannot be read, or is a device or a pipe, which have no end."""
    if not stat.S_ISREG(mode := os.stat(path).st_mode):
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
        raise OSError(errno.EINVAL, "is a device or a pipe, not a file", str(path))
    with open(path, "rb") as file:
        return file.read()


def parse_json(text: str | bytes, of: Any) -> Any:
    """A JSON value of exactly this type. **Raises:** `ValueError` for anything else, deep nesting and huge numbers too."""
    try:
        return msgspec.convert(json.loads(text), of)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_arrays(caller: str, arrays: dict[str, np.ndarray]) -> None:
    """**Raises:** `ValueError`, `TypeError` for names and types of arrays that no file could give back."""
    for name in arrays:
        parts = name.split("/") if isinstance(name, str) and "\0" not in name else [""]
        if any(part in ("", ".") for part in parts) or not name.isprintable():
            raise ValueError(f"{caller}: cannot store {name!r}: names are printable text, in parts joined by /")
    for name, value in arrays.items():
        if value.dtype.kind not in "biufc":
            raise TypeError(f"{caller}: {name} is of type {value.dtype}, but files hold Booleans and numbers")


class Record(NamedTuple):
    """An array in NumPy's format inside other bytes."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    data: memoryview
    stop: int


def npy_record(content: bytes | memoryview, start: int = 0) -> Record:
    """The array that starts here, by its header, without any allocation of the size that it claims.

    **Raises:** `ValueError` unless the bytes of all elements are there.
    """
    view = memoryview(content)[start:]
    header = io.BytesIO(view[: 1 << 17])
    try:
        version = np.lib.format.read_magic(header)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(header)
    except Exception as error:  # NumPy reads the header as Python: errors of tokens, syntax, recursion
        raise ValueError(f"no array in NumPy's format: {error}") from error
    if dtype.hasobject or any(extent < 0 for extent in shape):
        raise ValueError(f"an array of {dtype} and shape {shape}")
    begin = header.tell()
    size = dtype.itemsize * math.prod(shape)
    if size > len(view) - begin:
        raise ValueError(f"an array of {size} bytes, of which {len(view) - begin} are there")
    return Record(dtype, shape, fortran, view[begin : begin + size], start + begin + size)


def record_array(record: Record) -> np.ndarray:
    """A copy of the array of a record."""
    if not record.data:
        return np.zeros(record.shape, record.dtype)
    return np.frombuffer(record.data, record.dtype).reshape(record.shape, order="F" if record.fortran else "C").copy()


def check_kind(function: str, given: Any, kind: type, other: str) -> None:
    """**Raises:** `TypeError` with the function that writes the other kind."""
    if not isinstance(given, kind):
        raise TypeError(f"{function}: got {type(given).__name__}, expected {kind.__name__}; {other} writes the other kind")
