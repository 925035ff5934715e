"""Figures from stored data, in one style."""

from ._autocorrelation import plot_autocorrelation as plot_autocorrelation
from ._comparison import plot_comparison as plot_comparison
from ._quickstart import plot_quickstart as plot_quickstart
from ._save import save_figure as save_figure
from ._save import style as style
