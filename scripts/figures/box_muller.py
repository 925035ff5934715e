"""Box-Muller: the first flow, two uniform numbers carried to two normal ones.

    python scripts/figures/box_muller.py [--smoke] [--out FOLDER]

x = sqrt(-2 log u) (cos, sin)(2 pi v). The Jacobian |dx/d(u, v)| = 2 pi / u makes the density of x the normal one: cells of
equal area on the left hold equal probability on the right.
"""

import numpy as np
from _common import run


def _carried(u, v):
    r = np.sqrt(-2 * np.log(u))
    return r * np.cos(2 * np.pi * v), r * np.sin(2 * np.pi * v)


def compute(smoke: bool) -> dict:
    n = 500 if smoke else 3000
    u, v = np.random.default_rng(0).uniform(size=(2, n))
    x, y = _carried(u, v)
    t = np.linspace(0, 1, 100)
    lines = [[np.full(100, k / 8).tolist(), t.tolist()] for k in range(1, 8)]  # constant u: circles
    lines += [[np.linspace(1e-4, 1, 100).tolist(), np.full(100, k / 8).tolist()] for k in range(8)]  # constant v: rays
    return {"u": u.tolist(), "v": v.tolist(), "x": x.tolist(), "y": y.tolist(), "lines": lines}


def plot(figure, data: dict) -> None:
    left, middle, right = figure.subplots(1, 3)
    left.plot(data["u"], data["v"], ".", markersize=1, color="0.5")
    middle.plot(data["x"], data["y"], ".", markersize=1, color="0.5")
    for k, (u, v) in enumerate(data["lines"]):
        look = {"color": "C0" if k < 7 else "C1", "linestyle": "-" if k < 7 else "--", "linewidth": 0.8}
        left.plot(u, v, **look)
        middle.plot(*_carried(np.array(u), np.array(v)), **look)
    left.set(xlabel="$u$", ylabel="$v$", title="uniform", aspect="equal")
    middle.set(xlabel="$x$", ylabel="$y$", title="normal", aspect="equal", xlim=(-4, 4), ylim=(-4, 4))
    right.hist(data["x"], bins=40, density=True, color="0.8", label="samples of $x$")
    grid = np.linspace(-4, 4, 200)
    right.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), label="normal density")
    right.set(xlabel="$x$", ylabel="density", ylim=(0, 0.58))
    right.legend(loc="upper right")


if __name__ == "__main__":
    run("box_muller", __doc__, compute, plot, (8.5, 2.8))
