"""Autocorrelation functions and windowed autocorrelation times."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..statistics import Autocorrelation, analyse_autocorrelation
from ._save import style


def plot_autocorrelation(data: Mapping[str, Any], s: float = 2.0) -> Any:
    r"""$\rho(t)$ and $\tau_{int}(W)$ with errors and the chosen windows, one colour per series.

    **Arguments:** `data`: name to scalar measurements `(n,)` or `(chains, n)`; series that never change are left out;
    `s`: as for `gamma_method`. **Returns:** a matplotlib figure.
    """
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(7.0, 2.8))
        left, right = figure.subplots(1, 2)
        for name, values in data.items():
            found = analyse_autocorrelation(values, s)
            if not np.isnan(found.rho[0]):
                _series(left, right, name, found)
        left.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
        left.set(xlabel="$t$", ylabel=r"$\rho(t)$")
        right.set(xlabel="window $W$", ylabel=r"$\tau_{int}(W)$")
        left.legend()
    return figure


def _series(left: Any, right: Any, name: str, found: Autocorrelation) -> None:
    t = np.arange(len(found.rho))
    (line,) = left.plot(t, found.rho, label=name)
    for axes, middle, error in ((left, found.rho, found.drho), (right, found.tau_int, found.dtau_int)):
        axes.fill_between(t, middle - error, middle + error, color=line.get_color(), alpha=0.25, linewidth=0)
    right.plot(t, found.tau_int, color=line.get_color(), linestyle=line.get_linestyle())
    right.axvline(found.window, color=line.get_color(), linewidth=0.8, linestyle=":")
