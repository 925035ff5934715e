"""Writes the pinned sets run.txt, dev.txt, docs.txt and peers.txt from the packages installed in this interpreter.

Usage: install trivmap with all its CPU extras into a fresh environment, run its tests, then run this file there.
"""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
HEADER = "# Pinned by requirements/update.py for Python >= 3.11 on CPU; edit pyproject.toml, not this file.\n"


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(requirements: list[str]) -> dict[str, str]:
    """The installed versions of everything that the requirements need, directly or not."""
    pins: dict[str, str] = {}
    todo = [(Requirement(r), "") for r in requirements]
    seen = set()
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name, extras = normalise(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found = distribution(name)
        pins[name] = found.version
        for child in map(Requirement, found.requires or []):
            todo += [(child, e) for e in (extras or {""})]
    return pins


def write(name: str, pins: dict[str, str], include: list[str]) -> None:
    lines = [f"-r {other}.txt" for other in include] + [f"{k}=={v}" for k, v in sorted(pins.items())]
    (HERE / f"{name}.txt").write_text(HEADER + "\n".join(lines) + "\n")


def main() -> None:
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    run = closure(project["project"]["dependencies"] + project["build-system"]["requires"])
    write("run", run, [])
    for name in ("dev", "docs", "peers"):
        write(name, {k: v for k, v in closure(extras[name]).items() if k not in run}, ["run"])


if __name__ == "__main__":
    main()
