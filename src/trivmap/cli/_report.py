"""What commands print."""

import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from ..io import finite
from ..statistics import Estimate
from ._run_folder import config_hash, git_revision


def say(text: str = "") -> None:
    print(_encodable(text, sys.stdout.encoding), flush=True)


def complain(text: str) -> None:
    """One line on the error stream, whatever characters the names in it have."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    print(_encodable(f"trivmap: {line}", sys.stderr.encoding), file=sys.stderr, flush=True)


def _encodable(text: str, encoding: str | None) -> str:
    """The text with escapes for what a stream cannot write, such as names of files that are not UTF-8."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def announce(command: str, config: dict[str, Any]) -> None:
    """The line that identifies a run."""
    say(f"trivmap {command}: config {config_hash(config)}, seed {config['seed']}, revision {git_revision() or 'none'}")


def table(rows: Iterable[list[str]]) -> str:
    """Columns separated by two spaces, the first left- and the others right-aligned."""
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: list[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        return "  ".join([first[0].ljust(first[1])] + [cell.rjust(width) for cell, width in others])

    return "\n".join(map(line, rows))


def listing(rows: Mapping[str, str]) -> str:
    """Names and what they are, in two left-aligned columns."""
    width = max(map(len, rows))
    return "\n".join(f"{name.ljust(width)}  {about}" for name, about in rows.items())


def say_estimates(columns: Mapping[str, Mapping[str, Estimate]], exact: Mapping[str, float | None]) -> None:
    """The table of estimates, and below it why some errors should not be trusted."""
    say(estimates_table(columns, exact))
    for label, column in columns.items():
        for caution, names in by_caution(column).items():
            say(textwrap.fill(f"caution! {', '.join(names)} ({label}): {caution}", 80, subsequent_indent="  "))


def by_caution(column: Mapping[str, Estimate]) -> dict[str, list[str]]:
    """The estimates that carry each caution."""
    found: dict[str, list[str]] = {}
    for name, estimate in column.items():
        for caution in estimate.cautions:
            found.setdefault(caution, []).append(name)
    return found


def estimates_table(columns: Mapping[str, Mapping[str, Estimate]], exact: Mapping[str, float | None]) -> str:
    """One row per observable: estimates, exact value, and the deviation of each estimate in standard errors."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    head = ["observable", *columns, "exact"] + [f"pull {label}" for label in columns]
    rows = [head]
    # Digits stay below one another where some estimates of a column carry the mark of a caution.
    room = lambda e, column: " " if not e.cautions and any(x.cautions for x in column.values()) else ""  # noqa: E731
    for name in names:
        found = [column.get(name) for column in columns.values()]
        value = exact.get(name)
        cells = ["-" if e is None else str(e) + room(e, column) for e, column in zip(found, columns.values(), strict=True)]
        pulls = ["-" if e is None or value is None else f"{e.pull(value):+.1f}" for e in found]
        rows.append([name, *cells, "-" if value is None else f"{value:.6g}", *pulls])
    return table(rows)


def pair(estimate: Estimate | None) -> list[float | None] | None:
    """Value and error for JSON, `None` where one is not finite."""
    return None if estimate is None else finite([float(estimate.value), float(estimate.error)])


def cautions_of(columns: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, list[str]]]:
    """By label and name, for JSON; what has none is left out."""
    found = {label: {name: list(e.cautions) for name, e in column.items() if e.cautions} for label, column in columns.items()}
    return {label: column for label, column in found.items() if column}
