"""Signals at many times in every command: status 130 at once, no crash, and the run goes on to the same numbers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from folders import contents

from trivmap.cli import main

pytestmark = pytest.mark.usefixtures("as_in_the_foreground")

TRAIN = ["train", "u1", "--lattice", "4", "4", "--steps", "6", "--chunk", "2", "--batch-size", "8", "--out", "run"]
HMC = ["hmc", "u1", "--lattice", "4", "4", "--trajectories", "12", "--chains", "2", "--chunk", "4", "--out", "run"]
# Each takes much longer than the test lets it.
LONG = {
    "train": ["train", "su", "--lattice", "4", "4", "--steps", "1000000", "--out", "run"],
    "hmc": ["hmc", "su", "--lattice", "4", "4", "4", "4", "--trajectories", "1000000", "--out", "run"],
    "sample": ["sample", "trained", "--samples", "10000000"],
    "quickstart": ["quickstart", "--steps", "1000000", "--out", "run"],
    "compare": ["compare", "su3-2d-8x8", "--budget", "1000", "--out", "run"],
    "figure": ["figure", "topological-freezing", "--out", "run"],
}
# Seconds; two are asked for, the rest is for the load of machines that run tests.
BOUND = 5.0


def interrupted(words: list[str], delay: float, number: int = signal.SIGINT) -> tuple[int, float, str]:
    """Exit status, seconds from the signal to the end, and errors. The delay counts from when Python runs the program."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "trivmap", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        time.sleep(delay)
        start = time.monotonic()
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
        return process.returncode, time.monotonic() - start, errors
    finally:
        process.kill()


def check(status: int, errors: str) -> None:
    assert status == 130, errors
    assert "interrupted" in errors
    for word in ("Traceback", "Segmentation fault", "Fatal Python error", "KeyboardInterrupt"):
        assert word not in errors


@pytest.mark.parametrize("name", LONG)
def test_every_command_ends_at_once(name, tmp_path, monkeypatch, record_property):
    monkeypatch.chdir(tmp_path)
    if name == "sample":
        assert main([*TRAIN[:-1], "trained"]) == 0
    longest = 0.0
    for delay, number in ((1.0, signal.SIGINT), (5.0, signal.SIGINT), (9.0, signal.SIGINT), (7.0, signal.SIGTERM)):
        out = ["run" if word == "run" else word for word in LONG[name]]
        status, seconds, errors = interrupted(out, delay, number)
        check(status, errors)
        longest = max(longest, seconds)
        if name in ("train", "hmc") and os.path.exists("run/config.json"):
            LONG[name] = [word for word in LONG[name] if word != "--resume"] + ["--resume"]
    assert longest < BOUND
    record_property("longest time to the end [s]", round(longest, 2))


@pytest.mark.parametrize("words", [TRAIN, HMC], ids=["train", "hmc"])
def test_interrupted_again_and_again(words, tmp_path, monkeypatch, record_property):
    monkeypatch.chdir(tmp_path)
    assert main([*words[:-1], "right"]) == 0
    ended = 0
    for delay in (2.0, 4.0, 5.0, 6.0, 7.0, 8.0):
        command = [*words, "--resume"] if os.path.exists("run/config.json") else words
        status, _, errors = interrupted(command, delay)
        if status == 0:  # faster than the signal
            break
        check(status, errors)
        ended += 1
    command = [*words, "--resume"] if os.path.exists("run/config.json") else words
    assert main(command) == 0
    assert contents("run") == contents("right")
    record_property("interrupts of a run that went on to the same numbers", ended)


def test_second_signal_leaves_at_once(tmp_path, monkeypatch):
    """Also where the first one is held back by a write that does not end."""
    monkeypatch.chdir(tmp_path)
    code = """
import os, signal, sys, threading, time
import trivmap.cli._train as train
from trivmap.cli import main
write = train.write_checkpoint
def slow(*arguments):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    threading.Timer(1.8, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    while time.monotonic() < start + 30:
        time.sleep(0.1)
    print("held", flush=True)
train.write_checkpoint = slow
main(sys.argv[1:])
"""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *TRAIN], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 130, done.stderr
    assert "held" not in done.stdout
    assert time.monotonic() - start < 60
    assert Path("run/config.json").exists()
