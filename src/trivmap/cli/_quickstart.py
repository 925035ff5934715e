"""`trivmap quickstart`: 2D U(1) by a flow, by HMC, and exactly."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..io import finite, write_chain, write_ensemble
from ..plotting import plot_quickstart, save_figure
from ..samplers import hmc, independence_metropolis
from ..statistics import Chain, Ensemble, Estimate, acceptance_rate, ess_fraction, expectation
from ..theories import exact
from ._build import build_theory, keys_of
from ._config import ModelConfig, QuickstartCommand, TrainCommand, U1Config, as_json
from ._exact import Known, write_summary
from ._interrupt import on_interrupt
from ._observables import all_estimates, observables
from ._report import announce, cautions_of, pair, say, say_estimates
from ._run_folder import CommandError, RunFolder
from ._sample import draw, ensemble_estimates, halving_report, say_halving
from ._train import train_in, training_seconds

# With five steps Gauss-Newton ends at a log Z that is 0.004 low, three errors, and doubles them; seven are enough.
_MODEL = ModelConfig(integration_steps=7, recompute=False)
_HMC = {"trajectory_length": 2.0, "steps": 12, "chains": 16, "integrator": "leapfrog", "thermalisation": 100}
_TABLE = ("plaquette", "wilson_2x2", "charge2", "log_z")
_SHOWN = 200
# All that a quickstart writes beside config.json, in the order in which it is removed.
_FILES = (
    *(f"quickstart.{suffix}" for suffix in ("png", "pdf", "json")),
    "summary.json",
    "hmc.h5",
    "samples.h5",
    "model.ckpt",
    "checkpoint.ckpt",
    "metrics.jsonl",
    "environment.json",
)


def quickstart(command: QuickstartCommand) -> int:
    """Run the whole job and print a table of flow, HMC and exact results; returns the exit status."""
    config = as_json(command)
    folder = RunFolder(command.out)
    _check_folder(folder)  # a refused command makes no folder
    folder.make()
    with folder.held():
        _fresh_folder(command.out, config)
        folder.claim("quickstart", config, resume=None)
        announce("quickstart", config)
        on_interrupt(lambda: f"the same command goes on from the last checkpoint in {folder.path}.")
        return _quickstart(folder, command, config)


def _quickstart(folder: RunFolder, command: QuickstartCommand, config: dict[str, Any]) -> int:
    start = time.perf_counter()
    training = TrainCommand(
        U1Config(),
        _MODEL,
        steps=command.steps,
        batch_size=command.batch_size,
        learning_rate=3e-2,
        chunk=25,
        finish=command.finish,
        seed=command.seed,
    )
    theory = build_theory(training.theory)
    say("U(1) gauge theory on 8x8 at beta = 2: training a continuous flow ...")
    model = train_in(folder, training, theory)

    keys = keys_of(command.seed + 1, "flow", "metropolis", "hmc")
    clock = time.perf_counter()
    ensemble = draw(keys[0], model, theory, command.samples, 512, jnp.dtype("float64"))
    halving = halving_report(keys[0], model, theory, ensemble, 512, jnp.dtype("float64"))
    measured = dataclasses.replace(ensemble, configurations=None)
    flow_chain = independence_metropolis(keys[1], measured)
    sampled, clock = time.perf_counter() - clock, time.perf_counter()
    hmc_chain = hmc(keys[2], theory, command.trajectories, measure=observables(theory), progress=True, **_HMC)
    seconds = training_seconds(folder) | {"sample": sampled, "hmc": time.perf_counter() - clock}

    attributes = {"theory": as_json(training)["theory"], "seed": command.seed, "config": config}
    write_ensemble(folder / "samples.h5", ensemble, attributes)
    write_chain(folder / "hmc.h5", hmc_chain, attributes)
    seconds = {"total": time.perf_counter() - start} | seconds
    more = halving | {"seconds": seconds, "seed": command.seed}
    build = lambda known: _summary(ensemble, flow_chain, hmc_chain, known) | more  # noqa: E731
    summary = write_summary(folder, "summary.json", theory, _TABLE, build)
    _print(summary, seconds, ensemble, hmc_chain)
    figures = _figure(folder, theory, command.steps, ensemble, flow_chain, hmc_chain)
    say(f"results in {folder.path}, figure in {figures[0]}")
    return 0


def _check_folder(folder: RunFolder) -> None:
    """**Raises:** `CommandError` if the folder holds anything but an earlier quickstart, or files beside one."""
    others = set(folder.configs()) - {"quickstart"}
    if others:
        raise CommandError(f"{folder.path} holds another run ({', '.join(sorted(others))}); choose another --out.")


def _fresh_folder(path: str, config: dict[str, Any] | None = None) -> RunFolder:
    """The run folder, cleared of an earlier quickstart but of nothing else.

    One of this configuration that was not finished goes on. A link is removed, not what it points to.
    """
    folder = RunFolder(path)
    _check_folder(folder)
    earlier = folder.configs().get("quickstart")
    if earlier is None or (earlier == config and not (folder / "summary.json").exists()):
        return folder
    for name in _FILES:
        file = folder / name
        if file.is_file() or file.is_symlink():
            file.unlink()
    folder.write_json("config.json", {"quickstart": config or {}})
    return folder


def _hmc_estimates(chain: Chain) -> dict[str, Estimate]:
    return {name: estimate for name, estimate in all_estimates(chain).items() if name in _TABLE}


def _summary(ensemble: Ensemble, flow_chain: Chain, hmc_chain: Chain, known: Known) -> dict[str, Any]:
    flow, chain = ensemble_estimates(ensemble), _hmc_estimates(hmc_chain)
    observed = {n: {"flow": pair(flow[n]), "hmc": pair(chain.get(n)), "exact": known.values[n]} for n in _TABLE}
    return {
        "theory": "U(1), 8x8, beta = 2",
        "ess": float(ess_fraction(ensemble.log_weights)),
        "acceptance": acceptance_rate(flow_chain),
        "hmc_acceptance": acceptance_rate(hmc_chain),
        "observables": observed,
        "cautions": cautions_of({"flow": {name: flow[name] for name in _TABLE}, "hmc": chain}),
    }


def _print(summary: dict, seconds: dict, ensemble: Ensemble, hmc_chain: Chain) -> None:
    flow = {name: estimate for name, estimate in ensemble_estimates(ensemble).items() if name in _TABLE}
    say()
    known = {name: row["exact"] for name, row in summary["observables"].items()}
    say_estimates({"flow": flow, "HMC": _hmc_estimates(hmc_chain)}, known)
    say()
    say(f"flow: ESS {summary['ess']:.3f}, Metropolis acceptance {summary['acceptance']:.3f}, {len(ensemble)} samples")
    say_halving(summary)
    chains, n = hmc_chain.shape
    tau = expectation(hmc_chain, "charge2").tau_int
    say(f"HMC: acceptance {summary['hmc_acceptance']:.3f}, {chains} x {n} trajectories, tau_int(Q^2) = {float(tau):.1f}")
    parts = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if name != "total")
    say(f"{seconds['total']:.1f} s in all: {parts}")


def _figure(
    folder: RunFolder, theory: Any, finish: int, ensemble: Ensemble, flow_chain: Chain, hmc_chain: Chain
) -> list[Path]:
    records = folder.read_metrics()
    data = {
        "training": {"step": [r["step"] for r in records], "ess": [r["ess"] for r in records], "finish": finish},
        "history": {
            "flow": _charges(flow_chain)[0, :_SHOWN].tolist(),
            "hmc": _charges(hmc_chain)[0, :_SHOWN].tolist(),
        },
        "distribution": _distribution(theory, ensemble, hmc_chain),
    }
    return save_figure(folder / "quickstart", plot_quickstart(data), finite(data))


def _charges(data: Ensemble | Chain) -> np.ndarray:
    return np.rint(data.observables["charge"]).astype(int)


def _distribution(theory: Any, ensemble: Ensemble, hmc_chain: Chain) -> dict[str, list]:
    """P(Q) for the charges that both samples have met."""
    found = [np.abs(_charges(data)).max() for data in (ensemble, hmc_chain)]
    charge = np.arange(-min(found), min(found) + 1)
    result = {"charge": charge.tolist(), "exact": [float(exact.charge_distribution(theory, int(q))) for q in charge]}

    def one_hot(data: Ensemble | Chain) -> dict[str, np.ndarray]:
        return {"p": (_charges(data)[..., None] == charge).astype(float)}

    flow = expectation(Ensemble(None, ensemble.log_weights, one_hot(ensemble)), "p")
    chain = expectation(Chain(None, one_hot(hmc_chain)), "p")
    for label, estimate in (("flow", flow), ("hmc", chain)):
        result |= {label: np.asarray(estimate.value).tolist(), f"{label}_error": np.asarray(estimate.error).tolist()}
    return result
