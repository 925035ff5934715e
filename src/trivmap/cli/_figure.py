"""`trivmap figure`."""

import runpy
import sys
from pathlib import Path

from ._config import FigureCommand
from ._interrupt import on_interrupt
from ._report import listing, say
from ._run_folder import CommandError, RunFolder

# A checkout has the scripts beside the package; they are not part of an installed one.
SCRIPTS = Path(__file__).parents[3] / "scripts" / "figures"


def figure_command(command: FigureCommand) -> int:
    """List the figures, or run the script of one; returns the exit status."""
    figures = {path.stem.replace("_", "-"): path for path in sorted(SCRIPTS.glob("[a-z]*.py"))}
    if not figures:
        raise CommandError(f"The scripts of the figures are in a checkout of trivmap, but {SCRIPTS} is missing.")
    if command.name == "list":
        say(listing({name: _title(path) for name, path in figures.items()}))
        return 0
    name = command.name.replace("_", "-")
    if name not in figures:
        raise CommandError(f"No figure {command.name!r}; there are {', '.join(figures)}.")
    folder = RunFolder(command.out or "runs/figures")
    folder.make()
    on_interrupt(lambda: "the same command starts again; a figure that was there before is as it was.")
    with folder.held():
        _run_script(figures[name], ["--out", str(folder.path)] + (["--smoke"] if command.smoke else []))
    return 0


def _run_script(path: Path, options: list[str]) -> None:
    """Run a script in this process, which signals reach and which holds the folder."""
    words, places = sys.argv, list(sys.path)
    sys.argv = [str(path), *options]
    sys.path.insert(0, str(path.parent))
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = words, places


def _title(path: Path) -> str:
    """First sentence of the script's docstring, up to its colon where it is longer than 56 characters."""
    import ast

    sentence = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
    short = sentence if len(sentence) <= 56 else sentence.split(":")[0]
    return short if len(short) <= 56 else short[:53] + "..."
