"""One density carried to another three ways: ODE, SDE, and the monotone map of a coupling step.

    python scripts/figures/carried_density.py [--smoke] [--out FOLDER]

From the standard normal density to a double well, along the path log p_t = (1 - t) log r - t S. ODE: the velocity that solves
the continuity equation, v = -(1/p) int dp/dt. SDE: the same drift with noise and its counter-term, so that densities agree
and paths do not. Coupling: one increasing map, F^{-1} of the normal distribution function, applied in one step.
"""

import numpy as np
from _common import run

GRID = np.linspace(-4.5, 4.5, 1201)
TIMES = np.linspace(0, 1, 101)


def _densities() -> np.ndarray:
    """Rows: times."""
    log_r, log_p = -(GRID**2) / 2, -(0.5 * (GRID**2 - 2.5) ** 2)
    p = np.exp((1 - TIMES[:, None]) * log_r + TIMES[:, None] * log_p)
    return p / (p.sum(axis=1, keepdims=True) * (GRID[1] - GRID[0]))


def _paths(p: np.ndarray, start: np.ndarray, noise: float) -> np.ndarray:
    """Euler steps with the velocity of the continuity equation; with noise the drift gains noise^2/2 d log p."""
    h, rng, x, paths = GRID[1] - GRID[0], np.random.default_rng(1), start, [start]
    mass = np.cumsum(p, axis=1) * h
    substeps = 20
    for k in range(len(TIMES) - 1):
        step = TIMES[k + 1] - TIMES[k]
        velocity = -(mass[k + 1] - mass[k]) / step / np.maximum((p[k] + p[k + 1]) / 2, 1e-12)
        score = np.gradient(np.log(np.maximum(p[k], 1e-300)), h)
        for _ in range(substeps):
            drift = np.interp(x, GRID, velocity) + noise**2 / 2 * np.interp(x, GRID, score)
            x = x + drift * step / substeps + noise * np.sqrt(step / substeps) * rng.normal(size=x.shape)
        paths.append(x)
    return np.array(paths)


def compute(smoke: bool) -> dict:
    n = 2000 if smoke else 20_000
    p, start = _densities(), np.random.default_rng(0).normal(size=n)
    h = GRID[1] - GRID[0]
    cumulative = np.cumsum(p, axis=1) * h
    carried = {"ODE": _paths(p, start, 0.0), "SDE": _paths(p, start, 0.8)}
    mapped = np.interp(np.interp(start, GRID, cumulative[0]), cumulative[-1], GRID)
    carried["coupling"] = np.array([start, mapped])
    bins = np.linspace(-3, 3, 61)
    order = np.argsort(start)[:: n // 12]
    return {
        "grid": GRID[::6].tolist(),
        "start": p[0, ::6].tolist(),
        "end": p[-1, ::6].tolist(),
        "bins": bins.tolist(),
        "paths": {name: x[:, order].tolist() for name, x in carried.items()},
        "histograms": {name: np.histogram(x[-1], bins, density=True)[0].tolist() for name, x in carried.items()},
    }


def plot(figure, data: dict) -> None:
    panels = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.2))
    for axes, (name, paths) in zip(panels, data["paths"].items(), strict=False):
        x = np.array(paths)
        axes.plot(np.linspace(0, 1, len(x)), x, color="C0", linewidth=0.7, marker="o" if len(x) == 2 else None, markersize=2)
        axes.set(xlabel="$t$", title=name if name != "coupling" else "one increasing map", ylim=(-3, 3))
    panels[0].set_ylabel("$x$")
    axes = panels[3]
    axes.plot(data["grid"], data["start"], color="0.6", linestyle=":", label="prior")
    axes.plot(data["grid"], data["end"], color="0.2", label="target")
    for index, (name, values) in enumerate(data["histograms"].items()):
        centres = (np.array(data["bins"])[1:] + np.array(data["bins"])[:-1]) / 2
        axes.plot(centres[index::3], values[index::3], "os^"[index], markersize=3, label=name)
    axes.set(xlabel="$x$", ylabel="density", xlim=(-3, 3), ylim=(0, 1.55 * max(data["end"])))
    axes.legend(ncols=2, loc="upper center", fontsize=7)


if __name__ == "__main__":
    run("carried_density", __doc__, compute, plot, (10.0, 2.8))
