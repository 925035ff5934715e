"""Quench of SU(3) in four dimensions between two couplings: work, effective samples against steps and volume.

    python scripts/targets/quench.py [--lattices 4 6] [--out FILE] [--smoke]

Equilibrium configurations at beta = 6.0 (heatbath) are taken to 6.2 in n equal steps, a heatbath sweep after
each (Jarzynski). log(Z/Z_0) is compared with the integral of the plaquette over beta (three Gauss points, heatbath). With the
dissipated work growing like V/n, the ESS depends on n/V only. Stochastic normalizing flow: in front of every sweep an
infinitesimal stout step, a stage of the flow of the plaquette with coefficient a dbeta; its amplitude a comes from a scan
with few samples on the smallest lattice, and serves the larger one too when both are asked for or FILE has it. Results that
are in FILE already are kept.
"""

import argparse
import functools
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

BETAS = (6.0, 6.2)
# Steps of 4^4; the other volume takes the first ones in proportion.
STEPS = (2, 4, 8, 16)
# Samples, (chains, configurations of each) of the start, and where its chains begin: 100 sweeps from a hot start do not
# equilibrate 6^4, whose plaquette still grows by 0.003 (measured).
SIZES = {4: (512, (32, 32), "hot"), 6: (256, (16, 16), "cold")}
AMPLITUDES = (0.1, 0.2, 0.3, 0.4, 0.5)


def theory_at(extent: int, beta: float) -> tm.WilsonAction:
    return tm.WilsonAction(tm.SU(3), (extent,) * 4, beta=beta)


def start_of(extent: int, chains: int, count: int, initial: str) -> tm.EnsemblePrior:
    theory = theory_at(extent, BETAS[0])
    chain = tm.heatbath(jax.random.key(0), theory, count, chains=chains, thin=2, initial=initial, dtype=jnp.float32)
    return tm.EnsemblePrior(theory, chain)


def integral(extent: int, chains: int, count: int) -> list[float]:
    """log(Z/Z_0) with its error as the integral of the sum of plaquettes."""
    nodes, weights = np.polynomial.legendre.leggauss(3)
    half, plaquettes = (BETAS[1] - BETAS[0]) / 2, 6 * extent**4
    value, variance = 0.0, 0.0
    for i, (node, weight) in enumerate(zip(nodes, weights, strict=True)):
        theory = theory_at(extent, sum(BETAS) / 2 + half * node)
        options = {"chains": chains, "measure": {"p": tm.plaquette}, "dtype": jnp.float32}
        mean = tm.expectation(tm.heatbath(jax.random.key(10 + i), theory, count, **options), "p")
        value += half * weight * plaquettes * mean.value
        variance += (half * weight * plaquettes * mean.error) ** 2
    return [float(value), float(np.sqrt(variance))]


def flow_of(prior: tm.EnsemblePrior, extent: int, steps: int, amplitude: float) -> tm.AnnealedFlow:
    theory = theory_at(extent, BETAS[1])
    layers = None
    if amplitude:
        potential = tm.LoopPotential(
            theory.manifold, coefficient=amplitude * (BETAS[1] - BETAS[0]) / steps, time="constant", dtype=jnp.float32
        )
        layer = tm.ContinuousFlow(tm.GradientField(potential), steps=1, solver=tm.solvers.LuescherW3())
        layers = tm.stochastic.stack_layers([layer] * steps)
    return tm.AnnealedFlow(prior, theory, tm.kernels.HeatbathKernel(), steps, layers=layers)


def quench(prior: tm.EnsemblePrior, extent: int, steps: int, samples: int, amplitude: float = 0.0) -> dict:
    theory = theory_at(extent, BETAS[1])
    model = tm.Model(prior, flow_of(prior, extent, steps, amplitude))
    batch = min(32 if extent < 6 else 16, samples)
    options = {"batch_size": batch, "measure": {"plaquette": tm.plaquette}, "dtype": jnp.float32}
    tm.sample(jax.random.key(1), model, theory, batch, **options)
    start = time.perf_counter()
    ensemble = tm.sample(jax.random.fold_in(jax.random.key(2), steps), model, theory, samples, **options)
    seconds = time.perf_counter() - start
    work, estimate = -ensemble.log_weights, tm.log_z(ensemble)
    counts, edges = np.histogram(work, bins=40)
    plaquette = tm.expectation(ensemble, "plaquette")
    return {
        "samples": samples,
        "ess": tm.ess_fraction(ensemble.log_weights),
        "log Z ratio": [estimate.value, estimate.error],
        "mean work": [float(work.mean()), float(work.std() / np.sqrt(samples))],
        "variance of work": [float(work.var()), float(work.var() * np.sqrt(2 / samples))],
        "plaquette": [plaquette.value, plaquette.error],
        "milliseconds_per_sample": 1e3 * seconds / samples,
        "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lattices", nargs="+", type=int, choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--out", type=Path, default=Path("quench.json"))
    parser.add_argument("--smoke", action="store_true", help="2^4, few samples")
    arguments = parser.parse_args()
    sizes = {2: (32, (16, 2), "hot")} if arguments.smoke else {extent: SIZES[extent] for extent in arguments.lattices}
    all_steps, amplitudes = ((2,), (0.2,)) if arguments.smoke else (STEPS, AMPLITUDES)
    results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}

    def row(name: str, compute) -> dict:
        if name not in results:
            results[name] = compute()
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
        return results[name]

    def show(name: str, found: dict) -> None:
        estimate = tm.Estimate(*found["log Z ratio"])
        dissipated = found["mean work"][0] + estimate.value
        print(
            f"{name:22s} ESS {found['ess']:.3f}, log(Z/Z0) {estimate}, dissipated {dissipated:.2f}, "
            f"var(W)/2 {found['variance of work'][0] / 2:.2f}, {found['milliseconds_per_sample']:.0f} ms/sample",
            flush=True,
        )

    reference = 2 if arguments.smoke else min(SIZES)
    for extent, (samples, start, initial) in sizes.items():
        prior = start_of(extent, *start, initial)
        steps = [round(n * (extent / reference) ** 4) for n in all_steps]
        for n in steps if extent == reference else steps[:3]:
            name = f"{extent}^4 n={n}"
            show(name, row(name, functools.partial(quench, prior, extent, n, samples)))
        names = {a: f"{reference}^4 n=4 scan a={a}" for a in amplitudes}
        if extent == reference:
            for a, name in names.items():
                row(name, functools.partial(quench, prior, extent, 4, samples // 4, a))
        scan = {a: results[name]["mean work"] for a, name in names.items() if name in results}
        if scan:
            best = min(scan, key=lambda a: scan[a][0])
            print("mean work of 4 steps:", scan, flush=True)
            for n in steps[: 3 if extent == reference else 2]:
                name = f"{extent}^4 n={n} SNF a={best}"
                show(name, row(name, functools.partial(quench, prior, extent, n, samples, best)))
        if extent == reference and not arguments.smoke:
            exact = tm.Estimate(*row(f"{extent}^4 integral", functools.partial(integral, extent, start[0] // 2, 100)))
            print(f"{extent}^4 log(Z/Z0) by integration {exact}", flush=True)


if __name__ == "__main__":
    main()
