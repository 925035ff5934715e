"""The code in README and documentation runs as printed, in a process like a user's: no strict settings, no hooks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import as_users_have_it

ROOT = Path(__file__).parents[1]


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)


def run(code: str, folder: Path) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=as_users_have_it())
    assert done.returncode == 0, done.stderr
    return done.stdout


def estimates(line: str) -> tuple[float, float]:
    """Value and error of the first `0.123(45)` in a line."""
    value, digits = re.search(r"(-?\d+\.\d+)\((\d+)\)", line).groups()  # pyright: ignore
    return float(value), int(digits) * 10.0 ** -len(value.split(".")[1])


def test_readme_runs_as_printed(tmp_path):
    blocks = python_blocks("README.md")
    assert len(blocks) == 2
    # about 15 and 10 lines were promised
    assert [len([line for line in b.splitlines() if line.strip()]) for b in blocks] <= [20, 12]
    lines = run("\n".join(blocks), tmp_path).splitlines()
    assert float(lines[0].split()[1]) > 0.8  # ESS
    for line in lines[1:5]:
        value, error = estimates(line)
        exact = float(line.split("exact")[1])
        assert abs(value - exact) < 4 * error, line
    assert lines[5].startswith("<phi^2> =")


@pytest.mark.slow
def test_extension_page_runs_as_printed(tmp_path):
    lines = run("\n".join(python_blocks("docs/extend.md")), tmp_path).splitlines()
    assert lines[0].startswith("<phi^2> =")
    assert float(lines[1].split()[1]) > 0.03  # all that a rescaled Gaussian can do
    assert lines[2] == "colours 8 or 4"
    assert float(lines[3].split()[1]) > 0.5  # 0.89 when written
    assert float(lines[4].split()[1]) < 1e-5  # single precision, there and back
    assert lines[5].split()[:2] == ["parameters", "1"]  # the table is given, not learned
    assert 0 < float(lines[6].split()[1]) < 0.2  # independent variables
    _, _, exact, _, dense = lines[7].split()
    assert float(exact) == pytest.approx(float(dense), abs=1e-4)  # single precision, sixteen sites
    assert all(float(line.split()[1]) > 0.9 for line in lines[8:10])  # 0.995 and 0.997
    for line in lines[10:14]:
        value, error = estimates(line)
        assert abs(value - float(line.split("exact")[1])) < 4 * error, line
    assert lines[14].startswith("<chi> = -")  # g phi^2 chi pulls it down
    assert float(lines[14].split()[-1]) > 0.1  # ESS, 0.29 when written
    value, error = estimates(lines[15])
    assert abs(value - 3) < 4 * error, lines[15]


@pytest.mark.slow
def test_stochastic_page_runs_as_printed(tmp_path):
    line = run("\n".join(python_blocks("docs/stochastic.md")), tmp_path).splitlines()[-1]
    value, error = estimates(line)
    assert abs(value - float(line.split()[-1])) < 4 * error, line


@pytest.mark.slow
def test_page_on_discrete_flows_runs_as_printed(tmp_path):
    lines = run("\n".join(python_blocks("docs/discrete.md")), tmp_path).splitlines()
    assert float(lines[0].split()[1]) > 0.7  # 0.92 when written
    low, high = (float(lines[1].split()[i]) for i in (3, 5))
    assert abs(low - 1.8379) < 1e-4  # log(2 pi), in single precision
    assert abs(high - 1.8379) < 1e-4


@pytest.mark.slow
def test_page_of_the_idea_runs_as_printed(tmp_path):
    lines = run("\n".join(python_blocks("docs/idea.md")), tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == ["ODE", "SDE", "discrete"]
    for line in lines:
        value, error = estimates(line.split("log Z")[1])
        assert abs(value - float(line.split("exact")[1])) < 4 * error, line


@pytest.mark.slow
def test_page_on_exactness_runs_as_printed(tmp_path):
    lines = run("\n".join(python_blocks("docs/exactness.md")), tmp_path).splitlines()
    coarse, fine = (float(line.split("+- ")[1].split(",")[0]) for line in lines[:2])
    assert fine < coarse / 3**3  # a scheme of order four, at a third of the step
    assert abs(float(re.search(r"log Z ([-+.0-9]+) errors", lines[1])[1])) < 4  # pyright: ignore
    assert float(lines[2].split()[-1]) < 1e-4  # 128 links, eps = 6e-8, log w of order 50
    _, exact, _, _, dense = lines[3].split()
    assert float(exact) == pytest.approx(float(dense), rel=1e-10)
    forward, backward = (float(x) for x in re.findall(r"0\.\d{3}", lines[4]))
    assert abs(forward - backward) < 0.1  # 1000 samples at an ESS of 0.93


@pytest.mark.slow
def test_page_on_large_lattices_runs_as_printed(tmp_path):
    lines = run("\n".join(python_blocks("docs/large.md")), tmp_path).splitlines()
    everything, steps, stages = (float(line.split()[-2]) for line in lines[:3])
    assert everything > 3 * steps > 6 * stages
    assert float(lines[3].split()[-1]) > 0.9  # 0.98 when written
    assert all(float(line.split()[-1]) > 0.1 for line in lines[4:])  # 0.42 and 0.48


def test_page_for_users_of_other_codes_runs_as_printed(tmp_path):
    lines = run("\n".join(python_blocks("docs/coming_from.md")), tmp_path).splitlines()
    there, here = (float(x) for x in re.findall(r"\d+\.\d+", lines[0]))
    assert there == pytest.approx(here, rel=1e-12)
    assert lines[1] == "layout of bijx and back True"


@pytest.mark.slow
def test_page_on_quarks_runs_as_printed(tmp_path):
    lines = run("\n".join(python_blocks("docs/quarks.md")), tmp_path).splitlines()
    assert float(lines[0].split()[1]) > 0.6  # 0.78 when written
    assert len(lines) == 5
    plaquette, creutz = map(estimates, lines[4].replace("!", "").split())
    assert 0.4 < plaquette[0] < 0.6
    assert abs(creutz[0] - 1) < 4 * creutz[1]
    for line in lines[1:4]:
        # Reweighted quenched samples and HMC.
        _, *pair = line.replace("!", "").split()
        (a, error), (b, other) = map(estimates, pair)
        assert abs(a - b) < 4 * (error**2 + other**2) ** 0.5, line


@pytest.mark.slow
def test_page_on_replica_exchange_runs_as_printed(tmp_path):
    charge, accepted = run("\n".join(python_blocks("docs/replica_exchange.md")), tmp_path).splitlines()
    value, error = estimates(charge.replace("!", "").split("exact")[0])
    assert abs(value - float(charge.split("exact")[1])) < 4 * error, charge
    # A free plaquette beside one at beta 2, and one at 2 beside one at 6: 0.43 and 0.6.
    assert all(0.3 < float(x) < 0.75 for x in re.findall(r"0\.\d+", accepted))


@pytest.mark.slow
def test_page_on_hmc_in_other_variables_runs_as_printed(tmp_path):
    lines = run("\n".join(python_blocks("docs/trivialised_hmc.md")), tmp_path).splitlines()
    (a, error), (b, other) = (estimates(line.replace("!", "").split("M2")[-1].split("tau_int")[0]) for line in lines)
    assert abs(a - b) < 4 * (error**2 + other**2) ** 0.5, lines


@pytest.mark.slow
def test_page_on_boxes_runs_as_printed(tmp_path):
    mean, correlator = run("\n".join(python_blocks("docs/boxes.md")), tmp_path).replace("!", "").splitlines()
    value, error = estimates(mean)
    assert abs(value) < 4 * error, mean  # zero by symmetry
    value, error = estimates(correlator)
    # Positive, and below that of neighbours, 0.1.
    assert -4 * error < value < 0.1, correlator
