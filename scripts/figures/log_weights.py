"""Distribution of log weights as a flow learns, against the normal distribution.

    python scripts/figures/log_weights.py [--smoke] [--out FOLDER]

A continuous flow of U(1) on 8x8 at beta = 2 after different numbers of updates; log w minus its mean, and the normal
distribution of the same width. What lies to the right of it decides the ESS.
"""

import jax
import numpy as np
from _common import run, trained

import trivmap as tm


def compute(smoke: bool) -> dict:
    extent, n, updates = (4, 512, [2, 5]) if smoke else (8, 20_000, [5, 20, 80, 320])
    theory = tm.WilsonAction(tm.U1(), (extent, extent), beta=2.0)
    rows = []
    for steps in updates:
        lw = tm.sample(jax.random.key(1), trained(theory, steps), theory, n, measure={"p": tm.plaquette}).log_weights
        lw = lw - lw.mean()
        counts, edges = np.histogram(lw, bins=60)
        density = counts / (n * np.diff(edges))
        row = {"updates": steps, "ess": tm.ess_fraction(lw), "width": float(lw.std()), "edges": edges.tolist()}
        rows.append(row | {"density": density.tolist()})
        print(f"{steps} updates: ESS {row['ess']:.3f}, width {row['width']:.3f}, exp(-width^2) {np.exp(-lw.var()):.3f}")
    return {"rows": rows}


def plot(figure, data: dict) -> None:
    panels = figure.subplots(1, len(data["rows"]), squeeze=False)[0]
    for axes, row in zip(panels, data["rows"], strict=True):
        edges, width = np.array(row["edges"]), row["width"]
        axes.stairs(row["density"], edges, fill=True, color="0.8", label=r"$\log w - \langle\log w\rangle$")
        x = np.linspace(edges[0], edges[-1], 300)
        normal = np.exp(-0.5 * (x / width) ** 2) / (width * np.sqrt(2 * np.pi))
        axes.plot(x, normal, label="normal")
        axes.set_yscale("log")
        axes.set_ylim(0.5 * min(d for d in row["density"] if d > 0), 12 * max(row["density"]))
        axes.set(xlabel=r"$\log w$ minus mean", title=f"{row['updates']} updates, ESS {row['ess']:.2f}")
    panels[0].set_ylabel("density")
    panels[0].legend(loc="upper left")


if __name__ == "__main__":
    run("log_weights", __doc__, compute, plot, (9.0, 2.6))
