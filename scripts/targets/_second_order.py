"""What the scripts of flows finished by Gauss-Newton share: the training in two parts, and how its result is measured.

Trained models are kept in the folder of `--models` after every step, and taken from there.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import trivmap as tm

SAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Training:
    """Steps of Adam at a rate, then of Gauss-Newton with so many samples; integration steps of both.

    `start`: the extent whose flow is moved here. `newton_batch`: samples per compiled call of Gauss-Newton and of the
    evaluation; the fields of more do not fit into the cache on large lattices. `damping`: the first of Gauss-Newton. `shift`:
    of log w by the integrator that training bears; the evaluation has `refine` times the integration steps, and halves them
    on `halved` samples. `power`: of the weights in the fit of Gauss-Newton.
    """

    adam: int
    rate: float
    newton: int
    samples: int
    steps: int = 4
    batch_size: int = 64
    newton_batch: int = 64
    start: int | None = None
    damping: float = 1e-3
    shift: float = 0.02
    refine: int = 1
    power: float = 0.0
    halved: int = 2048


def train(key, model, theory, plan: Training, smoke: bool, file: Path | None, parameters=None) -> tuple[tm.Model, dict]:
    """Adam on reverse KL, if the plan has steps of it, then Gauss-Newton on the parameters picked, by default all."""
    seconds = {"adam": 0.0, "ess_adam": None, "newton": 0.0, "records": []}
    if plan.adam:
        model = adam(jax.random.fold_in(key, 0), model, theory, plan, smoke, seconds)
    start = time.perf_counter()
    options = tm.GaussNewton(
        steps=1 if smoke else plan.newton,
        samples=64 if smoke else plan.samples,
        batch_size=plan.newton_batch,
        damping=plan.damping,
        shift=plan.shift,
        power=plan.power,
        dtype=jnp.float32,
    )
    for found, record in options.iterate(jax.random.fold_in(key, 1), model, theory, parameters):
        model = found
        seconds["records"].append(record)
        seconds["newton"] = time.perf_counter() - start
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


def adam(key, model, theory, plan: Training, smoke: bool, seconds: dict) -> tm.Model:
    start = time.perf_counter()
    model, history = tm.fit(
        key,
        model,
        theory,
        steps=4 if smoke else plan.adam,
        batch_size=plan.batch_size,
        optimiser=optax.adam(optax.cosine_decay_schedule(plan.rate, plan.adam)),
        dtype=jnp.float32,
        progress=False,
    )
    seconds |= {"adam": time.perf_counter() - start, "ess_adam": history[-1]["ess"]}
    print(f"  Adam: ESS {seconds['ess_adam']:.3f} in {seconds['adam']:.0f} s", flush=True)
    return model


def trained(
    name: str, key, start: Callable, theory, plan: Training, smoke: bool, folder: Path | None, parameters=None
) -> tuple[tm.Model, dict]:
    """From the folder if it is there; `start()` makes the model before the training."""
    file = None if folder is None else folder / f"{name}.tm"
    if file is not None and file.exists():
        return tm.load(file), tm.io.read_header(file)["training"]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    model = start()
    print(f"{name}: {tm.training.parameter_count(model)} numbers", flush=True)
    return train(key, model, theory, plan, smoke, file, parameters)


def evaluate(model, theory, observables: dict, samples: int, batch_size: int, dtype=jnp.float32, halved: int = 2048) -> dict:
    """Fields in the precision given, sums and weights in double; at most `halved` samples with half the step size."""
    options = {"batch_size": batch_size, "dtype": dtype}
    start = time.perf_counter()
    measure = {name: function for name, (function, _) in observables.items()}
    ensemble = tm.sample(jax.random.key(99), model, theory, samples, measure=measure, **options)
    seconds = time.perf_counter() - start
    report = tm.step_halving(jax.random.key(99), model, theory, min(samples, halved), **options)
    row = {
        "ess": float(tm.ess_fraction(ensemble.log_weights)),
        "acceptance": tm.acceptance_rate(tm.independence_metropolis(jax.random.key(1), ensemble)),
        "halving": (report.mean, report.std, report.ess_halved),
        "sampling": seconds,
        "samples": samples,
    }
    estimates = {"log_z": tm.log_z(ensemble)} | {name: tm.expectation(ensemble, name) for name in observables}
    exact = {"log_z": exact_or_none(tm.exact.log_z, theory)} | {name: value for name, (_, value) in observables.items()}
    for name, estimate in estimates.items():
        row[name] = {"value": float(estimate.value), "error": float(estimate.error), "exact": exact[name]}
        pull = "" if exact[name] is None else f", exact {exact[name]:.5g} ({estimate.pull(exact[name]):+.1f})"
        print(f"  {name}: {estimate}{pull}", flush=True)
    print(
        f"  ESS {row['ess']:.4f}, acceptance {row['acceptance']:.3f}, halving {report.mean:+.1e} +- {report.std:.1e}",
        flush=True,
    )
    return row


def exact_or_none(function, theory):
    try:
        return float(function(theory))
    except tm.exact.NoExactResultError:
        return None
