"""Run folders: everything about a run in plain files, written so that an interrupt loses nothing."""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ..io import LockedError, encode_json, locked, versions, write_text
from ._config import check_stored, completed
from ._errors import CommandError as CommandError
from ._metrics import append_record, read_records, restore_records
from ._reading import json_file, typed
from ._signed import signed, verified


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


# Locks, and temporaries of killed writers: no results of anybody.
_PASSING = re.compile(r"\.lock|\..*\.(lock|tmp)")


class RunFolder:
    """One folder of results.

    `config.json` and `environment.json` hold one entry per command that wrote here (training and, later, samples of the
    same flow), so that a command is refused where another configuration has already left its results.

    **Arguments:** `path`; `about`: JSON values that say what files in it belong to, for parts of a larger run.
    """

    def __init__(self, path: str | os.PathLike, about: dict[str, Any] | None = None):
        self.path = Path(path)
        self.about = json.loads(json.dumps(about))

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other process writes into the folder until the block ends.

        **Raises:** `CommandError` if another one does, or if nothing can be written there.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path))
            except LockedError as error:
                raise CommandError(f"{error}.") from error
            except OSError as error:
                raise self._unwritable(error) from error
            yield

    def make(self) -> None:
        """Make the folder where it is missing. **Raises:** `CommandError` where that is not possible."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    @contextmanager
    def claimed(self, entry: str, config: dict[str, Any], resume: bool | None = False) -> Iterator[None]:
        """Hold the folder, made where it is missing, for the results of one command; see `claim`."""
        if not self.path.is_dir():
            self._admit(entry, config, resume)  # a refused command makes no folder
        self.make()
        with self.held():
            self.claim(entry, config, resume)
            yield

    def claim(self, entry: str, config: dict[str, Any], resume: bool | None = False) -> None:
        """Reserve the folder for the results of one command.

        **Raises:** `CommandError` if it holds foreign files, another run, results of another configuration, or, where
        `resume` is `False`, a run of this one; with `None` a run may start or go on. Samples of a flow (`sample:NAME`) may be
        drawn again: they come out the same.
        """
        known = self._admit(entry, config, resume)
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_json("config.json", known | {entry: config})
        self.write_json("environment.json", self._table("environment.json") | {entry: environment()})

    def _admit(self, entry: str, config: dict[str, Any], resume: bool | None) -> dict[str, Any]:
        """The configurations of the folder, if this one may join them."""
        known = self.configs()
        sample = entry.startswith("sample:")
        hint = "another --name" if sample else "another --out"
        if entry in known and known[entry] != config:
            raise CommandError(
                f"{self.path} holds a run of another configuration ({difference(known[entry], config)}). "
                f"Nothing was changed; choose {hint}, or remove the folder."
            )
        others = [name for name in known if name != entry and not name.startswith("sample:")]
        if others and not sample:
            raise CommandError(f"{self.path} holds a run of `trivmap {others[0]}`. Nothing was changed; choose {hint}.")
        if entry in known and resume is False and not sample:
            raise CommandError(f"{self.path} already holds this run; add --resume to continue it, or choose {hint}.")
        if entry not in known and resume:
            raise CommandError(f"{self.path} holds no run to resume; start it without --resume.")
        return known

    def _unwritable(self, error: OSError) -> CommandError:
        return CommandError(f"{self.path}: cannot write there ({error.strerror}); choose another folder.")

    def config(self, entry: str) -> dict[str, Any]:
        """The configuration of a command that ran here. **Raises:** `CommandError` if it did not."""
        if not self.path.is_dir():
            raise CommandError(f"{self.path} is not a folder; give the run folder of `trivmap {entry}`.")
        known = self.configs()
        if entry not in known:
            raise CommandError(f"{self.path} is not a run folder of `trivmap {entry}` (it has {sorted(known) or 'none'}).")
        return known[entry]

    def write_json(self, name: str, value: Any) -> None:
        write_text(self.path / name, encode_json(value, indent=2) + "\n")

    def read_json(self, name: str, default: Any = None) -> Any:
        file = self.path / name
        return json_file(file) if file.exists() else default

    def write_signed(self, name: str, value: dict[str, Any]) -> None:
        """Write JSON that carries its own checksum."""
        self.write_json(name, signed(value))

    def read_signed(self, name: str) -> dict[str, Any] | None:
        """What `write_signed` wrote; `None` where there is nothing, or something else."""
        try:
            return verified(json.loads((self.path / name).read_bytes()))
        except (OSError, ValueError, RecursionError):
            return None

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`, on disk before the next chunk starts."""
        append_record(self.path / "metrics.jsonl", record)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All complete records; a last line cut off by a crash is left out."""
        return read_records(self.path / "metrics.jsonl")

    def restore_metrics(self, last: dict[str, Any] | None, count: int) -> None:
        """Keep the `count` records up to `last`, those that a checkpoint has seen."""
        restore_records(self.path / "metrics.jsonl", last, count)

    def check_config(self, file: str, stored: Any, config: dict[str, Any], entry: str = "") -> None:
        """**Raises:** `CommandError` if a file in the folder was written with another configuration.

        With the command `entry`, options that the file is older than have their defaults.
        """
        if (completed(entry, stored) if isinstance(stored, dict) else stored) != config:
            other = difference(stored, config) if isinstance(stored, dict) else "it does not say of which"
            raise CommandError(
                f"{self.path / file} belongs to a run of another configuration ({other}). "
                "Nothing was changed; put the right file back, or remove the folder and start again."
            )

    def configs(self) -> dict[str, Any]:
        """The configurations of the commands that ran here. **Raises:** `CommandError` if this is no run folder."""
        if self.path.exists() and not self.path.is_dir():
            raise CommandError(f"{self.path} is a file, not a run folder.")
        known = self._table("config.json")
        if not known and self.path.is_dir() and self._occupied():
            raise CommandError(f"{self.path} is not empty and not a run folder (no config.json); choose another --out.")
        for entry, config in known.items():
            check_stored(entry, config, self.path / "config.json")
        return {entry: completed(entry, config) for entry, config in known.items()}

    def _table(self, name: str) -> dict[str, Any]:
        """A JSON file with one entry per command, empty where there is none."""
        table = typed(dict, self.read_json(name, {}), str(self.path / name))
        return {entry: typed(dict, value, f"{self.path / name}: {entry}") for entry, value in table.items()}

    def _occupied(self) -> bool:
        return any(not _PASSING.fullmatch(entry.name) for entry in self.path.iterdir())


def difference(stored: dict[str, Any], given: dict[str, Any]) -> str:
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
