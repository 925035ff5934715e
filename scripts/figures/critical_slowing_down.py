"""Critical slowing down in 2D phi^4: tau_int(M^2) of HMC and of flows against xi.

    python scripts/figures/critical_slowing_down.py [--smoke] [--out FOLDER]

The points E1 to E5 of arXiv:1904.12072 (L = 6 ... 14, L/xi about 4). xi is the inverse of the mass that HMC's two-point
function has; trajectories have length one. Flows: gated convolution, trained at each point for the same number of updates.
"""

import jax
import numpy as np
from _common import run, tau, trained

import trivmap as tm

POINTS = {"E1": (6, 6.975), "E2": (8, 6.008), "E3": (10, 5.55), "E4": (12, 5.276), "E5": (14, 5.113)}
MEASURE = {"M2": tm.observables.susceptibility, "C": tm.observables.two_point}


def compute(smoke: bool) -> dict:
    points = {"E1": (4, 6.975), "E2": (6, 6.008)} if smoke else POINTS
    n, steps = (300, 10) if smoke else (20_000, 600)
    data: dict = {name: [] for name in ("point", "xi", "HMC", "flow", "ess")}
    for name, (extent, lam) in points.items():
        theory = tm.Phi4Action((extent, extent), m2=-4.0, lam=lam)
        chain = tm.hmc(jax.random.key(1), theory, n, steps=8, chains=4, thermalisation=300, measure=MEASURE)
        ensemble = tm.sample(jax.random.key(2), trained(theory, steps), theory, n, measure=MEASURE)
        mass = float(tm.statistics.fit_correlator(chain, "C", 1, extent // 2).masses.value[0])
        data["point"].append(name)
        data["xi"].append(1 / mass)
        data["HMC"].append(tau(chain, "M2"))
        data["flow"].append(tau(tm.independence_metropolis(jax.random.key(3), ensemble), "M2"))
        data["ess"].append(tm.ess_fraction(ensemble.log_weights))
        shown = f"tau_int(M^2): HMC {data['HMC'][-1][0]:.2f}, flow {data['flow'][-1][0]:.2f}"
        print(f"{name}: xi {1 / mass:.2f}, ESS {data['ess'][-1]:.3f}, {shown}", flush=True)
    return data


def plot(figure, data: dict) -> None:
    axes = figure.subplots()
    xi = np.array(data["xi"])
    for name, marker in (("HMC", "o"), ("flow", "s")):
        middle, error = np.array(data[name]).T
        label = "HMC, trajectories" if name == "HMC" else "flow + Metropolis, proposals"
        (line, *_) = axes.errorbar(xi, middle, error, marker=marker, linestyle="none", label=label)
        if len(xi) > 2:
            z, offset = np.polyfit(np.log(xi), np.log(middle), 1)
            curve = np.exp(offset) * xi**z
            axes.plot(xi, curve, "-" if name == "HMC" else "--", color=line.get_color(), label=rf"$\xi^{{{z:.1f}}}$")
    for x, name, (y, _) in zip(xi, data["point"], data["HMC"], strict=True):
        axes.annotate(name, (x, y), xytext=(4, -10), textcoords="offset points", fontsize=7)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlabel=r"correlation length $\xi$", ylabel=r"$\tau_{int}(M^2)$")
    axes.set_xticks(np.round(xi, 2), [f"{x:.2f}" for x in xi])
    axes.minorticks_off()
    axes.legend()


if __name__ == "__main__":
    run("critical_slowing_down", __doc__, compute, plot, (4.5, 3.2))
