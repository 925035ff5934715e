"""Pseudofermions of the Schwinger model at beta = 2: what preconditioners and roots of the determinant leave of the ESS.

    python scripts/targets/pseudofermions.py [NAME ...] [--samples N] [--models FOLDER] [--out FILE] [--smoke]

Two flavours, antiperiodic in time. `spectra-...`: on 30 fields of the ensemble (quenched samples drawn by their weights) the
harmonic mean of the conditional ESS, 1 / <1 / ESS_c>, against the number n of roots, for every preconditioner; with it the
median of sum ln^2 s over the spectrum of G, products with G that a pseudofermion takes (each two Dirac operators and four
triangular solutions) and milliseconds per configuration for the factors. `joint-...`: samples of a marginal model, quenched
ones (`tm.exact.sample`) unless FOLDER has a trained model schwinger-L-kappaK.tm, with noisy weights of n pseudofermions: ESS
of the noisy weights over that of the exact ones, measured, and by the formula <w^2> / <w^2 / ESS_c>. The formula counts where
both differ: measured values of few samples are too large when the variance is.
"""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.fermions import (  # noqa: E402
    EvenOddDirac,
    HasenbuschPreconditioner,
    IdentityPreconditioner,
    IncompleteLU,
    PreconditionedDirac,
    WilsonDirac,
    conditional_ess,
)
from trivmap.theories import StochasticDeterminant  # noqa: E402

ROOTS = (1, 2, 4, 8, 16, 32, 64, 128)
MEASURED_ROOTS = (8, 16)

# kind, extent, kappa, samples of the marginal model
POINTS = {
    "spectra-8-kappa0.263": ("spectra", 8, 0.263, 16384),
    "spectra-8-kappa0.276": ("spectra", 8, 0.276, 16384),
    "spectra-16-kappa0.276": ("spectra", 16, 0.276, 4096),
    "joint-8-kappa0.263": ("joint", 8, 0.263, 2048),
    "joint-8-kappa0.276": ("joint", 8, 0.276, 4096),
}


def preconditioners(dirac: WilsonDirac, kind: str) -> dict[str, Any]:
    schur = EvenOddDirac(dirac)
    heavier = WilsonDirac(dirac.group, dirac.lattice, 0.9 * float(dirac.kappa), dirac.boundary)
    lu = {f"LU {distance}": IncompleteLU(schur, distance) for distance in (2, 4, 6)}
    if kind == "joint":
        return {"even-odd": IdentityPreconditioner(schur)} | {name: lu[name] for name in ("LU 4", "LU 6")}
    return {
        "all sites": IdentityPreconditioner(dirac),
        "even-odd": IdentityPreconditioner(schur),
        "kappa / 0.9 kappa": HasenbuschPreconditioner(schur, EvenOddDirac(heavier)),
        "0.9 kappa": IdentityPreconditioner(EvenOddDirac(heavier)),
    } | lu


def _quenched(theory: tm.SchwingerAction, samples: int) -> tm.Ensemble:
    x = np.asarray(tm.exact.sample(jax.random.key(0), theory.gauge, samples))
    log_weights = -tm.statistics.measure(theory.determinant.action, x, batch_size=32)
    return tm.Ensemble(x, log_weights)


def _marginal(theory: tm.SchwingerAction, samples: int, models: Path | None) -> tuple[str, tm.Ensemble]:
    path = None if models is None else models / f"schwinger-{theory.lattice[0]}-kappa{float(theory.kappa):g}.tm"
    if path is None or not path.exists():
        return "quenched", _quenched(theory, samples)
    model = tm.load(path)
    return path.name, tm.sample(jax.random.key(1), model, theory, samples, batch_size=128)


def _spectrum(preconditioner: Any) -> Any:
    return lambda x: jax.numpy.linalg.svd(PreconditionedDirac(preconditioner, x).dense(), compute_uv=False) ** 2


def _effective(spectra: np.ndarray, roots: int) -> np.ndarray:
    return np.asarray(jax.vmap(lambda s: conditional_ess(s, roots))(spectra))


def _milliseconds(function: Any, x: np.ndarray) -> float:
    compiled = jax.jit(jax.vmap(function))
    jax.block_until_ready(compiled(x))
    begin = time.perf_counter()
    jax.block_until_ready(compiled(x))
    return 1e3 * (time.perf_counter() - begin) / len(x)


def spectra(theory: tm.SchwingerAction, samples: int, smoke: bool) -> dict:
    ensemble = _quenched(theory, samples)
    weights = tm.statistics.normalised_weights(ensemble.log_weights)
    chosen = np.random.default_rng(1).choice(len(weights), 2 if smoke else 30, p=weights)
    x, rows = ensemble.configurations[chosen], {}
    keys = jax.random.split(jax.random.key(2), len(x))
    for name, preconditioner in preconditioners(theory.determinant.dirac, "spectra").items():
        found = tm.statistics.measure(_spectrum(preconditioner), x, batch_size=8)
        with np.errstate(divide="ignore"):
            harmonic = {n: float(1 / np.mean(1 / _effective(found, n))) for n in ROOTS}
        quarks = StochasticDeterminant(preconditioner, 8, method="lanczos")
        factors = lambda y, p=preconditioner: [factor.log_det() for factor in p.factors(y)]  # noqa: E731
        rows[name] = {
            "harmonic_ess": harmonic,
            "median_square": float(np.median(np.sum(np.log(found) ** 2, axis=1))),
            "products": float(np.mean(jax.jit(jax.vmap(quarks.iterations))(keys, x))),
            "milliseconds_factors": _milliseconds(factors, x),
        }
        print(f"  {name:18} " + " ".join(f"{value:.3f}" for value in harmonic.values()), end="")
        print("  sum ln^2 s {median_square:.2f}, {products:.1f} products, {milliseconds_factors:.2g} ms".format(**rows[name]))
    return rows


def joint(theory: tm.SchwingerAction, samples: int, smoke: bool, models: Path | None) -> dict:
    source, ensemble = _marginal(theory, samples, models)
    x, log_w = ensemble.configurations, ensemble.log_weights
    squares = np.exp(2 * (log_w - log_w.max()))
    marginal, rows = tm.ess_fraction(log_w), {}
    print(f"  {source}, {len(x)} samples, ESS of exact weights {marginal:.4f}")
    exact = tm.statistics.measure(theory.determinant.action, x, batch_size=32)
    keys = jax.random.key_data(jax.random.split(jax.random.key(3), len(x)))
    for name, preconditioner in preconditioners(theory.determinant.dirac, "joint").items():
        found = tm.statistics.measure(_spectrum(preconditioner), x, batch_size=32)
        rows[name] = {"formula": {}, "measured": {}}
        for n in ROOTS:
            with np.errstate(divide="ignore"):
                rows[name]["formula"][n] = float(squares.sum() / np.sum(squares / _effective(found, n)))
        for n in MEASURED_ROOTS[: 1 if smoke else None]:
            quarks = StochasticDeterminant(preconditioner, n)
            noisy = lambda pair, q=quarks: q.noisy_action(jax.random.wrap_key_data(pair["key"]), pair["x"])  # noqa: E731
            actions = tm.statistics.measure(noisy, {"key": keys, "x": x}, batch_size=32)
            rows[name]["measured"][n] = float(tm.ess_fraction(log_w + exact - actions) / marginal)
        print(f"  {name:10} formula " + " ".join(f"{n}: {v:.3f}" for n, v in rows[name]["formula"].items()), end="")
        print(", measured " + " ".join(f"{n}: {v:.3f}" for n, v in rows[name]["measured"].items()), flush=True)
    return {"marginal": source, "samples": len(x), "ess": float(marginal), "ratios": rows}


def run(name: str, samples: int | None, smoke: bool, models: Path | None) -> dict:
    kind, extent, kappa, default = POINTS[name]
    theory = tm.SchwingerAction((extent, extent), beta=2.0, kappa=kappa)
    print(name + (f", n = {', '.join(map(str, ROOTS))}" if kind == "spectra" else ""), flush=True)
    if kind == "spectra":
        return spectra(theory, samples or default, smoke)
    return joint(theory, samples or default, smoke, models)


if __name__ == "__main__":
    run_points(__doc__, POINTS, run, None, models=True)
