"""`trivmap figure`."""

import subprocess
import sys
from pathlib import Path

from ._config import FigureCommand
from ._report import listing, say
from ._run_folder import CommandError

# A checkout has the scripts beside the package; they are not part of an installed one.
SCRIPTS = Path(__file__).parents[3] / "scripts" / "figures"


def figure_command(command: FigureCommand) -> int:
    """List the figures, or run the script of one; returns its exit status."""
    figures = {path.stem.replace("_", "-"): path for path in sorted(SCRIPTS.glob("[a-z]*.py"))}
    if not figures:
        raise CommandError(f"The scripts of the figures are in a checkout of trivmap, but {SCRIPTS} is missing.")
    if command.name == "list":
        say(listing({name: _title(path) for name, path in figures.items()}))
        return 0
    name = command.name.replace("_", "-")
    if name not in figures:
        raise CommandError(f"No figure {command.name!r}; there are {', '.join(figures)}.")
    out = command.out or "runs/figures"
    options = ["--out", out] + (["--smoke"] if command.smoke else [])
    return subprocess.run([sys.executable, str(figures[name]), *options], check=False).returncode


def _title(path: Path) -> str:
    """First sentence of the script's docstring, up to its colon where it is longer than 56 characters."""
    import ast

    sentence = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
    short = sentence if len(sentence) <= 56 else sentence.split(":")[0]
    return short if len(short) <= 56 else short[:53] + "..."
