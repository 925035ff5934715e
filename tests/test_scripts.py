"""The scripts behind the published numbers run, at their smallest sizes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run(script, *arguments):
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "point"),
    [
        ("targets/flows.py", "u1_8x8"),
        ("targets/hmc.py", "su2_8x8"),
        ("targets/discrete.py", "u1_8x8_beta3"),
        ("targets/matrix_flows.py", "su3_matrix_a"),
        ("targets/second_order.py", "phi4-8"),
        ("targets/derivatives.py", "su2-8"),
        ("targets/replica_exchange.py", "defect-3"),
        ("targets/replica_exchange.py", "repair-3"),
        ("targets/trivialised_hmc.py", "phi4"),
        ("targets/trivialised_hmc.py", "su2"),
        ("targets/critical_costs.py", "8"),
        ("targets/boxes.py", "phi4-lam6.008-box8"),
        ("targets/boxes.py", "u1-16-beta7"),
        ("targets/two_level.py", "su2-3x16"),
        ("targets/coarse_to_fine.py", "phi4-16"),
        ("targets/stein_ladder.py", "su2-8x8x8-beta1.5-all"),
        ("targets/second_order_stochastic.py", "snf_phi4"),
        ("targets/schwinger.py", "8x8-kappa0.25"),
        ("targets/qcd.py", "su2-4x4"),
        ("targets/qcd_flows.py", "2x2x2x2-kappa0.1"),
        ("targets/pseudofermions.py", "spectra-8-kappa0.263"),
        ("targets/pseudofermions.py", "joint-8-kappa0.263"),
        ("targets/second_order_gauge.py", "u1-8-beta2"),
        ("targets/missing_directions.py", "su2-beta2.7-ladder"),
        ("targets/schwinger_flows.py", "schwinger-8-kappa0.25"),
    ],
)
def test_targets(script, point, tmp_path):
    out = tmp_path / "results.json"
    done = run(script, point, "--smoke", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert point in done.stdout
    assert list(json.loads(out.read_text())) == [point]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["layout", "stochastic", "determinant", "dirac", "pseudofermions"])
def test_benchmarks(name):
    done = run(f"benchmarks/{name}.py", "--smoke")
    assert done.returncode == 0, done.stderr
    assert "peak memory" in done.stdout


@pytest.mark.slow
def test_stochastic_flows(tmp_path):
    out = tmp_path / "results.json"
    done = run("targets/stochastic.py", "--methods", "nets", "--smoke", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert list(json.loads(out.read_text())) == ["phi4_8x8 nets"]


@pytest.mark.slow
def test_exactness_of_untrained_flows(tmp_path):
    out = tmp_path / "results.json"
    done = run("targets/stochastic_exactness.py", "--smoke", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert len(json.loads(out.read_text())) == 8


@pytest.mark.slow
def test_quench(tmp_path):
    done = run("targets/quench.py", "--smoke", "--out", str(tmp_path / "results.json"))
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "results.json").read_text())["2^4 n=2"]
    # Dissipated work and half its variance agree where work is nearly normal; both are 0.1 with errors of 0.1 at 32 samples.
    assert abs(row["mean work"][0] + row["log Z ratio"][0] - row["variance of work"][0] / 2) < 0.5


@pytest.mark.slow
def test_one_model_for_a_range_of_couplings(tmp_path):
    out = tmp_path / "results.json"
    done = run("targets/conditional.py", "u1", "su2_ladder", "--smoke", "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())
    # Same keys: the interpolation is what differs, and the spread of the ESS of 64 samples is a few percent.
    row = rows["u1"]["7"]
    assert all(abs(row[degree] - row["closed form"]) < 0.05 for degree in ("degree 8", "degree 16"))
    # Measured 0.86 with gates and 0.81 without; 64 samples resolve a tenth.
    assert min(rows["su2_ladder"]["2.7"].values()) > 0.6


@pytest.mark.slow
def test_table_of_two_dimensional_gauge_theories(tmp_path):
    done = run("figures/gauge_2d.py", "su2_2.2_ladder_gates", "--smoke", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "gauge_2d.json").read_text())
    # Measured 0.92; 32 samples resolve a tenth.
    assert results["rows"]["su2_2.2_ladder_gates"]["ess"] > 0.6
    assert (tmp_path / "gauge_2d_volume.png").stat().st_size > 1000


@pytest.mark.slow
def test_training_at_equal_seconds(tmp_path):
    """A curve that is there is kept, and its figure drawn again from the numbers."""
    asked = ("figures/second_order.py", "phi4", "--smoke", "--out", str(tmp_path), "--methods")
    done = run(*asked, "Gauss-Newton")
    assert done.returncode == 0, done.stderr
    numbers = (tmp_path / "second_order.json").read_text()
    records = json.loads(numbers)["phi4"]["curves"]["Gauss-Newton 0"]["records"]
    # One step, from a variance of about 7 after five updates.
    assert records[-1]["variance"] < 0.9 * records[0]["variance"]
    assert records[0]["seconds"] < records[-1]["seconds"]
    assert run(*asked, "Gauss-Newton").returncode == 0
    assert (tmp_path / "second_order.json").read_text() == numbers
    assert (tmp_path / "second_order.png").stat().st_size > 1000


@pytest.mark.slow
def test_loop_potentials_in_three_dimensions(tmp_path):
    done = run("figures/gauge_4d.py", "--smoke", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    points = json.loads((tmp_path / "gauge_4d.json").read_text())["su2_3d_8"]["0.5"]
    # Measured 0.056, 0.00086 and 0.00029 on 4x4x4; each order gains more than a factor two.
    assert points["order 0"]["variance"] > 2 * points["order 1"]["variance"] > 2 * points["model A"]["variance"]
    assert (tmp_path / "gauge_4d.png").stat().st_size > 1000


@pytest.mark.parametrize("script", ["targets/flows.py", "targets/hmc.py"])
def test_unknown_points_are_refused(script):
    done = run(script, "su5_99x99")
    assert done.returncode == 2
    assert "unknown points ['su5_99x99']; choose from" in done.stderr
