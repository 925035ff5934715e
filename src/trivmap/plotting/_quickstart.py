"""The figure of the quickstart: training, histories of the topological charge, and its distribution."""

from typing import Any

import numpy as np

from ._save import style


def plot_quickstart(data: dict[str, Any]) -> Any:
    """Three panels from stored numbers.

    **Arguments:** `data` with

    - `training`: `step`, `ess` (lists of one length), `finish`, the step after which Gauss-Newton begins;
    - `history`: `flow`, `hmc`, consecutive topological charges of one chain each, one per sample and trajectory;
    - `distribution`: `charge` and, on the same charges, `exact`, `flow`, `flow_error`, `hmc`, `hmc_error`.

    **Returns:** a matplotlib figure, independent of any window system.
    """
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(9.0, 2.8))
        training, history, distribution = figure.subplots(1, 3, width_ratios=(1.0, 1.5, 1.2))
        _training(training, data["training"])
        _history(history, data["history"])
        _distribution(distribution, data["distribution"])
    return figure


def _training(axes: Any, data: dict[str, Any]) -> None:
    step, ess, finish = np.asarray(data["step"]), np.asarray(data["ess"]), data["finish"]
    for label, part in (("Adam", step <= finish), ("Gauss-Newton", step > finish)):
        if part.any():
            axes.plot(step[part], ess[part], marker="o", label=label)
    axes.legend(loc="lower right")
    axes.set(xlabel="training step", ylabel="ESS per sample", ylim=(0, 1.02), title="training of the flow")
    axes.set_xlim(left=0)


def _history(axes: Any, data: dict[str, Any]) -> None:
    for label, name in (("flow + Metropolis", "flow"), ("HMC", "hmc")):
        axes.plot(np.arange(len(data[name])), data[name], drawstyle="steps-mid", label=label, alpha=0.9)
    reach = max(np.abs(data["flow"]).max(), np.abs(data["hmc"]).max())
    axes.set(xlabel="sample / trajectory", ylabel="topological charge $Q$", title="history of one chain")
    axes.set_ylim(-reach - 0.5, reach + 1.8)  # room for the legend
    axes.set_yticks(np.arange(-reach, reach + 1, max(1, int(reach) // 3)))
    axes.legend(loc="upper center", ncols=2)


def _distribution(axes: Any, data: dict[str, Any]) -> None:
    charge = np.asarray(data["charge"])
    axes.bar(charge, data["exact"], width=0.8, color="0.85", label="exact")
    for offset, label, name in ((-0.15, "flow", "flow"), (0.15, "HMC", "hmc")):
        axes.errorbar(charge + offset, data[name], data[f"{name}_error"], fmt="o", label=label)
    axes.set_yscale("log")
    positive = np.asarray(data["exact"])
    axes.set_ylim(0.3 * positive.min(), 3.0)
    axes.set(xlabel="topological charge $Q$", ylabel="$P(Q)$", title="distribution")
    axes.legend(loc="upper right", ncols=1)
