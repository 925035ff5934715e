"""Two flavours of Wilson quarks on SU(3) links in four dimensions by a marginal flow and pseudofermions given the links.

    python scripts/targets/qcd_flows.py [NAME ...] [--samples N] [--out FILE] [--smoke]

beta = 1; kappa = 0.1 on 4^4 is the point of arXiv:2208.03832. The flow of the links is the trivializing potential of order 1
(0 on 2^4, which has no room for larger loops) at a coupling shifted by what the quarks do to the plaquette: the slope of
log |det D|^2 on the gauge action over configurations of pure gauge theory. Weights are exact, by an even-odd
determinant of 1536 rows, and noisy, by n pseudofermions with the n-th root of the determinant each, for two
preconditioners. For every point: ESS of exact weights; with n pseudofermions, over that; log Z, plaquette and Polyakov
loop, beside pure gauge theory and HMC where it is known; milliseconds per sample of flow, determinant and pseudofermions.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.fermions import EvenOddDirac, IdentityPreconditioner, IncompleteLU, WilsonDirac  # noqa: E402
from trivmap.theories import FermionDeterminant, StochasticDeterminant  # noqa: E402

BETA, STEPS, BATCH = 1.0, 4, 4
GROUP = tm.SU(3)
# Lattice, kappa, order of the potential, samples.
POINTS: dict[str, tuple] = {
    "2x2x2x2-kappa0.1": ((2,) * 4, 0.1, 0, 1024),
    "4x4x4x4-kappa0.1": ((4,) * 4, 0.1, 1, 128),
    "4x4x4x4-kappa0.15": ((4,) * 4, 0.15, 1, 64),
    "4x4x4x4-kappa0.2": ((4,) * 4, 0.2, 1, 64),
}
PSEUDOFERMIONS = {"even-odd": (16,), "LU 2": (1, 4, 16)}
# HMC with pseudofermions, 4 chains with 600 unit trajectories each, in a program apart.
KNOWN = {"4x4x4x4-kappa0.1": (0.06093, 0.00013)}
OBSERVABLES = {"plaquette": tm.plaquette, "polyakov": lambda x: jnp.abs(tm.observables.polyakov_loop(x, 0)).real}


def log_dets(quarks: FermionDeterminant, x: np.ndarray) -> np.ndarray:
    return np.asarray(tm.statistics.measure(lambda y: -quarks.action(y), x, batch_size=1))


def shifted_coupling(gauge: tm.WilsonAction, quarks: FermionDeterminant, count: int) -> float:
    """beta plus the slope of log |det D|^2 on what multiplies beta in the action, with its sign turned."""
    chain = tm.heatbath(jax.random.key(7), gauge, count // 4, chains=4, thermalisation=20, thin=5)
    x = np.asarray(chain.configurations).reshape(-1, *gauge.manifold.shape)
    energies = -np.asarray(tm.statistics.measure(gauge.action, x, batch_size=8)) / BETA
    logs = log_dets(quarks, x)
    slope = np.cov(energies, logs)
    rest = 1 - slope[0, 1] ** 2 / (slope[0, 0] * slope[1, 1])
    print(
        f"  {len(x)} of pure gauge theory: Var log det^2 {slope[1, 1]:.3f}, of which {100 * rest:.0f} % without the plaquette"
    )
    return BETA + float(slope[0, 1] / slope[0, 0])


def timed(function: Any, *arguments: Any) -> tuple[Any, float]:
    begin = time.perf_counter()
    return function(*arguments), time.perf_counter() - begin


def run(name: str, samples: int | None, smoke: bool) -> dict:
    lattice, kappa, order, default = POINTS[name]
    n = 16 if smoke else samples or default
    print(name, flush=True)
    dirac, gauge = WilsonDirac(GROUP, lattice, kappa), tm.WilsonAction(GROUP, lattice, BETA)
    quarks = FermionDeterminant(dirac)
    beta = shifted_coupling(gauge, quarks, 8 if smoke else 64)
    potential = tm.fields.trivializing_potential(tm.WilsonAction(GROUP, lattice, beta), order, dtype=jnp.float32)
    model = tm.Model(tm.HaarPrior(gauge.manifold), tm.ContinuousFlow(tm.GradientField(potential), steps=STEPS))
    options = {"batch_size": BATCH, "dtype": jnp.float32}
    pure, seconds = timed(lambda: tm.sample(jax.random.key(0), model, gauge, n, **options))
    x = np.asarray(pure.configurations)
    logs, exact_seconds = timed(log_dets, quarks, x)
    ensemble = tm.Ensemble(x, pure.log_weights + logs)
    marginal = float(tm.ess_fraction(ensemble.log_weights))
    row = {"samples": n, "beta of the flow": beta, "ess": marginal, "ess gauge": float(tm.ess_fraction(pure.log_weights))}
    row["milliseconds"] = {"flow": 1e3 * seconds / n, "determinant": 1e3 * exact_seconds / n}
    print(f"  flow at beta {beta:.4f}: ESS {marginal:.4f} (of pure gauge theory, {row['ess gauge']:.4f})")
    row["values"] = values(name, ensemble, pure)
    row["noisy"] = noisy(dirac, ensemble, logs, row["milliseconds"])
    report = tm.step_halving(jax.random.key(0), model, gauge, min(n, 64), **options)
    row["halving"] = (report.mean, report.std)
    print(
        f"  halving {report.mean:+.1e} +- {report.std:.1e}; "
        + ", ".join(f"{k} {v:.3g} ms" for k, v in row["milliseconds"].items())
    )
    return row


def values(name: str, ensemble: tm.Ensemble, pure: tm.Ensemble) -> dict:
    found = {"log_z": tm.log_z(ensemble)} | {key: tm.expectation(ensemble, f) for key, f in OBSERVABLES.items()}
    without = {"log_z": tm.log_z(pure)} | {key: tm.expectation(pure, f) for key, f in OBSERVABLES.items()}
    for key, estimate in found.items():
        pull = (
            f", HMC {KNOWN[name][0]:.5f} ({estimate.pull(*KNOWN[name]):+.1f})" if key == "plaquette" and name in KNOWN else ""
        )
        print(f"  {key}: {estimate}, without quarks {without[key]}{pull}")
    return {key: [float(e.value), float(e.error)] for key, e in found.items()}


def noisy(dirac: WilsonDirac, ensemble: tm.Ensemble, logs: np.ndarray, milliseconds: dict) -> dict:
    """ESS with n pseudofermions over that of exact weights."""
    schur, rows = EvenOddDirac(dirac), {}
    keys = jax.random.key_data(jax.random.split(jax.random.key(3), len(logs)))
    marginal = tm.ess_fraction(ensemble.log_weights)
    for label, preconditioner in {"even-odd": IdentityPreconditioner(schur), "LU 2": IncompleteLU(schur, 2)}.items():
        rows[label] = {}
        for n in PSEUDOFERMIONS[label]:
            estimate = StochasticDeterminant(preconditioner, n, method="lanczos")
            action = lambda pair, q=estimate: q.noisy_action(jax.random.wrap_key_data(pair["key"]), pair["x"])  # noqa: E731
            pairs = {"key": keys, "x": ensemble.configurations}
            actions, seconds = timed(lambda a=action, p=pairs: tm.statistics.measure(a, p, batch_size=BATCH))
            rows[label][n] = float(tm.ess_fraction(ensemble.log_weights - logs - np.asarray(actions)) / marginal)
            milliseconds[f"{label} x {n}"] = 1e3 * seconds / len(logs)
        print(f"  {label}: " + ", ".join(f"{n} pseudofermions {value:.3f}" for n, value in rows[label].items()), flush=True)
    return rows


if __name__ == "__main__":
    run_points(__doc__, POINTS, run, None)
