"""A kill before every file operation of every command, one by one: what is there afterwards goes on to the same numbers.

A run is counted first; then it is killed before its k-th operation for every k. What a kill between two operations leaves is
what a kill before the second one leaves, so that this is every point. A killed process does nothing more: all later
operations of the dying run are refused as well.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from folders import contents

from trivmap.cli import _quickstart, _run_folder, main
from trivmap.cli._config import U1Config
from trivmap.cli.compare import Comparison, _cells, _sampling, _training, run_comparison
from trivmap.io import read_chain

TINY = ["u1", "--lattice", "2", "2"]
TRAIN = ["train", *TINY, "--steps", "3", "--chunk", "1", "--batch-size", "4", "--integration-steps", "1", "--out", "run"]
HMC = ["hmc", *TINY, "--trajectories", "12", "--warmup", "2", "--chains", "2", "--chunk", "5", "--out", "run"]
SAMPLE = ["sample", "run", "--samples", "22", "--batch-size", "4"]
QUICK = "quickstart --steps 50 --finish 0 --batch-size 4 --samples 64 --trajectories 12 --out run".split()
FIGURE = ["figure", "box-muller", "--smoke", "--out", "run"]


class Killed(BaseException):
    pass


@contextmanager
def killed_before(monkeypatch, number: int, torn: bool = False):
    """Raise before the operation of this number, and before all later ones; `torn`: a line is cut in the middle of it."""
    seen = SimpleNamespace(count=0)

    def wrapped(operation, counts):
        def call(*arguments, **options):
            if counts(arguments):
                seen.count += 1
                if seen.count > number:
                    if torn and operation is append and seen.count == number + 1:
                        with open(arguments[0], "a") as file:
                            file.write(json.dumps(arguments[1])[:40])
                    raise Killed
            return operation(*arguments, **options)

        return call

    append = _run_folder.append_record
    visible = lambda arguments: not os.path.basename(arguments[0]).startswith(".")  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", wrapped(os.replace, lambda arguments: True))
        patch.setattr(os, "unlink", wrapped(os.unlink, visible))
        patch.setattr(_run_folder, "append_record", wrapped(append, lambda arguments: True))
        yield seen


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """In a temporary folder, with a clock that counts the questions, and programs that stay compiled."""
    monkeypatch.chdir(tmp_path)
    asked = SimpleNamespace(count=0)

    def clock():
        asked.count += 1
        return asked.count / 128  # exact in binary: differences do not depend on when they are taken

    for module in (_cells, _sampling, _training):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(jax, "clear_caches", lambda: None)
    monkeypatch.setattr(_quickstart, "U1Config", partial(U1Config, lattice=(3, 3)))


def once(command) -> None:
    assert command() == 0


def resumed(words: list[str]):
    """With --resume, or from the start where nothing had been started."""
    if os.path.exists("run/config.json"):
        return main([*words, "--resume"])
    return main(words)


def try_every_point(monkeypatch, record_property, start, again, torn=False, twice=True) -> int:
    """`start` killed before every operation, and `again` once more on the way, then `again` to the end; returns the count."""
    shutil.copytree("run", "before") if os.path.exists("run") else os.mkdir("before")
    with killed_before(monkeypatch, 10**6) as seen:
        once(start)
    right, count = contents("run"), seen.count
    assert count > 1
    for number in range(count + 1):
        shutil.rmtree("run")
        shutil.copytree("before", "run")
        with killed_before(monkeypatch, number, torn):
            kill(start, number < count)
        if twice:
            with killed_before(monkeypatch, 1 + number % 4, torn):
                kill(again, None)
        once(again)
        found = contents("run")
        assert [n for n in found | right if found.get(n) != right.get(n)] == [], f"killed before operation {number}"
    record_property("kills", (1 + twice) * (count + 1))
    return count


def kill(command, expected) -> None:
    try:
        command()
    except Killed:
        assert expected is not False
    else:
        assert not expected


def test_train(monkeypatch, record_property):
    try_every_point(monkeypatch, record_property, lambda: main(TRAIN), lambda: resumed(TRAIN), torn=True)


def test_hmc(monkeypatch, record_property):
    try_every_point(monkeypatch, record_property, lambda: main(HMC), lambda: resumed(HMC))
    assert read_chain("run/samples.h5")[0].shape == (2, 12)


def test_sample(monkeypatch, record_property):
    assert main(TRAIN) == 0
    try_every_point(monkeypatch, record_property, lambda: main(SAMPLE), lambda: main(SAMPLE))
    assert not os.path.exists("run/samples.partial.h5")
    # And over complete ones, which are there all the time.
    complete = Path("run/samples.h5").read_bytes()
    for number in range(5):
        with killed_before(monkeypatch, number):
            kill(lambda: main(SAMPLE), True)
        assert Path("run/samples.h5").read_bytes() == complete


def test_measure(monkeypatch, record_property):
    assert main(HMC) == 0
    try_every_point(monkeypatch, record_property, lambda: main(["measure", "run"]), lambda: main(["measure", "run"]))


def test_quickstart(monkeypatch, record_property):
    try_every_point(monkeypatch, record_property, lambda: main(QUICK), lambda: main(QUICK), twice=False)


def test_figure(monkeypatch, record_property):
    try_every_point(monkeypatch, record_property, lambda: main(FIGURE), lambda: main(FIGURE), twice=False)


def test_compare(monkeypatch, record_property):
    """Two seeds of each method; with a clock that counts, the budget in seconds is a number of pieces."""
    monkeypatch.setattr(_sampling, "_CONFIGURATIONS", 100)
    methods = ("hmc", "matching")
    settings = Comparison(
        U1Config((2, 2), 1.0), methods, training=0.05, sampling=2 / 128, seeds=2, batch_size=4, sample_batch=4, chains=2
    )

    def compare() -> int:
        return 1 if run_comparison(settings, "run")["failed"] else 0

    try_every_point(monkeypatch, record_property, compare, compare, twice=False)


# --- real kills ------------------------------------------------------------------------------------------------------

# Ends the process before a renaming, as the system would.
DYING = """
import os, sys
real, left = os.replace, [int(sys.argv[1])]
def replace(*arguments):
    if not left[0]: os._exit(9)
    left[0] -= 1
    real(*arguments)
os.replace = replace
from trivmap.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(("words", "number"), [(TRAIN, 1), (TRAIN, 6), (HMC, 4), (HMC, 8)])
def test_process_that_dies(words, number, record_property):
    assert main(words) == 0
    right = contents("run")
    shutil.rmtree("run")
    done = subprocess.run([sys.executable, "-c", DYING, str(number), *words], capture_output=True, timeout=120, check=False)
    assert done.returncode == 9, done.stderr
    assert resumed(words) == 0
    assert contents("run") == right
    record_property("processes killed", 1)
