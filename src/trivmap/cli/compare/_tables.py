"""Tables of a comparison: at 80 columns, as Markdown and as CSV."""

import csv
import io
import textwrap
from typing import Any

from ...statistics import format_estimate
from .._report import table

_QUALITY = {"ess": "ESS", "acceptance": "accept", "tau_int": "tau_int", "slowest": "slowest", "worst_pull": "|pull|"}
_COST = {
    "compile": "compile",
    "training": "train",
    "sampling": "sample",
    "cost": "s/indep",
    "evaluations": "eval/ind",
    "break_even": "break-even",
    "memory": "MB",
}


_FOOTNOTE = """\
compile, train (thermalisation for chains), sample: seconds for a seed;
s/indep, eval/ind: seconds, forces or layers for an independent sample;
break-even: independent samples after which a method is cheaper than HMC;
MB: memory at the peak, above that before"""


def terminal(summary: dict[str, Any]) -> str:
    """Quality, cost, observables and remarks."""
    rows = summary["rows"]
    parts = [
        _block(rows, _QUALITY | {"samples": "samples"}),
        _block(rows, _COST),
        _FOOTNOTE,
        _observables(summary),
    ]
    if remarks := _remarks(summary, most=3):
        parts.append("\n".join(textwrap.fill(remark, 80, subsequent_indent="  ") for remark in remarks))
    return "\n\n".join(parts)


def markdown(summary: dict[str, Any]) -> str:
    columns = _QUALITY | {"samples": "samples"} | _COST
    names = list(summary["reference"])
    head = ["method", *columns.values(), *(f"{name}" for name in names)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in summary["rows"]:
        cells = [row["label"], *(_cell(row, key) for key in columns)]
        cells += [_estimate(row, name) for name in names]
        lines.append("| " + " | ".join(cells) + " |")
    reference = [f"{name}: {_shown(entry)} ({entry['source']})" for name, entry in summary["reference"].items()]
    return (
        "\n".join([*lines, "", "Reference: " + "; ".join(reference) + ".", "", *(f"- {r}" for r in _remarks(summary))]) + "\n"
    )


def comma_separated(summary: dict[str, Any]) -> str:
    """Plain numbers; a cell without one says why."""
    keys = ["ess", "acceptance", "tau_int", "slowest", "worst_pull", "samples", *_COST]
    names = list(summary["reference"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measured = [f"{n} {x}" for n in names for x in ("value", "error", "pull")]
    writer.writerow(["method", "seeds", *keys, *measured, "cautions"])
    for row in summary["rows"]:
        numbers = [row[key] if row[key] is not None else f"n/a: {row['why'].get(key, '')}" for key in keys]
        measured = [x for name in names for x in (*row["observables"].get(name, ("", "")), row["pulls"].get(name, ""))]
        writer.writerow([row["method"], row["seeds"], *numbers, *measured, "; ".join(summary["cautions"][row["method"]])])
    for kind in ("not_applicable", "failed"):
        for name, why in summary[kind].items():
            writer.writerow([name, 0, f"{kind.replace('_', ' ')}: {why}"])
    return text.getvalue()


def _block(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    return table([["method", *columns.values()]] + [[row["method"], *(_cell(row, key) for key in columns)] for row in rows])


def _cell(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if value is None:
        return "never" if row["why"].get(key, "").startswith("never") else "-"
    if isinstance(value, str | int):
        return str(value)
    spread = row.get(f"{key}_spread")
    if key in ("ess", "acceptance") and spread:
        return f"{value:.3f}({1000 * spread:.0f})"
    if key in ("ess", "acceptance"):
        return f"{value:.3f}"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}" if value < 1e6 else f"{value:.1e}"


def _shown(entry: dict[str, Any]) -> str:
    return format_estimate(entry["value"], entry["error"]) if entry["error"] else f"{entry['value']:.6g}"


def _estimate(row: dict[str, Any], name: str) -> str:
    """With the mark of a caution, where there is one."""
    mark = "!" if name in row["cautioned"] else ""
    return format_estimate(*row["observables"][name]) + mark if name in row["observables"] else "-"


def _observables(summary: dict[str, Any]) -> str:
    """Reference, estimates and pulls, one line per observable, in blocks of as many methods as fit into 80 columns."""
    rows, blocks = summary["rows"], []
    while rows:
        count = next(n for n in (4, 3, 2, 1) if n == 1 or _width(_columns(summary, rows[:n])) <= 80)
        blocks.append(_columns(summary, rows[:count]))
        rows = rows[count:]
    return "\n\n".join(blocks) + "\n(in brackets: the deviation from the reference in standard errors;\n!: see the remarks)"


def _width(text: str) -> int:
    return max(map(len, text.split("\n")))


def _columns(summary: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    lines = [["observable", "reference", *(row["method"] for row in rows)]]
    for name, entry in summary["reference"].items():
        lines.append([name[:17], _shown(entry), *(_with_pull(row, name) for row in rows)])
    return table(lines)


def _with_pull(row: dict[str, Any], name: str) -> str:
    pull = row["pulls"].get(name)
    return _estimate(row, name) + ("" if pull is None else f" [{pull:+.1f}]")


def _remarks(summary: dict[str, Any], most: int | None = None) -> list[str]:
    """Why there is no number, and cautions: all, or the first few of a method."""
    remarks = [f"{name}: not applicable: {why}" for name, why in summary["not_applicable"].items()]
    remarks += [f"{name}: failed: {why}" for name, why in summary["failed"].items()]
    for row in summary["rows"]:
        remarks += [f"{row['method']}, {key}: {why}" for key, why in row["why"].items()]
        cautions = summary["cautions"][row["method"]]
        remarks += [f"{row['method']}: caution! {caution}" for caution in cautions[:most]]
        if most is not None and len(cautions) > most:
            remarks.append(f"{row['method']}: {len(cautions) - most} more cautions in summary.json")
    return remarks
