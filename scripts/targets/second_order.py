"""Flows finished by Gauss-Newton: critical phi^4 by ridge fields, moved from lattice to lattice, and U(1) by gated fields.

    python scripts/targets/second_order.py [NAME ...] [--samples N] [--out FILE] [--models FOLDER] [--smoke]

Critical phi^4: m2 = -4, xi = L/4 (couplings of arXiv:1904.12072, whose points E1 to E5 are L = 6 ... 14, and 2107.00734).
Behind a free spectrum with learned corrections (`FourierFlow`) a `RidgeField`: reverse KL for a few hundred steps of Adam,
then `gauss_newton`; on most lattices the flow of a smaller one is the start. U(1): the gated field of the quickstart, the
same two parts. For every point: ESS, acceptance, log Z and observables with exact values where they are known, the change
by halving the steps, and seconds of each part on this machine, compilation included. `--models` keeps what was trained,
after every step of Gauss-Newton, and does not train it again.
"""

import dataclasses
import functools
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

COUPLINGS = {6: 6.975, 8: 6.008, 10: 5.55, 12: 5.276, 14: 5.113, 16: 4.99, 32: 4.572, 64: 4.398}


@dataclasses.dataclass(frozen=True)
class Training:
    """Steps of Adam at a rate, then of Gauss-Newton with so many samples; integration steps of both.

    `start`: the extent whose flow is moved here. `newton_batch`: samples per compiled call of Gauss-Newton and of the
    evaluation; the fields of more do not fit into the cache on large lattices.
    """

    adam: int
    rate: float
    newton: int
    samples: int
    steps: int = 4
    batch_size: int = 64
    newton_batch: int = 64
    start: int | None = None


PHI4 = {
    6: Training(300, 1e-2, 10, 2048),
    8: Training(300, 1e-2, 12, 2048),
    10: Training(150, 3e-3, 9, 4096, steps=16, start=6),
    12: Training(150, 3e-3, 5, 4096, steps=16, start=8),
    14: Training(150, 3e-3, 5, 4096, steps=16, start=8),
    16: Training(150, 3e-3, 9, 4096, steps=16, start=8),
    32: Training(150, 3e-3, 4, 4096, steps=16, newton_batch=16, start=16),
    64: Training(80, 1e-3, 5, 3072, steps=6, batch_size=32, newton_batch=4, start=32),
}
U1 = {"u1-8": (8, 2.0, Training(200, 3e-2, 6, 4096, steps=5)), "u1-16": (16, 3.0, Training(200, 3e-2, 6, 6144, steps=5))}
SAMPLES = 10_000
POINTS = [*(f"phi4-{extent}" for extent in PHI4), *U1]


def phi4_theory(extent: int) -> tm.Phi4Action:
    return tm.Phi4Action((extent, extent), m2=-4.0, lam=COUPLINGS[extent])


def phi4_start(extent: int, smoke: bool, folder: Path | None) -> tm.Model:
    """A free field and the identity, or the trained flow of another extent."""
    theory, plan = phi4_theory(extent), PHI4[extent]
    if plan.start is not None and not smoke:
        moved = tm.transfer(trained_phi4(plan.start, smoke, folder)[0], theory)
        spectrum, ridges = moved.transport.flows
        # The smaller lattice may have needed more steps for its smaller errors.
        return tm.Model(moved.prior, tm.FlowSequence(spectrum, tm.ContinuousFlow(ridges.field, steps=plan.steps)))
    flow = tm.FlowSequence(
        tm.flows.FourierFlow(theory.manifold, mass=1.0),
        tm.ContinuousFlow(tm.fields.RidgeField(jax.random.key(0), theory.manifold), steps=plan.steps),
    )
    return tm.Model(tm.GaussianPrior(theory.manifold), flow)


def train(key, model, theory, plan: Training, smoke: bool, file: Path | None) -> tuple[tm.Model, dict]:
    start = time.perf_counter()
    schedule = optax.cosine_decay_schedule(plan.rate, plan.adam)
    model, history = tm.fit(
        jax.random.fold_in(key, 0),
        model,
        theory,
        steps=4 if smoke else plan.adam,
        batch_size=plan.batch_size,
        optimiser=optax.adam(schedule),
        dtype=jnp.float32,
        progress=False,
    )
    seconds = {"adam": time.perf_counter() - start, "ess_adam": history[-1]["ess"], "newton": 0.0, "records": []}
    print(f"  Adam: ESS {seconds['ess_adam']:.3f} in {seconds['adam']:.0f} s", flush=True)
    options = tm.GaussNewton(
        steps=1 if smoke else plan.newton,
        samples=64 if smoke else plan.samples,
        batch_size=plan.newton_batch,
        dtype=jnp.float32,
    )
    for found, record in options.iterate(jax.random.fold_in(key, 1), model, theory):
        model = found
        seconds["records"].append(record)
        seconds["newton"] = time.perf_counter() - start - seconds["adam"]
        print(
            f"  step {record['step']}: variance {record['variance']:.3g}, ESS {record['ess']:.4f}, damping "
            f"{record['damping']:.0e}, halving {record['halving_mean']:+.1e} +- {record['halving_std']:.0e}, "
            f"{record['seconds']:.0f} s",
            flush=True,
        )
        if file is not None:
            tm.save(file.with_suffix(".partial"), model, training=seconds)
    if file is not None:
        file.with_suffix(".partial").replace(file)
    return model, seconds


def trained(name: str, key, start, theory, plan: Training, smoke: bool, folder: Path | None) -> tuple[tm.Model, dict]:
    """From the folder if it is there; `start()` makes the model before the training."""
    file = None if folder is None else folder / f"{name}.tm"
    if file is not None and file.exists():
        return tm.load(file), tm.io.read_header(file)["training"]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    model = start()
    print(f"{name}: {tm.training.parameter_count(model)} numbers", flush=True)
    return train(key, model, theory, plan, smoke, file)


@functools.cache
def trained_phi4(extent: int, smoke: bool, folder: Path | None) -> tuple[tm.Model, dict]:
    key = jax.random.fold_in(jax.random.key(0), extent)
    start = functools.partial(phi4_start, extent, smoke, folder)
    return trained(f"phi4-{extent}", key, start, phi4_theory(extent), PHI4[extent], smoke, folder)


def evaluate(model, theory, observables: dict, samples: int, batch_size: int) -> dict:
    """Fields in single precision, sums and weights in double precision."""
    options = {"batch_size": batch_size, "dtype": jnp.float32}
    start = time.perf_counter()
    measure = {name: function for name, (function, _) in observables.items()}
    ensemble = tm.sample(jax.random.key(99), model, theory, samples, measure=measure, **options)
    seconds = time.perf_counter() - start
    report = tm.step_halving(jax.random.key(99), model, theory, min(samples, 2048), **options)
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


def phi4_row(extent: int, samples: int, smoke: bool, folder: Path | None) -> dict:
    theory = phi4_theory(extent)
    model, seconds = trained_phi4(extent, smoke, folder)
    observables = {
        "phi2": (lambda x: jnp.mean(x**2), _exact(tm.exact.phi_squared, theory)),
        "susceptibility": (tm.observables.susceptibility, _exact(tm.exact.susceptibility, theory)),
        "|M|": (lambda x: jnp.abs(tm.magnetisation(x)), _exact(tm.exact.abs_magnetisation, theory)),
    }
    return evaluate(model, theory, observables, samples, PHI4[extent].newton_batch) | {"seconds": seconds}


def u1_row(name: str, samples: int, smoke: bool, folder: Path | None) -> dict:
    extent, beta, plan = U1[name]
    theory = tm.WilsonAction(tm.U1(), (extent, extent), beta)

    def start() -> tm.Model:
        flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=plan.steps)
        return tm.Model(tm.HaarPrior(theory.manifold), flow)

    key = jax.random.fold_in(jax.random.key(0), extent)
    model, seconds = trained(name, key, start, theory, plan, smoke, folder)
    observables = {
        "plaquette": (tm.plaquette, float(tm.exact.plaquette(theory))),
        "Q^2": (lambda x: tm.topological_charge(x) ** 2, float(tm.exact.charge_squared(theory))),
    }
    return evaluate(model, theory, observables, samples, plan.newton_batch) | {"seconds": seconds}


def _run(name: str, samples: int | None, smoke: bool, folder: Path | None) -> dict:
    print(name, flush=True)
    if name in U1:
        return u1_row(name, samples or SAMPLES, smoke, folder)
    return phi4_row(int(name.removeprefix("phi4-")), samples or SAMPLES, smoke, folder)


if __name__ == "__main__":
    run_points(__doc__, dict.fromkeys(POINTS), _run, SAMPLES, models=True)
