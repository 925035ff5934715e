"""Mutated files: refused by the error of their format, or the same data; no other exception, no hang, no crash.

Each format is tried in a process of its own, which a crash or a loop in a C library would end:
`python test_file_fuzz.py FORMAT`.
"""

import hashlib
import io
import json
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

SECONDS = 20  # of CPU time for one file; reading takes milliseconds
MUTATIONS = 450
EDITS = 150
FORMATS = ["checkpoint", "ensemble", "ensemble of earlier versions", "chain", "npz", "NERSC", "ILDG", "recipe"]
FEWER = {"ensemble of earlier versions": 60}  # each is read in a process of its own first


class Format(NamedTuple):
    """A file, the reader with its error, the arrays that count, and the file with one of its JSON headers edited."""

    content: bytes
    read: Callable[[Path], Any]
    error: type[Exception]
    edited: Callable[[bytes, Callable[[Any], Any]], bytes] | None = None


def mutated(rng: np.random.Generator, content: bytes) -> bytes:
    """One change of one kind; half of them where headers are, in the first or last two kilobytes."""
    size = len(content)
    low, high = [(0, size), (0, min(2048, size)), (max(size - 2048, 0), size)][rng.choice(3, p=[0.5, 0.35, 0.15])]
    a = int(rng.integers(low, high))
    n = int(2 ** rng.uniform(0, 9))
    kinds = [
        lambda: content[:a] + bytes([content[a] ^ (1 << int(rng.integers(8)))]) + content[a + 1 :],
        lambda: content[:a] + rng.bytes(n) + content[a + n :],
        lambda: content[:a],
        lambda: content[:a] + bytes(n) + content[a + n :],
        lambda: content[: a + n] + content[a:],
        lambda: content[:a] + content[a + n :],
        lambda: content + (rng.bytes(n) if rng.random() < 0.5 else content[:n]),
        lambda: content[:a] + content[a + n : a + 2 * n] + content[a : a + n] + content[a + 2 * n :],
        lambda: content[:a] + content[a : a + n].swapcase() + content[a + n :],
    ]
    return kinds[rng.integers(len(kinds))]()


def edit(rng: np.random.Generator, value: Any) -> Any:
    """A JSON value with something else at one place, or without it."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        copy = dict(value) if isinstance(value, dict) else dict(enumerate(value))
        key = list(copy)[rng.integers(len(copy))]
        if rng.random() < 0.15:
            del copy[key]
        else:
            copy[key] = edit(rng, copy[key])
        return copy if isinstance(value, dict) else list(copy.values())
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    numbers = [True, -1, 0, 10**30, 2.5, 1e308, float("nan"), float("inf")]
    others = [*numbers, None, "", "x", "é" * 50, [], {}, [[]], {"a": 1}, deep]
    return others[rng.integers(len(others))]


def edited_checkpoint(content: bytes, change: Callable[[Any], Any]) -> bytes:
    length = int.from_bytes(content[40:48], "little")
    header = json.dumps(change(json.loads(content[48 : 48 + length]))).encode()
    body = len(header).to_bytes(8, "little") + header + content[48 + length :]
    return content[:8] + hashlib.sha256(body).digest() + body


def edited_hdf5(content: bytes, change: Callable[[Any], Any]) -> bytes:
    import h5py

    from trivmap.io._hdf5 import _digest, _sign
    from trivmap.io._hdf5_image import seal

    image = io.BytesIO(content[512:])
    with h5py.File(image, "r+") as file:
        names = json.loads(str(file.attrs["trivmap"]))["data"]
        data = {name: np.asarray(file[name]) for name in names}
        header = json.dumps(change(json.loads(str(file.attrs["trivmap"]))))
        rows = json.loads(str(file.attrs["segments"]))[0][0]
        file.attrs["trivmap"] = header
        _sign(file, header, [[rows, _digest(header, data)]])
    return seal(image.getvalue()) + image.getvalue()


def unsealed(content: bytes) -> bytes:
    """The file as earlier versions wrote it: checksums of the data in place of the seal."""
    return edited_hdf5(content, lambda header: header | {"format": 2})[512:]


def build(config):
    import trivmap as tm

    theory = tm.Phi4Action((2, 2), m2=config["m2"], lam=1.0)
    return tm.Model(tm.GaussianPrior(theory.manifold, width=0.5), tm.flows.Rescaling(theory.manifold)), theory


def arrays_of(data: Any) -> list[np.ndarray]:
    named = sorted(data.observables.items())
    fixed = [getattr(data, name, None) for name in ("configurations", "log_weights", "accepted", "delta_h")]
    return [np.asarray(x) for x in (*fixed, *(value for _, value in named)) if x is not None]


def make(kind: str, folder: Path) -> Format:
    import jax
    import jax.numpy as jnp

    import trivmap as tm
    from trivmap import io as files

    jax.config.update("jax_enable_x64", True)
    rng, path = np.random.default_rng(0), folder / "original"
    ensemble = tm.Ensemble(rng.normal(size=(10, 2, 3, 3)), rng.normal(size=10), {"p": rng.normal(size=10), "q": np.ones(10)})
    chain = tm.Chain(ensemble.configurations[None], {"p": ensemble.observables["p"][None]}, rng.random((1, 10)) < 0.5)
    links = tm.LinkField(tm.SU(3), (2, 2, 1, 3)).reference_sample(jax.random.key(0))
    tree = {"a": jnp.arange(50.0), "b": jnp.ones((3, 3), bool), "n": 3}
    recipe = tm.io.Recipe(*build({"m2": 1.0}), jax.random.key(0), 5)
    loaded = lambda value: [np.asarray(x) for x in jax.tree.leaves(value)]  # noqa: E731
    checkpoint = lambda p: loaded(files.read_checkpoint(p, tree)[0])  # noqa: E731
    stored = lambda p: arrays_of(files.read_ensemble(p)[0])  # noqa: E731
    drawn = lambda p: loaded(files.read_recipe(p).model)  # noqa: E731
    hdf5, refused = files.EnsembleFileError, files.CheckpointError
    writers: dict[str, tuple] = {
        "checkpoint": (files.write_checkpoint, tree, checkpoint, refused, edited_checkpoint),
        "ensemble": (files.write_ensemble, ensemble, stored, hdf5, edited_hdf5),
        "ensemble of earlier versions": (files.write_ensemble, ensemble, stored, hdf5),
        "chain": (files.write_chain, chain, lambda p: arrays_of(files.read_chain(p)[0]), hdf5, edited_hdf5),
        "npz": (files.write_npz, ensemble, lambda p: arrays_of(files.read_npz(p)), files.GaugeFileError),
        "NERSC": (files.write_nersc, links, lambda p: [files.read_nersc(p)[0]], files.GaugeFileError),
        "ILDG": (files.write_ildg, links, lambda p: [files.read_ildg(p)[0]], files.GaugeFileError),
        "recipe": (files.write_recipe, recipe, drawn, refused, edited_checkpoint),
    }
    write, value, *rest = writers[kind]
    write(path, value)
    content = path.read_bytes()
    return Format(unsealed(content) if "earlier" in kind else content, *rest)


def ended(*_):
    raise SystemExit("one file took too long")


def fuzz(kind: str) -> dict[str, int]:
    """Counts of refused files and of those with the same data. **Raises:** `AssertionError` for other data."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGVTALRM, ended)
    rng, counts = np.random.default_rng(FORMATS.index(kind)), Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        original = make(kind, folder)
        file = folder / "mutated"
        file.write_bytes(original.content)
        truth = [x.tobytes() for x in original.read(file)]
        for i in range(FEWER.get(kind, MUTATIONS)):
            edits = original.edited is not None and i < EDITS
            content = mutated(rng, original.content)
            if edits and original.edited is not None:
                content = original.edited(original.content, lambda header: edit(rng, header))
            file.write_bytes(content)
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                found = [x.tobytes() for x in original.read(file)]
            except original.error as error:
                found = str(error)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            if isinstance(found, str):
                assert str(file) in found
                assert "\n" not in found
                counts["refused"] += 1
            else:
                # A header edited under a right checksum may state another coupling, but no other arrays.
                assert found == truth or (edits and kind == "recipe"), f"other numbers from mutation {i}"
                counts["same data"] += 1
    return dict(counts)


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_files(kind, record_property):
    done = subprocess.run([sys.executable, __file__, kind], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout)
    assert sum(counts.values()) == FEWER.get(kind, MUTATIONS)
    assert counts["refused"] > 0.4 * sum(counts.values())
    for name, value in counts.items():
        record_property(name, f"{value} ({kind})")


if __name__ == "__main__":
    print(json.dumps(fuzz(sys.argv[1])))
