"""The broken phase of 2D phi^4: both modes by a flow, tunnelling of HMC, the distribution of the magnetisation.

    python scripts/figures/broken_phase.py [--smoke] [--out FOLDER]

8x8, m2 = -4, couplings below the critical one, where HMC rarely changes the sign of M. The flow commutes with phi -> -phi, so
that both modes have equal weight by construction; a broken symmetry of the samples would be visible as an unequal histogram.
"""

import jax
import numpy as np
from _common import run, trained

import trivmap as tm


def compute(smoke: bool) -> dict:
    extent, lam, n, steps = (4, 5.0, 400, 20) if smoke else (8, 4.5, 20_000, 800)
    theory = tm.Phi4Action((extent, extent), m2=-4.0, lam=lam)
    measure = {"M": tm.magnetisation}
    ensemble = tm.sample(jax.random.key(1), trained(theory, steps), theory, n, measure=measure)
    flow = tm.independence_metropolis(jax.random.key(2), ensemble)
    hmc = tm.hmc(jax.random.key(3), theory, n // 4, steps=8, chains=4, measure=measure)
    edges = np.linspace(-1.0, 1.0, 41) * float(np.abs(hmc.observables["M"]).max())
    weights = tm.statistics.normalised_weights(ensemble.log_weights)
    histograms = {
        "flow": np.histogram(ensemble.observables["M"], edges, weights=weights, density=True)[0],
        "HMC": np.histogram(hmc.observables["M"], edges, density=True)[0],
    }
    estimates = {"flow": tm.expectation(ensemble, "M"), "HMC": tm.expectation(hmc, "M")}
    for name, estimate in estimates.items():
        print(f"<M> by {name}: {estimate}; " + "; ".join(estimate.cautions))
    print(f"ESS {tm.ess_fraction(ensemble.log_weights):.3f}")
    return {
        "lam": lam,
        "edges": edges.tolist(),
        "histograms": {name: values.tolist() for name, values in histograms.items()},
        "history": {
            "flow": flow.observables["M"][0, :1000].tolist(),
            "HMC": hmc.observables["M"][0, :1000].tolist(),
        },
        "ess": tm.ess_fraction(ensemble.log_weights),
    }


def plot(figure, data: dict) -> None:
    histogram, flow, hmc = figure.subplots(1, 3, width_ratios=(1.2, 1.0, 1.0))
    for (name, values), line in zip(data["histograms"].items(), ("-", "--"), strict=True):
        histogram.stairs(values, data["edges"], label=name, linestyle=line, linewidth=1.4)
    histogram.set(xlabel="$M$", ylabel="density", title=rf"$\lambda$ = {data['lam']:g}")
    histogram.set_ylim(0, 1.35 * max(map(max, data["histograms"].values())))
    histogram.legend(loc="upper center")
    for axes, name, unit in ((flow, "flow", "proposal"), (hmc, "HMC", "trajectory")):
        axes.plot(data["history"][name], linewidth=0.5, color="C0" if name == "flow" else "C1")
        axes.set(xlabel=unit, title="flow + Metropolis" if name == "flow" else name)
        axes.set_ylim(data["edges"][0], data["edges"][-1])
    flow.set_ylabel("$M$")


if __name__ == "__main__":
    run("broken_phase", __doc__, compute, plot, (8.5, 2.7))
