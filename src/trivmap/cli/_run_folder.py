"""Run folders: everything about a run in plain files, written so that an interrupt loses nothing."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from ..io import versions, write_text
from ._config import check_stored
from ._errors import CommandError as CommandError
from ._reading import json_file, parse_json, typed


def config_hash(config: dict[str, Any]) -> str:
    """Eight hexadecimal digits that identify a configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]


def git_revision() -> str | None:
    """Revision of the source checkout, with `+` if files differ from it; `None` for an installed package."""
    source = Path(__file__).parent
    command = ["git", "-C", str(source), "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        tracked = ["git", "-C", str(source), "ls-files", "--error-unmatch", __file__]
        subprocess.run(tracked, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def environment() -> dict[str, Any]:
    """What a run was made with: versions, devices, precision, revision, command line."""
    import jax

    return {
        "versions": versions(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "backend": jax.default_backend(),
        "devices": [str(device) for device in jax.devices()],
        "x64": bool(jax.config.values["jax_enable_x64"]),
        "git": git_revision(),
        "arguments": sys.argv[1:],
    }


class RunFolder:
    """One folder of results.

    `config.json` and `environment.json` hold one entry per command that wrote here (training and, later, samples of the
    same flow), so that a command is refused where another configuration has already left its results.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def claim(self, entry: str, config: dict[str, Any], resume: bool = False) -> None:
        """Reserve the folder for the results of one command.

        **Raises:** `CommandError` if it holds foreign files, results of another configuration, or, where `resume` is
        `False`, a run of this one. Samples of a flow (`sample:NAME`) may be drawn again: they come out the same.
        """
        known = self._known_configs()
        hint = "another --name" if entry.startswith("sample") else "another --out"
        if entry in known and known[entry] != config:
            raise CommandError(
                f"{self.path} holds a run of another configuration ({_difference(known[entry], config)}). "
                f"Nothing was changed; choose {hint}, or remove the folder."
            )
        if entry in known and not resume and not entry.startswith("sample"):
            raise CommandError(f"{self.path} already holds this run; add --resume to continue it, or choose {hint}.")
        if entry not in known and resume:
            raise CommandError(f"{self.path} holds no run to resume; start it without --resume.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"{self.path}: cannot make this folder: {error.strerror}. Choose {hint}.") from error
        self.write_json("config.json", known | {entry: config})
        self.write_json("environment.json", self._table("environment.json") | {entry: environment()})

    def config(self, entry: str) -> dict[str, Any]:
        """The configuration of a command that ran here. **Raises:** `CommandError` if it did not."""
        if not self.path.is_dir():
            raise CommandError(f"{self.path} is not a folder; give the run folder of `trivmap {entry}`.")
        known = self._known_configs()
        if entry not in known:
            raise CommandError(f"{self.path} is not a run folder of `trivmap {entry}` (it has {sorted(known) or 'none'}).")
        return known[entry]

    def write_json(self, name: str, value: Any) -> None:
        write_text(self.path / name, json.dumps(value, indent=2) + "\n")

    def read_json(self, name: str, default: Any = None) -> Any:
        file = self.path / name
        return json_file(file) if file.exists() else default

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`, on disk before the next chunk starts."""
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read_metrics(self) -> list[dict[str, Any]]:
        """All complete records; a last line cut off by a crash is left out."""
        file = self.path / "metrics.jsonl"
        lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
        return [_record(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]

    def keep_metrics(self, step: int) -> None:
        """Drop records after `step`, those that a checkpoint of this step has not seen."""
        kept = [record for record in self.read_metrics() if record["step"] <= step]
        write_text(self.path / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in kept))

    def _known_configs(self) -> dict[str, Any]:
        if self.path.exists() and not self.path.is_dir():
            raise CommandError(f"{self.path} is a file, not a run folder.")
        known = self._table("config.json")
        if not known and self.path.is_dir() and any(self.path.iterdir()):
            raise CommandError(f"{self.path} is not empty and not a run folder (no config.json); choose another --out.")
        for entry, config in known.items():
            check_stored(entry, config, self.path / "config.json")
        return known

    def _table(self, name: str) -> dict[str, Any]:
        """A JSON file with one entry per command, empty where there is none."""
        return typed(dict[str, dict[str, Any]], self.read_json(name, {}), str(self.path / name))


def _record(line: bytes, source: str) -> dict[str, Any]:
    """One line of `metrics.jsonl`: numbers by name."""
    record = parse_json(line.decode("utf-8", "replace"), source)
    typed(dict[str, float | None], record, source)
    if missing := [name for name in ("step", "loss", "ess", "acceptance") if name not in record]:
        raise CommandError(f"{source}: {missing[0]} is missing; restore the file or choose another folder.")
    typed(Annotated[int, Meta(ge=0)], record["step"], f"{source}: step")
    return record


def _difference(stored: dict[str, Any], given: dict[str, Any]) -> str:
    """The first few options that differ, as `name: stored, now given`."""
    flat_stored, flat_given = dict(_flatten(stored)), dict(_flatten(given))
    names = [n for n in flat_stored | flat_given if flat_stored.get(n) != flat_given.get(n)]
    shown = [f"{name} is {flat_stored.get(name)}, now {flat_given.get(name)}" for name in names[:3]]
    return "; ".join(shown) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")


def _flatten(config: dict[str, Any], prefix: str = ""):
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
