"""The lock of the operating system on an open file; it ends with the process that holds it."""

import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def try_flock(handle: int) -> bool:
    """Take the lock, or return `False` where another open file holds it. **Raises:** `OSError` where there are no locks."""
    if fcntl is None:
        raise OSError(f"no file locks on {os.name}")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_flocked(path: str | os.PathLike) -> bool:
    """Whether another open file holds the lock on this file, as the HDF5 library does on those that it changes."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not try_flock(handle)
    except OSError:
        return False
    finally:
        os.close(handle)
