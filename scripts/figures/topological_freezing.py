"""Topological freezing in 2D U(1): tau_int(Q^2) against beta, and histories of Q.

    python scripts/figures/topological_freezing.py [--smoke] [--out FOLDER]

On 8x8: HMC (trajectories of length 2); heatbath with overrelaxation, alone, with winding hits, and in exchange with a rung on
which one plaquette has no coupling, by the exact map of `DefectRepair`; boxes of 6 drawn whole; independence Metropolis with
the continuous flow of the closed form for U(1), a function of beta without learned numbers. A chain that never changed its
charge has no point.
"""

import jax
import numpy as np
from _common import run, tau

import trivmap as tm
from trivmap.kernels import BoxHeatbath, HeatbathKernel, KernelSequence, OverrelaxationKernel, WindingHit

MEASURE = {"Q": tm.topological_charge, "Q2": lambda x: tm.topological_charge(x) ** 2}


def closed_form(theory: tm.WilsonAction) -> tm.Model:
    field = tm.GatedConvolutionField.trivializing(theory.manifold, float(theory.beta))
    return tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(field, steps=12))


def chains_of(theory: tm.WilsonAction, ensemble: tm.Ensemble, n: int) -> dict[str, tm.Chain]:
    """All methods of the figure, by the name in its legend."""
    options = {"chains": 4, "measure": MEASURE, "thermalisation": 200}
    sweeps, beta = (HeatbathKernel(), OverrelaxationKernel(2)), float(theory.beta)
    ladder = [tm.theories.WeightedWilsonAction.with_defect(theory.group, theory.lattice, beta, rung) for rung in (0.0, beta)]
    repair = tm.flows.DefectRepair(theory.manifold, source=0.0, target=beta, patch=min(theory.lattice))
    exchange = options | {"kernel": KernelSequence(*sweeps), "flows": [repair], "translate": (1,), "tolerance": None}
    exchanged = tm.replica_exchange(jax.random.key(6), ladder, n, **exchange)
    return {
        "HMC": tm.hmc(jax.random.key(1), theory, n, trajectory_length=2.0, steps=12, **options),
        "heatbath": tm.heatbath(jax.random.key(2), theory, n, overrelaxation=2, **options),
        "exchange": exchanged[-1],
        "winding hits": tm.run_chain(jax.random.key(5), theory, KernelSequence(*sweeps, WindingHit()), n, **options),
        "boxes": tm.run_chain(jax.random.key(7), theory, BoxHeatbath(3 * min(theory.lattice) // 4), n, **options),
        "flow": tm.independence_metropolis(jax.random.key(4), ensemble),
    }


def compute(smoke: bool) -> dict:
    extent, betas = (4, [1.0, 2.0]) if smoke else (8, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    n = 200 if smoke else 20_000
    data: dict = {"beta": betas, "lattice": [extent, extent], "tau": {}, "history": {}, "ess": []}
    for beta in betas:
        theory = tm.WilsonAction(tm.U1(), (extent, extent), beta=beta)
        ensemble = tm.sample(jax.random.key(3), closed_form(theory), theory, n, measure=MEASURE)
        data["ess"].append(tm.ess_fraction(ensemble.log_weights))
        for name, chain in chains_of(theory, ensemble, n).items():
            data["tau"].setdefault(name, []).append(tau(chain, "Q2"))
            data["history"][name] = np.rint(chain.observables["Q"][0, :400]).astype(int).tolist()
        shown = ", ".join(f"{name} {values[-1][0]:.1f}" for name, values in data["tau"].items())
        print(f"beta {beta:g}: ESS {data['ess'][-1]:.3f}, tau_int(Q^2): {shown}", flush=True)
    return data


def plot(figure, data: dict) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.4))
    for (name, values), marker in zip(data["tau"].items(), "osDvP^", strict=True):
        middle, error = np.array(values).T
        left.errorbar(data["beta"], middle, error, marker=marker, label=name)
    left.set_yscale("log")
    left.set(xlabel=r"$\beta$", ylabel=r"$\tau_{int}(Q^2)$ in steps")
    left.legend()
    spread = 1 + 2 * max(max(map(abs, history)) for history in data["history"].values())
    for index, (name, history) in enumerate(data["history"].items()):
        right.step(range(len(history)), np.array(history) - index * spread, where="mid", label=name)
        right.axhline(-index * spread, color="0.8", linewidth=0.8, zorder=0)
    names = list(data["history"])
    right.set_yticks([-k * spread for k in range(len(names))], [f"{name}\n$Q=0$" for name in names])
    right.set(xlabel="update", title=rf"history of $Q$ at $\beta$ = {data['beta'][-1]:g}")


if __name__ == "__main__":
    run("topological_freezing", __doc__, compute, plot, (9.0, 4.0))
