"""ESS of annealed flows against what a sample costs: heatbath, HMC updates, and layers in between.

    python scripts/figures/ess_cost.py [--smoke] [--out FOLDER]

SU(2) on 8x8 at beta = 2.2, from Haar measure in n annealing steps. Jarzynski: a heatbath sweep or an HMC trajectory of
three leapfrog steps after each annealing step. Stochastic normalizing flow: before each sweep one step of the flow of the
leading-order trivializing potential, nothing learned. Cost is the time of a sample on this machine, after compilation; the
second picture has the time of an effective sample, for which more annealing steps pay off as long as it falls.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from _common import pair, run

import trivmap as tm


def _layers(theory: tm.WilsonAction, levels: int):
    start = tm.fields.trivializing_potential(theory, 0, dtype=jnp.float32)
    potential = tm.LoopPotential(
        theory.manifold, coefficients=start.coefficients / levels, time="constant", dtype=jnp.float32
    )
    layer = tm.ContinuousFlow(tm.GradientField(potential), steps=1, solver=tm.solvers.LuescherW3())
    return tm.stochastic.stack_layers([layer] * levels)


def _flows(theory: tm.WilsonAction, levels: int) -> dict:
    prior, beta = tm.HaarPrior(theory.manifold), float(theory.beta)
    return {
        "heatbath": tm.AnnealedFlow(prior, theory, tm.kernels.HeatbathKernel(), levels),
        "HMC": tm.AnnealedFlow(prior, theory, tm.kernels.HMCKernel(length=0.6 / beta**0.5, steps=3), levels),
        "heatbath and layers": tm.AnnealedFlow(
            prior, theory, tm.kernels.HeatbathKernel(), levels, layers=_layers(theory, levels)
        ),
    }


def compute(smoke: bool) -> dict:
    extent, all_levels, n = (4, (2, 4), 64) if smoke else (8, (5, 10, 20, 40, 80), 4000)
    theory = tm.WilsonAction(tm.SU(2), (extent, extent), beta=2.2)
    exact, batch = tm.exact.log_z(theory), min(n, 250)
    data: dict = {"levels": list(all_levels), "samples": n, "curves": {}}
    for levels in all_levels:
        for name, flow in _flows(theory, levels).items():
            model = tm.Model(flow.prior, flow)
            options = {"batch_size": batch, "measure": {}, "dtype": jnp.float32}
            tm.sample(jax.random.key(0), model, theory, batch, **options)
            start = time.perf_counter()
            ensemble = tm.sample(jax.random.key(levels), model, theory, n, **options)
            milliseconds = 1e3 * (time.perf_counter() - start) / n
            row = {
                "milliseconds": milliseconds,
                "ess": float(tm.ess_fraction(ensemble.log_weights)),
                "log Z": pair(tm.log_z(ensemble)),
                "pull": float(tm.log_z(ensemble).pull(exact)),
            }
            data["curves"].setdefault(name, []).append(row)
            print(
                f"{name}, {levels} levels: ESS {row['ess']:.3f}, {milliseconds:.2f} ms, log Z pull {row['pull']:+.1f}",
                flush=True,
            )
    return data


def plot(figure, data: dict) -> None:
    left, right = figure.subplots(1, 2)
    for (name, rows), marker, line in zip(data["curves"].items(), "os^", ("-", "--", ":"), strict=True):
        cost, ess = (np.array([row[key] for row in rows]) for key in ("milliseconds", "ess"))
        left.plot(cost, ess, marker=marker, linestyle=line, label=name)
        right.plot(data["levels"], cost / ess, marker=marker, linestyle=line, label=name)
    left.set(xlabel="milliseconds per sample", ylabel="ESS per sample", xscale="log", ylim=(0, 1))
    right.set(xlabel="annealing steps", ylabel="milliseconds per effective sample", xscale="log", yscale="log")
    low, high = left.get_xlim()
    ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low < t < high]
    left.set_xticks(ticks, [f"{t:g}" for t in ticks])
    right.set_xticks(data["levels"], [str(n) for n in data["levels"]])
    for axes in (left, right):
        axes.minorticks_off()
    left.legend()


if __name__ == "__main__":
    run("ess_cost", __doc__, compute, plot, (7.0, 3.0))
