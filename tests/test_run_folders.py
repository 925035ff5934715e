"""Run folders: what they take, refuse, keep and remove."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest

import trivmap as tm
from trivmap.cli import _exact, _sample, _train, main
from trivmap.cli._config import as_json
from trivmap.cli._errors import CommandError
from trivmap.cli._metrics import append_record, read_records, restore_records
from trivmap.cli._quickstart import _fresh_folder
from trivmap.cli._run_folder import RunFolder
from trivmap.cli._sample_names import check_name
from trivmap.cli.compare._parts import WeightParts
from trivmap.cli.compare._sampling import sample_weights

TINY = ["u1", "--lattice", "2", "2"]
TRAIN = ["train", *TINY, "--steps", "2", "--chunk", "1", "--batch-size", "4", "--integration-steps", "1"]
HMC = ["hmc", *TINY, "--trajectories", "4", "--warmup", "1", "--chains", "2", "--chunk", "2", "--out", "hmc"]


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main([*TRAIN, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run(trained):
    """A copy of a trained run."""
    import shutil

    shutil.copytree(trained, "run")
    return Path("run")


# --- names and foreign files -------------------------------------------------------------------------------------------

REFUSED = ["", "config", "Config", "summary", "environment", "metrics", "checkpoint", "model", "hmc", "quickstart"]
REFUSED += ["../x", "a/b", "/tmp/x", ".", "..", ".hidden", "x.h5", "x.measure", "x.partial", "x.", "part-000000010"]
REFUSED += ["x y", "x\n", "é", "a" * 101, "-x"]


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_are_refused(name):
    with pytest.raises(CommandError, match="--name"):
        check_name(name)


def test_names_that_are_taken():
    for name in ("samples", "beta2.0", "fine-10000", "_x", "seed=3", "A+b"):
        check_name(name)


def test_sample_leaves_other_files_alone(run, capsys):
    (run / "mine.json").write_text("precious")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    for name in ("config", "../outside", "mine"):
        assert main(["sample", "run", "--samples", "4", f"--name={name}"]) == 2
        assert "--name" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert os.listdir() == ["run"]


def test_folders_older_than_an_option_go_on(monkeypatch, capsys):
    """A configuration without an option is that with its default."""
    older = lambda command: {key: value for key, value in as_json(command).items() if key not in ("finish", "ema")}  # noqa: E731
    with monkeypatch.context() as earlier:
        earlier.setattr(_train, "as_json", older)
        assert main([*TRAIN, "--out", "run", "--budget", "0"]) == 0
    assert "finish" not in json.loads(Path("run/config.json").read_text())["train"]
    assert main([*TRAIN, "--out", "run", "--resume", "--finish", "3"]) == 2
    assert "finish is 0, now 3" in capsys.readouterr().err
    assert main([*TRAIN, "--out", "run", "--resume"]) == 0
    assert "continuing after step 1" in capsys.readouterr().out
    assert [json.loads(line)["step"] for line in Path("run/metrics.jsonl").read_text().splitlines()] == [1, 2]


def test_quickstart_removes_what_quickstarts_make(tmp_path):
    Path("elsewhere.h5").write_text("precious")
    os.makedirs("q/sub")
    (folder := Path("q")).joinpath("config.json").write_text('{"quickstart": {}}')
    for name in ("notes.txt", "sub/samples.h5", "metrics.jsonl", "samples2.h5"):
        (folder / name).write_text("here")
    (folder / "samples.h5").symlink_to(tmp_path / "elsewhere.h5")
    _fresh_folder("q")
    left = {str(path.relative_to("q")) for path in folder.rglob("*")}
    assert left == {"config.json", "notes.txt", "sub", "sub/samples.h5", "samples2.h5"}
    assert Path("elsewhere.h5").read_text() == "precious"


def test_folder_of_another_command_is_refused(run, capsys):
    assert main([*HMC[:-1], "run"]) == 2
    assert "holds a run of `trivmap train`" in capsys.readouterr().err
    assert main(["quickstart", "--out", "run"]) == 2
    assert main(["compare", "u1-8x8", "--smoke", "--out", "run"]) == 2


def test_output_that_cannot_be(capsys):
    Path("file").write_text("text")
    for words in (TRAIN, HMC[:-2], ["quickstart"], ["compare", "u1-8x8", "--smoke"], ["figure", "box-muller", "--smoke"]):
        for out in ("file", "file/below"):
            assert main([*words, "--out", out]) == 2
            error = capsys.readouterr().err
            assert error.startswith("trivmap: file")
            assert len(error.splitlines()) == 1
    assert Path("file").read_text() == "text"


def test_left_over_temporaries_and_locks_are_no_files():
    folder = RunFolder("killed")
    folder.path.mkdir()
    for name in (".config.json.123-0a1b2c3d.tmp", ".lock", ".samples.h5.lock"):
        (folder / name).write_text("")
    folder.claim("hmc", {"theory": {"kind": "u1", "lattice": [2, 2], "beta": 1.0}})
    assert "hmc" in json.loads(Path("killed/config.json").read_text())


def test_lock_is_held_by_one(run):
    folder = RunFolder(run)
    with folder.held():
        assert main(["info"]) == 0
        from threading import Thread

        found = []

        def second():
            try:
                with RunFolder(run).held():
                    found.append("entered")
            except CommandError as error:
                found.append(str(error))

        thread = Thread(target=second)
        thread.start()
        thread.join()
    assert "is in use" in found[0]
    with folder.held():
        pass


# --- another run's files -----------------------------------------------------------------------------------------------


def test_foreign_checkpoints_are_refused(run, capsys):
    assert main([*TRAIN, "--seed", "1", "--out", "other"]) == 0
    os.replace("other/checkpoint.ckpt", "run/checkpoint.ckpt")
    assert main([*TRAIN, "--out", "run", "--resume"]) == 2
    assert "seed is 1, now 0" in capsys.readouterr().err
    assert main(HMC) == 0
    assert main([*HMC[:-1], "warmer", "--warmup", "2"]) == 0
    os.replace("warmer/samples.h5", "hmc/samples.h5")
    assert main([*HMC, "--resume"]) == 2
    assert "warmup is 2, now 1" in capsys.readouterr().err


def test_missing_trajectories_are_named(monkeypatch, capsys):
    from trivmap.cli import _hmc

    assert main(HMC) == 0
    right = tm.read_chain("hmc/samples.h5")[0].delta_h
    join = _hmc.join_chains

    def interrupt(pieces):
        raise KeyboardInterrupt

    words = [*HMC[:-1], "parts"]
    monkeypatch.setattr(_hmc, "join_chains", interrupt)
    assert main(words) == 130
    assert "4 of 4 trajectories are saved" in capsys.readouterr().err
    monkeypatch.setattr(_hmc, "join_chains", join)
    os.rename("parts/part-000000002.h5", "kept")
    assert main([*words, "--resume"]) == 2
    assert "part-000000002.h5 is missing" in capsys.readouterr().err
    os.rename("kept", "parts/part-000000002.h5")
    assert main([*words, "--resume"]) == 0
    np.testing.assert_array_equal(tm.read_chain("parts/samples.h5")[0].delta_h, right)
    assert not list(Path("parts").glob("part-*"))


# --- samples ------------------------------------------------------------------------------------------------------------


def test_interrupted_samples_stay_beside_complete_ones(run, monkeypatch, capsys):
    words = ["sample", "run", "--samples", "10", "--batch-size", "4"]
    assert main(words) == 0
    complete = tm.read_ensemble("run/samples.h5")[0]
    draw, calls = _sample.draw, []

    def interrupted(*arguments, **options):
        calls.append(options)
        if len(calls) == 2:
            raise tm.samplers.SamplingInterrupted(tm.sample(*arguments[:3], 4, batch_size=4, first=4), 4, 8)
        return draw(*arguments, **options)

    monkeypatch.setattr(_sample, "draw", interrupted)
    assert main(words) == 130
    assert "8 of 10 samples are in run/samples.partial.h5" in capsys.readouterr().err
    assert len(tm.read_ensemble("run/samples.h5")[0]) == 10
    assert len(tm.read_ensemble("run/samples.partial.h5")[0]) == 8
    assert main(words) == 0
    assert calls[-1] == {"first": 8}
    again = tm.read_ensemble("run/samples.h5")[0]
    np.testing.assert_array_equal(again.log_weights, complete.log_weights)
    np.testing.assert_array_equal(again.configurations, complete.configurations)
    assert not os.path.exists("run/samples.partial.h5")


def test_weights_of_a_comparison_are_counted_in_their_files(monkeypatch):
    draw = lambda key, first, n: tm.Ensemble(None, np.arange(first, first + n, dtype=float))  # noqa: E731
    folder, real = RunFolder("cell", about={"seed": 0}), os.replace
    folder.path.mkdir()
    for number in range(3):

        def replace(source, target, stop=number):
            real(source, target)
            if len(list(Path("cell").glob("part-*"))) > stop:
                raise SystemExit

        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(SystemExit):
            sample_weights(folder, jax.random.key(0), draw, 4, 1e3)
    monkeypatch.setattr(os, "replace", real)
    np.testing.assert_array_equal(sample_weights(folder, jax.random.key(0), draw, 4, 1e-9)[0].log_weights, np.arange(12.0))
    with pytest.raises(CommandError, match="another configuration"):
        WeightParts(RunFolder("cell", about={"seed": 1}))
    os.remove("cell/part-000002.h5")
    with pytest.raises(CommandError, match=r"part-000002.h5 is missing"):
        WeightParts(folder)


# --- metrics, cells, summaries -----------------------------------------------------------------------------------------


def test_damaged_metrics():
    file = Path("metrics.jsonl")
    records = [{"step": step, "loss": 0.1 * step} for step in (1, 2, 3)]
    for record in records:
        append_record(file, record)
    whole = file.read_bytes()
    assert read_records(file) == records
    for cut in range(1, 30):  # a last line that was cut off is known to the checkpoint
        file.write_bytes(whole[:-cut])
        restore_records(file, records[-1], 3)
        assert file.read_bytes() == whole
    restore_records(file, records[1], 2)
    assert read_records(file) == records[:2]
    file.write_bytes(whole.replace(b"0.2", b"0.3", 1))
    with pytest.raises(CommandError, match=r"line 2: no right checksum"):
        read_records(file)
    file.write_bytes(whole.split(b"\n", 1)[1])
    with pytest.raises(CommandError, match="holds 2 records up to step 3, the checkpoint has seen 3"):
        restore_records(file, records[-1], 3)


def test_every_mutation_of_signed_json_is_noticed():
    folder = RunFolder(".")
    value = {"method": "hmc", "observables": {"plaquette": [0.5, 1e-3]}, "curve": []}
    folder.write_signed("cell.json", value)
    data = Path("cell.json").read_bytes()
    assert folder.read_signed("cell.json") == value
    for position in range(len(data)):
        for bit in (1, 4, 16):
            Path("cell.json").write_bytes(data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :])
            assert folder.read_signed("cell.json") in (None, value)


def test_summary_survives_exact_results_that_fail(monkeypatch, capsys):
    def fails(theory):
        assert json.loads(Path("hmc/summary.json").read_text())["no_exact"]["plaquette"] == "not computed yet"
        raise np.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(_exact.exact, "plaquette", fails)
    assert main(HMC) == 0
    summary = json.loads(Path("hmc/summary.json").read_text())
    assert summary["observables"]["plaquette"]["exact"] is None
    assert summary["observables"]["charge2"]["exact"] is not None
    assert summary["no_exact"] == {"plaquette": "LinAlgError: no convergence"}
    assert main(["measure", "hmc"]) == 0
    assert "LinAlgError" in Path("hmc/samples.measure.json").read_text()
