"""Signals that come where Python does not look, or while files are written."""

import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import trivmap as tm
from trivmap.training import _gauss_newton

pytestmark = pytest.mark.usefixtures("as_in_the_foreground")

# A computation in C that releases the interpreter and does not return to it, as XLA compiles.
COMPUTES = "hashlib.pbkdf2_hmac('sha256', b'', b'', {})"
FOREVER = 10**9
PROGRAM = """
import hashlib, os, signal, sys, threading, time
from trivmap.cli._interrupt import interruptible, interrupts_deferred, on_interrupt, leave, farewell

class Callback:
    def __del__(self):
        time.sleep(20)

with interruptible():
    on_interrupt(lambda: "all is saved.")
    threading.Timer(0.3, os.kill, (os.getpid(), signal.{signal})).start()
    try:
        {body}
    except KeyboardInterrupt:
        print(farewell(), file=sys.stderr)
        leave()
"""


def run(body: str, number: str = "SIGINT") -> tuple[subprocess.CompletedProcess, float]:
    start = time.monotonic()
    command = [sys.executable, "-c", PROGRAM.format(body=body, signal=number)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done, time.monotonic() - start


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signal_in_a_computation_that_does_not_return(number):
    done, seconds = run(COMPUTES.format(FOREVER), number)
    assert done.returncode == 130
    assert done.stderr.strip() == "trivmap: interrupted; all is saved."
    assert seconds < 60  # of minutes; importing takes most of it


def test_signal_in_a_callback_that_python_ignores():
    done, seconds = run("Callback()\n        time.sleep(60)")
    assert done.returncode == 130
    assert done.stderr.strip() == "trivmap: interrupted; all is saved."
    assert seconds < 60


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signal_after_the_work_is_done(number):
    """While Python ends, which takes a moment: the run was a success."""
    code = "import os, signal, sys; from trivmap.cli import main; status = main(); "
    code += f"os.kill(os.getpid(), signal.{number}); sys.exit(status)"
    done = subprocess.run([sys.executable, "-c", code, "info"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_files_are_finished_first():
    """Two seconds and more, beyond the time that a command has to end by itself."""
    body = f"with interrupts_deferred():\n            {COMPUTES.format(5 * 10**6)}\n            print('written', flush=True)"
    done, _ = run(body)
    assert done.returncode == 130
    assert done.stdout.strip() == "written"
    assert "interrupted; all is saved." in done.stderr


def test_gauss_newton_keeps_its_steps(monkeypatch):
    theory = tm.WilsonAction(tm.U1(), (2, 2), beta=0.5)
    flow = tm.ContinuousFlow(tm.GradientField(tm.LoopPotential(theory.manifold, coefficient=0.1)), steps=1)
    model = tm.Model(tm.HaarPrior(theory.manifold), flow)
    steps, calls = _gauss_newton._Steps, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return steps(*arguments)

    options = {"parameters": lambda m: m.transport.field.potential.coefficients, "samples": 256, "progress": False}
    monkeypatch.setattr(_gauss_newton, "_Steps", interrupted)
    with pytest.raises(tm.samplers.SamplingInterrupted, match="2 of 4") as caught:
        tm.gauss_newton(jax.random.key(0), model, theory, steps=3, **options)
    monkeypatch.undo()
    found, records = caught.value.partial
    right, _ = tm.gauss_newton(jax.random.key(0), model, theory, steps=1, **options)
    assert len(records) == 2
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)


def test_interrupts_are_no_exceptions():
    """`except Exception` around a run must not take an interrupt for a failure."""
    for kind in (tm.samplers.SamplingInterrupted, tm.training.TrainingInterrupted):
        assert issubclass(kind, KeyboardInterrupt)
        assert not issubclass(kind, Exception)
    assert issubclass(tm.training.TrainingDiverged, Exception)
