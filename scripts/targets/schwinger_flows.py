"""Flows for the Schwinger model at beta = 2, with the exact determinant averaged over twists.

    python scripts/targets/schwinger_flows.py [NAME ...] [--samples N] [--models FOLDER] [--out FILE] [--smoke]

The weight is averaged over twists (`tm.theories.TwistAverage`): holonomies are drawn from their conditional distribution, and
the flow moves plaquettes. It starts as that of pure gauge theory (`second_order_gauge.py`: a gated field and two that are
gated by the charge), and is moved from kappa to kappa by a few steps of `gauss_newton`; on 16x16 from the flow of 8x8.

For every point: ESS, log Z, plaquette and <Q^2>, with pulls against exact samples of pure gauge theory that are reweighted by
the same average (errors combined), the change by halving the steps, and effective samples per second of both.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

from _points import run_points  # noqa: E402
from _second_order import SAMPLES, Training, evaluate, trained  # noqa: E402
from second_order_gauge import trained_charged  # noqa: E402

import trivmap as tm  # noqa: E402

BETA = 2.0
BATCH = {8: 64, 16: 32}
REFINE = {8: 1, 16: 2}  # integration steps of the evaluation over those of the training
OBSERVABLES = {"plaquette": tm.plaquette, "Q^2": lambda x: tm.topological_charge(x) ** 2}


def plan(steps: int, samples: int, damping: float = 1e-4, power: float = 0.0, batch: int = 64) -> Training:
    """Gauss-Newton alone."""
    return Training(0, 0.0, steps, samples, steps=6, damping=damping, power=power, newton_batch=batch)


# Extent, kappa, twists per direction, the point whose flow is the start, and the training. On 16x16 twists make a standard
# deviation of log w of 0.03 at kappa = 0.25, 0.1 at 0.263 and 0.7 at 0.276.
POINTS = {
    "schwinger-8-kappa0": (8, 0.0, 1, None, None),
    "schwinger-8-kappa0.25": (8, 0.25, 3, "schwinger-8-kappa0", plan(2, 6144)),
    "schwinger-8-kappa0.263": (8, 0.263, 3, "schwinger-8-kappa0.25", plan(2, 6144)),
    "schwinger-8-kappa0.276": (8, 0.276, 3, "schwinger-8-kappa0.263", plan(4, 6144, power=0.5)),
    "schwinger-16-kappa0.25": (16, 0.25, 1, "schwinger-8-kappa0.25", plan(1, 4096, batch=32)),
    "schwinger-16-kappa0.263": (16, 0.263, 2, "schwinger-16-kappa0.25", plan(2, 4096, 1e-3, 0.5, 32)),
    "schwinger-16-kappa0.27": (16, 0.27, 2, "schwinger-16-kappa0.263", plan(2, 4096, 1e-3, 0.5, 32)),
    "schwinger-16-kappa0.276": (16, 0.276, 2, "schwinger-16-kappa0.27", plan(4, 6144, 1e-3, 0.5, 32)),
}


def theory_of(name: str) -> tm.theories.TwistAverage | tm.WilsonAction:
    extent, kappa, twists, *_ = POINTS[name]
    theory = tm.SchwingerAction((extent, extent), beta=BETA, kappa=kappa)
    return tm.theories.TwistAverage(theory, twists) if kappa else theory.gauge


def trained_flow(name: str, smoke: bool, folder: Path | None) -> tuple[tm.Model, dict]:
    *_, source, training = POINTS[name]
    theory = theory_of(name)
    if source is None:
        return trained_charged("u1-8-beta2-charge", theory, smoke, folder)

    def start() -> tm.Model | tm.models.MovedModel:
        model = trained_flow(source, smoke, folder)[0]
        # On 16x16 the numbers stay those of 8x8.
        numbers = model.model if isinstance(model, tm.models.MovedModel) else model
        numbers = tm.Model(numbers.prior, tm.ContinuousFlow(numbers.transport.field, steps=training.steps))
        return numbers if numbers.manifold == theory.manifold else tm.models.MovedModel(numbers, theory.theory.gauge)

    return trained(name, jax.random.key(0), start, theory, training, smoke, folder)


def cpu_seconds(work: Callable[[], Any], samples: int) -> float:
    """Of the processor, for one sample, without compilation: the second time."""
    work()
    begin = time.process_time()
    work()
    return (time.process_time() - begin) / samples


def beside_quenched(row: dict, average: tm.theories.TwistAverage, samples: int) -> dict:
    """Reweighting alone, by the determinant and by its average: ESS, effective samples per second, pulls of the flow."""
    theory = average.theory
    plain = tm.samplers.quenched(jax.random.key(0), theory, samples)
    x = plain.configurations
    log_weights = tm.exact.log_z(theory.gauge) - tm.statistics.measure(
        lambda y: average.action(y) - theory.gauge.action(y), x, batch_size=32
    )
    averaged = tm.Ensemble(x, log_weights)
    found = {"flow": {"per_second": 1e3 * row["ess"] / row["cpu_ms"]}}
    for name, ensemble, weight in (("quenched", plain, theory.determinant), ("quenched, averaged", averaged, average)):
        estimates = {"log_z": tm.log_z(ensemble)} | {key: tm.expectation(ensemble, f) for key, f in OBSERVABLES.items()}
        pulls = {key: -float(e.pull(row[key]["value"], row[key]["error"])) for key, e in estimates.items()}
        ess = float(tm.ess_fraction(ensemble.log_weights))
        values = {key: [float(e.value), float(e.error)] for key, e in estimates.items()}
        # Drawing them takes far less.
        seconds = cpu_seconds(lambda f=weight.action: tm.statistics.measure(f, x[:256], batch_size=32), 256)
        found[name] = {"ess": ess, "samples": samples, "values": values, "pulls": pulls, "per_second": ess / seconds}
        print(f"  {name}: ESS {ess:.4f}, " + ", ".join(f"{key} {e} ({pulls[key]:+.1f})" for key, e in estimates.items()))
    rates = ", ".join(f"{key} {v['per_second']:.0f}" for key, v in found.items())
    print(f"  {row['cpu_ms']:.2g} ms per sample; effective samples per second: {rates}", flush=True)
    return found


def _run(name: str, samples: int | None, smoke: bool, folder: Path | None) -> dict:
    print(name, flush=True)
    model, seconds = trained_flow(name, smoke, folder)
    extent, kappa, *_ = POINTS[name]
    numbers = tm.training.parameter_count(model)
    model = model.moved if isinstance(model, tm.models.MovedModel) else model
    model = model.refined(REFINE[extent]) if REFINE[extent] > 1 else model
    theory, samples = theory_of(name), samples or SAMPLES
    row = evaluate(model, theory, {key: (f, None) for key, f in OBSERVABLES.items()}, samples, BATCH[extent])
    few = {"batch_size": BATCH[extent], "measure": {}, "dtype": jax.numpy.float32}
    cpu = cpu_seconds(lambda: tm.sample(jax.random.key(2), model, theory, 4 * BATCH[extent], **few), 4 * BATCH[extent])
    row |= {"seconds": seconds, "numbers": numbers, "cpu_ms": 1e3 * cpu}
    return row | {"beside": beside_quenched(row, theory, samples)} if kappa else row


if __name__ == "__main__":
    run_points(__doc__, POINTS, _run, None, models=True)
