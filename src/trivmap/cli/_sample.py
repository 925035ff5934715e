"""`trivmap sample`."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..models import Model
from ..samplers import SamplingInterrupted, sample, step_halving
from ..statistics import Ensemble, Estimate, ess_fraction, expected_acceptance, log_z, measure
from ..theories import AbstractTheory
from ._build import with_integration_steps
from ._config import SampleCommand, as_json
from ._exact import Known, pending, write_summary
from ._interrupt import on_interrupt
from ._observables import all_estimates, observables
from ._partial import PartialEnsemble
from ._report import announce, cautions_of, pair, say, say_estimates
from ._run_folder import RunFolder
from ._sample_names import check_foreign, check_name
from ._train import load_model

HALVING_SAMPLES = 2048
_PIECE_SECONDS = 10.0  # of work that a kill may lose


def sample_command(command: SampleCommand) -> int:
    """Sample a trained flow into its run folder; returns the exit status."""
    check_name(command.name)
    folder = RunFolder(command.run)
    folder.config("train")
    with folder.held():
        return _sample(folder, command)


def _sample(folder: RunFolder, command: SampleCommand) -> int:
    model, theory, header = load_model(folder)
    model = with_integration_steps(model, command.integration_steps)
    config = as_json(command)
    check_foreign(folder, command.name)
    folder.claim(f"sample:{command.name}", config)
    announce("sample", config)
    _say_untrained(header)
    start = time.perf_counter()
    key, dtype = jax.random.key(command.seed), jnp.dtype(command.precision)
    attributes = {"theory": folder.config("train")["theory"], "seed": command.seed, "step": header["step"], "config": config}
    ensemble = drawn_in_pieces(folder, command, key, model, theory, dtype, attributes)
    more: dict[str, Any] = {"step": header["step"], "seconds": {"total": time.perf_counter() - start}}
    estimates = ensemble_estimates(ensemble)
    build = lambda known: summarise_ensemble(ensemble, estimates, known) | more  # noqa: E731
    folder.write_json(f"{command.name}.json", build(pending(estimates)))
    more |= halving_report(key, model, theory, ensemble, command.batch_size, dtype)
    summary = write_summary(folder, f"{command.name}.json", theory, estimates, build)
    _print(summary, estimates, ensemble, folder, command)
    return 0


def _say_untrained(header: dict[str, Any]) -> None:
    """A run that was interrupted before its first chunk leaves a model as well."""
    if header["step"] == 0:
        steps = header["config"]["steps"]
        say(f"caution: the flow is untrained (step 0 of {steps}); go on with its `trivmap train` and --resume.")


def drawn_in_pieces(
    folder: RunFolder, command: SampleCommand, key: Any, model: Model, theory: AbstractTheory, dtype: Any, attributes: dict
) -> Ensemble:
    """The ensemble, drawn piece by piece into a file of its own, which becomes NAME.h5 once it is complete.

    Sample i depends on the key and i alone, and pieces are whole batches: the same numbers wherever one was interrupted.
    """
    n, size = command.samples, command.batch_size
    partial = PartialEnsemble(folder, command, attributes)
    on_interrupt(lambda: f"{partial.done} of {n} samples are in {partial.file}; the same command goes on from there.")
    batches = 1
    while partial.done < n:
        # The last batch is computed whole: a smaller one would be another program to compile.
        count = min(batches * size, -(-(n - partial.done) // size) * size) if n > size else n
        first = {"first": partial.done} if partial.done else {}
        start = time.perf_counter()
        try:
            piece = draw(key, model, theory, count, size, dtype, **first)
        except SamplingInterrupted as interrupt:
            partial.add(measured(interrupt.partial, theory, size), store=True)
            raise KeyboardInterrupt from interrupt
        partial.add(piece)
        if time.perf_counter() - start < _PIECE_SECONDS:
            batches *= 2
    return partial.finish()


def draw(
    key: Key[Array, ""], model: Model, theory: AbstractTheory, n: int, batch_size: int, dtype: Any, first: int = 0
) -> Ensemble:
    """Configurations with log weights and the default observables of the theory, from sample `first` on."""
    drawn = sample(key, model, theory, n, batch_size=batch_size, dtype=dtype, first=first, progress=True)
    return measured(drawn, theory, batch_size)


def measured(ensemble: Ensemble, theory: AbstractTheory, batch_size: int) -> Ensemble:
    values = {name: measure(f, ensemble.configurations, batch_size) for name, f in observables(theory).items()}
    return dataclasses.replace(ensemble, observables=values)


def ensemble_estimates(ensemble: Ensemble) -> dict[str, Estimate]:
    return all_estimates(ensemble) | {"log_z": log_z(ensemble)}


def summarise_ensemble(ensemble: Ensemble, estimates: dict[str, Estimate], known: Known) -> dict[str, Any]:
    """Quality of the weights, estimates and exact values, for JSON."""
    observed = {name: {"flow": pair(estimate), "exact": known.values[name]} for name, estimate in estimates.items()}
    return {
        "samples": len(ensemble),
        "ess": float(ess_fraction(ensemble.log_weights)),
        "acceptance": float(expected_acceptance(ensemble.log_weights)),
        "observables": observed,
        "cautions": cautions_of({"flow": estimates}),
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


def _print(
    summary: dict, estimates: dict[str, Estimate], ensemble: Ensemble, folder: RunFolder, command: SampleCommand
) -> None:
    exact = {name: row["exact"] for name, row in summary["observables"].items()}
    say(f"{len(ensemble)} samples: ESS {summary['ess']:.4f}, acceptance {summary['acceptance']:.4f}")
    say_halving(summary)
    say_estimates({"flow": estimates}, exact)
    say(f"sampled in {summary['seconds']['total']:.1f} s, compilation included; results in {folder / command.name}.h5")
