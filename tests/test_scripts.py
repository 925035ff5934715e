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
@pytest.mark.parametrize(("script", "point"), [("targets/flows.py", "u1_8x8"), ("targets/hmc.py", "su2_8x8")])
def test_targets(script, point, tmp_path):
    out = tmp_path / "results.json"
    done = run(script, point, "--smoke", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert point in done.stdout
    assert list(json.loads(out.read_text())) == [point]


@pytest.mark.parametrize("script", ["targets/flows.py", "targets/hmc.py"])
def test_unknown_points_are_refused(script):
    done = run(script, "su5_99x99")
    assert done.returncode == 2
    assert "unknown points ['su5_99x99']; choose from" in done.stderr
