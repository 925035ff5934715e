"""Figures as PNG and PDF, with the plotted numbers beside them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..io import atomic_path, encode_json, write_text

STYLE = Path(__file__).with_name("trivmap.mplstyle")


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures of trivmap, as a context."""
    import matplotlib.style

    with matplotlib.style.context(str(STYLE)):
        yield


def save_figure(path: str | os.PathLike, figure: Any, data: dict[str, Any]) -> list[Path]:
    """Write PATH.png, PATH.pdf and the plotted numbers to PATH.json.

    **Arguments:** `path`: without suffix; `figure`: a matplotlib figure; `data`: JSON values, all that is needed to plot
    again.

    **Returns:** the three paths.
    """
    base = Path(path)
    targets = [base.with_name(base.name + suffix) for suffix in (".png", ".pdf", ".json")]
    # A fixed date, so that the same data give the same file.
    metadata = {"png": {"Software": "trivmap"}, "pdf": {"Creator": "trivmap", "CreationDate": None}}
    for target in targets[:2]:
        kind = target.suffix[1:]
        with atomic_path(target) as temporary, style():
            figure.savefig(temporary, format=kind, metadata=metadata[kind])
    write_text(targets[2], encode_json(data) + "\n")
    return targets
