"""The Schwinger model: ESS of flows and of reweighting, tau_int of the charge, condensate and pion mass against kappa.

    python scripts/figures/schwinger.py [--smoke] [--out FOLDER]

Two flavours at beta = 2. ESS of exact samples of the gauge theory with the weight of the quarks (`tm.samplers.quenched`), on
8x8 and 16x16, beside the flows of arXiv:2211.07541 (values read off its figure) and, where `schwinger_flows.json` of
`scripts/targets/schwinger_flows.py` lies in the folder in which this is called, the flows trained here. On 8x8 chains of HMC
with and without winding hits and rotations of the holonomies, which also cross the surfaces det D = 0; condensate and pion
mass (effective mass at half of the extent) of the reweighted samples and of the chains with hits.
"""

import json
import re
from pathlib import Path

import jax
import numpy as np
from _common import pair, run, tau

import trivmap as tm

# By extent: kappa and ESS.
PUBLISHED = {"8": [[0.25, 0.80], [0.263, 0.53]], "16": [[0.25, 0.70], [0.263, 0.49]]}
TRAINED = Path("schwinger_flows.json")
CRITICAL = 0.276  # at beta = 2, arXiv:2202.11712


def trained() -> dict:
    """By extent, kappa and ESS of the points of a results file."""
    found: dict = {}
    for name, row in json.loads(TRAINED.read_text()).items() if TRAINED.exists() else ():
        if (match := re.fullmatch(r"schwinger-(\d+)-kappa([\d.]+)", name)) and float(match[2]) > 0:
            found.setdefault(match[1], []).append([float(match[2]), row["ess"]])
    return {extent: sorted(points) for extent, points in found.items()}


def observables(theory: tm.SchwingerAction) -> dict:
    return {
        "Q": tm.topological_charge,
        "condensate": tm.observables.ChiralCondensate(theory.determinant.dirac),
        "pion": tm.observables.MesonCorrelators(theory.determinant.dirac).pion,
    }


def quark_means(data) -> dict:
    mass = tm.observables.effective_mass(lambda x: x)
    return {"condensate": pair(tm.expectation(data, "condensate")), "pion": pair(tm.expectation(data, "pion", function=mass))}


def chains(theory: tm.SchwingerAction, smoke: bool) -> dict[str, tm.Chain]:
    hmc = tm.kernels.HMCKernel(1.0, 8, tm.kernels.NestedIntegrator(tm.kernels.leapfrog, tm.kernels.omf2, 2))
    hits = tm.kernels.KernelSequence(hmc, tm.kernels.WindingHit(), tm.kernels.HolonomyRotation())
    options = {"chains": 4 if smoke else 8, "thermalisation": 10 if smoke else 50, "measure": observables(theory)}
    n = 60 if smoke else 300
    return {
        name: tm.run_chain(jax.random.key(1), theory, kernel, n, **options)
        for name, kernel in (("HMC", hmc), ("HMC and hits", hits))
    }


def compute(smoke: bool) -> dict:
    small = 4 if smoke else 8
    kappas = [0.2, 0.25] if smoke else [0.2, 0.24, 0.25, 0.263, 0.27, 0.276]
    samples = {4: 256} if smoke else {8: 4096, 16: 2048}
    data: dict = {"kappa": kappas, "extent": small, "samples": samples, "ess": {}, "tau": {}, "means": {}}
    data |= {"published": PUBLISHED, "trained": trained()}
    for extent, count in samples.items():
        for kappa in kappas:
            theory = tm.SchwingerAction((extent, extent), beta=2.0, kappa=kappa)
            measured = observables(theory) if extent == small else {"Q": tm.topological_charge}
            ensemble = tm.samplers.quenched(jax.random.key(0), theory, count, observables=measured)
            data["ess"].setdefault(str(extent), []).append(float(tm.ess_fraction(ensemble.log_weights)))
            print(f"{extent}x{extent}, kappa {kappa:g}: ESS {data['ess'][str(extent)][-1]:.3f}", flush=True)
            if extent != small:
                continue
            data["means"].setdefault("reweighted", []).append(quark_means(ensemble))
            found = chains(theory, smoke)
            data["means"].setdefault("HMC and hits", []).append(quark_means(found["HMC and hits"]))
            for name, chain in found.items():
                data["tau"].setdefault(name, []).append(tau(chain, "Q"))
            shown = ", ".join(f"{name} {values[-1][0]:.2g}" for name, values in data["tau"].items())
            print(f"  tau_int(Q): {shown}", flush=True)
    return data


def plot(figure, data: dict) -> None:
    (ess, tau_int), (condensate, mass) = figure.subplots(2, 2, sharex=True)
    flows = {"published": ("s", "arXiv:2211.07541"), "trained": ("D", "trained here")}
    for extent, colour in zip(data["ess"], ("C0", "C1"), strict=False):
        ess.plot(data["kappa"], data["ess"][extent], color=colour, marker="o", label=f"{extent}x{extent}, reweighted")
        for key, (marker, label) in flows.items():
            points = np.array(data[key].get(extent, np.empty((0, 2)))).T
            if points.size:
                ess.plot(*points, marker, color=colour, markerfacecolor="none", label=f"{extent}x{extent}, {label}")
    ess.set(ylabel="ESS", ylim=(0, 1.02))
    ess.legend(fontsize="x-small")
    for index, (name, values) in enumerate(data["tau"].items()):
        middle, error = np.array(values).T
        tau_int.errorbar(data["kappa"], middle, error, marker="os"[index], linestyle=("-", "--")[index], label=name)
    tau_int.set(ylabel=r"$\tau_{int}(Q)$ in trajectories")
    tau_int.set_ylim(bottom=0)
    tau_int.legend()
    for axis, name, label in ((condensate, "condensate", r"$\mathrm{tr} D^{-1}/V$"), (mass, "pion", r"$m_\pi(t = L/2)$")):
        for index, (source, rows) in enumerate(data["means"].items()):
            middle, error = np.array([row[name] for row in rows], float).T
            moved = np.array(data["kappa"]) + 4e-4 * index  # so that both are seen
            axis.errorbar(moved, middle, error, marker="os"[index], linestyle="", label=source)
        axis.set(ylabel=label, xlabel=r"$\kappa$")
    mass.legend()
    for axis in (ess, tau_int, condensate, mass):
        axis.axvline(CRITICAL, color="0.8", linewidth=0.8, zorder=0)
    size = f"{data['extent']}x{data['extent']}"
    for axis in (tau_int, condensate, mass):
        axis.set_title(size, fontsize="small")


if __name__ == "__main__":
    run("schwinger", __doc__, compute, plot, (7.5, 5.4))
