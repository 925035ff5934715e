"""Mutated TOML files, config.json, metrics.jsonl and cells: refused in one line with status 2, or what was written.

The work of the commands is replaced by a stop, so that a mutation takes milliseconds.
"""

import dataclasses
import json
import random
import signal
import tomllib

import numpy as np
import pytest

from trivmap.cli import _hmc, _sample, _train, main
from trivmap.cli._build import build_theory
from trivmap.cli._config import theory_as_json
from trivmap.cli._run_folder import CommandError, RunFolder
from trivmap.cli.compare import _command, _run
from trivmap.cli.compare._comparison import SHIPPED

MUTATIONS = 400

TOML = """# mine
methods = ["gated", "hmc"]
training = 12.5
sampling = 4
seeds = 2
seed = 7
batch_size = 16
sample_batch = 32
chains = 4
precision = "float32"

[theory]
kind = "phi4"
lattice = [4, 6]
m2 = -1.5
lam = 2
"""
TINY = ["--lattice", "2", "2", "--integration-steps", "1", "--batch-size", "2", "--chunk", "1"]
TRAIN = ["train", "u1", "--steps", "1", *TINY]
# What a value may be replaced by: other types, extreme numbers, nesting, characters that no terminal shows.
TOKENS = (
    "true", "false", "null", "nan", "inf", "-inf", "NaN", "Infinity", "-1", "0", "1", "2.0", "2.5", '"4"', '""', "[]", "{}",
    "[4, 4]", "[[4]]", '["gated"]', '{"a": 1}', "{a = 1}", "1e400", "-1e400", "1e-400", "9" * 20, "9" * 5000,
    "0x" + "f" * 5000, "2147483648", "1979-05-27", '"\\ud800"', '"\\u0000"', '"\\u001b[31m"', '"u1"', '"su"', "[" * 3000,
    '{"a":' * 3000, "[" * 100 + "]" * 100, "é", "\x00", "\ufeff",
)  # fmt: skip


class Reached(BaseException):
    """The command would start its work now."""


@pytest.fixture(autouse=True)
def signals():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def mutated(text: str, rng: random.Random) -> bytes:
    """One to three mutations: of bytes, of tokens, of lines, of the length."""
    data = text.encode()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice((_byte, _token, _token, _token, _line, _cut))(data, rng)
    return data


def _byte(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) or 1)
    return data[:at] + rng.choice((b"", bytes([rng.randrange(256)]))) + data[at + rng.randrange(2) :]


def _token(data: bytes, rng: random.Random) -> bytes:
    """Another value in the place of one."""
    token = rng.choice(TOKENS).encode("utf-8", "surrogatepass")
    starts = [i for i, c in enumerate(data) if c in b"=:["]
    if not starts:
        return data + token
    start = rng.choice(starts) + 1
    ends = [i for i in range(start, len(data)) if data[i] in b",\n]}"]
    return data[:start] + b" " + token + data[ends[0] if ends else len(data) :]


def _line(data: bytes, rng: random.Random) -> bytes:
    """A line twice, missing, or elsewhere."""
    lines = data.split(b"\n")
    moved = lines.pop(rng.randrange(len(lines)))
    for _ in range(rng.randrange(3)):
        lines.insert(rng.randrange(len(lines) + 1), moved)
    return b"\n".join(lines)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def outcome(words: list[str], capsys) -> Reached | None:
    """What the command reached, or nothing where it refused as it should; the status and the one line are checked."""
    try:
        status = main(words)
    except Reached as reached:
        capsys.readouterr()
        return reached
    said = capsys.readouterr().err
    assert status == 2, said
    assert said.startswith("trivmap: "), said
    assert said.count("\n") == 1, said
    return None


def same(read, written) -> bool:
    """Whether values read are those written in the file, and of its types: an integer may stand for a number."""
    if isinstance(read, float):
        return type(written) in (int, float) and read == written
    if isinstance(read, dict):
        return set(read) >= set(written) and all(same(read[key], written[key]) for key in written)
    if isinstance(read, list | tuple):
        return isinstance(written, list) and len(read) == len(written) and all(map(same, read, written))
    return type(read) is type(written) and read == written


def test_comparisons(tmp_path, monkeypatch, capsys, record_property):
    def stop(settings, out):
        build_theory(settings.theory)
        raise Reached(settings)

    monkeypatch.setattr(_command, "run_comparison", stop)
    rng, file, counts = random.Random(1), tmp_path / "mine.toml", {"refused": 0, "same": 0}
    for i in range(MUTATIONS):
        data = TOML.encode() if i == 0 else mutated(TOML, rng)
        file.write_bytes(data)
        reached = outcome(["compare", str(file), "--out", str(tmp_path / "run")], capsys)
        counts["refused" if reached is None else "same"] += 1
        if reached is not None:
            (settings,) = reached.args
            read = vars(settings) | {"theory": theory_as_json(settings.theory)}
            assert same(read, tomllib.loads(data.decode())), data
    assert counts["same"] > 0
    assert counts["refused"] > MUTATIONS // 4
    record_property("mutated TOML", counts)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz") / "run"
    assert main([*TRAIN, "--out", str(folder)]) == 0
    return folder


def stop_before_work(monkeypatch):
    def stop(*arguments, **options):
        raise Reached(*arguments)

    monkeypatch.setattr(_sample, "draw", stop)
    monkeypatch.setattr(_train, "train_in", stop)
    monkeypatch.setattr(_hmc, "_run", stop)


@pytest.mark.parametrize("command", ["sample", "train", "cite", "hmc"])
def test_configurations_of_run_folders(command, finished, tmp_path, monkeypatch, capsys, record_property):
    stop_before_work(monkeypatch)
    hmc = ["hmc", "u1", "--lattice", "2", "2", "--out", str(tmp_path / "chain")]
    if command == "hmc":
        assert outcome(hmc, capsys) is not None
    folder, words = {
        "sample": (finished, ["sample", str(finished), "--samples", "2"]),
        "train": (finished, [*TRAIN, "--out", str(finished), "--resume"]),
        "cite": (finished, ["cite", str(finished)]),
        "hmc": (tmp_path / "chain", [*hmc, "--resume"]),
    }[command]
    file = folder / "config.json"
    kept = {path: path.read_bytes() for path in (file, folder / "environment.json")}
    original, entry = json.loads(kept[file]), "hmc" if command == "hmc" else "train"
    rng, counts = random.Random(command), {"refused": 0, "same": 0}
    try:
        for _ in range(MUTATIONS // 4):
            data = mutated(json.dumps(original, indent=2), rng)
            file.write_bytes(data)
            if command == "cite":
                status, said = main(words), capsys.readouterr()
                assert status in (0, 2), said.err
                assert status == 0 or said.err.count("\n") == 1
                counts["refused" if status else "same"] += 1
                continue
            reached = outcome(words, capsys)
            counts["refused" if reached is None else "same"] += 1
            if reached is not None:
                # Other entries may have vanished; what the command goes on with is what was there.
                assert same(original[entry], json.loads(data).get(entry, {})), data
            for path, content in kept.items():
                path.write_bytes(content)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert counts["refused"] > MUTATIONS // 16
    record_property(f"mutated config.json, {command}", counts)


def test_metrics(finished, capsys, record_property):
    """Lines are refused or those that were written; a last one that is damaged counts as cut off."""
    file = finished / "metrics.jsonl"
    content, rng, counts = file.read_text(), random.Random(3), {"refused": 0, "same": 0}
    (written,) = RunFolder(finished).read_metrics()
    try:
        for _ in range(MUTATIONS):
            file.write_bytes(mutated(3 * content, rng))
            try:
                records = RunFolder(finished).read_metrics()
            except CommandError:
                counts["refused"] += 1
                continue
            counts["same"] += 1
            assert all(same(record, written) for record in records)
    finally:
        file.write_text(content)
    record_property("mutated metrics.jsonl", counts)


def test_cells(tmp_path, monkeypatch, record_property):
    """A mutated cell of a comparison is computed again, or it is the one that was written; so is that of another seed."""
    folder, settings, counts = RunFolder(tmp_path), SHIPPED["phi4-8x8"], {"computed again": 0, "same": 0}
    (tmp_path / "cells").mkdir()
    numbers = {"ess": 0.5, "samples": 64, "total": 1.5, "curve": [{"steps": 3, "ess": 0.25}], "observables": {"Q2": None}}
    monkeypatch.setattr(_run, "run_cell", lambda *arguments: dict(numbers))
    written = _run._cell(folder, "gated", 0, settings, {})
    content = (tmp_path / "cells/gated-0.json").read_text()
    again = []
    monkeypatch.setattr(_run, "run_cell", lambda *arguments: again.append(1) or dict(numbers))
    rng = random.Random(4)
    for _ in range(MUTATIONS):
        (tmp_path / "cells/gated-0.json").write_bytes(mutated(content, rng))
        again.clear()
        assert same(_run._cell(folder, "gated", 0, settings, {}), written)
        counts["computed again" if again else "same"] += 1
    assert counts["computed again"] > MUTATIONS // 2
    record_property("mutated cells", counts)
    for name, seed, other in (("gated", 1, settings), ("gated", 0, dataclasses.replace(settings, chains=3))):
        (tmp_path / f"cells/{name}-{seed}.json").write_text(content)
        again.clear()
        _run._cell(folder, name, seed, other, {})
        assert again


@pytest.mark.parametrize("stem", ["config", "environment"])
def test_files_that_are_none(stem, finished, tmp_path, monkeypatch, capsys):
    """A folder, a link to nothing, an endless device and binary data in the place of a file."""
    stop_before_work(monkeypatch)
    file = finished / f"{stem}.json"
    content = file.read_bytes()
    made = [
        lambda: file.mkdir(),
        lambda: file.symlink_to("/dev/zero"),
        lambda: file.write_bytes(np.random.default_rng(0).bytes(1000)),
        lambda: file.write_bytes(b"[]"),
        lambda: file.write_bytes(b"\xff\xfe{}"),
    ]
    for make in made:
        file.unlink()
        make()
        try:
            assert outcome(["sample", str(finished), "--samples", "2"], capsys) is None
        finally:
            file.rmdir() if file.is_dir() else file.unlink()
            file.write_bytes(content)
