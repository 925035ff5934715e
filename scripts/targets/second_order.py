"""Flows finished by Gauss-Newton: critical phi^4 by ridge fields, moved from lattice to lattice, and U(1) by gated fields.

    python scripts/targets/second_order.py [NAME ...] [--samples N] [--out FILE] [--smoke]

Critical phi^4: m2 = -4, xi = L/4 (couplings of arXiv:1904.12072 and 2107.00734). Behind a free spectrum with learned
corrections (`FourierFlow`) a `RidgeField`: reverse KL for a few hundred steps of Adam, then `gauss_newton`; from 16 on the
flow of half the extent is the start. U(1): the gated field of the quickstart, the same two parts. For every point: ESS,
acceptance, log Z and observables with exact values where they are known, the change by halving the steps, and seconds of
each part on this machine, compilation included.
"""

import dataclasses
import time

import jax
import jax.numpy as jnp
import optax
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

COUPLINGS = {8: 6.008, 16: 4.99, 32: 4.572, 64: 4.398}


@dataclasses.dataclass(frozen=True)
class Training:
    """Steps of Adam at a rate, then of Gauss-Newton with so many samples; integration steps of both."""

    adam: int
    rate: float
    newton: int
    samples: int
    steps: int = 4
    batch_size: int = 64


PHI4 = {
    8: Training(300, 1e-2, 12, 2048),
    16: Training(150, 3e-3, 9, 4096),
    32: Training(150, 3e-3, 6, 4096, steps=6),
    64: Training(100, 1e-3, 8, 5120, steps=6, batch_size=32),
}
U1 = {"u1-8": (8, 2.0, Training(200, 3e-2, 6, 4096, steps=5)), "u1-16": (16, 3.0, Training(200, 3e-2, 6, 6144, steps=5))}
SAMPLES = 10_000
POINTS = [*(f"phi4-{extent}" for extent in PHI4), *U1]


def phi4_theory(extent: int) -> tm.Phi4Action:
    return tm.Phi4Action((extent, extent), m2=-4.0, lam=COUPLINGS[extent])


def phi4_start(extent: int, seed: int, smoke: bool) -> tm.Model:
    """A free field and the identity on the smallest lattice, the trained flow of half the extent on others."""
    theory = phi4_theory(extent)
    if extent > min(PHI4) and not smoke:
        return tm.transfer(trained_phi4(extent // 2, seed, smoke)[0], theory)
    flow = tm.FlowSequence(
        tm.flows.FourierFlow(theory.manifold, mass=1.0),
        tm.ContinuousFlow(tm.fields.RidgeField(jax.random.key(seed), theory.manifold), steps=PHI4[extent].steps),
    )
    return tm.Model(tm.GaussianPrior(theory.manifold), flow)


def with_steps(model: tm.Model, steps: int) -> tm.Model:
    """At least so many integration steps."""
    while getattr(model.transport, "flows", (model.transport,))[-1].steps < steps:
        model = model.refined()
    return model


def train(key, model, theory, plan: Training, smoke: bool) -> tuple[tm.Model, dict]:
    start = time.perf_counter()
    schedule = optax.cosine_decay_schedule(plan.rate, plan.adam)
    model, history = tm.fit(
        jax.random.fold_in(key, 0),
        with_steps(model, plan.steps),
        theory,
        steps=4 if smoke else plan.adam,
        batch_size=plan.batch_size,
        optimiser=optax.adam(schedule),
        dtype=jnp.float32,
        progress=False,
    )
    middle = time.perf_counter()
    print(f"  Adam: ESS {history[-1]['ess']:.3f} in {middle - start:.0f} s", flush=True)
    options = tm.GaussNewton(steps=1 if smoke else plan.newton, samples=64 if smoke else plan.samples, dtype=jnp.float32)
    records = []
    for found, record in options.iterate(jax.random.fold_in(key, 1), model, theory):
        model, _ = found, records.append(record)
        print(
            f"  step {record['step']}: variance {record['variance']:.3g}, ESS {record['ess']:.4f}, damping "
            f"{record['damping']:.0e}, halving {record['halving_mean']:+.1e} +- {record['halving_std']:.0e}, "
            f"{record['seconds']:.0f} s",
            flush=True,
        )
    return model, {"adam": middle - start, "newton": time.perf_counter() - middle, "records": records}


_TRAINED: dict = {}


def trained_phi4(extent: int, seed: int, smoke: bool) -> tuple[tm.Model, dict]:
    if (extent, seed) not in _TRAINED:
        model = phi4_start(extent, seed, smoke)
        print(f"phi^4 {extent}x{extent}: {tm.training.parameter_count(model)} numbers", flush=True)
        key = jax.random.fold_in(jax.random.key(seed), extent)
        _TRAINED[extent, seed] = train(key, model, phi4_theory(extent), PHI4[extent], smoke)
    return _TRAINED[extent, seed]


def evaluate(model, theory, observables: dict, samples: int) -> dict:
    start = time.perf_counter()
    measure = {name: function for name, (function, _) in observables.items()}
    ensemble = tm.sample(jax.random.key(99), model, theory, samples, batch_size=64, measure=measure)
    seconds = time.perf_counter() - start
    report = tm.step_halving(jax.random.key(99), model, theory, min(samples, 2048), batch_size=64)
    row = {
        "ess": float(tm.ess_fraction(ensemble.log_weights)),
        "acceptance": tm.acceptance_rate(tm.independence_metropolis(jax.random.key(1), ensemble)),
        "halving": (report.mean, report.std, report.ess_halved),
        "sampling": seconds,
        "samples": samples,
    }
    estimates = {"log_z": tm.log_z(ensemble)} | {name: tm.expectation(ensemble, name) for name in observables}
    exact = {"log_z": _exact(tm.exact.log_z, theory)} | {name: value for name, (_, value) in observables.items()}
    for name, estimate in estimates.items():
        row[name] = {"value": float(estimate.value), "error": float(estimate.error), "exact": exact[name]}
        pull = "" if exact[name] is None else f", exact {exact[name]:.5g} ({estimate.pull(exact[name]):+.1f})"
        print(f"  {name}: {estimate}{pull}", flush=True)
    print(
        f"  ESS {row['ess']:.4f}, acceptance {row['acceptance']:.3f}, halving {report.mean:+.1e} +- {report.std:.1e}",
        flush=True,
    )
    return row


def _exact(function, theory):
    try:
        return float(function(theory))
    except tm.exact.NoExactResultError:
        return None


def phi4_row(extent: int, seed: int, samples: int, smoke: bool) -> dict:
    theory = phi4_theory(extent)
    model, seconds = trained_phi4(extent, seed, smoke)
    observables = {
        "phi2": (lambda x: jnp.mean(x**2), _exact(tm.exact.phi_squared, theory)),
        "susceptibility": (tm.observables.susceptibility, _exact(tm.exact.susceptibility, theory)),
        "|M|": (lambda x: jnp.abs(tm.magnetisation(x)), _exact(tm.exact.abs_magnetisation, theory)),
    }
    return evaluate(model, theory, observables, samples) | {"seconds": seconds}


def u1_row(name: str, seed: int, samples: int, smoke: bool) -> dict:
    extent, beta, plan = U1[name]
    theory = tm.WilsonAction(tm.U1(), (extent, extent), beta)
    flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=plan.steps)
    model = tm.Model(tm.HaarPrior(theory.manifold), flow)
    print(f"{name}: {tm.training.parameter_count(model)} numbers", flush=True)
    model, seconds = train(jax.random.fold_in(jax.random.key(seed), extent), model, theory, plan, smoke)
    observables = {
        "plaquette": (tm.plaquette, float(tm.exact.plaquette(theory))),
        "Q^2": (lambda x: tm.topological_charge(x) ** 2, float(tm.exact.charge_squared(theory))),
    }
    return evaluate(model, theory, observables, samples) | {"seconds": seconds}


def _run(name: str, samples: int | None, smoke: bool) -> dict:
    print(name, flush=True)
    if name in U1:
        return u1_row(name, 0, samples or SAMPLES, smoke)
    return phi4_row(int(name.removeprefix("phi4-")), 0, samples or SAMPLES, smoke)


if __name__ == "__main__":
    run_points(__doc__, dict.fromkeys(POINTS), _run, SAMPLES)
