"""Runs a comparison in a folder: resumes, skips what is done, goes on where a method fails."""

import textwrap
import traceback
from typing import Any

from ...io import finite, write_text
from ...plotting import plot_comparison, save_figure
from .._build import build_theory
from .._exact import Known, exact_values, pending
from .._observables import observables
from .._report import say
from .._run_folder import CommandError, RunFolder, config_hash
from ._cells import run_cell
from ._comparison import Comparison
from ._devices import on_devices
from ._methods import METHODS
from ._summary import summarise
from ._tables import comma_separated, markdown, terminal

_NAME = "comparison"


def run_comparison(settings: Comparison, out: str) -> dict[str, Any]:
    """Compute what is missing in the folder and write table and figure; returns the summary.

    Every method and seed has a file in OUT/cells; while it is computed, training and samples are kept in OUT/parts, so that
    the same call goes on after an interrupt. Failed methods are tried again. Where the process has several devices, each
    computes one method at a time.
    """
    folder = RunFolder(out)
    with folder.claimed("compare", settings.identity(), resume=None):
        return _run(folder, settings)


def _run(folder: RunFolder, settings: Comparison) -> dict[str, Any]:
    (folder / "cells").mkdir(exist_ok=True)
    theory = build_theory(settings.theory)
    applicable, refused = _applicable(settings, theory)

    def of_method(name: str) -> list[dict[str, Any]]:
        programs: dict[str, Any] = {}
        return [_cell(folder, name, settings.seed + i, settings, programs) for i in range(settings.seeds)]

    cells = [cell for found in on_devices(of_method, applicable) for cell in found]
    # Before and after the exact values are looked for, which can take long or be stopped.
    names = [*observables(theory), "log_z"]
    for known in (lambda: pending(names), lambda: _exact(folder, theory, names)):
        found = known()
        summary = summarise(cells, found.values, refused) | {"no_exact": found.reasons}
        _write(folder, summary)
    if not summary["rows"]:
        why = "; ".join(f"{name}: {reason}" for name, reason in (refused | summary["failed"]).items())
        raise CommandError(f"No method finished. {why} (more in {folder / 'cells'}).", status=1)
    _draw(folder, summary, cells)
    return summary


def _applicable(settings: Comparison, theory: Any) -> tuple[list[str], dict[str, str]]:
    reasons = {name: METHODS[name].refuses(theory) for name in settings.methods}
    return [n for n, why in reasons.items() if why is None], {n: why for n, why in reasons.items() if why is not None}


def _cell(folder: RunFolder, name: str, seed: int, settings: Comparison, programs: dict[str, Any]) -> dict[str, Any]:
    file = f"cells/{name}-{seed}.json"
    about = {"method": name, "seed": seed, "comparison": config_hash(settings.identity())}
    stored = folder.read_signed(file)
    if stored is not None and any(stored.get(key) != value for key, value in about.items()):
        stored = None  # a file of another name or folder
    if stored is None and (folder / file).exists():
        say(f"{folder / file} is not what was written there: computed again from its parts")
    if stored is not None and "error" not in stored:
        say(f"{name}, seed {seed}: done before")
        return stored
    say(f"{name}, seed {seed} ...")
    try:
        cell = run_cell(folder / f"parts/{name}-{seed}", name, seed, settings, programs)
    except Exception as error:  # one failing method does not stop the others
        write_text(folder / f"cells/{name}-{seed}.log", traceback.format_exc())
        cell = about | {"error": f"{type(error).__name__}: {error}".split("\n")[0][:300]}
        say(textwrap.fill(f"{name}, seed {seed}: failed: {cell['error']}", 80, subsequent_indent="  "))
    else:
        ess = "" if cell["ess"] is None else f"ESS {cell['ess']:.3f}, "
        say(f"{name}, seed {seed}: {ess}{cell['samples']} samples, {cell['total']:.1f} s in all")
    cell |= about
    folder.write_signed(file, cell)
    return cell


def _exact(folder: RunFolder, theory: Any, names: list[str]) -> Known:
    stored = folder.read_signed("exact.json")
    if stored is None:
        found = exact_values(theory, names)
        folder.write_signed("exact.json", found._asdict())
        return found
    return Known(**stored)


def _write(folder: RunFolder, summary: dict[str, Any]) -> None:
    folder.write_json("summary.json", summary)
    for suffix, text in (("txt", terminal), ("md", markdown), ("csv", comma_separated)):
        write_text(folder / f"{_NAME}.{suffix}", text(summary) if suffix != "txt" else text(summary) + "\n")


def _draw(folder: RunFolder, summary: dict[str, Any], cells: list[dict[str, Any]]) -> None:
    data = {
        "rows": summary["rows"],
        "curves": {f"{c['method']}-{c['seed']}": c["curve"] for c in cells if c.get("curve") and c["curve"][-1]["ess"]},
    }
    plain = finite(data)
    save_figure(folder / _NAME, plot_comparison(plain), plain)
