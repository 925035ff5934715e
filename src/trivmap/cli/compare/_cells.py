"""One method with one seed: train, sample, measure, in a folder of its own."""

import dataclasses
import math
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from ...samplers import independence_metropolis, step_halving
from ...statistics import acceptance_rate, ess_fraction, expected_acceptance, log_z
from .._build import build_theory
from .._observables import all_estimates, observables
from .._report import by_caution, pair
from .._run_folder import RunFolder
from ._clock import peak_megabytes, reset_peak
from ._comparison import Comparison
from ._methods import METHODS, Method, carried_coupling, repaired_defect
from ._sampling import (
    Sampled,
    draw_configurations,
    particles,
    sample_boxes,
    sample_exchange,
    sample_heatbath,
    sample_hmc,
    sample_model,
    sample_noisy,
    sample_populations,
    sample_quenched,
)
from ._training import train_for

_HALVING_SAMPLES = 128


class _Trained(NamedTuple):
    """A model with the seconds of its training and of compilation, and the loss over time; nothing for chains."""

    model: Any = None
    seconds: float = 0.0
    compile_seconds: float = 0.0
    curve: Any = ()


def run_cell(path: Any, name: str, seed: int, settings: Comparison, programs: dict[str, Any]) -> dict[str, Any]:
    """All numbers of a method with a seed, for JSON. `programs` is shared by the seeds of a method."""
    begin, memory = time.perf_counter(), reset_peak()
    folder = RunFolder(path, about=settings.identity() | {"method": name, "seed": seed})
    folder.path.mkdir(parents=True, exist_ok=True)
    theory, method = build_theory(settings.theory), METHODS[name]
    functions = programs.setdefault("observables", observables(theory))  # the same functions: compiled once
    *train_keys, sample_key, chain_key = jax.random.split(jax.random.key(seed), 4)
    trained = _trained(folder, (*train_keys, chain_key), method, theory, settings, programs)
    sampled = _SAMPLE[method.run](folder, sample_key, trained.model, theory, functions, settings)
    quality = _weights(sampled, chain_key) if method.weighted else _chain(sampled)
    if method.run == "weights" and trained.model.refinable:
        quality["cautions"] += _integration(chain_key, trained.model, theory, quality["observables"]["log_z"][1])
    return quality | {
        "method": name,
        "seed": seed,
        "compile": trained.compile_seconds + sampled.compile_seconds,
        "training": trained.seconds + sampled.preparation,
        "sampling": sampled.seconds,
        "memory": peak_megabytes(memory),
        "curve": list(trained.curve),
        "total": time.perf_counter() - begin,
    }


def _trained(
    folder: RunFolder, keys: Any, method: Method, theory: Any, settings: Comparison, programs: dict[str, Any]
) -> _Trained:
    """The model of a method, trained for the seconds that it has."""
    model_key, train_key, finish_key = keys
    if method.build is None:
        return _Trained()
    model = method.build(model_key, theory)
    if method.rate == 0.0:
        return _Trained(model)
    data, drawn, data_compile = _data(method, theory, settings, programs)
    objective = method.objective if method.matches is None else method.matches(data)
    seconds = settings.training - drawn
    training = train_for(folder, train_key, model, theory, objective, seconds, method.rate, settings.batch_size, programs)
    finished = method.finish(finish_key, training.model, data)
    return _Trained(finished, training.seconds + drawn, training.compile_seconds + data_compile, training.curve)


def _data(method: Method, theory: Any, settings: Comparison, programs: dict[str, Any]) -> tuple[Any, float, float]:
    """Configurations to learn from, with their seconds: one chain for all seeds, part of the compiled program."""
    if "data" not in programs:
        # The key of the first seed, also where a run goes on with a later one.
        first = jax.random.split(jax.random.key(settings.seed), 4)[3]
        matches = method.matches is not None
        programs["data"] = draw_configurations(first, theory, settings) if matches else (None, 0.0, 0.0)
    return programs["data"]


def _sample_weights(folder: RunFolder, key: Any, model: Any, theory: Any, functions: Any, settings: Comparison) -> Sampled:
    data, seconds, compiled = sample_model(folder, key, model, theory, functions, settings)
    return Sampled(data, seconds, compiled, 0.0, _number(model.transport.evaluations))


def _sample_noisy(folder: RunFolder, key: Any, model: Any, *others: Any) -> Sampled:
    data, seconds, compiled = sample_noisy(folder, key, model, *others)
    return Sampled(data, seconds, compiled, 0.0, _number(model.transport.evaluations))


def _sample_smc(folder: RunFolder, key: Any, model: Any, theory: Any, functions: Any, settings: Comparison) -> Sampled:
    data, seconds, compiled = sample_populations(folder, key, model, theory, functions, settings)
    return Sampled(data, seconds, compiled, 0.0, _number(model.transport.evaluations, particles()))


def _number(evaluations: int | None, times: int = 1) -> float | None:
    return None if evaluations is None else float(evaluations * times)


def _sample_quenched(folder: RunFolder, key: Any, model: Any, *others: Any) -> Sampled:
    data, seconds, compiled = sample_quenched(folder, key, *others)
    return Sampled(data, seconds, compiled, 0.0, None)


_SAMPLE = {
    "weights": _sample_weights,
    "noisy": _sample_noisy,
    "smc": _sample_smc,
    "quenched": _sample_quenched,
    "hmc": lambda folder, key, model, *others: sample_hmc(folder, key, *others),
    "hits": lambda folder, key, model, *others: sample_hmc(folder, key, *others, hits=True),
    "trivialised": lambda folder, key, model, *others: sample_hmc(folder, key, *others, flow=model.transport),
    "exchange": lambda folder, key, model, *others: sample_exchange(folder, key, *others, ladder=repaired_defect),
    "t-rex": lambda folder, key, model, *others: sample_exchange(folder, key, *others, ladder=carried_coupling),
    "heatbath": lambda folder, key, model, *others: sample_heatbath(folder, key, *others),
    "boxes": lambda folder, key, model, *others: sample_boxes(folder, key, *others),
}


def _weights(sampled: Sampled, key: jax.Array) -> dict[str, Any]:
    data: Any = sampled.data
    ess, n = ess_fraction(data.log_weights), len(data)
    chain = independence_metropolis(key, dataclasses.replace(data, configurations=None))
    estimates = all_estimates(data) | {"log_z": log_z(data)}
    tau, slowest = _slowest(all_estimates(chain))
    return {
        "samples": n,
        "ess": ess,
        "acceptance": expected_acceptance(data.log_weights),
        "tau_int": tau,
        "slowest": slowest,
        "observables": _plain(estimates),
        **_cautions(estimates),
        "cost": sampled.seconds / (n * ess),
        "evaluations": None if sampled.evaluations is None else sampled.evaluations / ess,
        "log_weights": _quantiles(data.log_weights),
    }


def _integration(key: jax.Array, model: Any, theory: Any, error: float | None) -> list[str]:
    """A caution where the error of the solver, seen by halving its steps, reaches the statistical error of log Z."""
    change = float(step_halving(key, model, theory, _HALVING_SAMPLES).mean)
    if error is None or abs(change) < error:
        return []
    return [f"log weights change by {change:+.2g} when the solver's steps are halved, log Z has the error {error:.2g}"]


def _chain(sampled: Sampled) -> dict[str, Any]:
    data: Any = sampled.data
    chains, n = data.shape
    estimates = all_estimates(data)
    tau, slowest = _slowest(estimates)
    independent = None if tau is None else 2.0 * tau
    return {
        "samples": chains * n,
        "ess": None,
        "acceptance": None if data.accepted is None else acceptance_rate(data),
        "tau_int": tau,
        "slowest": slowest,
        "observables": _plain(estimates),
        **_cautions(estimates),
        "cost": None if independent is None else sampled.seconds / (chains * n) * independent,
        "evaluations": None if independent is None or sampled.evaluations is None else sampled.evaluations * independent,
    }


def _slowest(estimates: dict[str, Any]) -> tuple[float | None, str | None]:
    """The largest autocorrelation time; data that never change have an infinite one, shown as `None`.

    A mass that noise hides has none, and does not count.
    """
    times = {name: float(e.tau_int) for name, e in estimates.items() if np.ndim(e.value) == 0 and np.isfinite(e.value)}
    if frozen := [name for name, tau in times.items() if math.isnan(tau)]:
        return None, frozen[0]
    name = max(times, key=lambda k: times[k])
    return times[name], name


def _plain(estimates: dict[str, Any]) -> dict[str, Any]:
    return {name: pair(e) for name, e in estimates.items() if np.ndim(e.value) == 0}


def _cautions(estimates: dict[str, Any]) -> dict[str, list[str]]:
    """Sentences, each with the observables that it is about, and the names of all these."""
    sentences = [f"{', '.join(names)}: {caution}" for caution, names in by_caution(estimates).items()]
    return {"cautions": sentences, "cautioned": [name for name, e in estimates.items() if e.cautions]}


def _quantiles(log_weights: np.ndarray) -> list[float]:
    """Of log w minus its mean, for a plot of the distribution."""
    return np.quantile(log_weights - log_weights.mean(), np.linspace(0, 1, 51)).tolist()
