"""The Schwinger model at beta = 2 by exact quenched samples, reweighted, and by HMC: what flows must beat.

    python scripts/targets/schwinger.py [NAME ...] [--samples N] [--out FILE] [--smoke]

Two flavours, antiperiodic in time. Quenched configurations are independent and exact (`tm.exact.sample`); their weights are
|det D|^2. For each point: ESS with the spread over eight parts, log(Z/Z_quenched), plaquette, <Q^2> and condensate, with
pulls against the Monte Carlo averages of `tests/reference/schwinger.json` where it has the point (errors combined), share of
negative determinants, and seconds per sample and per independent one. On 8x8 beside them HMC with the exact determinant:
8 chains of 300 trajectories, nested leapfrog, each followed by a winding hit and a rotation of the holonomies.
"""

import json
import time
from pathlib import Path

import jax
import numpy as np
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.kernels import NestedIntegrator, leapfrog, omf2  # noqa: E402

_REFERENCE = Path(__file__).parents[2] / "tests" / "reference" / "schwinger.json"

# lattice, kappa
POINTS = {f"{n}x{n}-kappa{kappa}": ((n, n), kappa) for n in (8, 16) for kappa in (0.2, 0.25, 0.263, 0.276)}


def _references(lattice: tuple[int, int], kappa: float) -> list[tuple[dict, dict]]:
    """Values and errors of the Monte Carlo rows of this point."""
    wanted = {"kind": "ensemble", "shape": list(lattice), "beta": 2.0, "kappa": kappa, "nf": 2}
    rows = json.loads(_REFERENCE.read_text())["rows"]
    return [(row["values"], row["error"]) for row in rows if wanted.items() <= row["params"].items()]


def _pulls(estimates: dict[str, tm.Estimate], lattice: tuple[int, int], kappa: float) -> dict[str, list[float]]:
    rows = _references(lattice, kappa)
    shared = lambda name: [(v[name], e[name]) for v, e in rows if name in v]  # noqa: E731
    return {name: [float(found.pull(v, e)) for v, e in shared(name)] for name, found in estimates.items()}


def _observables(theory: tm.SchwingerAction) -> dict:
    return {
        "plaquette": tm.plaquette,
        "Q2": lambda x: tm.topological_charge(x) ** 2,
        "trace_inverse_per_site": tm.observables.ChiralCondensate(theory.determinant.dirac),
        "sign": theory.determinant.sign,
    }


def _quenched(theory: tm.SchwingerAction, samples: int) -> tuple[tm.Ensemble, float]:
    begin = time.perf_counter()
    ensemble = tm.samplers.quenched(jax.random.key(0), theory, samples)
    seconds = (time.perf_counter() - begin) / samples
    x, log_ratios = ensemble.configurations, ensemble.log_weights - tm.exact.log_z(theory.gauge)
    observables = {name: tm.statistics.measure(f, x, batch_size=32) for name, f in _observables(theory).items()}
    return tm.Ensemble(None, log_ratios, observables=observables), seconds


def _means(data: tm.Ensemble | tm.Chain) -> dict[str, tm.Estimate]:
    return {name: tm.expectation(data, name) for name in ("plaquette", "Q2", "trace_inverse_per_site")}


def _hmc(theory: tm.SchwingerAction, smoke: bool) -> tuple[tm.Chain, float]:
    moves = tm.kernels.WindingHit(), tm.kernels.HolonomyRotation()
    kernel = tm.kernels.KernelSequence(tm.kernels.HMCKernel(1.0, 8, NestedIntegrator(leapfrog, omf2, 2)), *moves)
    options = {"chains": 8, "thermalisation": 2 if smoke else 100, "measure": _observables(theory)}
    begin = time.perf_counter()
    chain = tm.run_chain(jax.random.key(1), theory, kernel, 4 if smoke else 300, **options)
    return chain, time.perf_counter() - begin


def run(name: str, samples: int | None, smoke: bool) -> dict:
    lattice, kappa = POINTS[name]
    theory = tm.SchwingerAction(lattice, beta=2.0, kappa=kappa)
    ensemble, seconds = _quenched(theory, samples or (131072 if lattice == (8, 8) else 16384))
    log_weights, ess = ensemble.log_weights, tm.ess_fraction(ensemble.log_weights)
    parts = [float(tm.ess_fraction(part)) for part in np.array_split(log_weights, 8)]
    estimates = _means(ensemble) | {"log_Z_ratio": tm.log_z(ensemble)}
    result = {
        "ess": float(ess),
        "ess_of_parts": [float(np.mean(parts)), float(np.std(parts))],
        "samples": len(log_weights),
        "negative": float(np.mean(ensemble.observables["sign"] < 0)),
        "seconds_per_sample": seconds,
        "seconds_per_independent_sample": seconds / ess,
        "values": {key: [float(e.value), float(e.error)] for key, e in estimates.items()},
        "pulls": _pulls(estimates, lattice, kappa),
    }
    print(f"{name}: quenched {len(log_weights)}, ESS {ess:.4f} (parts {np.mean(parts):.3f} +- {np.std(parts):.3f})")
    print("  " + ", ".join(f"{key} {e}" for key, e in estimates.items()) + f", det < 0: {result['negative']:.4f}")
    print(f"  pulls {result['pulls']}, {1e3 * seconds:.2g} ms per sample, {1e3 * seconds / ess:.2g} per independent one")
    if lattice == (8, 8):
        chain, seconds = _hmc(theory, smoke)
        means = _means(chain)
        result["hmc"] = {key: [float(e.value), float(e.error)] for key, e in means.items()}
        result["hmc_acceptance"] = {name: float(np.mean(v)) for name, v in chain.info.items() if name.startswith("accepted")}
        result["hmc_pulls"] = {key: float(e.pull(estimates[key].value, estimates[key].error)) for key, e in means.items()}
        print(f"  HMC: {', '.join(f'{key} {e}' for key, e in means.items())}, acceptance {result['hmc_acceptance']}")
        print(f"  pulls against the quenched samples {result['hmc_pulls']}, {seconds:.0f} s with compilation", flush=True)
    return result


if __name__ == "__main__":
    run_points(__doc__, POINTS, run, None)
