"""The figure of a comparison: training, cost of an independent sample, observables against the reference."""

from typing import Any

import numpy as np

from ._save import style

_MARKERS = "os^Dv<>P*X"
_LINES = ("-", "--", ":", "-.")


def plot_comparison(data: dict[str, Any]) -> Any:
    """Three panels from stored numbers.

    **Arguments:** `data` with `rows`, one per method with `method`, `cost`, `ess` and `pulls`, and `curves`, named
    METHOD-SEED, records with `spent` (seconds) and `ess`. **Returns:** a matplotlib figure.
    """
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(10.0, 3.2))
        training, cost, pulls = figure.subplots(1, 3, width_ratios=(1.1, 0.9, 1.3))
        _training(training, data["curves"], [row["method"] for row in data["rows"]])
        _cost(cost, data["rows"])
        _pulls(pulls, data["rows"])
    return figure


def _training(axes: Any, curves: dict[str, Any], methods: list[str]) -> None:
    seen = set()
    for name, curve in curves.items():
        method = name.rsplit("-", 1)[0]
        index = methods.index(method) if method in methods else len(methods)
        spent, ess = ([record[key] for record in curve] for key in ("spent", "ess"))
        look = {"color": f"C{index % 6}", "linestyle": _LINES[index % 4], "marker": "o" if len(curve) < 3 else None}
        axes.plot(spent, ess, label=None if method in seen else method, **look)
        seen.add(method)
    axes.set(xlabel="seconds of training", ylabel="ESS per sample", ylim=(0, 1.02), title="training")
    axes.set_xlim(left=0)
    if seen:
        axes.legend()


def _cost(axes: Any, rows: list[dict[str, Any]]) -> None:
    shown = [row for row in rows if row["cost"] is not None]
    place = np.arange(len(shown))[::-1]
    for index, (row, y) in enumerate(zip(shown, place, strict=True)):
        axes.plot(row["cost"], y, _MARKERS[index % len(_MARKERS)], color=f"C{index % 6}", markersize=6)
    axes.grid(axis="x", color="0.9")
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_yticks(place, [row["method"] for row in shown])
    axes.set_xscale("log")
    axes.set(xlabel="seconds for an independent sample", title="sampling")


def _pulls(axes: Any, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row["pulls"]))
    axes.axvspan(-1, 1, color="0.9", zorder=0)
    axes.axvline(0, color="0.5", linewidth=0.8, zorder=1)
    for index, row in enumerate(rows):
        shown = {name: pull for name, pull in row["pulls"].items() if pull is not None}
        found = [(shown[name], len(names) - 1 - k) for k, name in enumerate(names) if name in shown]
        if found:
            x, y = np.array(found).T
            offset = 0.5 * (index + 0.5) / len(rows) - 0.25
            marker = _MARKERS[index % len(_MARKERS)]
            axes.plot(np.clip(x, -6, 6), y - offset, marker, color=f"C{index % 6}", label=row["method"])
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_xlim(-6.3, 6.3)
    axes.set(xlabel="deviation in standard errors (cut at 6)", title="observables")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
