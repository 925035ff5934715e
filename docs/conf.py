"""Sphinx configuration; `make docs` builds with warnings as errors."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from _reference import write_reference

project = "trivmap"
author = copyright = "The trivmap authors"
version = release = installed_version("trivmap")

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
# Expectation values such as <phi> are no HTML.
myst_disable_syntax = ["html_inline", "html_block"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"trivmap {version}"
html_static_path = []


def setup(app):
    app.connect("builder-inited", lambda app: write_reference(Path(app.srcdir) / "reference"))
