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


@pytest.mark.slow
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
