"""`trivmap compare` and `trivmap figure`, run in a temporary folder as a user would."""

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm
from trivmap.cli import main
from trivmap.cli._build import build_theory
from trivmap.cli._config import SUConfig, U1Config
from trivmap.cli._interrupt import interrupts_deferred
from trivmap.cli._run_folder import CommandError
from trivmap.cli.compare import METHODS, SHIPPED, Comparison, Method, _devices, _training, read_comparison, run_comparison
from trivmap.cli.compare._cells import _slowest
from trivmap.cli.compare._summary import summarise
from trivmap.cli.compare._tables import comma_separated, markdown, terminal
from trivmap.io import read_header

TOML = """
methods = ["langevin", "hmc", "ladder"]
training = 0.3
sampling = 0.05
seeds = 2
batch_size = 16
sample_batch = 16
chains = 2

[theory]
kind = "u1"
lattice = [4, 4]
beta = 1.0
"""


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def write_toml(text=TOML):
    with open("two.toml", "w") as file:
        file.write(text)


def read_json(path):
    with open(path) as file:
        return json.load(file)


def test_comparison_from_a_file(monkeypatch, capsys):
    """Interrupted in training, gone on with; a method that fails and one that does not apply stop nobody."""

    def broken(key, theory):
        raise RuntimeError("no such flow")

    monkeypatch.setitem(METHODS, "broken", Method("fails", "weights", broken))
    write_toml(TOML.replace('"hmc"', '"broken", "hmc"'))
    write, calls = _training.write_checkpoint, []

    def interrupted(*arguments):
        write(*arguments)
        calls.append(arguments[0])
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(_training, "write_checkpoint", interrupted)
    assert main(["compare", "two.toml", "--out", "run"]) == 130
    assert "goes on from there" in capsys.readouterr().err
    monkeypatch.setattr(_training, "write_checkpoint", write)
    before = read_header(calls[-1])["curve"]
    assert len(before) == 2

    assert main(["compare", "two.toml", "--out", "run"]) == 1  # one method failed
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "broken: failed: RuntimeError: no such flow" in shown
    assert "ladder: not applicable: the ladder of plaquettes is for SU(N)" in shown
    assert read_json("run/cells/langevin-0.json")["curve"][:2] == before
    summary = read_json("run/summary.json")
    assert [row["method"] for row in summary["rows"]] == ["langevin", "hmc"]
    flow, hmc = summary["rows"]
    assert flow["seeds"] == hmc["seeds"] == 2
    assert 0 < flow["ess"] <= 1
    assert flow["evaluations"] > 21
    assert hmc["why"]["ess"] == "a Markov chain has no weights"
    assert summary["reference"]["plaquette"]["source"] == "exact"
    for row in summary["rows"]:  # a few hundred samples
        assert all(abs(pull) < 5 for pull in row["pulls"].values())
    with open("run/comparison.csv") as file:
        lines = list(csv.reader(file))
    assert [line[0] for line in lines] == ["method", "langevin", "hmc", "ladder", "broken"]
    assert os.path.getsize("run/comparison.png") > 10_000

    # Everything is skipped; another method may join; another theory may not.
    write_toml()
    assert main(["compare", "two.toml", "--out", "run"]) == 0
    assert capsys.readouterr().out.count("done before") == 4
    write_toml(TOML.replace("beta = 1.0", "beta = 2.0"))
    assert main(["compare", "two.toml", "--out", "run"]) == 2
    assert "theory.beta is 1.0, now 2.0" in capsys.readouterr().err


def test_several_devices(monkeypatch):
    """A thread for each device, results in order; one that is interrupted stops the others when they have written."""
    device = jax.local_devices()[0]
    monkeypatch.setattr(_devices, "devices", lambda: [device, device])
    meeting = threading.Barrier(2, timeout=60)

    def both(name):
        meeting.wait()  # two at a time
        return name, threading.get_ident(), _devices.default_device()

    found = _devices.on_devices(both, ["a", "b", "c", "d"])
    assert [name for name, _, _ in found] == ["a", "b", "c", "d"]
    assert len({thread for _, thread, _ in found}) == 2
    assert {used for _, _, used in found} == {device}

    written = []

    def until_stopped(name):
        if name == "interrupted":
            raise KeyboardInterrupt
        while True:
            with interrupts_deferred():
                written.append(name)

    with pytest.raises(KeyboardInterrupt):
        _devices.on_devices(until_stopped, ["runs", "interrupted", "waits"])
    assert set(written) == {"runs"}

    write_toml(TOML.replace("seeds = 2", "seeds = 1"))
    assert main(["compare", "two.toml", "--out", "run"]) == 0
    assert [row["method"] for row in read_json("run/summary.json")["rows"]] == ["langevin", "hmc"]


def test_method_that_learns_from_configurations():
    """HMC is run for it, its seconds count as training, and its objective knows no weights while it trains."""
    write_toml(TOML.replace('"langevin", "hmc", "ladder"', '"diffusion"').replace("seeds = 2", "seeds = 1"))
    assert main(["compare", "two.toml", "--out", "run"]) == 0
    found = read_json("run/cells/diffusion-0.json")
    assert found["curve"][0]["ess"] is None
    assert found["training"] > found["curve"][-1]["spent"]
    assert all(np.isfinite(value) for value, _ in found["observables"].values())
    assert os.path.getsize("run/comparison.png") > 10_000


def cell(method, seed, cost, training=10.0, ess=None, tau=2.0):
    return {
        "method": method,
        "seed": seed,
        "samples": 1000,
        "ess": ess,
        "acceptance": None if method == "heatbath" else 0.8,
        "tau_int": tau,
        "slowest": "charge2",
        "observables": {"plaquette": [0.7 + 0.01 * seed, 0.01], "log_z": [13.0, 0.1]} if ess else {"plaquette": [0.69, 0.02]},
        "cautions": [],
        "cost": cost,
        "evaluations": 10.0,
        "compile": 5.0,
        "training": training,
        "sampling": 30.0,
        "memory": None,
        "curve": [],
    }


def test_table_of_known_cells():
    cells = [cell("gated", s, 0.001, ess=0.5 + 0.1 * s) for s in (0, 1)]
    cells += [cell("hmc", 0, 0.003, training=1.0), cell("heatbath", 0, 0.004, training=1.0, tau=None)]
    cells.append({"method": "snf", "seed": 0, "error": "ValueError: no"})
    summary = summarise(cells, {"plaquette": 0.7, "log_z": None}, {"ladder": "not here"})
    rows = {row["method"]: row for row in summary["rows"]}
    # Means over seeds: 0.705 with an error of 0.01 sqrt(2)/2.
    assert rows["gated"]["observables"]["plaquette"] == pytest.approx((0.705, 0.01 / 2**0.5))
    assert rows["gated"]["worst_pull"] == pytest.approx(0.5 * 2**0.5)
    # Training and compilation beyond those of HMC, 9 s, over 2 ms a sample.
    assert rows["gated"]["break_even"] == pytest.approx(9 / 0.002)
    assert rows["heatbath"]["why"]["break_even"].startswith("never")
    assert rows["heatbath"]["why"]["tau_int"] == "charge2 never changes: no autocorrelation time"
    assert set(rows["gated"]["why"]) == {"memory"}
    assert summary["failed"] == {"snf": "ValueError: no"}
    text = terminal(summary)
    tables = [line for line in text.split("\n") if line.startswith(("method", "gated ", "hmc ", "heatbath ", "observable"))]
    assert max(map(len, tables)) <= 80
    assert "0.550(50)" in text
    assert "never" in text
    assert "| hybrid Monte Carlo, tuned |" in markdown(summary)
    assert "n/a: a Markov chain has no weights" in comma_separated(summary)


def test_without_exact_values_hmc_is_the_reference():
    summary = summarise([cell("gated", 0, 0.001, ess=0.5), cell("hmc", 0, 0.003)], {}, {})
    assert summary["reference"]["plaquette"] == {"value": 0.69, "error": 0.02, "source": "HMC"}
    rows = {row["method"]: row for row in summary["rows"]}
    assert rows["gated"]["pulls"] == {"plaquette": pytest.approx(0.01 / 0.0005**0.5)}
    assert rows["hmc"]["pulls"] == {}


def test_chains_with_hits_are_the_reference_where_they_were_run():
    """They change the charge where trajectories do not; methods without quarks, or charges, say so."""
    summary = summarise([cell("hits", 0, 0.002), cell("hmc", 0, 0.003)], {}, {})
    assert summary["reference"]["plaquette"]["source"] == "HMC and hits"
    rows = {row["method"]: row for row in summary["rows"]}
    assert rows["hits"]["pulls"] == {}
    assert rows["hmc"]["pulls"] == {"plaquette": 0.0}
    scalar, links = build_theory(SHIPPED["phi4-8x8"].theory), build_theory(SHIPPED["u1-8x8"].theory)
    assert METHODS["hits"].refuses(scalar) == "winding hits are for U(1) in two dimensions"
    assert METHODS["hits"].refuses(links) is None
    for name in ("quarks", "quenched"):
        assert METHODS[name].refuses(links) == "it is for the Schwinger model"


def test_masses_that_noise_hides_are_not_the_slowest():
    mass, frozen = tm.Estimate(np.nan, np.nan, np.nan), tm.Estimate(0.0, 0.0, np.nan)
    assert _slowest({"plaquette": tm.Estimate(0.7, 0.1, 2.0), "pion_mass": mass}) == (2.0, "plaquette")
    assert _slowest({"plaquette": tm.Estimate(0.7, 0.1, 2.0), "charge": frozen}) == (None, "charge")


@pytest.mark.slow
def test_chains_of_two_dimensional_u1():
    names = ["hits", "trivialised", "boxes", "exchange", "t-rex"]
    text = TOML.replace('"langevin", "hmc", "ladder"', ", ".join(f'"{name}"' for name in names))
    write_toml(text.replace("sampling = 0.05", "sampling = 0.5").replace("seeds = 2", "seeds = 1"))
    assert main(["compare", "two.toml", "--out", "run"]) == 0
    rows = {row["method"]: row for row in read_json("run/summary.json")["rows"]}
    assert list(rows) == names
    for row in rows.values():
        assert row["pulls"]
        assert all(abs(pull) < 5 for pull in row["pulls"].values())
    scalar = build_theory(SHIPPED["phi4-8x8"].theory)
    assert METHODS["boxes"].refuses(scalar) == "boxes are drawn for U(1) in two dimensions, with Wilson's action"


@pytest.mark.slow
def test_schwinger_model(capsys):
    text = TOML.replace('"langevin", "hmc", "ladder"', '"quarks", "pseudofermions", "quenched", "hmc", "hits"')
    text = text.replace("u1", "schwinger")
    text = text.replace("sampling = 0.05", "sampling = 0.5").replace("seeds = 2", "seeds = 1")
    write_toml(text + "kappa = 0.2\n")
    assert main(["compare", "two.toml", "--out", "run"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    summary = read_json("run/summary.json")
    rows = {row["method"]: row for row in summary["rows"]}
    assert list(rows) == ["quarks", "pseudofermions", "quenched", "hmc", "hits"]
    # No chain has log Z, and no closed form.
    assert set(summary["reference"]) == {"plaquette", "wilson_2x2", "charge", "charge2", "condensate", "pion_mass"}
    assert rows["quenched"]["ess"] > 0.9
    for row in rows.values():
        assert all(abs(pull) < 5 for pull in row["pulls"].values())


def test_shipped_comparisons():
    assert {"phi4-8x8", *(f"phi4-e{i}" for i in range(1, 6)), "u1-8x8", "u1-16x16", "su2-2d-8x8"} <= set(SHIPPED)
    assert {"su3-2d-8x8", "su3-4d-4", "schwinger-8x8", "schwinger-16x16"} <= set(SHIPPED)
    for comparison in SHIPPED.values():
        small = comparison.small()
        assert max(small.theory.lattice) <= 4
        assert small.methods
    assert SHIPPED["u1-8x8"].within(60.0).training == pytest.approx(20)  # for each of two seeds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("methods = [", "not TOML"),
        ("seeds = 2", "theory: missing"),
        (TOML.replace("u1", "u2"), "theory.kind: got 'u2', expected one of u1, su, phi4"),
        (TOML.replace("beta", "bta"), "theory.bta: not known; did you mean beta"),
        ("sed = 3\n" + TOML, "two.toml: sed: not known; did you mean seed"),
        (TOML.replace("langevin", "magic"), "No method magic"),
        (TOML.replace("seeds = 2", "seeds = 0"), "two.toml: seeds: got 0, expected an integer >= 1"),
    ],
)
def test_files_that_say_nothing_sensible(text, reason):
    write_toml(text)
    with pytest.raises(CommandError, match=reason):
        read_comparison("two.toml")


def test_names_are_refused_and_listed(capsys):
    assert main(["compare", "qcd"]) == 2
    assert "No comparison 'qcd'" in capsys.readouterr().err
    assert main(["compare", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in [*METHODS, *SHIPPED])
    assert max(map(len, shown.splitlines())) <= 80
    assert main(["figure", "nothing"]) == 2
    assert "No figure 'nothing'" in capsys.readouterr().err
    assert main(["figure", "list"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_reader_that_leaves_early():
    command = f"{sys.executable} -m trivmap compare list | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 141
    assert done.stderr == ""


def test_settings_are_a_dataclass():
    settings = Comparison(U1Config((4, 4), 1.0), methods=("hmc",), seeds=1)
    assert dataclasses.replace(settings, seeds=3).identity() == settings.identity()
    assert dataclasses.replace(settings, theory=SUConfig(2, (4, 4), 1.0)).identity() != settings.identity()


class SineGordon(tm.AbstractTheory):
    """A theory that no command knows."""

    manifold: tm.RealField
    m2: float
    g: float

    def action(self, x):
        bonds = sum(jnp.sum((jnp.roll(x, -1, mu) - x) ** 2) for mu in range(x.ndim))
        return bonds + jnp.sum(self.m2 * x**2 - self.g * jnp.cos(x))


def test_theory_of_ones_own():
    theory = SineGordon(tm.RealField((2, 2)), m2=0.3, g=1.0)
    settings = Comparison(theory, methods=("hmc", "heatbath"), training=0.1, sampling=0.01, seeds=1, chains=2)
    summary = run_comparison(settings, "run")
    assert [row["method"] for row in summary["rows"]] == ["hmc"]
    assert summary["not_applicable"] == {"heatbath": "the heatbath knows Wilson's action only"}
    assert "SineGordon" in summary["no_exact"]["log_z"]
    assert read_json("run/config.json")["compare"]["theory"]["parameters"] == {"m2": 0.3, "g": 1.0}

    def refused(other, reason):
        with pytest.raises(CommandError, match=reason):
            run_comparison(dataclasses.replace(settings, theory=other), "run")

    refused(SineGordon(theory.manifold, m2=0.4, g=1.0), "theory.parameters.m2 is 0.3, now 0.4")

    class Other(SineGordon):
        def action(self, x):
            return 2 * super().action(x)

    Other.__qualname__ = "SineGordon"  # as if its source had been changed
    refused(Other(theory.manifold, m2=0.3, g=1.0), "theory.action is")

    class Vector(SineGordon):
        def action(self, x):
            return x[0]

    refused(Vector(theory.manifold, m2=0.3, g=1.0), "expected one real number")
    with pytest.raises(CommandError, match="on a small lattice"):
        settings.small()
    with pytest.raises(CommandError, match=r"No method finished. heatbath: the heatbath knows Wilson's action only"):
        run_comparison(dataclasses.replace(settings, methods=("heatbath",)), "none")


def test_damaged_cells_are_computed_again(capsys):
    settings = Comparison(U1Config((2, 2), 1.0), methods=("hmc",), training=0.1, sampling=0.01, seeds=1, chains=2)
    observables = run_comparison(settings, "run")["rows"][0]["observables"]
    cell = Path("run/cells/hmc-0.json")
    text = cell.read_text()
    for damaged in (text.replace("0.", "1.", 1), text[:100], "[]", '{"error": 3}'):
        cell.write_text(damaged)
        assert run_comparison(settings, "run")["rows"][0]["observables"] == observables
        assert "not what was written there" in capsys.readouterr().out


# --- what is beside the package ---------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[1]
FIGURES = [
    "box-muller",
    "broken-phase",
    "carried-density",
    "critical-slowing-down",
    "derivatives",
    "eigenphases",
    "ess-acceptance",
    "ess-cost",
    "free-energy",
    "initialisation",
    "log-weights",
    "objectives",
    "one-potential",
    "pseudofermions",
    "replica-exchange",
    "schwinger",
    "second-order",
    "topological-freezing",
    "transfer",
    "volume-scaling",
    "work-distribution",
]


def run_python(*arguments):
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_figures_at_their_smallest_size(name):
    run_python("-m", "trivmap", "figure", name, "--smoke", "--out", "figures")
    stem = f"figures/{name.replace('-', '_')}"
    assert os.path.getsize(f"{stem}.png") > 10_000
    assert os.path.getsize(f"{stem}.pdf") > 1000
    assert read_json(f"{stem}.json")


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "scripts" / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_examples(path):
    text = path.read_text()
    assert len(text.splitlines()) < 60
    smoke = {"own_comparison": ["1"], "schwinger": ["400"]}.get(path.stem, [])
    run_python(path, *(["--smoke"] if "--smoke" in text else smoke))


@pytest.mark.slow
@pytest.mark.parametrize("page", ["files", "statistics"])
def test_pages_run_as_printed(page):
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / f"docs/{page}.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    run_python("-c", "\n".join(blocks))
