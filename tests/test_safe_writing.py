"""Writing and locking: links, modes, leftovers, a second writer."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trivmap.io import LockedError, _flock, atomic_path, locked, write_bytes, write_text

DEAD = 2**22 + 1  # above the largest process id of Linux


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path):
    file, link = tmp_path / "data" / "a", tmp_path / "link"
    write_text(file, "old")
    file.chmod(0o640)
    link.symlink_to(file)
    write_text(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o640


def test_new_files_follow_the_umask(tmp_path):
    code = f"import os; os.umask(0o027)\nfrom trivmap.io import write_text; write_text({str(tmp_path / 'a')!r}, 'x')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_failure_names_the_file_and_leaves_nothing(tmp_path, monkeypatch):
    write_text(tmp_path / "a", "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, full)
            with pytest.raises(OSError, match=r"No space left on device: .*a'"):
                write_text(tmp_path / "a", "new")
        assert os.listdir(tmp_path) == ["a"]
        assert (tmp_path / "a").read_text() == "old"


def test_places_that_hold_no_file(tmp_path):
    write_text(tmp_path / "file", "x")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write_text(tmp_path, "x")
    with pytest.raises(NotADirectoryError, match="is a file"):
        write_text(tmp_path / "file" / "a", "x")
    with pytest.raises(OSError, match="is a device"):
        write_text("/dev/null", "x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match="symbolic links"):
        write_text(tmp_path / "loop", "x")
    (tmp_path / "lost").symlink_to(tmp_path / "unmounted" / "a")
    with pytest.raises(FileNotFoundError, match="lost"):
        write_text(tmp_path / "lost", "x")
    assert sorted(os.listdir(tmp_path)) == ["file", "loop", "lost"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anything")
def test_a_protected_file_stays(tmp_path):
    write_text(tmp_path / "a", "old")
    (tmp_path / "a").chmod(0o444)
    with pytest.raises(PermissionError, match="write-protected"):
        write_text(tmp_path / "a", "new")


def test_leftovers_of_dead_writers_go_and_those_of_live_ones_stay(tmp_path):
    dead, foreign = tmp_path / f".a.{DEAD}-01234567.tmp", tmp_path / f".b.{DEAD}-01234567.tmp"
    old = tmp_path / ".a.abcd_123.tmp"  # of an earlier version of trivmap, without a process
    for file in (dead, foreign, old):
        file.touch()
    os.utime(old, (0, 0))
    with atomic_path(tmp_path / "a") as temporary:
        os.utime(temporary, (0, 0))
        write_bytes(tmp_path / "a", b"other thread")
        assert temporary.exists()
        temporary.write_bytes(b"new")
    assert sorted(os.listdir(tmp_path)) == [foreign.name, "a"]
    assert (tmp_path / "a").read_bytes() == b"new"


def test_names_as_long_as_the_file_system_allows(tmp_path):
    name = "n" * 255
    with locked(tmp_path / "new" / name):
        write_text(tmp_path / "new" / name, "x")
    assert os.listdir(tmp_path / "new") == [name]


TRY = """
import sys
from trivmap.io import LockedError, locked
try:
    with locked(sys.argv[1]):
        print("free")
except LockedError as error:
    print(error)
"""


def other_process(path: Path) -> str:
    return subprocess.run([sys.executable, "-c", TRY, str(path)], capture_output=True, text=True, check=True).stdout


def test_a_second_process_is_refused_with_the_number_of_the_first(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for path, other in ((tmp_path, tmp_path), (tmp_path / "file", tmp_path / "link")):
        with locked(path):
            with locked(other):  # the same thread may enter again
                pass
            assert f"process {os.getpid()} is writing" in other_process(other)
        assert other_process(other) == "free\n"
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def test_another_thread_is_refused(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def enter():
        with locked(tmp_path):
            pass

    with ThreadPoolExecutor(1) as pool, locked(tmp_path), pytest.raises(LockedError, match="another thread"):
        pool.submit(enter).result()


def test_a_killed_holder_blocks_nobody(tmp_path):
    code = "import os, sys\nfrom trivmap.io import locked\nwith locked(sys.argv[1]): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:")
def test_a_child_does_not_inherit_the_lock(tmp_path):
    with locked(tmp_path):
        child = os.fork()
        if child == 0:
            try:
                with locked(tmp_path):
                    os._exit(1)
            except LockedError:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert str(os.getpid()) in other_process(tmp_path)


def test_file_systems_without_locks(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(_flock.fcntl, "flock", unsupported)
    with pytest.warns(RuntimeWarning, match="has no locks.*No locks available"), locked(tmp_path):
        write_text(tmp_path / "a", "x")
    assert os.listdir(tmp_path) == ["a"]
