"""Stochastic flows on reference theories: what a sample costs.

    python scripts/targets/stochastic.py [--theories NAME ...] [--methods NAME ...] [--samples N] [--out FILE] [--smoke]

Annealed importance sampling (Jarzynski), a stochastic normalizing flow, sequential Monte Carlo with the levels of the first
and with levels and layers of the second (CRAFT), Langevin flows with a drift trained by the continuity equation (NETS;
SU(N): by action matching), score diffusion as reverse SDE (plain, with a Langevin step by the score after each step, with
Metropolis updates of the theory at the end, and for links with a covariant U-Net as score), as probability-flow ODE
(matched, from the closed form of gauge links alone, and trained further by its weights), and flow matching along geodesics
and along interpolants with noise: seconds of training (compilation included), ESS of the samples, time per sample and per
effective sample, pulls. Score and flow matching learn from HMC, whose time is counted as training. Pulls of the infrared:
|M|, Binder cumulant and propagator at the lowest momentum of phi^4, Q^2 of U(1), Polyakov lines of all gauge groups. Results
that are in FILE already are kept.
"""

import argparse
import contextlib
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

THEORIES = {
    "phi4_8x8": lambda: tm.Phi4Action((8, 8), m2=-4.0, lam=8.0),
    "phi4_16x16": lambda: tm.Phi4Action((16, 16), m2=-4.0, lam=8.0),
    "u1_8x8_beta2": lambda: tm.WilsonAction(tm.U1(), (8, 8), beta=2.0),
    "u1_8x8_beta4": lambda: tm.WilsonAction(tm.U1(), (8, 8), beta=4.0),
    "su2_8x8": lambda: tm.WilsonAction(tm.SU(2), (8, 8), beta=2.2),
    "su3_8x8": lambda: tm.WilsonAction(tm.SU(3), (8, 8), beta=4.0),
}
def prior_of(theory, width: float | None = 0.5) -> tm.AbstractPrior:
    return tm.GaussianPrior(theory.manifold, width=width) if is_scalar(theory) else tm.HaarPrior(theory.manifold)


def is_scalar(theory) -> bool:
    return isinstance(theory.manifold, tm.RealField)


def is_angular(theory) -> bool:
    return not is_scalar(theory) and theory.group.n == 1


def reference(theory) -> tuple[str, object, float]:
    if is_scalar(theory):
        return "chi2", tm.chi2, tm.exact.chi2(theory)
    return "plaquette", tm.plaquette, tm.exact.plaquette(theory)


def lowest_momentum(theory) -> jax.Array:
    return jnp.cos(2 * jnp.pi * jnp.arange(theory.lattice[0]) / theory.lattice[0])


@functools.cache
def long_chain(name: str, smoke: bool) -> tm.Chain:
    """HMC, for the values of a lattice that is too large for exact ones."""
    theory = THEORIES[name]()
    wave = lowest_momentum(theory)
    measure = {"chi2": tm.chi2, "|M|": lambda x: jnp.abs(tm.magnetisation(x)), "G(p)": lambda x: tm.two_point(x) @ wave}
    measure["Binder"] = tm.binder_cumulant.primary
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
        "chi2": (tm.chi2, None),
        "G(p)": (lambda x: tm.two_point(x) @ wave, None),
        "|M|": (lambda x: jnp.abs(tm.magnetisation(x)), None),
        "Binder": (tm.binder_cumulant.primary, tm.binder_cumulant.function),
    }
    if max(theory.lattice) > 8:  # too large for exact values
        chain = long_chain(name, smoke)
        values = {key: tm.expectation(chain, key, function=function) for key, (_, function) in observables.items()}
        return {key: (*observables[key], float(e.value), float(e.error)) for key, e in values.items()}
    exact = {"chi2": tm.exact.chi2(theory), "G(p)": float(np.asarray(wave) @ tm.exact.two_point(theory))}
    if not smoke:  # these two take minutes
        exact |= {"|M|": tm.exact.abs_magnetisation(theory), "Binder": tm.exact.binder_cumulant(theory)}
    return {key: (*observables[key], value, 0.0) for key, value in exact.items()}


def gauge_infrared(theory) -> dict:
    lines = lambda x: jnp.mean(jnp.abs(tm.polyakov_lines(x)) ** 2)  # noqa: E731
    if not is_angular(theory):
        return {"|P|^2": (lines, None, tm.exact.polyakov_loop_squared(theory), 0.0)}
    # The squared modulus of a line of angles is one: correlations of two lines at the largest distance instead.
    half = theory.lattice[1] // 2
    return {
        "Q^2": (lambda x: tm.topological_charge(x) ** 2, None, tm.exact.charge_squared(theory), 0.0),
        "P P*": (lambda x: tm.polyakov_correlator(x, half), None, tm.exact.polyakov_correlator(theory, 0, half), 0.0),
    }


def update_of(theory) -> tm.AbstractUpdate:
    if not is_scalar(theory) and not is_angular(theory):
        return tm.HeatbathUpdate()
    return tm.HMCUpdate(length=0.3 if is_scalar(theory) else 0.6 / float(theory.beta) ** 0.5, steps=3)


def field_of(theory, **options) -> tm.AbstractVectorField:
    if is_scalar(theory) or is_angular(theory):
        return tm.GatedConvolutionField(theory.manifold, dtype=jnp.float32, **options)
    return tm.GradientField(tm.LoopPotential.model_a(theory, dtype=jnp.float32))


@functools.cache
def ensemble_of(name: str, smoke: bool):
    """Configurations of HMC for matching, and the seconds they took."""
    theory = THEORIES[name]()
    start = time.perf_counter()
    options = {"steps": 10, "chains": 16, "thin": 4, "dtype": jnp.float32}
    chain = tm.hmc(jax.random.key(3), theory, 10 if smoke else 400, trajectory_length=0.6, **options)
    return chain, time.perf_counter() - start


class Training:
    """`fit` with common options; the seconds it took."""

    def __init__(self, smoke: bool):
        self.smoke, self.seconds = smoke, 0.0

    def __call__(self, model, theory, objective, steps: int, rate: float = 3e-3, batch_size: int = 128):
        steps, batch_size = (4, 8) if self.smoke else (steps, batch_size)
        start = time.perf_counter()
        model, _ = tm.fit(
            jax.random.key(0),
            model,
            theory,
            objective=objective,
            steps=steps,
            batch_size=batch_size,
            optimiser=optax.adam(optax.cosine_decay_schedule(rate, steps)),
            dtype=jnp.float32,
            chunk=max(1, steps // 4),
            progress=False,
        )
        self.seconds += time.perf_counter() - start
        return model


def jarzynski(theory, name, train):
    prior = prior_of(theory)
    return tm.Model(prior, tm.AnnealedFlow(prior, theory, update_of(theory), 30))


def layered(theory) -> tm.Model:
    """Ten levels with a layer each."""
    prior, levels = prior_of(theory), 10
    if is_scalar(theory):
        keys = jax.random.split(jax.random.key(5), levels)
        layers = [tm.CouplingFlow(k, theory.manifold, 2, tm.Affine(), hidden=(12,), dtype=jnp.float32) for k in keys]
    elif is_angular(theory):
        layers = [tm.ContinuousFlow(field_of(theory, times=1), steps=1) for _ in range(levels)]
    else:
        start = tm.trivializing_potential(theory, 0, dtype=jnp.float32)
        potential = tm.LoopPotential(
            theory.manifold, coefficients=start.coefficients / levels, time="constant", dtype=jnp.float32
        )
        layers = [tm.ContinuousFlow(tm.GradientField(potential), steps=1, solver=tm.LuescherW3())] * levels
    return tm.Model(prior, tm.AnnealedFlow(prior, theory, update_of(theory), levels, layers=tm.stack_layers(layers)))


def snf(theory, name, train):
    return train(layered(theory), theory, tm.reverse_kl, 300 if is_scalar(theory) or is_angular(theory) else 100)


def craft(theory, name, train):
    """The layers of the SNF, trained and used inside of populations that are resampled."""
    return train(layered(theory), theory, tm.craft, 300 if is_scalar(theory) or is_angular(theory) else 100)


def nets(theory, name, train):
    """By the continuity residual; gradients of loops on SU(N) by action matching, which needs no divergence."""
    prior = prior_of(theory)
    step = 0.02 if is_scalar(theory) else 0.05 / float(theory.beta)
    drift = field_of(theory)
    objective, updates = (tm.continuity_residual, 600)
    if isinstance(drift, tm.GradientField):
        objective, updates = (tm.action_matching, 200)
    model = tm.Model(prior, tm.LangevinFlow(prior, theory, 20, step_size=step, drift=drift))
    return train(model, theory, functools.partial(objective, chosen=5), updates, 1e-2)


def score_of(theory, noising) -> tm.AbstractVectorField:
    if is_scalar(theory):
        return field_of(theory)
    if is_angular(theory):
        return tm.plaquette_score(noising, theory, features=6, gates=4, times=6, dtype=jnp.float32)
    # The share of the plaquette that is left times minus the gradient of the action: right at both ends.
    terms = tm.LoopPotential.model_a(theory).terms
    return tm.GradientField(
        tm.LoopPotential(theory.manifold, terms, coefficient=float(theory.beta), times=6, dtype=jnp.float32)
    )


def diffusion_of(theory) -> tm.Model:
    noising = tm.VariancePreserving(theory.manifold) if is_scalar(theory) else tm.HeatKernelNoising(theory.manifold)
    steps = 32 if is_scalar(theory) else 64
    return tm.Model(noising.prior, tm.ScoreDiffusion(noising, score_of(theory, noising), steps))


@functools.cache
def matched(name: str, smoke: bool):
    """The diffusion after score matching, its data, and the seconds of both."""
    theory, train = THEORIES[name](), Training(smoke)
    chain, train.seconds = ensemble_of(name, smoke)
    updates, rate = (2000, 1e-2) if is_scalar(theory) else (400, 3e-3)
    model = train(diffusion_of(theory), theory, tm.ScoreMatching(chain, "denoising"), updates, rate)
    return model, chain, train.seconds


def diffusion_sde(theory, name, train):
    model, chain, train.seconds = matched(name, train.smoke)
    return calibrated(model, chain)


def calibrated(model: tm.Model, chain: tm.Chain) -> tm.Model:
    some = jnp.asarray(np.asarray(chain.configurations).reshape(-1, *model.transport.manifold.shape)[:200])
    some = some.astype(jnp.complex64 if jnp.iscomplexobj(some) else jnp.float32)
    return tm.Model(model.prior, model.transport.calibrated(jax.random.key(6), some))


def diffusion_corrected(theory, name, train):
    """Predictor and corrector: a Langevin step by the same score after each step."""
    model = diffusion_sde(theory, name, train)
    diffusion = model.transport
    new = tm.ScoreDiffusion(diffusion.noising, diffusion.field, diffusion.schedule, corrections=1)
    return tm.Model(model.prior, eqx.tree_at(lambda d: d.log_variance_factors, new, diffusion.log_variance_factors))


def annealed_mala(theory, name, train):
    """Metropolis-adjusted Langevin updates of the theory at the end of the diffusion."""
    model = diffusion_sde(theory, name, train)
    update = tm.HMCUpdate(length=0.1 if is_scalar(theory) else 0.2 / float(theory.beta) ** 0.5, steps=1)
    return tm.Model(model.prior, tm.StochasticSequence(model.transport, tm.UpdateFlow(theory, update, 20)))


def diffusion_unet(theory, name, train):
    """The reverse SDE with a covariant U-Net as score, from minus the gradient of the action at both ends."""
    chain, train.seconds = ensemble_of(name, train.smoke)
    manifold, noising = theory.manifold, tm.HeatKernelNoising(theory.manifold)
    network = tm.CovariantUNet(jax.random.key(7), manifold, theory=theory, dtype=jnp.float32)
    field = tm.LocalField(network, manifold, network.reach, check=False)
    model = tm.Model(noising.prior, tm.ScoreDiffusion(noising, field, 64))
    model = train(model, theory, tm.ScoreMatching(chain, "denoising"), 400, 3e-3, batch_size=64)
    return calibrated(model, chain)


def diffusion_ode(theory, name, train):
    model, _, train.seconds = matched(name, train.smoke)
    return tm.Model(model.prior, model.transport.probability_flow(steps=16 if is_scalar(theory) else 8))


def diffusion_closed(theory, name, train):
    """The probability flow of the closed form, nothing learned."""
    model = diffusion_of(theory)
    return tm.Model(model.prior, model.transport.probability_flow(steps=8))


def kernels_of(field):
    return field.convolution.linear, field.convolution.gate


def moved_score(start: tm.ScoreDiffusion, betas: tuple[float, float], rule: str = "closed form") -> tm.ScoreDiffusion:
    """The score of the first coupling, for the second one; fields are linear in their kernels."""
    noising, old = start.noising, kernels_of(start.field)
    if rule == "action":
        new = tuple(a * (betas[1] / betas[0]) for a in old)
    else:
        theories = (tm.WilsonAction(tm.U1(), noising.manifold.lattice, beta=float(beta)) for beta in betas)
        closed = (kernels_of(score_of(theory, noising)) for theory in theories)
        new = tuple(a - b + c for a, b, c in zip(old, *closed, strict=True))
    return eqx.tree_at(lambda d: kernels_of(d.field), start, new)


@functools.cache
def corrected(beta: float, smoke: bool) -> tuple[tm.ScoreDiffusion, float]:
    """The closed form for U(1) after Gauss-Newton steps on the weights of its probability flow, and their seconds.

    At beta = 2, 3, ... one after the other: far from the theory the weights are no linear function of the kernels.
    """
    theory, before, spent = tm.WilsonAction(tm.U1(), (8, 8), beta=beta), max(beta - 1, 2.0), 0.0
    diffusion = diffusion_of(theory).transport
    if beta > 2:
        diffusion, spent = corrected(before, smoke)
        diffusion = moved_score(diffusion, (before, beta))
    start = time.perf_counter()
    model, _ = tm.gauss_newton(
        jax.random.fold_in(jax.random.key(0), int(beta)),
        tm.Model(diffusion.noising.prior, diffusion.probability_flow(steps=2 if smoke else 10)),
        theory,
        parameters=lambda m: kernels_of(m.transport.field.field)[: 1 if smoke else 2],
        steps=1 if smoke else 4,
        samples=1200 if smoke else 16384,
        batch_size=256,
        reverse=True,
        damping=1e-2,
        floor=0.05,
        dtype=jnp.float32,
        progress=False,
    )
    diffusion = eqx.tree_at(lambda d: d.field, diffusion, model.transport.field.field)
    return diffusion, spent + time.perf_counter() - start


def diffusion_tuned(theory, name, train):
    """The probability flow trained by its own weights, from the closed form (U(1)) or the matched score."""
    if is_angular(theory):
        diffusion, train.seconds = corrected(float(theory.beta), train.smoke)
        return tm.Model(diffusion.noising.prior, diffusion.probability_flow(steps=10))
    model, _, train.seconds = matched(name, train.smoke)
    model = tm.Model(model.prior, model.transport.probability_flow(steps=4))
    model = train(model, theory, tm.reverse_kl, 300, 1e-2, batch_size=64)
    return tm.Model(model.prior, model.transport.refined())


def flow_matching(theory, name, train, noise: float = 0.0):
    chain, seconds = ensemble_of(name, train.smoke)
    train.seconds += seconds
    prior = prior_of(theory)
    model = tm.Model(prior, tm.ContinuousFlow(field_of(theory), steps=12))
    return train(model, theory, tm.FlowMatching(chain, noise), 2000, 1e-2)


def interpolant(theory, name, train):
    """Flow matching along paths with noise, of the size of the fluctuations of phi^4 and a tenth of the circle."""
    return flow_matching(theory, name, train, noise=0.3)


METHODS = {
    "jarzynski": jarzynski,
    "snf": snf,
    "smc": jarzynski,
    "craft": craft,
    "nets": nets,
    "diffusion_sde": diffusion_sde,
    "diffusion_corrected": diffusion_corrected,
    "annealed_mala": annealed_mala,
    "diffusion_unet": diffusion_unet,
    "diffusion_ode": diffusion_ode,
    "diffusion_closed": diffusion_closed,
    "diffusion_tuned": diffusion_tuned,
    "flow_matching": flow_matching,
    "interpolant": interpolant,
}
POPULATIONS = ("smc", "craft")


def evaluate(method: str, model, theory, name: str, samples: int, smoke: bool) -> dict:
    checks = checks_of(name, smoke)
    measure = {key: entry[0] for key, entry in checks.items()}
    options = {"measure": measure, "dtype": jnp.float32}
    if method in POPULATIONS:
        particles, draw = 256, tm.smc
        arguments, options = (model.transport,), options | {"particles": particles}
        samples = max(16, samples // particles)
    else:
        particles, draw = 1, tm.sample
        arguments, options = (model, theory), options | {"batch_size": min(250, samples)}
    draw(jax.random.key(1), *arguments, 16 if particles > 1 else min(250, samples), **options)
    start = time.perf_counter()
    ensemble = draw(jax.random.key(2), *arguments, samples, **options)
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
