"""The commands, run in a temporary folder as a user would."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from trivmap.cli import _train, main
from trivmap.cli._build import build_theory
from trivmap.cli._cite import WORKS
from trivmap.cli._config import SchwingerConfig
from trivmap.cli._info import gpu_advice
from trivmap.cli._observables import all_estimates, observables
from trivmap.cli._run_folder import RunFolder
from trivmap.fermions import solve
from trivmap.io import read_chain, read_ensemble, read_header, write_checkpoint
from trivmap.observables import _quarks
from trivmap.samplers import quenched

# Small enough that compilation is nearly all of the time.
TINY = ["--lattice", "4", "4", "--integration-steps", "2", "--batch-size", "8", "--chunk", "2", "--seed", "3"]
TRAIN = ["train", "u1", "--steps", "6", *TINY]


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # main installs handlers that pytest must get back
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def trivmap(*arguments: str, **options) -> subprocess.CompletedProcess:
    """The command in a process of its own, at 80 columns."""
    environment = os.environ | {"COLUMNS": "80"}
    command = [sys.executable, "-m", "trivmap", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, **options)


def read_json(path: str):
    with open(path) as file:
        return json.load(file)


def metrics(folder: str) -> list[dict]:
    with open(f"{folder}/metrics.jsonl") as file:
        return [json.loads(line) for line in file]


def payload(path: str) -> bytes:
    """The leaves of a checkpoint: what follows magic, digest, length and header."""
    with open(path, "rb") as file:
        data = file.read()
    return data[48 + int.from_bytes(data[40:48], "little") :]


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [[], ["train"], ["train", "u1"], ["sample"], ["hmc", "su"], ["hmc", "schwinger"], ["exact"], ["measure"]]
)
def test_help_fits_eighty_columns(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exit:
        main([*words, "--help"])
    assert exit.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: trivmap" in shown
    # tyro does not wrap a usage line that fits no better
    assert max(len(line) for line in shown.splitlines() if not line.startswith("usage:")) <= 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "u1", "--bta", "3"], "--beta"),
        (["trian"], "train"),
        (["train", "u1", "--beta", "strong"], "strong"),
        (["train", "u1", "--field", "fancy"], "gated"),
        (["hmc", "schwinger", "--boundary", "0", "1"], "{-1,1}"),
        (["hmc", "schwinger", "--boundary", "-1"], "--boundary"),
        (["train"], "phi4"),
        (["sample"], "RUN"),
    ],
)
def test_unknown_options_are_refused(words, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(words)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err
    assert os.listdir() == []


def test_unknown_option_as_a_user_sees_it():
    done = trivmap("train", "u1", "--bta", "3")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "--beta" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "u1", "--lattice", "-4", "4"], "-4"),
        (["train", "su", "--lattice", "4", "4", "--field", "gated"], "GatedConvolutionField"),
        (["train", "phi4", "--prior", "haar"], "gaussian"),
        (["train", "u1", "--integration-steps", "0"], "step"),
        (["train", "u1", "--steps", "0"], "steps"),
        (["train", "u1", "--ema", "1.5"], "ema"),
        (["hmc", "u1", "--chains", "0"], "--chains"),
        (["hmc", "u1", "--trajectories", "3"], "--trajectories: got 3, expected an integer >= 4"),
        (["hmc", "u1", "--beta", "nan"], "--beta: got nan, expected a finite number"),
        (["hmc", "phi4", "--lam", "-8"], "--lam"),
        (["hmc", "u1", "--warmup", "-5"], "--warmup"),
        (["hmc", "u1", "--length-spread", "1.5"], "--length-spread"),
        (["hmc", "u1", "--target-acceptance", "1"], "--target-acceptance"),
        (["train", "u1", "--seed", "12345678901234567890"], "--seed"),
        (["train", "u1", "--lattice"], "--lattice"),
        (["compare", "--methods", "gatd"], "did you mean gated?"),
        (["hmc", "phi4", "--lattice", "0", "4"], "0"),
        (["hmc", "schwinger", "--flavours", "1"], "--flavours: got 1, expected an even number"),
        (["train", "schwinger", "--lattice", "4", "4", "4"], "expected two extents"),
        (["exact", "schwinger", "--kappa", "nan"], "--kappa: got nan"),
        (["exact", "schwinger", "--observables", "pions"], "No observable 'pions'"),
        (["hmc", "u1", "--lattice", "4", "4", "4", "--hits"], "--hits: they move the charge"),
        (["sample", "nowhere"], "nowhere"),
        (["measure", "nowhere.h5"], "nowhere.h5"),
    ],
)
def test_impossible_values_are_refused_before_anything_is_written(words, message, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("trivmap: ")
    assert message in error
    assert os.listdir() == []


# --- info ------------------------------------------------------------------------------------------------------------


def test_info():
    done = trivmap("info")
    assert done.returncode == 0, done.stderr
    for word in ("jax", "equinox", "backend", "cpu", "x64", "on", "cache"):
        assert word in done.stdout


def test_info_cures_a_silent_fall_back_to_the_cpu(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert "trivmap[cuda12]" in str(gpu_advice("cpu", present=True))
    assert gpu_advice("gpu", present=True) is None
    assert gpu_advice("cpu", present=False) is None
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert "JAX_PLATFORMS" in str(gpu_advice("cpu", present=True))


# --- train, sample, measure --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of TRAIN, for tests that only read it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main([*TRAIN, "--out", str(folder)]) == 0
    return folder


def test_train_leaves_a_complete_run_folder(finished):
    assert {path.name for path in finished.iterdir()} == {
        "config.json", "environment.json", "metrics.jsonl", "checkpoint.ckpt", "model.ckpt", "summary.json",
    }  # fmt: skip
    assert [record["step"] for record in metrics(str(finished))] == [2, 4, 6]
    for name in ("loss", "ess", "acceptance", "gradient_norm", "halving_std", "seconds", "compile_seconds"):
        assert np.isfinite([record[name] for record in metrics(str(finished))]).all()
    environment = read_json(f"{finished}/environment.json")["train"]
    assert environment["versions"]["jax"] == jax.__version__
    assert environment["x64"] is True
    config = read_json(f"{finished}/config.json")["train"]
    assert config["theory"] == {"kind": "u1", "lattice": [4, 4], "beta": 2.0}
    summary = read_json(f"{finished}/summary.json")
    assert summary["step"] == 6
    assert summary["seconds"]["compile"] > 0
    assert read_header(finished / "model.ckpt")["config"] == config


def test_default_folder_and_first_lines(capsys):
    assert main(TRAIN) == 0
    shown = capsys.readouterr().out
    (folder,) = os.listdir("runs")
    identity = folder.removeprefix("train-u1-")
    assert f"config {identity}, seed 3, revision" in shown
    assert f"next: trivmap sample runs/{folder}" in shown


def test_sample_then_measure(finished, capsys):
    assert main(["sample", str(finished), "--samples", "40", "--batch-size", "16", "--name", "few"]) == 0
    assert "ESS" in (shown := capsys.readouterr().out)
    assert "step halving" in shown
    ensemble, attributes = read_ensemble(finished / "few.h5")
    assert len(ensemble) == 40
    assert attributes["theory"]["beta"] == 2.0
    summary = read_json(f"{finished}/few.json")
    assert set(summary["observables"]) == {"plaquette", "wilson_2x2", "charge", "charge2", "log_z"}
    assert 0 < summary["ess"] <= 1

    # the same numbers again, and one that was not stored
    assert main(["measure", str(finished / "few.h5"), "--observables", "plaquette", "wilson_1x2"]) == 0
    measured = read_json(f"{finished}/few.measure.json")["observables"]
    assert measured["plaquette"]["flow"] == summary["observables"]["plaquette"]["flow"]
    assert set(measured) == {"plaquette", "wilson_1x2", "log_z"}

    capsys.readouterr()
    assert main(["measure", str(finished / "few.h5"), "--observables", "chi2"]) == 2
    assert "no observable 'chi2'" in capsys.readouterr().err.lower()

    # samples are a function of the configuration: again is allowed, otherwise is refused
    first = ensemble.log_weights
    assert main(["sample", str(finished), "--samples", "40", "--batch-size", "16", "--name", "few"]) == 0
    np.testing.assert_array_equal(read_ensemble(finished / "few.h5")[0].log_weights, first)
    assert main(["sample", str(finished), "--samples", "41", "--batch-size", "16", "--name", "few"]) == 2
    assert "samples is 40, now 41" in capsys.readouterr().err


def test_sample_without_configurations(finished, capsys):
    words = ["sample", str(finished), "--samples", "8", "--batch-size", "8", "--no-keep-configurations", "--name", "bare"]
    assert main(words) == 0
    assert read_ensemble(finished / "bare.h5")[0].configurations is None
    assert main(["measure", str(finished / "bare.h5"), "--observables", "wilson_1x2"]) == 2
    assert "keeps no configurations" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("theory", [["phi4"], ["su", "--n", "2"], ["schwinger", "--kappa", "0.2"]])
def test_other_theories_train_and_sample(theory):
    assert main(["train", *theory, "--steps", "2", *TINY, "--out", "run"]) == 0
    assert main(["sample", "run", "--samples", "8", "--batch-size", "8"]) == 0
    summary = read_json("run/samples.json")
    assert all(np.isfinite(row["flow"]).all() for row in summary["observables"].values())


# --- interrupt, resume, refusals ----------------------------------------------------------------------------------------


def test_interrupted_training_resumes_bit_for_bit(finished, monkeypatch, capsys):
    """Interrupted after the second of three chunks, between metrics and checkpoint: the worst moment."""
    append = RunFolder.append_metrics

    def interrupt(self, record):
        append(self, record)
        if record["step"] == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "append_metrics", interrupt)
    assert main([*TRAIN, "--out", "run"]) == 130
    assert "--resume" in capsys.readouterr().err
    assert read_header("run/checkpoint.ckpt")["step"] == 2
    monkeypatch.setattr(RunFolder, "append_metrics", append)
    assert main([*TRAIN, "--out", "run", "--resume"]) == 0
    assert "continuing after step 2" in capsys.readouterr().out
    assert payload("run/model.ckpt") == payload(f"{finished}/model.ckpt")
    assert payload("run/checkpoint.ckpt") == payload(f"{finished}/checkpoint.ckpt")
    losses = [[record["loss"] for record in metrics(folder)] for folder in ("run", str(finished))]
    assert losses[0] == losses[1]


def test_signal_while_a_checkpoint_is_written_waits_for_it(monkeypatch):
    """Metrics, checkpoint and model are of the same step, whenever the signal comes."""

    def interrupt(*arguments):
        signal.raise_signal(signal.SIGTERM)
        write_checkpoint(*arguments)

    monkeypatch.setattr(_train, "write_checkpoint", interrupt)
    assert main([*TRAIN, "--out", "run"]) == 130
    assert [record["step"] for record in metrics("run")] == [2]
    assert [read_header(f"run/{name}.ckpt")["step"] for name in ("checkpoint", "model")] == [2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_during_training_keeps_everything(number):
    words = ["train", "u1", "--steps", "1000000", *TINY, "--out", "run"]
    command = [sys.executable, "-m", "trivmap", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 240
        while not (os.path.exists("run/checkpoint.ckpt")) and time.monotonic() < end:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.2)
        process.send_signal(number)
        errors = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "--resume" in errors
    step = read_header("run/checkpoint.ckpt")["step"]
    assert step >= 2
    assert step in [record["step"] for record in metrics("run")]
    assert read_header("run/model.ckpt")["step"] == step


def test_budget_ends_training_early_and_resume_goes_on(capsys):
    assert main([*TRAIN, "--out", "run", "--budget", "0"]) == 0
    assert "budget" in capsys.readouterr().out
    assert [record["step"] for record in metrics("run")] == [2]
    assert main([*TRAIN, "--out", "run", "--resume"]) == 0
    assert [record["step"] for record in metrics("run")] == [2, 4, 6]


def test_run_folder_of_another_configuration_is_refused(finished, capsys):
    before = {path: path.read_bytes() for path in finished.iterdir()}
    for extra in ([], ["--resume"]):
        assert main([*TRAIN, "--beta", "2.5", "--out", str(finished), *extra]) == 2
        assert "theory.beta is 2.0, now 2.5" in capsys.readouterr().err
    assert main([*TRAIN, "--out", str(finished)]) == 2
    assert "add --resume" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_folder_with_other_files_is_refused(tmp_path, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("...")
    assert main([*TRAIN, "--out", "thesis"]) == 2
    assert "not a run folder" in capsys.readouterr().err
    assert main(["quickstart", "--out", "thesis"]) == 2
    assert os.listdir("thesis") == ["chapter1.tex"]
    assert main([*TRAIN, "--out", "fresh", "--resume"]) == 2
    assert "no run to resume" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_checkpoint_is_refused(capsys, damage):
    assert main([*TRAIN, "--out", "run", "--budget", "0"]) == 0
    for name in ("checkpoint.ckpt", "model.ckpt"):
        with open(f"run/{name}", "rb") as file:
            data = bytearray(file.read())
        if damage == "flip":
            data[len(data) // 2] ^= 1
        else:
            del data[-10:]
        with open(f"run/{name}", "wb") as file:
            file.write(data)
    capsys.readouterr()
    assert main([*TRAIN, "--out", "run", "--resume"]) == 2
    assert "checkpoint.ckpt: the checkpoint is damaged" in capsys.readouterr().err
    assert main(["sample", "run"]) == 2
    assert "model.ckpt: the checkpoint is damaged" in capsys.readouterr().err


def test_damaged_config_and_samples_are_refused(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"train": ')
    assert main([*TRAIN, "--out", "run"]) == 2
    assert "config.json is damaged" in capsys.readouterr().err
    (tmp_path / "samples.h5").write_bytes(b"no HDF5")
    assert main(["measure", "samples.h5"]) == 2
    assert "not an intact HDF5 file" in capsys.readouterr().err


def test_diverging_training_stops_and_keeps_the_last_good_state(capsys):
    # Starts so far out that phi^4 is infinite in single precision.
    words = ["train", "phi4", "--prior-width", "1e12", "--steps", "4", *TINY, "--out", "run"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "not finite at step 0" in error
    assert read_header("run/model.ckpt")["step"] == 0


# --- hmc ---------------------------------------------------------------------------------------------------------------

HMC = ["hmc", "u1", "--lattice", "4", "4", "--trajectories", "6", "--warmup", "2", "--chains", "2", "--chunk", "2"]


def test_hmc_resumes_bit_for_bit(monkeypatch, capsys):
    assert main([*HMC, "--out", "whole"]) == 0
    assert "tau" not in capsys.readouterr().err.lower()
    summary = read_json("whole/summary.json")
    assert len(summary["observables"]["plaquette"]["hmc"]) == 2
    assert sorted(os.listdir("whole")) == ["checkpoint.ckpt", "config.json", "environment.json", "samples.h5", "summary.json"]

    import trivmap.cli._hmc as module

    write, count = module.write_checkpoint, []

    def interrupt(*arguments):
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(module, "write_checkpoint", interrupt)
    assert main([*HMC, "--out", "parts"]) == 130
    assert "--resume" in capsys.readouterr().err
    monkeypatch.setattr(module, "write_checkpoint", write)
    assert main([*HMC, "--out", "parts", "--resume"]) == 0
    whole, parts = (read_chain(f"{folder}/samples.h5")[0] for folder in ("whole", "parts"))
    assert whole.shape == (2, 6)
    for name in whole.observables:
        np.testing.assert_array_equal(whole.observables[name], parts.observables[name])
    np.testing.assert_array_equal(whole.delta_h, parts.delta_h)
    assert main([*HMC, "--out", "parts"]) == 2
    assert main(["measure", "parts"]) == 0


def test_hmc_adapts_its_steps_unless_told_otherwise(capsys):
    """To the acceptance that was asked for; the summary of a run that is complete names the step again."""
    words = ["hmc", "phi4", "--lattice", "2", "3", "--trajectories", "40", "--warmup", "80", "--chains", "8"]
    words += ["--integrator", "leapfrog", "--md-steps", "3"]
    assert main([*words, "--out", "adapted"]) == 0
    shown, summary = capsys.readouterr().out, read_json("adapted/summary.json")
    assert f"in steps of {summary['step_size']:.4g}" in shown
    assert summary["trajectory_length"] == pytest.approx(3 * summary["step_size"])
    # 320 decisions of eight chains, each with an error of the step: 0.02 and 0.03, and the bias of a short warmup.
    assert abs(summary["acceptance"] - 0.8) < 0.12
    assert main([*words, "--out", "fixed", "--target-acceptance", "0"]) == 0
    assert read_json("fixed/summary.json")["trajectory_length"] == 1.0
    assert main([*words, "--out", "adapted", "--resume"]) == 0
    assert read_json("adapted/summary.json")["trajectory_length"] == summary["trajectory_length"]


@pytest.mark.slow
def test_hits_and_masses(capsys):
    """Chains with hits, stored and measured again, against exact samples; light quarks are warned of."""
    model = ["schwinger", "--lattice", "4", "4", "--kappa", "0.26"]
    chain = ["--trajectories", "400", "--warmup", "50", "--chains", "8", "--md-steps", "4", "--chunk", "200"]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["hmc", *model, *chain, "--hits", "--keep-configurations", "--out", "run"]) == 0
    assert "caution! WilsonDirac: kappa = 0.26 is at or beyond 1/(2 d)" in capsys.readouterr().err
    assert main(["hmc", *model, *chain, "--hits", "--keep-configurations", "--out", "run", "--resume"]) == 0
    assert main(["measure", "run", "--observables", "plaquette", "condensate", "pion", "wilson_1x2"]) == 0
    found = {name: row["hmc"] for name, row in read_json("run/summary.json")["observables"].items()}
    again = {name: row["chain"] for name, row in read_json("run/samples.measure.json")["observables"].items()}
    assert set(again) == {"plaquette", "condensate", "pion_mass", "wilson_1x2"}
    assert all(again[name] == found[name] for name in ("plaquette", "condensate", "pion_mass"))
    theory = build_theory(SchwingerConfig((4, 4), kappa=0.26))
    exact = all_estimates(quenched(jax.random.key(0), theory, 8192, observables=observables(theory)))
    for name in ("plaquette", "charge2", "condensate", "pion_mass"):
        assert abs(exact[name].pull(*found[name])) < 4, name


def test_exact_values(capsys):
    """From the closed form, and the means of exact samples of the gauge theory with the weight of quarks, here small."""
    assert main(["exact", "u1", "--lattice", "4", "4", "--observables", "plaquette"]) == 0
    plaquette = float(capsys.readouterr().out.split("plaquette")[1].split()[0])
    options = ["--kappa", "0.001", "--samples", "2000", "--observables", "plaquette"]
    assert main(["exact", "schwinger", "--lattice", "4", "4", *options]) == 0
    shown = capsys.readouterr().out
    assert "ESS 1.0000 with them" in shown
    mean, error = shown.split("plaquette")[1].split()[0].rstrip(")").split("(")
    # 8 kappa^4 per plaquette and flavour: nothing against an error in the last two digits.
    assert abs(float(mean) - plaquette) < 4 * float(error) * 10.0 ** -len(mean.split(".")[1])
    assert os.listdir() == []


def test_unconverged_solve_is_named(monkeypatch, capsys):
    monkeypatch.setattr(_quarks, "solve", functools.partial(solve, max_iterations=2))
    options = ["--lattice", "3", "4", "--samples", "4", "--observables", "pion"]
    assert main(["exact", "schwinger", *options]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "NotConvergedError: solve: got a relative residual of" in said
    assert "after 2 iterations at kappa = 0.24" in said


def test_hmc_keeps_configurations(capsys):
    words = ["hmc", "su", "--n", "2", "--lattice", "2", "2", "--trajectories", "4", "--warmup", "1", "--chains", "2"]
    assert main([*words, "--keep-configurations", "--out", "run"]) == 0
    chain, _ = read_chain("run/samples.h5")
    assert np.shape(chain.configurations) == (2, 4, 2, 2, 2, 2, 2)
    assert "plaquette" in chain.observables
    # Eight measurements: some error cannot be trusted, and both commands say so.
    cautions = [line for line in capsys.readouterr().out.splitlines() if line.startswith("caution")]
    assert cautions
    assert main(["measure", "run"]) == 0
    shown = capsys.readouterr().out
    assert all(line.replace("(hmc)", "(chain)")[:60] in shown for line in cautions)


# --- quickstart --------------------------------------------------------------------------------------------------------


def check_quickstart(folder: str) -> dict:
    summary = read_json(f"{folder}/summary.json")
    assert {"theory", "ess", "acceptance", "observables", "seconds"} <= set(summary)
    assert {"total", "compile", "train", "sample", "hmc"} <= set(summary["seconds"])
    assert set(summary["observables"]) == {"plaquette", "wilson_2x2", "charge2", "log_z"}
    for suffix in ("png", "pdf", "json"):
        assert os.path.getsize(f"{folder}/quickstart.{suffix}") > 1000
    return summary


def test_quickstart_in_small():
    words = "quickstart --steps 2 --finish 0 --batch-size 8 --samples 64 --trajectories 20 --out q".split()
    assert main(words) == 0
    first = check_quickstart("q")
    assert main(words) == 0  # replaces its own folder
    assert check_quickstart("q")["observables"] == first["observables"]


@pytest.mark.slow
def test_quickstart():
    done = trivmap("quickstart")
    assert done.returncode == 0, done.stderr
    summary = check_quickstart("runs/quickstart")
    # 0.988, 0.993 and 0.992 with the seeds 0, 1, 2; samples of |Q| = 3 and 4, some hundred of them, make the difference.
    assert summary["ess"] >= 0.98
    # 1 % of the samples decide: the same up to the statistical error of an ESS from 2048 samples
    assert summary["halving"]["ess_halved"] == pytest.approx(summary["halving"]["ess"], abs=0.01)
    for name, row in summary["observables"].items():
        for source in ("flow", "hmc"):
            if row[source] is not None:
                value, error = row[source]
                assert abs(value - row["exact"]) < 4 * error, (name, source)
    # a minute on two idle cores; tests may share them
    assert summary["seconds"]["total"] < 150


# --- cite ------------------------------------------------------------------------------------------------------------


def test_cite_prints_what_a_run_rests_on(capsys):
    folder = RunFolder("run")
    folder.claim("train", {"theory": {"kind": "phi4"}})
    assert main(["cite", "run"]) == 0
    shown = capsys.readouterr().out
    assert "2207.00283" in shown
    assert "2212.08469" not in shown
    RunFolder("links").claim("train", {"theory": {"kind": "u1"}, "model": {"field": "loops"}})
    assert main(["cite", "links"]) == 0
    assert "2212.08469" in capsys.readouterr().out
    assert main(["cite"]) == 0
    every = capsys.readouterr().out
    assert every.count("@misc") == len(WORKS)
    assert "version = {" in every
    page = (Path(__file__).parents[1] / "docs/citing.md").read_text()
    assert all(work.eprint in page for work in WORKS.values())
    assert main(["cite", "nowhere"]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
