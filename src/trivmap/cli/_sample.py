"""`trivmap sample`."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..io import write_ensemble
from ..models import Model
from ..samplers import SamplingInterrupted, sample, step_halving
from ..statistics import Ensemble, Estimate, ess_fraction, expectation, expected_acceptance, log_z, measure
from ..theories import AbstractTheory
from ._build import with_integration_steps
from ._config import SampleCommand, as_json
from ._observables import exact_values, observables
from ._report import announce, complain, pair, say, say_estimates
from ._run_folder import RunFolder
from ._train import load_model

HALVING_SAMPLES = 2048


def sample_command(command: SampleCommand) -> int:
    """Sample a trained flow into its run folder; returns the exit status."""
    folder = RunFolder(command.run)
    model, theory, header = load_model(folder)
    model = with_integration_steps(model, command.integration_steps)
    config = as_json(command)
    folder.claim(f"sample:{command.name}", config)
    announce("sample", config)
    start, status = time.perf_counter(), 0
    key = jax.random.key(command.seed)
    dtype = jnp.dtype(command.precision)
    try:
        ensemble = draw(key, model, theory, command.samples, command.batch_size, dtype)
    except SamplingInterrupted as interrupt:
        complain(f"{interrupt.args[0]}: the samples drawn so far are stored")
        ensemble, status = measured(interrupt.partial, theory, command.batch_size), 130
    seconds = time.perf_counter() - start
    attributes = {"theory": folder.config("train")["theory"], "seed": command.seed, "step": header["step"], "config": config}
    stored = ensemble if command.keep_configurations else Ensemble(None, ensemble.log_weights, ensemble.observables)
    write_ensemble(folder / f"{command.name}.h5", stored, attributes)
    summary = summarise_ensemble(ensemble, theory) | {"seconds": {"total": seconds}}
    if status == 0:
        summary |= halving_report(key, model, theory, ensemble, command.batch_size, dtype)
    folder.write_json(f"{command.name}.json", summary)
    _print(summary, ensemble, theory, folder, command)
    return status


def draw(key: Key[Array, ""], model: Model, theory: AbstractTheory, n: int, batch_size: int, dtype: Any) -> Ensemble:
    """Configurations with log weights and the default observables of the theory."""
    return measured(sample(key, model, theory, n, batch_size=batch_size, dtype=dtype, progress=True), theory, batch_size)


def measured(ensemble: Ensemble, theory: AbstractTheory, batch_size: int) -> Ensemble:
    values = {name: measure(f, ensemble.configurations, batch_size) for name, f in observables(theory).items()}
    return Ensemble(ensemble.configurations, ensemble.log_weights, values)


def ensemble_estimates(ensemble: Ensemble) -> dict[str, Estimate]:
    estimates = {name: expectation(ensemble, name) for name in ensemble.observables}
    return estimates | {"log_z": log_z(ensemble)}


def summarise_ensemble(ensemble: Ensemble, theory: AbstractTheory) -> dict[str, Any]:
    """Quality of the weights, estimates and exact values, for JSON."""
    estimates = ensemble_estimates(ensemble)
    known = exact_values(theory, estimates)
    observed = {name: {"flow": pair(estimate), "exact": known[name]} for name, estimate in estimates.items()}
    return {
        "samples": len(ensemble),
        "ess": float(ess_fraction(ensemble.log_weights)),
        "acceptance": float(expected_acceptance(ensemble.log_weights)),
        "observables": observed,
    }


def halving_report(
    key: Key[Array, ""], model: Model, theory: AbstractTheory, ensemble: Ensemble, batch_size: int, dtype: Any
) -> dict[str, Any]:
    """ESS of the same prior samples with the solver's steps and with twice as many, and the change of the log weights.

    Sample i depends on the key and i alone, so that the first of the ensemble are those to compare with.
    """
    n = min(HALVING_SAMPLES, len(ensemble))
    first = Ensemble(None, ensemble.log_weights[:n], {})
    report = step_halving(key, model, theory, n, batch_size=batch_size, dtype=dtype, ensemble=first)
    return {"halving": {"samples": n} | dataclasses.asdict(report)}


def say_halving(summary: dict[str, Any]) -> None:
    if halving := summary.get("halving"):
        say(
            f"step halving ({halving['samples']} samples): ESS {halving['ess']:.4f} -> {halving['ess_halved']:.4f}, "
            f"log weights change by {halving['std']:.1e}"
        )


def _print(summary: dict, ensemble: Ensemble, theory: AbstractTheory, folder: RunFolder, command: SampleCommand) -> None:
    exact = {name: row["exact"] for name, row in summary["observables"].items()}
    say(f"{len(ensemble)} samples: ESS {summary['ess']:.4f}, acceptance {summary['acceptance']:.4f}")
    say_halving(summary)
    say_estimates({"flow": ensemble_estimates(ensemble)}, exact)
    say(f"sampled in {summary['seconds']['total']:.1f} s, compilation included; results in {folder / command.name}.h5")
