"""The command line: `trivmap` or `python -m trivmap`."""

from ._main import main as main
