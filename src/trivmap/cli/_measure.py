"""`trivmap measure`."""

import re
from pathlib import Path
from typing import Any

from ..io import file_kind, read_chain, read_ensemble
from ..statistics import Chain, Ensemble, Estimate, ess_fraction, log_z
from ..theories import AbstractTheory
from ._build import build_theory
from ._config import MeasureCommand, ReadTheory, theory_from_json
from ._exact import Known, write_summary
from ._observables import estimates_of, observables
from ._reading import shown
from ._report import cautions_of, pair, say, say_estimates
from ._run_folder import CommandError, RunFolder


def measure_command(command: MeasureCommand) -> int:
    """Print estimates from stored samples and write them beside the file; returns the exit status."""
    path = _samples_file(Path(command.path))
    folder = RunFolder(path.parent)
    with folder.held():
        return _measure(folder, path, command)


def _measure(folder: RunFolder, path: Path, command: MeasureCommand) -> int:
    weighted = file_kind(path) == "ensemble"
    stored: Any = read_ensemble(path) if weighted else read_chain(path)
    data, attributes = stored
    theory = build_theory(_theory(path, attributes))
    try:
        estimates = _estimates(data, theory, command) | ({"log_z": log_z(data)} if weighted else {})
    except (ValueError, TypeError) as error:  # loops beyond the lattice, too few samples, no weight at all
        raise CommandError(f"{path}: {' '.join(str(error).split())}") from error
    label = "flow" if weighted else "chain"
    if weighted:
        say(f"{len(data)} weighted samples: ESS {ess_fraction(data.log_weights):.4f}")
    else:
        say(f"{data.shape[0]} chains of {data.shape[1]} measurements")

    def build(known: Known) -> dict[str, Any]:
        observed = {n: {label: pair(estimate), "exact": known.values[n]} for n, estimate in estimates.items()}
        return {"theory": attributes["theory"], "observables": observed, "cautions": cautions_of({label: estimates})}

    target = path.with_suffix(".measure.json")
    result = write_summary(folder, target.name, theory, estimates, build)
    say_estimates({label: estimates}, {name: row["exact"] for name, row in result["observables"].items()})
    say(f"written to {target}")
    return 0


def _theory(path: Path, attributes: dict[str, Any]) -> ReadTheory:
    """As commands store it, or `ensemble_attributes`."""
    stored = attributes.get("theory")
    if not isinstance(stored, dict):
        raise CommandError(f"{path} does not say which theory it belongs to; it was not written by a trivmap command.")
    if "kind" in stored or "name" not in stored:
        return theory_from_json(stored, path)
    couplings = {key: value for key, value in stored.items() if key not in ("name", "group")}
    group = re.fullmatch(r"SU\((\d{1,3})\)", str(stored.get("group")))
    kinds = {
        ("WilsonAction", "U(1)"): {"kind": "u1"},
        ("WilsonAction", stored.get("group") if group else None): {"kind": "su", "n": int(group[1]) if group else 0},
        ("Phi4Action", None): {"kind": "phi4"},
    }
    found = kinds.get((str(stored["name"]), stored.get("group")))
    if found is None:
        name = shown(stored["name"])
        raise CommandError(f"{path}: samples of a {name}, which `measure` does not know; use trivmap.expectation.")
    return theory_from_json(found | couplings, path)


def _samples_file(path: Path) -> Path:
    if path.is_dir():
        path = path / "samples.h5"
    if not path.is_file():
        raise CommandError(f"No samples in {path}: give a run folder of `trivmap sample` or `trivmap hmc`, or an HDF5 file.")
    return path


def _estimates(data: Ensemble | Chain, theory: AbstractTheory, command: MeasureCommand) -> dict[str, Estimate]:
    """Stored measurements where there are any, and the others from the configurations."""
    names = command.observables or tuple(data.observables)
    functions = observables(theory, names)
    missing = [name for name in names if name not in data.observables]
    if missing and data.configurations is None:
        raise ValueError(
            f"{', '.join(missing)}: not stored, and the file keeps no configurations (it has {', '.join(data.observables)}). "
            "Sample again and keep them."
        )
    source: dict[str, Any] = {name: name if name in data.observables else functions[name] for name in names}
    stored: Any = data.configurations
    if stored is not None and stored.shape[stored.ndim - len(theory.manifold.shape) :] != theory.manifold.shape:
        raise ValueError(f"configurations of shape {stored.shape}, but the theory lives on {theory.manifold}.")
    found = (estimates_of(data, name, what, command.batch_size) for name, what in source.items())
    return {key: value for estimates in found for key, value in estimates.items()}
