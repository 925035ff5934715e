"""Replica exchange in 2D U(1): sweeps per independent Q^2, the acceptance of repaired defects, and histories of Q.

    python scripts/figures/replica_exchange.py [--smoke] [--out FOLDER]

On 8x8 at beta = 7: heatbath with overrelaxation, tempering of 7 rungs from beta = 3, a defect of one plaquette with couplings
0, 2 and 7, the same without the middle rung but with the exact repair on a patch, and heatbath with winding hits. Acceptance
of the repair on patches of all sizes between exact samples, beside that of independent plaquettes.
"""

import jax
import numpy as np
from _common import run
from matplotlib.ticker import NullFormatter

import trivmap as tm
from trivmap.kernels import HeatbathKernel, KernelSequence, OverrelaxationKernel, WindingHit
from trivmap.statistics import swap_acceptance

SWEEPS = (HeatbathKernel(), OverrelaxationKernel())
MEASURE = {"Q": tm.topological_charge, "Q2": lambda x: tm.topological_charge(x) ** 2}


def defects(lattice, beta: float, values) -> list:
    return [tm.theories.WeightedWilsonAction.with_defect(tm.U1(), lattice, beta, value) for value in values]


def repair(lattice, beta: float, patch: int) -> tm.flows.DefectRepair:
    return tm.flows.DefectRepair(tm.LinkField(tm.U1(), lattice), source=0.0, target=beta, patch=patch)


def ladders(lattice, beta: float) -> dict:
    """Theories of the rungs and flows between them."""
    tempering = [tm.WilsonAction(tm.U1(), lattice, beta=float(b)) for b in np.geomspace(3.0 / 7.0 * beta, beta, 7)]
    return {
        "tempering, 7 rungs": (tempering, None, ()),
        "defect 0, 2, 7": (defects(lattice, beta, (0.0, 2.0 / 7.0 * beta, beta)), None, (2,)),
        "defect 0, 7, repaired": (defects(lattice, beta, (0.0, beta)), [repair(lattice, beta, min(lattice))], (1,)),
    }


def result(chain: tm.Chain, halves: int, rungs: int, theory) -> dict:
    """tau_int of Q^2 in sweeps over all rungs; the length of the chain where the charge never changed."""
    estimate, scale = tm.expectation(chain, "Q2"), halves * rungs * len(SWEEPS)
    return {
        "sweeps": [2 * float(estimate.tau_int) * scale, 2 * float(estimate.dtau_int) * scale],
        "pull": float(estimate.pull(tm.exact.charge_squared(theory))),
        "history": np.rint(chain.observables["Q"][0, : 400 // halves]).astype(int).repeat(halves).tolist(),
    }


def compute(smoke: bool) -> dict:
    lattice, beta, n = ((4, 4), 2.0, 40) if smoke else ((8, 8), 7.0, 4000)
    options = {"chains": 8, "measure": MEASURE, "thermalisation": n // 10}
    data: dict = {"lattice": lattice, "beta": beta, "methods": {}, "patch": {}}
    theory = tm.WilsonAction(tm.U1(), lattice, beta=beta)
    for name, hits in (("heatbath", ()), ("heatbath, winding hits", (WindingHit(),))):
        chain = tm.run_chain(jax.random.key(0), theory, KernelSequence(*SWEEPS, *hits), n, **options)
        data["methods"][name] = result(chain, 1, 1, theory)
    for name, (theories, flows, translate) in ladders(lattice, beta).items():
        halves = 1 if len(theories) == 2 else 2
        replicas = tm.replica_exchange(
            jax.random.key(1), theories, n // halves, kernel=KernelSequence(*SWEEPS), flows=flows, translate=translate,
            tolerance=None, **options,
        )  # fmt: skip
        data["methods"][name] = result(replicas[-1], halves, len(theories), theories[-1])
        data["methods"][name]["acceptance"] = swap_acceptance(replicas).tolist()
    for name, row in data["methods"].items():
        print(f"{name}: {row['sweeps'][0]:.0f} sweeps per independent Q^2, pull {row['pull']:+.1f}", flush=True)
    for patch in range(2, min(lattice) + 1):
        data["patch"][str(patch)] = [acceptance(lattice, beta, patch, 200 if smoke else 20_000), independent(beta, patch)]
    return data


def acceptance(lattice, beta: float, patch: int, count: int) -> list[float]:
    """Of exchanges between exact samples of both rungs, with its error."""
    low, high = defects(lattice, beta, (0.0, beta))
    x, y = (tm.exact.sample(jax.random.key(i), theory, count) for i, theory in enumerate((low, high)))
    flow = repair(lattice, beta, patch)

    def one(x, y):
        up, log_up = flow.forward_and_log_det(x)
        down, log_down = flow.inverse_and_log_det(y)
        return low.action(x) + high.action(y) - low.action(down) - high.action(up) + log_up + log_down

    accepted = np.minimum(1.0, np.exp(np.asarray(jax.jit(jax.vmap(one))(x, y))))
    return [float(accepted.mean()), float(accepted.std() / np.sqrt(count))]


def independent(beta: float, patch: int, count: int = 200_000) -> float:
    """The same for plaquettes of a plane without boundary, drawn from their distributions."""
    rng, others = np.random.default_rng(0), patch**2 - 1
    x, y = rng.uniform(-np.pi, np.pi, count), rng.vonmises(0, beta, count)
    grid = np.linspace(-np.pi, np.pi, 20_001)
    density = np.exp(beta * np.cos(grid))
    cdf = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    cdf = cdf / cdf[-1]
    up, down = np.interp((x + np.pi) / (2 * np.pi), cdf, grid), 2 * np.pi * np.interp(y, grid, cdf) - np.pi
    change = np.zeros(count)
    for start, end in ((x, up), (y, down)):
        rest = rng.vonmises(0, beta, (count, others))
        change += beta * np.sum(np.cos(rest - ((end - start) / others)[:, None]) - np.cos(rest), axis=1)
    return float(np.minimum(1.0, np.exp(change)).mean())


def plot(figure, data: dict) -> None:
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 0.9, 1.3))
    names = sorted(data["methods"], key=lambda name: -data["methods"][name]["sweeps"][0])
    values, errors = np.array([data["methods"][name]["sweeps"] for name in names]).T
    left.barh(range(len(names)), values, xerr=errors, color="C0", height=0.6)
    left.set_yticks(range(len(names)), names)
    left.set_xscale("log")
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set(xlabel="sweeps per independent $Q^2$", title="cost, all rungs")
    patches = [int(patch) for patch in data["patch"]]
    measured = np.array([row[0] for row in data["patch"].values()])
    middle.errorbar(patches, *measured.T, marker="o", linestyle="", label="exact samples")
    middle.plot(patches, [row[1] for row in data["patch"].values()], linestyle="--", label="independent plaquettes")
    middle.set(xlabel="extent of the patch", ylabel="acceptance of an exchange", ylim=(0, 1), title="repair of the defect")
    middle.legend()
    spread = 1 + 2 * max(max(map(abs, row["history"])) for row in data["methods"].values())
    for index, name in enumerate(names):
        history = np.array(data["methods"][name]["history"])
        right.step(range(len(history)), history - index * spread, where="mid")
        right.axhline(-index * spread, color="0.8", linewidth=0.8, zorder=0)
    right.set_yticks([-k * spread for k in range(len(names))], names)
    size = "x".join(map(str, data["lattice"]))
    right.set(xlabel="iteration", title=rf"history of $Q$, U(1) {size}, $\beta$ = {data['beta']:g}")


if __name__ == "__main__":
    run("replica_exchange", __doc__, compute, plot, (10.5, 3.2))
