"""One writer at a time: locks on run folders and on files that are read, changed and written again."""

import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ._atomic import make_folder, short_name
from ._flock import try_flock

_POLL = 0.01  # seconds


class LockedError(OSError):
    """Another process is writing here; `pid` is its number, or `None` where that is not known."""

    def __init__(self, message: str, pid: int | None = None):
        super().__init__(message)
        self.pid = pid


class _Held(NamedTuple):
    handle: int
    thread: int
    depth: int


_held: dict[Path, _Held] = {}


@contextmanager
def locked(path: str | os.PathLike, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock on a file or a folder: no other process, and no other thread of this one, enters at the same time.

    The lock is a file `.NAME.lock` beside a file, `.lock` in a folder, that holds the number of the process; it is removed
    at the end. The operating system keeps it, so that it ends with its process, whatever ends that. A thread that holds the
    lock may enter again. Links are followed first, so that two names of one file have one lock. Readers need none: files are
    replaced, never changed in place.

    **Arguments:** `path`: a folder that exists, or a file, which need not; `wait`: seconds to wait for another
    process.

    **Raises:** `LockedError` if another process holds the lock; `OSError` where no lock file can be made.

    **Warns:** where the file system has no locks; then nothing is held.
    """
    make_folder(Path(path).parent)
    target = Path(os.path.realpath(path))
    file = target / ".lock" if target.is_dir() else target.with_name(f".{short_name(target)}.lock")
    mine = _held.get(file)
    if mine is not None and mine.thread == threading.get_ident():
        _held[file] = mine._replace(depth=mine.depth + 1)
    else:
        handle = _acquire(path, file, time.monotonic() + wait)
        if handle is None:
            yield
            return
        _held[file] = _Held(handle, threading.get_ident(), 1)
    try:
        yield
    finally:
        _leave(file)


def _leave(file: Path) -> None:
    mine = _held.get(file)
    if mine is None:  # a child of the process that took it
        return
    if mine.depth > 1:
        _held[file] = mine._replace(depth=mine.depth - 1)
        return
    del _held[file]
    with suppress(OSError):
        file.unlink(missing_ok=True)  # while the lock is held: who waits for this file finds it gone and makes another
    os.close(mine.handle)


def _acquire(path: str | os.PathLike, file: Path, until: float) -> int | None:
    while True:
        handle = _open(file)
        try:
            taken = try_flock(handle)
        except OSError as error:
            os.close(handle)
            with suppress(OSError):
                file.unlink()
            why = f"{path}: this file system has no locks ({error}): see to it that one process writes at a time"
            warnings.warn(why, RuntimeWarning, stacklevel=4)
            return None
        if taken and _is_named(handle, file):
            with suppress(OSError):  # a full disk: the lock holds without the number
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()}\n".encode())
            return handle
        pid = _holder(handle)
        if pid is None and not taken:
            time.sleep(_POLL)  # it may be about to write its number
            pid = _holder(handle)
        os.close(handle)
        if taken:
            continue  # its holder removed it meanwhile
        if time.monotonic() >= until:
            raise LockedError(_message(path, pid), pid)
        time.sleep(_POLL)


def _open(file: Path) -> int:
    """The lock file, made where it is missing; one that another user left can be locked though not written."""
    flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    while True:
        try:
            return os.open(file, os.O_RDWR | os.O_CREAT | flags, 0o666)
        except PermissionError:
            if not file.exists():
                raise
        with suppress(FileNotFoundError):
            return os.open(file, os.O_RDONLY | flags)


def _is_named(handle: int, file: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(handle), os.stat(file))
    return False


def _holder(handle: int) -> int | None:
    with suppress(OSError, ValueError):
        return int(os.pread(handle, 20, 0))
    return None


def _message(path: str | os.PathLike, pid: int | None) -> str:
    who = "another process"
    if pid is not None:
        who = "another thread of this process" if pid == os.getpid() else f"process {pid}"
    return f"{path} is in use: {who} is writing here. Nothing was changed; wait until it has ended, or end it"


def _forget() -> None:
    """A child of a fork holds no lock: the files stay open in the parent, and close there."""
    for mine in _held.values():
        os.close(mine.handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
