"""What an independent value costs on the critical line of phi^4: flow, HMC, HMC with clusters.

    python scripts/targets/critical_costs.py [EXTENT ...] [--samples N] [--out FILE] [--smoke]

Theories as in second_order.py (m2 = -4, xi = L/4). Flow: the pretrained model, where there is one, under independence
Metropolis on N fresh samples. HMC: trajectories of unit length, omf2. HMC and clusters: a `ClusterKernel` before each
trajectory. tau_int (1/2 for independent values) of chi2 = V M^2, |M| and phi^2, milliseconds per update without compilation,
their product times two: the cost of an independent value; and whether the three agree. Chains start hot; `drift` compares
the first and the last third of chi2 in its errors.
"""

import dataclasses
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

COUPLINGS = {8: 6.008, 16: 4.99, 32: 4.572, 64: 4.398}
MEASURE = {
    "chi2": tm.observables.susceptibility,
    "|M|": lambda x: jnp.abs(tm.magnetisation(x)),
    "phi2": lambda x: jnp.mean(x**2),
}


CHAINS = 16


@dataclasses.dataclass(frozen=True)
class Plan:
    """Steps of a trajectory; trajectories of every chain for HMC, and with clusters; samples per compiled call."""

    steps: int
    hmc: int
    clusters: int
    batch_size: int


PLANS = {8: Plan(6, 4000, 2000, 64), 16: Plan(7, 8000, 4000, 64), 32: Plan(8, 12000, 2000, 16), 64: Plan(9, 16000, 1000, 4)}


def _name(theory) -> str:
    return f"phi4-2d-critical-{theory.lattice[0]}"


def _flow(theory, plan: Plan, samples: int) -> tuple[tm.Chain, float, dict]:
    model = tm.load_pretrained(_name(theory))
    options = {"batch_size": plan.batch_size, "dtype": jnp.float32, "measure": MEASURE}
    tm.sample(jax.random.key(1), model, theory, plan.batch_size, **options)  # compiles
    start = time.perf_counter()
    ensemble = tm.sample(jax.random.key(0), model, theory, samples, **options)
    seconds = (time.perf_counter() - start) / samples
    return (
        tm.independence_metropolis(jax.random.key(2), ensemble),
        seconds,
        {"ess": float(tm.ess_fraction(ensemble.log_weights))},
    )


def _chain(theory, kernel, count: int) -> tuple[tm.Chain, float, dict]:
    """Chains after a quarter of their length for thermalisation."""
    options = {"chains": CHAINS, "measure": MEASURE}
    begun = tm.run_chain(jax.random.key(3), theory, kernel, min(count, 100), thermalisation=count // 4, **options)
    start = time.perf_counter()
    chain = tm.run_chain(jax.random.key(3), theory, kernel, count, initial=begun.state, **options)
    return chain, (time.perf_counter() - start) / (count * CHAINS), {"updates": count * CHAINS}


def _drift(values: np.ndarray) -> float:
    """The last less the first third of chi2, over the error of that difference from the spread between chains."""
    third = values.shape[1] // 3
    change = values[:, -third:].mean(axis=1) - values[:, :third].mean(axis=1)
    return float(change.mean() / (change.std(ddof=1) / np.sqrt(len(change))))


def _row(chain: tm.Chain, seconds: float, more: dict) -> dict:
    row = {"milliseconds": 1e3 * seconds, **more}
    for name in MEASURE:
        found = tm.expectation(chain, name)
        row[name] = {"value": float(found.value), "error": float(found.error)}
        row[name] |= {"tau_int": float(found.tau_int), "dtau_int": float(found.dtau_int)}
        row[name]["independent"] = 2 * row[name]["tau_int"] * row["milliseconds"]
    if len(chain.observables["chi2"]) > 1:
        row["drift"] = _drift(np.asarray(chain.observables["chi2"]))
    if chain.accepted is not None:
        row["acceptance"] = float(np.mean(chain.accepted))
    return row


def _print(name: str, row: dict) -> None:
    shown = ", ".join(
        f"{o} {row[o]['value']:.5g} +- {row[o]['error']:.2g} (tau_int {row[o]['tau_int']:.3g} +- {row[o]['dtau_int']:.2g})"
        for o in MEASURE
    )
    print(
        f"  {name}: {shown}; {row['milliseconds']:.3g} ms per update, {row['chi2']['independent']:.3g} per independent chi2"
    )
    print(f"    { ({k: v for k, v in row.items() if k not in MEASURE}) }", flush=True)


def _run(name: str, samples: int | None, smoke: bool) -> dict:
    extent, plan = int(name), PLANS[int(name)]
    theory = tm.Phi4Action((extent, extent), m2=-4.0, lam=COUPLINGS[extent])
    hmc = tm.kernels.HMCKernel(1.0, plan.steps, "omf2")
    clusters = tm.kernels.KernelSequence(tm.kernels.ClusterKernel(), hmc)
    print(f"{extent}x{extent}", flush=True)
    rows: dict = {}
    for method, run in (
        ("flow", lambda: _flow(theory, plan, samples or 10_000)),
        ("clusters", lambda: _chain(theory, clusters, 40 if smoke else plan.clusters)),
        ("HMC", lambda: _chain(theory, hmc, 40 if smoke else plan.hmc)),
    ):
        if method == "flow" and _name(theory) not in tm.models.pretrained_models():
            print(f"  flow: no pretrained model {_name(theory)}; train it by second_order.py", flush=True)
            continue
        rows[method] = _row(*run())
        _print(method, rows[method])
    for a, b in itertools.combinations(rows, 2):
        pulls = {
            o: (rows[a][o]["value"] - rows[b][o]["value"]) / np.hypot(rows[a][o]["error"], rows[b][o]["error"])
            for o in MEASURE
        }
        print(f"  {a} - {b}: " + ", ".join(f"{o} {pull:+.1f}" for o, pull in pulls.items()), flush=True)
    return rows


if __name__ == "__main__":
    run_points(__doc__, {str(extent): plan for extent, plan in PLANS.items()}, _run, 10_000)
