"""Files that are either complete or as they were, whatever interrupts the writing: every writer of the library ends here."""

import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ._flock import try_flock

_LONGEST_LABEL = 200  # bytes; a name may have 255, and process, token and suffix follow
# Seconds after which a temporary is abandoned whose process id is in use: ids come again, and hosts share disks. Where the
# file system has locks, the only writer without one is between making the file and locking it.
_ABANDONED_AFTER = {"unlocked": 60.0, "unknown": 3600.0}


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary file beside `path`, renamed to it on success and removed on any failure or interrupt.

    The content is on the disk before the name changes, and the folder after it. A link stays a link: what it points to is
    replaced. Mode and owner of an existing file are kept. Further hard links to it keep the old content: nothing can
    replace all names of a file at once. Temporaries of the same file that dead processes left are removed.

    **Raises:** `OSError` with the name of the file: no space, no permission, a write-protected file, a folder or a device in
    its place. What was there stays.
    """
    target, existing = _resolve(path)
    _remove_abandoned(target)
    temporary = target.parent / f".{short_name(target)}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    lock = None
    try:
        lock = _create(temporary, existing)
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
            if existing is not None:
                os.chmod(temporary, stat.S_IMODE(existing.st_mode))
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary), temporary):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def write_bytes(path: str | os.PathLike, *parts: bytes | memoryview) -> None:
    """Write a file atomically, one part after the other."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            file.write(part)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def _resolve(path: str | os.PathLike) -> tuple[Path, os.stat_result | None]:
    """The file behind all links, and what it is now. **Raises:** `OSError` where no file can be written."""
    make_folder(Path(path).parent)
    target = Path(os.path.realpath(path))
    try:
        existing = target.stat()
    except FileNotFoundError:
        return target, None
    if stat.S_ISDIR(existing.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    if not stat.S_ISREG(existing.st_mode):
        raise OSError(errno.EINVAL, "is a device or a pipe, not a file", str(path))
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "is write-protected", str(path))
    return target, existing


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. **Raises:** `OSError` where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder", str(folder)) from error


def _create(temporary: Path, existing: os.stat_result | None) -> int | None:
    """Make the file, with the mode that the umask gives to new ones, and hold a lock that shows that its writer lives."""
    mode = 0o666 if existing is None else stat.S_IMODE(existing.st_mode) & 0o666 | 0o600
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), mode)
    if existing is not None and hasattr(os, "chown"):
        with suppress(OSError):  # only root may give files away
            os.chown(temporary, existing.st_uid, existing.st_gid)
    try:
        try_flock(handle)
    except OSError:  # no locks here; Windows renames no open file
        os.close(handle)
        return None
    return handle


def short_name(target: Path) -> str:
    """The name of a file, or a digest of it where little could be added."""
    name = os.fsencode(target.name)
    return target.name if len(name) <= _LONGEST_LABEL else hashlib.sha256(name).hexdigest()


def _remove_abandoned(target: Path) -> None:
    """Remove temporaries of this file whose writers were killed."""
    pattern = re.compile(rf"\.{re.escape(short_name(target))}\.(?:([0-9]+)-)?[0-9a-z_]{{8}}\.tmp")
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            match = pattern.fullmatch(entry.name)
            if match and _is_abandoned(entry, match[1]):
                with suppress(OSError):
                    os.unlink(entry.path)


def _is_abandoned(entry: os.DirEntry, pid: str | None) -> bool:
    """No writer holds its lock, and its process is dead here or it is old."""
    state = "unlocked"
    handle = os.open(entry.path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        if not try_flock(handle):
            return False
    except OSError:
        state = "unknown"
    finally:
        os.close(handle)
    if pid is not None and not _is_alive(int(pid)):
        return True
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_AFTER[state]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk, where the system can do that for folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
