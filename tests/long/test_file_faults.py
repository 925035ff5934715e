"""Full disks and two writers: the old file stays, the error is raised, nothing is left behind, no sample is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Runs in a process of its own, which a crash of a C library would end: for each limit, in bytes of a file or of free space,
# each writer replaces a small old file by a large new one. Prints a line per attempt: writer, limit, what happened.
CODE = """
import os, resource, sys
import jax, jax.numpy as jnp, numpy as np, trivmap as tm
from trivmap.io import append_ensemble, read_chain, read_ensemble, read_ildg, read_nersc, read_npz
from trivmap.io import write_checkpoint, write_text

jax.config.update("jax_enable_x64", True)
folder, mode, limits = sys.argv[1], sys.argv[2], [int(x) for x in sys.argv[3:]]
rng = np.random.default_rng(0)
field = lambda n: tm.Ensemble(rng.normal(size=(n, 2, 8, 8)), rng.normal(size=n), {"p": rng.normal(size=n)})
small, large = field(2), field(100)
chain = lambda e: tm.Chain(e.configurations[None], {"p": e.observables["p"][None]})
links = lambda t: np.broadcast_to(np.eye(3, dtype=complex)[:, :, None, None, None, None], (4, 3, 3, t, 2, 2, 2)).copy()
theory = tm.Phi4Action((2, 2), m2=1.0, lam=1.0)
recipe = lambda width: tm.io.Recipe(tm.GaussianPrior(theory.manifold), jnp.zeros(width), jax.random.key(0), 3)

WRITERS = {
    "append_ensemble": (append_ensemble, lambda p: len(read_ensemble(p)[0]), small, large),
    "write_ensemble": (tm.write_ensemble, lambda p: len(read_ensemble(p)[0]), small, large),
    "write_chain": (tm.write_chain, lambda p: read_chain(p)[0].shape, chain(small), chain(large)),
    "write_npz": (tm.io.write_npz, lambda p: len(read_npz(p)), small, large),
    "write_checkpoint": (write_checkpoint, lambda p: p.stat().st_size, {"x": jnp.zeros(4)}, {"x": jnp.zeros(20000)}),
    "write_recipe": (tm.io.write_recipe, lambda p: p.stat().st_size, recipe(4), recipe(20000)),
    "write_nersc": (tm.io.write_nersc, lambda p: read_nersc(p)[0].shape, links(1), links(40)),
    "write_ildg": (tm.io.write_ildg, lambda p: read_ildg(p)[0].shape, links(1), links(40)),
    "write_text": (write_text, lambda p: p.stat().st_size, "a" * 100, "b" * 150000),
}
from pathlib import Path
for name, (write, state, old, new) in WRITERS.items():
    for limit in limits:
        path = Path(folder) / name
        path.unlink(missing_ok=True)
        write(path, old)
        before, content = state(path), path.read_bytes()
        if mode == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        else:
            free = os.statvfs(folder)
            filler = Path(folder) / "filler"
            filler.write_bytes(bytes(max(free.f_bavail * free.f_frsize - limit, 0)))
        try:
            write(path, new)
            outcome = "written"
        except OSError as error:
            outcome = "refused" if str(path) in str(error) else f"no name: {error}"
        if mode == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            filler.unlink()
        if outcome == "refused" and path.read_bytes() != content:
            outcome = "old content lost"
        if outcome == "written" and state(path) == before:
            outcome = "not written"
        left = [entry for entry in os.listdir(folder) if entry not in WRITERS]
        print(name, limit, outcome if not left else f"left {left}", flush=True)
"""
SIZES = [0, 1, 100, 511, 512, 4096, *range(8000, 200_000, 8000), 400_000]


def outcomes(folder: Path, mode: str) -> list[list[str]]:
    command = [sys.executable, "-c", CODE, str(folder), mode, *map(str, SIZES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return [line.split(" ", 2) for line in done.stdout.splitlines()]


def check(found, record_property):
    wrong = [line for line in found if line[2] not in ("written", "refused")]
    assert not wrong, wrong[:5]
    assert len(found) == 9 * len(SIZES)
    refused = sum(line[2] == "refused" for line in found)
    assert refused > len(found) / 3
    record_property("writes", len(found))
    record_property("refused, old content kept, nothing left", refused)


def test_limit_on_the_size_of_files(tmp_path, record_property):
    check(outcomes(tmp_path, "limit"), record_property)


def test_full_disk(tmp_path, record_property):
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a file system of a given size needs root")
    try:
        check(outcomes(tmp_path, "disk"), record_property)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


APPEND = """
import sys, numpy as np
from trivmap import Ensemble
from trivmap.io import append_ensemble
for i in range(15):
    append_ensemble(sys.argv[1], Ensemble(None, np.array([float(sys.argv[2]) + i])))
"""


def test_four_processes_append(tmp_path, record_property):
    import numpy as np

    from trivmap.io import read_ensemble

    path = tmp_path / "new" / "a.h5"  # none of them finds the file or its folder
    workers = [subprocess.Popen([sys.executable, "-c", APPEND, str(path), str(100 * i)]) for i in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4
    found = np.sort(read_ensemble(path)[0].log_weights)
    assert list(found) == [100.0 * i + j for i in range(4) for j in range(15)]
    assert os.listdir(path.parent) == ["a.h5"]
    record_property("samples appended by four processes", len(found))
