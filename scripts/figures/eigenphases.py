"""The trivializing flow of a single SU(2) and SU(3) matrix: densities of the eigenphases from Haar measure to beta.

    python scripts/figures/eigenphases.py [--smoke] [--out FOLDER]

A plaquette term exp(beta Re tr U / N) on one matrix. Haar-distributed matrices are moved by the flow of a learned spectral
map; histograms are weighted and lie on the exact densities.
"""

import jax
import numpy as np
from _common import run, trained

import trivmap as tm

BETA = {2: 6.0, 3: 6.0}


def _exact(n: int, beta: float, grid: np.ndarray) -> np.ndarray:
    """Density of one eigenphase: the Vandermonde factor times the weight, other phases summed over."""
    if n == 2:
        density = np.sin(grid) ** 2 * np.exp(beta * np.cos(grid))
    else:
        a, b = np.meshgrid(grid, grid, indexing="ij")
        c = -a - b
        z = [np.exp(1j * p) for p in (a, b, c)]
        vandermonde = np.abs((z[0] - z[1]) * (z[0] - z[2]) * (z[1] - z[2])) ** 2
        density = (vandermonde * np.exp(beta / 3 * (np.cos(a) + np.cos(b) + np.cos(c)))).sum(axis=1)
    return density / (density.sum() * (grid[1] - grid[0]))


def compute(smoke: bool) -> dict:
    n_samples, steps = (1000, 20) if smoke else (50_000, 300)
    data: dict = {}
    bins = np.linspace(-np.pi, np.pi, 49)
    grid = np.linspace(-np.pi, np.pi, 401)[:-1]
    for n, beta in BETA.items():
        theory = tm.theories.MatrixAction(tm.SU(n), beta, [1.0])
        flow = tm.flows.SpectralFlow(jax.random.key(0), theory.manifold)
        model = trained(theory, steps, tm.Model(tm.HaarPrior(theory.manifold), flow), rate=1e-2)
        ensemble = tm.sample(jax.random.key(1), model, theory, n_samples)
        matrices = np.asarray(ensemble.configurations)[:, 0, ..., 0]
        phases = np.angle(np.linalg.eigvals(matrices))
        weights = np.repeat(tm.statistics.normalised_weights(ensemble.log_weights)[:, None], n, axis=1)
        data[str(n)] = {
            "beta": beta,
            "ess": tm.ess_fraction(ensemble.log_weights),
            "bins": bins.tolist(),
            "weighted": np.histogram(phases, bins, weights=weights, density=True)[0].tolist(),
            "grid": grid.tolist(),
            "exact": _exact(n, beta, grid).tolist(),
            "haar": _exact(n, 0.0, grid).tolist(),
        }
        print(f"SU({n}), beta {beta:g}: ESS {data[str(n)]['ess']:.4f}", flush=True)
    return data


def plot(figure, data: dict) -> None:
    panels = figure.subplots(1, len(data))
    for axes, (n, row) in zip(panels, data.items(), strict=True):
        axes.stairs(row["weighted"], row["bins"], fill=True, color="0.82", label="flow, weighted")
        axes.plot(row["grid"], row["exact"], label="exact")
        axes.plot(row["grid"], row["haar"], "--", label="Haar measure")
        axes.set(xlabel=r"eigenphase $\theta$", title=rf"SU({n}), $\beta$ = {row['beta']:g}, ESS {row['ess']:.3f}")
        axes.set_ylim(0, 1.35 * max(row["exact"]))
    panels[0].set_ylabel("density")
    panels[0].legend(ncols=2, loc="upper center", fontsize=7)


if __name__ == "__main__":
    run("eigenphases", __doc__, compute, plot, (7.5, 2.8))
