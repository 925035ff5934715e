"""Stochastic flows on reference theories: what a sample costs.

    python scripts/targets/stochastic.py [--theories NAME ...] [--methods NAME ...] [--samples N] [--out FILE] [--smoke]

Annealed importance sampling (Jarzynski), a stochastic normalizing flow, sequential Monte Carlo with the annealing steps of
the first and with annealing steps and layers of the second (CRAFT), Langevin flows with a drift trained by the continuity
equation (NETS; SU(N): by action matching), score diffusion as reverse SDE (plain, with a Langevin step by the score after
each step, with Metropolis updates of the theory at the end, and for links with a covariant U-Net as score), as
probability-flow ODE (matched, from the closed form of gauge links alone, and trained further by its weights), and flow
matching along geodesics and along interpolants with noise: seconds of training (compilation included), ESS of the samples,
time per sample and per effective sample, pulls. Score and flow matching learn from HMC, whose time is counted as training.
Pulls of the infrared: |M|, Binder cumulant and propagator at the lowest momentum of phi^4, Q^2 of U(1), Polyakov lines of
all gauge groups. Results that are in FILE already are kept. The methods themselves are in `_stochastic_methods.py`.
"""

import argparse
import contextlib
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _stochastic_methods import METHODS, THEORIES, Training, is_angular, is_scalar

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402


def reference(theory) -> tuple[str, object, float]:
    if is_scalar(theory):
        return "chi2", tm.observables.susceptibility, tm.exact.susceptibility(theory)
    return "plaquette", tm.plaquette, tm.exact.plaquette(theory)


def lowest_momentum(theory) -> jax.Array:
    return jnp.cos(2 * jnp.pi * jnp.arange(theory.lattice[0]) / theory.lattice[0])


@functools.cache
def long_chain(name: str, smoke: bool) -> tm.Chain:
    """HMC, for the values of a lattice that is too large for exact ones."""
    theory = THEORIES[name]()
    wave = lowest_momentum(theory)
    measure = {
        "chi2": tm.observables.susceptibility,
        "|M|": lambda x: jnp.abs(tm.magnetisation(x)),
        "G(p)": lambda x: tm.observables.two_point(x) @ wave,
    }
    measure["Binder"] = tm.observables.binder_cumulant.primary
    return tm.hmc(jax.random.key(9), theory, 40 if smoke else 20_000, steps=8, chains=32, length_spread=0.3, measure=measure)


@functools.cache
def checks_of(name: str, smoke: bool) -> dict:
    """Observable, function of means, value and error: a local one, and those of the infrared that it does not vouch for."""
    theory = THEORIES[name]()
    if not is_scalar(theory):
        label, observable, exact = reference(theory)
        return {label: (observable, None, exact, 0.0)} | gauge_infrared(theory)
    wave = lowest_momentum(theory)
    observables = {
        "chi2": (tm.observables.susceptibility, None),
        "G(p)": (lambda x: tm.observables.two_point(x) @ wave, None),
        "|M|": (lambda x: jnp.abs(tm.magnetisation(x)), None),
        "Binder": (tm.observables.binder_cumulant.primary, tm.observables.binder_cumulant.function),
    }
    if max(theory.lattice) > 8:  # too large for exact values
        chain = long_chain(name, smoke)
        values = {key: tm.expectation(chain, key, function=function) for key, (_, function) in observables.items()}
        return {key: (*observables[key], float(e.value), float(e.error)) for key, e in values.items()}
    exact = {"chi2": tm.exact.susceptibility(theory), "G(p)": float(np.asarray(wave) @ tm.exact.two_point(theory))}
    if not smoke:  # these two take minutes
        exact |= {"|M|": tm.exact.abs_magnetisation(theory), "Binder": tm.exact.binder_cumulant(theory)}
    return {key: (*observables[key], value, 0.0) for key, value in exact.items()}


def gauge_infrared(theory) -> dict:
    lines = lambda x: jnp.mean(jnp.abs(tm.observables.polyakov_lines(x)) ** 2)  # noqa: E731
    if not is_angular(theory):
        return {"|P|^2": (lines, None, tm.exact.polyakov_loop_squared(theory), 0.0)}
    # The squared modulus of a line of angles is one: correlations of two lines at the largest distance instead.
    half = theory.lattice[1] // 2
    return {
        "Q^2": (lambda x: tm.topological_charge(x) ** 2, None, tm.exact.charge_squared(theory), 0.0),
        "P P*": (
            lambda x: tm.observables.polyakov_correlator(x, half),
            None,
            tm.exact.polyakov_correlator(theory, 0, half),
            0.0,
        ),
    }


POPULATIONS = ("smc", "craft")


def evaluate(method: str, model, theory, name: str, samples: int, smoke: bool) -> dict:
    checks = checks_of(name, smoke)
    measure = {key: entry[0] for key, entry in checks.items()}
    options = {"measure": measure, "dtype": jnp.float32}
    if method in POPULATIONS:
        particles, draw = 256, tm.smc
        options = options | {"particles": particles}
        samples = max(16, samples // particles)
    else:
        particles, draw = 1, tm.sample
        options = options | {"batch_size": min(250, samples)}
    draw(jax.random.key(1), model, theory, 16 if particles > 1 else min(250, samples), **options)
    start = time.perf_counter()
    ensemble = draw(jax.random.key(2), model, theory, samples, **options)
    seconds = time.perf_counter() - start
    ess = float(tm.ess_fraction(ensemble.log_weights))
    result = {
        "ess": ess,
        "samples": samples,
        "particles": particles,
        "milliseconds_per_sample": 1e3 * seconds / samples,
        "milliseconds_per_effective_sample": 1e3 * seconds / samples / ess,
    }
    with contextlib.suppress(tm.exact.NoExactResultError):
        result["log Z pull"] = float(tm.log_z(ensemble).pull(tm.exact.log_z(theory)))
    for key, (_, function, value, error) in checks.items():
        result[f"{key} pull"] = float(tm.expectation(ensemble, key, function=function).pull(value, error))
    if isinstance(model.transport, tm.ContinuousFlow):
        halving = tm.step_halving(jax.random.key(4), model, theory, min(200, samples), dtype=jnp.float32)
        result["halving std"] = float(halving.std)
    return result


def measure_methods(results: dict, theories: list[str], names: list[str], samples: int, smoke: bool, store) -> None:
    for theory_name in theories:
        theory = THEORIES[theory_name]()
        for method in names:
            if method == "diffusion_unet" and is_scalar(theory):
                continue
            key = f"{theory_name} {method}"
            if key not in results:
                train = Training(smoke)
                model = METHODS[method](theory, theory_name, train)
                found = evaluate(method, model, theory, theory_name, samples, smoke)
                results[key] = {"training_seconds": train.seconds} | found
                store()
            row = results[key]
            pulls = ", ".join(f"{k} {v:+.1f}" for k, v in row.items() if "pull" in k)
            halving = f", halving {row['halving std']:.1e}" if "halving std" in row else ""
            print(
                f"{key:28s} ESS {row['ess']:.4f}, training {row['training_seconds']:.0f} s, "
                f"{row['milliseconds_per_sample']:.2f} ms/sample, {row['milliseconds_per_effective_sample']:.1f} effective\n"
                f"{'':28s} {pulls}{halving}",
                flush=True,
            )


def parser_of(doc: str, out: str) -> argparse.ArgumentParser:
    """The options that the scripts of stochastic flows share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--smoke", action="store_true", help="few samples, few training steps, one theory")
    return parser


def kept(path: Path) -> tuple[dict, Callable[[], None]]:
    """The results in a file, and what writes them back."""
    results = json.loads(path.read_text()) if path.exists() else {}

    def store() -> None:
        path.write_text(json.dumps(results, indent=1) + "\n")

    return results, store


def main() -> None:
    parser = parser_of(__doc__ or "", "stochastic.json")
    parser.add_argument("--theories", nargs="+", choices=tuple(THEORIES), default=list(THEORIES))
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    arguments = parser.parse_args()
    results, store = kept(arguments.out)
    theories = arguments.theories[:1] if arguments.smoke else arguments.theories
    samples = 64 if arguments.smoke else arguments.samples
    measure_methods(results, theories, arguments.methods, samples, arguments.smoke, store)


if __name__ == "__main__":
    main()
