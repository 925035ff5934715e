"""Two processes on one folder, for every command that writes: the second one is refused, and nothing is touched."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trivmap.cli import main
from trivmap.io import read_chain

TINY = ["u1", "--lattice", "2", "2"]
TRAIN = ["train", *TINY, "--steps", "2", "--batch-size", "4", "--integration-steps", "1", "--out", "run"]
HMC = ["hmc", *TINY, "--trajectories", "20", "--warmup", "2", "--chains", "2", "--chunk", "10", "--out", "run"]
TOML = """
methods = ["hmc"]
training = 0.1
sampling = 0.01
seeds = 1
chains = 2
theory = { kind = "u1", lattice = [2, 2], beta = 1.0 }
"""
QUICK = "quickstart --steps 2 --finish 0 --batch-size 4 --samples 16 --trajectories 8 --out run".split()
COMMANDS = {
    "train": ([], TRAIN, [*TRAIN, "--resume"]),
    "hmc": ([], HMC, [*HMC, "--resume"]),
    "sample": ([TRAIN], ["sample", "run", "--samples", "8", "--batch-size", "4"], None),
    "sample and train": ([TRAIN], ["sample", "run", "--samples", "8", "--batch-size", "4"], [*TRAIN, "--resume"]),
    "measure": ([HMC], ["measure", "run"], None),
    "quickstart": ([], QUICK, None),
    "compare": ([], ["compare", "two.toml", "--out", "run"], None),
    "figure": ([], ["figure", "box-muller", "--smoke", "--out", "run"], None),
}


def snapshot() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", COMMANDS)
def test_second_process_is_refused(name, tmp_path, monkeypatch, record_property):
    """The first process is this one; it stops before a file gets its name, and the second one runs then."""
    monkeypatch.chdir(tmp_path)
    Path("two.toml").write_text(TOML)
    before, words, other = COMMANDS[name]
    for command in before:
        assert main(command) == 0
    real, done = os.replace, []

    def replace(source, target):
        real(source, target)
        if not done and not str(target).endswith(("config.json", "environment.json")):
            done.append(snapshot())
            command = [sys.executable, "-m", "trivmap", *(other or words)]
            done.append(subprocess.run(command, capture_output=True, text=True, timeout=120, check=False))
            done.append(snapshot())

    monkeypatch.setattr(os, "replace", replace)
    assert main(words) == 0
    monkeypatch.undo()
    found, second, left = done
    assert second.returncode == 2, second.stderr
    assert f"process {os.getpid()} is writing here" in second.stderr
    assert "Traceback" not in second.stderr
    assert left == found
    record_property("second processes refused", 1)


def test_two_at_the_same_time(tmp_path, record_property):
    """Started together, one of them does the work, and the trajectories are those of one alone."""
    commands = [[sys.executable, "-m", "trivmap", *HMC, *extra] for extra in ([], ["--resume"], [])]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    processes = [subprocess.Popen(command, **pipes) for command in commands]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert sorted(process.returncode for process in processes) in ([0, 2, 2], [0, 0, 2]), errors
    assert not any("Traceback" in error for error in errors)
    assert main([*HMC[:-1], str(tmp_path / "alone")]) == 0
    found, right = (read_chain(tmp_path / folder / "samples.h5")[0] for folder in ("run", "alone"))
    np.testing.assert_array_equal(found.delta_h, right.delta_h)
    record_property("processes started together", 3)
