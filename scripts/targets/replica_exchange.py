"""Replica exchange for U(1) on 16x16 at beta = 7, where the charge freezes, beside heatbath and winding hits.

    python scripts/targets/replica_exchange.py [NAME ...] [--samples N] [--out FILE] [--smoke]

For every ladder: tau_int of Q^2 on the rung at beta = 7 in iterations (one heatbath and one overrelaxation sweep of all
rungs, and one set of exchanges), its product with the sweeps of an iteration over all rungs, <Q^2> of every rung against its
exact value, acceptance, round trips beside their bound, and milliseconds per independent Q^2 on this machine. `--samples`:
iterations of each of 8 chains.

- `heatbath`, `hits`: one rung; the second with a winding hit of uniform flux in every iteration.
- `tempering-11`, `-7`: couplings from 3 to 7 in geometric spacing; `tempering-equal`: 7 rungs at equal acceptance.
- `defect`, `defect-3`, `defect-2x2`: one plaquette at couplings (0, 7) and (0, 2, 7), and a square of four at (0, 1, 3, 7).
- `repair-3`, `-5`, `-8`, `-16`: (0, 7) with `flows.DefectRepair` on patches of that extent.
- `t-rex`: 3 and 7 with the closed form of the gated field between them.
"""

import time

import jax
import numpy as np
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.kernels import HeatbathKernel, KernelSequence, OverrelaxationKernel, WindingHit  # noqa: E402
from trivmap.statistics import (  # noqa: E402
    communication_barrier,
    equal_acceptance,
    round_trip_bound,
    round_trips,
    swap_acceptance,
    swap_identity,
)
from trivmap.theories import WeightedWilsonAction  # noqa: E402

SAMPLES, CHAINS, BETA = 4000, 8, 7.0
UPDATE, SWEEPS = KernelSequence(HeatbathKernel(), OverrelaxationKernel()), 2
MEASURE = {"Q2": lambda x: tm.topological_charge(x) ** 2, "plaquette": tm.plaquette}


def plain(lattice, betas) -> list:
    return [tm.WilsonAction(tm.U1(), lattice, beta=float(beta)) for beta in betas]


def defects(lattice, values, size=None) -> list:
    return [WeightedWilsonAction.with_defect(tm.U1(), lattice, BETA, value, size) for value in values]


def equal(lattice, rungs: int) -> np.ndarray:
    """Couplings from 3 to 7 at equal acceptance, by exact variances of the action."""
    betas = np.linspace(3.0, BETA, 40)
    return equal_acceptance(betas, [tm.exact.action_variance(theory) for theory in plain(lattice, betas)], rungs)


def carried(lattice) -> tm.ContinuousFlow:
    field = tm.GatedConvolutionField.trivializing(tm.LinkField(tm.U1(), lattice), BETA)
    return tm.ContinuousFlow(tm.fields.WindowField(field, 3.0 / BETA), steps=8)


# Theories of the rungs; beside them what `replica_exchange` is told.
LADDERS = {
    "tempering-11": (lambda lattice: plain(lattice, np.geomspace(3.0, BETA, 11)), {}),
    "tempering-7": (lambda lattice: plain(lattice, np.geomspace(3.0, BETA, 7)), {}),
    "tempering-equal": (lambda lattice: plain(lattice, equal(lattice, 7)), {}),
    "defect": (lambda lattice: defects(lattice, (0.0, BETA)), {"translate": (1,)}),
    "defect-3": (lambda lattice: defects(lattice, (0.0, 2.0, BETA)), {"translate": (2,)}),
    "defect-2x2": (lambda lattice: defects(lattice, (0.0, 1.0, 3.0, BETA), (2, 2)), {"translate": (3,)}),
    "t-rex": (lambda lattice: plain(lattice, (3.0, BETA)), {"flows": carried, "tolerance": 1e-2}),
}
REPAIRS = {f"repair-{patch}": patch for patch in (3, 5, 8, 16)}


def repaired(lattice, patch: int) -> tuple[list, dict]:
    manifold = tm.LinkField(tm.U1(), lattice)
    flow = tm.flows.DefectRepair(manifold, source=0.0, target=BETA, patch=min(patch, *lattice))
    return defects(lattice, (0.0, BETA)), {"translate": (1,), "flows": lambda lattice: flow, "tolerance": None}


def ladder_row(name: str, iterations: int, lattice) -> dict:
    theories, options = repaired(lattice, REPAIRS[name]) if name in REPAIRS else (LADDERS[name][0](lattice), LADDERS[name][1])
    options = {key: [value(lattice)] if key == "flows" else value for key, value in options.items()}
    halves = 1 if len(theories) == 2 else 2
    options |= {"kernel": UPDATE, "chains": CHAINS, "measure": MEASURE, "thermalisation": iterations // 10}
    run = lambda key, n, **more: tm.replica_exchange(key, theories, n, **(options | more))  # noqa: E731
    first = run(jax.random.key(0), 1)  # compiles
    start = time.perf_counter()
    replicas = run(jax.random.key(0), iterations // halves, initial=first.state, thermalisation=0)
    seconds = time.perf_counter() - start
    q2 = tm.expectation(replicas[-1], "Q2")
    pulls = [tm.expectation(c, "Q2").pull(tm.exact.charge_squared(t)) for c, t in zip(replicas.chains, theories, strict=True)]
    tau, error = (halves * float(value) for value in (q2.tau_int, q2.dtau_int))
    sweeps = SWEEPS * len(theories)
    row = {
        "tau": [tau, error],
        "cost": tau * sweeps,
        "Q2": [float(q2.value), float(q2.error)],
        "pulls": [float(pull) for pull in pulls],
        "acceptance": swap_acceptance(replicas).tolist(),
        "round_trips": [round_trips(replicas), round_trip_bound(replicas)],
        "barrier": communication_barrier(replicas),
        "returned": float(replicas.returned.mean()),
        "ms": 1e3 * seconds * 2 * tau / (iterations * CHAINS),
    }
    print(
        f"  tau {tau:.3g}({error:.1g}) iterations, {row['cost']:.0f} sweeps, {row['ms']:.3g} ms per independent Q^2; "
        f"<Q^2> {q2}, pulls {np.round(pulls, 1)}\n"
        f"  acceptance {np.round(row['acceptance'], 3)}, round trips {row['round_trips'][0]:.4f} (bound "
        f"{row['round_trips'][1]:.4f}), <e^d> {swap_identity(replicas, 0)}",
        flush=True,
    )
    return row


def single_row(name: str, iterations: int, lattice) -> dict:
    """One theory, with and without winding hits."""
    theory = plain(lattice, [BETA])[0]
    hits = (WindingHit(),) if name == "hits" else ()
    kernel = KernelSequence(HeatbathKernel(), OverrelaxationKernel(), *hits)
    options = {"chains": CHAINS, "measure": MEASURE}
    first = tm.run_chain(jax.random.key(0), theory, kernel, 1, thermalisation=iterations // 10, **options)
    start = time.perf_counter()
    chain = tm.run_chain(jax.random.key(0), theory, kernel, iterations, initial=first.state, **options)
    seconds = time.perf_counter() - start
    q2 = tm.expectation(chain, "Q2")
    tau, pull = float(q2.tau_int), float(q2.pull(tm.exact.charge_squared(theory)))
    accepted = tm.acceptance_rate(chain) if hits else None
    print(f"  tau {tau:.3g}({float(q2.dtau_int):.1g}) iterations, {tau * SWEEPS:.3g} sweeps; <Q^2> {q2} ({pull:+.1f}), hits "
          f"accepted: {accepted}", flush=True)  # fmt: skip
    return {
        "tau": [tau, float(q2.dtau_int)],
        "cost": tau * SWEEPS,
        "Q2": [float(q2.value), float(q2.error)],
        "pulls": [pull],
        "acceptance": accepted,
        "ms": 1e3 * seconds * 2 * tau / (iterations * CHAINS),
    }


def _run(name: str, samples: int, smoke: bool) -> dict:
    lattice = (4, 4) if smoke else (16, 16)
    print(name, flush=True)
    return single_row(name, samples, lattice) if name in ("heatbath", "hits") else ladder_row(name, samples, lattice)


if __name__ == "__main__":
    run_points(__doc__, dict.fromkeys(["heatbath", "hits", *LADDERS, *REPAIRS]), _run, SAMPLES)
