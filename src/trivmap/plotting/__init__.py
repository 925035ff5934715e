"""Figures from stored data, in one style."""

from ._quickstart import plot_quickstart as plot_quickstart
from ._save import save_figure as save_figure
from ._save import style as style
