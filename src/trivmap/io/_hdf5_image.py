"""HDF5 files as bytes in memory: their seal, and the arrays inside, read without following anything out of the file.

A sealed file begins with 512 bytes, which HDF5 leaves to applications, that hold the SHA-256 of all the others. So damage is
found before HDF5, whose library loops for ever or crashes on some damaged files, has seen it. Files without a seal are read
in a process of limited time and memory first. That process runs this file, which therefore imports nothing of the package.
"""

import hashlib
import io
import json
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np

SIGNATURE = b"\x89HDF\r\n\x1a\n"
BLOCK = 512
_SEAL = b"trivmap HDF5, SHA-256 of the bytes from 512 on: "
_ATTRIBUTES = ("trivmap", "segments", "sha256")
_REFUSED = 3
_SECONDS = 10.0  # and one more per 50 MB: far above what reading takes


def seal(image: bytes | memoryview) -> bytes:
    """The 512 bytes that stand before this HDF5 file."""
    return (_SEAL + hashlib.sha256(image).hexdigest().encode() + b"\n").ljust(BLOCK, b"\0")


def is_sealed(content: bytes) -> bool:
    """Whether the file is under a seal. **Raises:** `ValueError` where its bytes are not those that were written."""
    if content.startswith(SIGNATURE):
        return False
    if not content.startswith(_SEAL) or not content.startswith(SIGNATURE, BLOCK):
        raise ValueError("it does not start as one")
    if content[:BLOCK] != seal(memoryview(content)[BLOCK:]):
        raise ValueError("its checksum is wrong")
    return True


def sealed(image: memoryview) -> tuple[bytes, memoryview]:
    """The parts of a sealed file, from an HDF5 file behind the room for the seal."""
    plain = image[BLOCK:]
    return seal(plain), plain


def read_image(content: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Attributes of the root and the arrays that the header names. **Raises:** `ValueError` and whatever h5py raises."""
    import h5py

    with h5py.File(io.BytesIO(content), "r") as file:
        return attributes(file), {name: np.asarray(value) for name, value in datasets(file, len(content)).items()}


def attributes(file: Any) -> dict[str, str]:
    found = {name: file.attrs[name] for name in _ATTRIBUTES if name in file.attrs}
    if not {"trivmap", "sha256"} <= set(found) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("it has no trivmap header")
    return found


def datasets(file: Any, size: int) -> dict[str, Any]:
    """The data sets that the header names, which are stored in this file, uncompressed and in full.

    **Raises:** `ValueError` for links, external and virtual storage, and for claims of more data than the file has bytes.
    """
    header = json.loads(str(file.attrs["trivmap"]))
    names = header.get("data") if isinstance(header, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its header does not name the data")
    found = {name: _dataset(file, name, size) for name in names}
    if sum(_bytes(dataset.shape, dataset.dtype) for dataset in found.values()) > size:
        raise ValueError("it claims more data than it has bytes")
    return found


def _dataset(file: Any, name: str, size: int) -> Any:
    import h5py

    here = file
    for part in name.split("/"):
        if part in ("", ".") or not isinstance(here, h5py.Group):
            raise ValueError(f"no data set has the name {name!r}")
        link = here.get(part, getlink=True)
        if link is None:
            raise ValueError(f"it has no {name!r}")
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name!r} is a link, which could lead to another file")
        here = here[part]
    if not isinstance(here, h5py.Dataset) or here.shape is None or here.dtype.kind not in "biufc":
        raise ValueError(f"{name!r} is no array of numbers")
    if here.external or here.is_virtual:
        raise ValueError(f"the numbers of {name!r} are in other files")
    if here.id.get_create_plist().get_nfilters():
        raise ValueError(f"{name!r} is compressed, which trivmap does not do")
    if max(_bytes(here.shape, here.dtype), _bytes(here.chunks or (), here.dtype)) > size:
        raise ValueError(f"{name!r} claims more data than the file has bytes")
    return here


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return math.prod(shape) * dtype.itemsize


def try_out(image: bytes) -> None:
    """Read the file in another process, which alone suffers where HDF5 loops or crashes. **Raises:** `ValueError`."""
    seconds = _SECONDS + len(image) / 50e6
    command = [sys.executable, "-I", __file__, str(math.ceil(seconds)), str((4 << 30) + 8 * len(image))]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, input=image, capture_output=True, timeout=10 * seconds, env=environment)
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode not in (0, _REFUSED):
        raise ValueError("the HDF5 library does not come to an end with it")
    if done.returncode == _REFUSED:
        raise ValueError(done.stdout.decode("utf-8", "replace").strip() or "the HDF5 library refuses it")


def _main() -> None:
    """Reads the file on standard input, within the limits given as arguments; prints why it is refused."""
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        seconds, memory = map(int, sys.argv[1:])
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        read_image(sys.stdin.buffer.read())
    except Exception as error:
        print(error)
        sys.exit(_REFUSED)


if __name__ == "__main__":
    _main()
