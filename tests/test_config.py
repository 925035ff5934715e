"""What commands read: options, TOML and JSON share one set of types and bounds, and messages name the field."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import trivmap as tm
from trivmap.cli import _hmc, _sample, main
from trivmap.cli._config import (
    HMCCommand,
    SchwingerConfig,
    TrainCommand,
    U1Config,
    as_json,
    check_stored,
    parse,
    theory_from_json,
)
from trivmap.cli._info import require_backend
from trivmap.cli._run_folder import CommandError, RunFolder
from trivmap.cli.compare import Comparison, read_comparison

QUARKS = '[theory]\nkind = "schwinger"\n'
THEORY = '[theory]\nkind = "u1"\nlattice = [4, 4]\n'


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def refusal(words, capsys) -> str:
    """The one line of a command that refuses its input."""
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("trivmap: ")
    assert said.count("\n") == 1
    return said


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("hmc u1 --beta nan", "--beta: got nan, expected a finite number."),
        ("hmc u1 --beta inf", "--beta: got inf, expected a finite number."),
        ("hmc u1 --beta 1e300", "--beta: got 1e+300, expected a number <= 1000000000000.0."),
        ("hmc phi4 --lam -8", "--lam: got -8.0, expected a number >= 0.0."),
        ("hmc u1 --lattice 4 0", "--lattice[1]: got 0, expected an integer >= 1."),
        ("hmc u1 --lattice", "--lattice: got (), expected a list of length >= 1."),
        ("hmc u1 --lattice 65536 65536", "--lattice: got 4294967296 sites, expected at most 268435456."),
        ("hmc u1 --warmup -5", "--warmup: got -5, expected an integer >= 0."),
        ("hmc u1 --trajectory-length 0", "--trajectory-length: got 0.0, expected a number > 0.0."),
        ("hmc u1 --length-spread 1.5", "--length-spread: got 1.5, expected a number < 1.0."),
        ("hmc su --n 1", "--n: got 1, expected an integer >= 2."),
        ("train u1 --seed 12345678901234567890", "--seed: got 12345678901234567890, expected an integer <="),
        ("train u1 --seed -1", "--seed: got -1"),
        ("train u1 --learning-rate nan", "--learning-rate: got nan"),
        ("train u1 --ema 1", "--ema: got 1.0, expected a number < 1.0."),
        ("train u1 --budget -1", "--budget: got -1.0"),
        ("train u1 --clip 0", "--clip: got 0.0"),
        ("train u1 --batch-size 99999999999", "--batch-size: got 99999999999"),
        ("quickstart --samples 1", "--samples: got 1, expected an integer >= 2."),
        ("sample run --integration-steps 0", "--integration-steps: got 0"),
        ("measure file --batch-size 0", "--batch-size: got 0"),
        ("compare --seeds 0", "--seeds: got 0"),
        ("compare --budget inf", "--budget: got inf"),
        ("compare --methods gated gated", "methods: got gated, gated, expected one or more different ones."),
        ("compare u1-8x9", "No comparison 'u1-8x9'; did you mean u1-8x8?"),
    ],
)
def test_options_out_of_bounds(words, message, capsys):
    assert message in refusal(words.split(), capsys)
    assert os.listdir() == []


def test_names_that_no_file_can_have(capsys):
    for out in ("", "a\0b"):
        assert "--out: got" in refusal(["hmc", "u1", "--out", out], capsys)


def test_options_keep_their_types():
    command = parse(["hmc", "u1", "--beta", "3", "--lattice", "4", "6", "--out", "x"])
    assert command == HMCCommand(U1Config((4, 6), 3.0), out="x")
    assert isinstance(command.theory.beta, float)


# --- TOML ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods = 4\n" + THEORY, "mine.toml: methods: got 4, expected a list."),
        ("methods = [4]\n" + THEORY, "mine.toml: methods[0]: got 4, expected text."),
        ("methods = []\n" + THEORY, "methods: got none, expected one or more different ones."),
        ('training = "x"\n' + THEORY, "mine.toml: training: got 'x', expected a number."),
        ("training = nan\n" + THEORY, "mine.toml: training: got nan, expected a finite number."),
        ("seed = 2.5\n" + THEORY, "mine.toml: seed: got 2.5, expected an integer."),
        ("seed = 2.0\n" + THEORY, "mine.toml: seed: got 2.0, expected an integer."),
        ("seed = true\n" + THEORY, "mine.toml: seed: got True, expected an integer."),
        ("seed = 1979-05-27\n" + THEORY, "mine.toml: seed: got datetime.date(1979, 5, 27), expected an integer."),
        (f"seed = 0x{'f' * 5000}\n" + THEORY, "mine.toml: seed: got a very long integer, expected"),
        (f"seed = {'9' * 5000}\n" + THEORY, "mine.toml: not TOML"),
        ('precision = "half"\n' + THEORY, "mine.toml: precision: got 'half', expected one of float32, float64."),
        ("sees = 2\n" + THEORY, "mine.toml: sees: not known; did you mean seeds? There are theory, methods"),
        (THEORY + "beta = true", "mine.toml: theory.beta: got True, expected a number."),
        (THEORY + "betta = 1.0", "mine.toml: theory.betta: not known; did you mean beta? There are lattice, beta."),
        (THEORY.replace("[4, 4]", "4"), "mine.toml: theory.lattice: got 4, expected a list."),
        (THEORY.replace("[4, 4]", "[4, 4.0]"), "mine.toml: theory.lattice[1]: got 4.0, expected an integer."),
        (THEORY.replace('"u1"', "[]"), "mine.toml: theory.kind: got [], expected text."),
        (QUARKS + "boundary = [-1, 0]", "mine.toml: theory.boundary[1]: got 0, expected one of -1, 1."),
        (QUARKS + "boundary = [-1]", "mine.toml: theory.boundary: got [-1], expected a list"),
        (QUARKS + "flavours = 0", "mine.toml: theory.flavours: got 0, expected an integer >= 1."),
        (QUARKS + "kappa = nan", "mine.toml: theory.kappa: got nan, expected a finite number."),
        ("theory = 3", "mine.toml: theory: got 3, expected a table."),
        ("[theory]\nlattice = [4, 4]", "mine.toml: theory.kind: missing, expected one of u1, su, phi4, schwinger."),
        ("seeds = 2", "mine.toml: theory: missing"),
        ("seeds = 2\nseeds = 3\n" + THEORY, "mine.toml: not TOML"),
        ("a = " + "[" * 5000, "mine.toml: not TOML"),
        (b"# \xff", "mine.toml is damaged or no text"),
        (b"\x00\x01", "mine.toml: not TOML"),
    ],
)
def test_toml_of_wrong_types(text, message, capsys):
    with open("mine.toml", "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    assert message in refusal(["compare", "mine.toml"], capsys)
    assert os.listdir() == ["mine.toml"]


def test_files_that_cannot_be_read(capsys):
    os.mkdir("folder.toml")
    os.symlink("/dev/zero", "endless.toml")
    with open("large.toml", "wb") as file:
        file.truncate(2**30)
    assert "folder.toml: not a file" in refusal(["compare", "folder.toml"], capsys)
    assert "endless.toml: not a file" in refusal(["compare", "endless.toml"], capsys)
    assert "large.toml: 1073741824 bytes" in refusal(["compare", "large.toml"], capsys)
    assert "missing.toml: cannot read it: No such file" in refusal(["compare", "missing.toml"], capsys)
    assert "cannot read it" in refusal(["compare", "a\0.toml"], capsys)


def test_toml_and_python_make_the_same_comparison():
    with open("mine.toml", "w") as file:
        file.write('methods = ["hmc"]\ntraining = 3\n' + THEORY + "beta = 1\n")
    read = read_comparison("mine.toml")
    made = Comparison(U1Config((4, 4), 1.0), methods=("hmc",), training=3.0)
    assert read == made
    assert json.dumps(read.identity()) == json.dumps(made.identity())
    with pytest.raises(CommandError, match="Comparison: chains: got 0, expected an integer >= 1"):
        dataclasses.replace(made, chains=0)


# --- run folders -------------------------------------------------------------------------------------------------------

STORED = json.dumps({"train": as_json(TrainCommand(U1Config((4, 4))))})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"steps": 1000', '"steps": 1000.0', "train.steps: got 1000.0, expected an integer."),
        ('"seed": 0', '"seed": false', "train.seed: got False, expected an integer."),
        ('"kind": "u1"', '"kind": "u2"', "train.theory.kind: got 'u2', expected one of u1, su, phi4, schwinger."),
        ('"lattice": [4, 4]', '"lattice": "44"', "train.theory.lattice: got '44', expected a list."),
        ('"beta": 2.0', '"beta": NaN', "train.theory.beta: got nan, expected a finite number."),
        ('"recompute": true', '"recompute": 1', "train.model.recompute: got 1, expected true or false."),
        ('"chunk": 50', '"chunk": 50, "chunk": 51', "config.json is damaged (not JSON: 'chunk' stands there twice)"),
        ('"chunk"', '"chunks"', "train.chunks: not known; did you mean chunk?"),
        (STORED, "[]", "config.json: got [], expected a table."),
        (STORED, '{"train": 3}', "config.json: train: got 3, expected a table."),
        (STORED, "[" * 100_000, "config.json is damaged"),
    ],
)
def test_configurations_in_run_folders(old, new, message, capsys):
    os.mkdir("run")
    with open("run/config.json", "w") as file:
        file.write(STORED.replace(old, new))
    for words in (["sample", "run"], ["train", "u1", "--lattice", "4", "4", "--out", "run", "--resume"], ["cite", "run"]):
        assert message in refusal(words, capsys)


@pytest.mark.parametrize("theory", [U1Config((4, 4), 1.5), SchwingerConfig((4, 6), boundary=(1, -1))])
def test_configurations_come_back(theory):
    command = TrainCommand(theory, seed=3)
    check_stored("train", json.loads(json.dumps(as_json(command))), "config.json")
    assert theory_from_json(as_json(command)["theory"], "config.json") == command.theory


# --- other files, devices, disks ---------------------------------------------------------------------------------------


def test_measure_takes_files_of_the_library(capsys):
    """With the attributes of `ensemble_attributes`, as a script writes them."""
    data = tm.Chain(None, {"plaquette": np.random.default_rng(0).normal(size=(1, 200))})
    attributes = tm.io.ensemble_attributes(tm.WilsonAction(tm.U1(), (4, 4), beta=1.0))
    tm.write_chain("mine.h5", data, attributes)
    assert main(["measure", "mine.h5"]) == 0
    with open("mine.measure.json") as file:
        exact = json.load(file)["observables"]["plaquette"]["exact"]
    assert exact == pytest.approx(float(tm.exact.plaquette(tm.WilsonAction(tm.U1(), (4, 4), beta=1.0))))
    tm.write_chain("free.h5", data, tm.io.ensemble_attributes(tm.theories.FreeScalarAction((4, 4), m2=1.0)))
    assert "samples of a 'FreeScalarAction'" in refusal(["measure", "free.h5"], capsys)
    assert "mine.h5: wilson_1x1: not stored" in refusal(["measure", "mine.h5", "--observables", "wilson_1x1"], capsys)
    links = tm.Chain(np.zeros((1, 20, 2, 4, 4)))
    tm.write_chain("links.h5", links, attributes)
    assert "links.h5: wilson_loop" in refusal(["measure", "links.h5", "--observables", "wilson_9x9"], capsys)
    other = tm.io.ensemble_attributes(tm.WilsonAction(tm.U1(), (4, 6), beta=1.0))
    tm.write_chain("other.h5", links, other)
    words = ["measure", "other.h5", "--observables", "plaquette"]
    assert "configurations of shape (1, 20, 2, 4, 4)" in refusal(words, capsys)
    tm.write_ensemble("none.h5", tm.Ensemble(None, np.full(5, -np.inf), {"plaquette": np.zeros(5)}), attributes)
    assert "all log weights are -inf" in refusal(["measure", "none.h5"], capsys)
    tm.write_chain("odd.h5", data, {"theory": 3})
    assert "does not say which theory" in refusal(["measure", "odd.h5"], capsys)


def test_backend_that_is_not_there():
    environment = os.environ | {"JAX_PLATFORMS": "cuda"}
    for words in (["info"], ["hmc", "u1"]):
        done = subprocess.run([sys.executable, "-m", "trivmap", *words], capture_output=True, text=True, env=environment)
        assert done.returncode == 2
        assert done.stderr.startswith("trivmap: JAX_PLATFORMS=cuda asks for a backend that is not here. Set")
        assert done.stderr.count("\n") == 1
    assert os.listdir() == []
    require_backend()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device", "run/x.h5"), "No space left on device: run/x.h5."),
        (PermissionError(13, "Permission denied", "run"), "Permission denied: run."),
        (MemoryError(), "out of memory: take a smaller lattice"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes"), "out of memory"),
    ],
)
def test_failures_of_the_machine(error, message, monkeypatch, capsys):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(_hmc, "_run", fail)
    assert main(["hmc", "u1", "--out", "run"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"trivmap: {message}")
    assert said.count("\n") == 1


def test_what_nobody_foresaw(monkeypatch, capsys):
    """One line for users; the traceback on demand."""

    def fail(*arguments):
        raise RuntimeError("odd\nlines")

    monkeypatch.setattr(_hmc, "_run", fail)
    with pytest.raises(RuntimeError):
        main(["hmc", "u1", "--out", "run"])
    monkeypatch.delenv("TRIVMAP_TRACEBACK")
    capsys.readouterr()
    assert main(["hmc", "u1", "--out", "other"]) == 1
    said = capsys.readouterr().err
    assert said == (
        "trivmap: unexpected RuntimeError: odd. What was saved before is complete. "
        "TRIVMAP_TRACEBACK=1 shows where it comes from.\n"
    )


def test_output_folder_that_cannot_be_made(capsys):
    with open("file", "w"):
        pass
    for out in ("file", "file/run", "/proc/run"):
        refusal(["hmc", "u1", "--out", out], capsys)


# --- flows that are not what they seem ---------------------------------------------------------------------------------


def test_untrained_flow_says_so(monkeypatch, capsys):
    words = ["train", "u1", "--lattice", "2", "2", "--integration-steps", "1", "--batch-size", "2", "--out", "run"]
    monkeypatch.setattr("trivmap.cli._train.fit", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(words) == 130
    capsys.readouterr()
    assert main(["sample", "run", "--samples", "8", "--batch-size", "8"]) == 0
    shown = capsys.readouterr().out
    assert "caution: the flow is untrained (step 0 of 1000)" in shown
    with open("run/samples.json") as file:
        assert json.load(file)["step"] == 0


def test_model_of_other_integration_steps_is_refused(monkeypatch, capsys):
    """Its arrays fit: only the configuration tells."""
    monkeypatch.setattr("trivmap.cli._train.fit", lambda *a, **k: None)
    monkeypatch.setattr("trivmap.cli._train._summarise", lambda *a: None)
    tiny = ["train", "u1", "--lattice", "2", "2", "--batch-size", "2"]
    for steps in ("5", "7"):
        assert main([*tiny, "--integration-steps", steps, "--out", f"run{steps}"]) == 0
    os.replace("run7/model.ckpt", "run5/model.ckpt")
    monkeypatch.setattr(_sample, "draw", lambda *a, **k: pytest.fail("sampled a foreign model"))
    assert "model.integration_steps" in refusal(["sample", "run5"], capsys)


def test_folder_is_left_alone_by_refused_configurations(capsys):
    RunFolder("run").claim("hmc", as_json(HMCCommand(U1Config((4, 4)))))
    before = Path("run/config.json").read_bytes()
    refusal(["hmc", "u1", "--lattice", "4", "6", "--out", "run", "--resume"], capsys)
    assert Path("run/config.json").read_bytes() == before
