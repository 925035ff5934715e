"""`trivmap train`."""

import dataclasses
import time
from typing import Any

import jax.numpy as jnp
import optax

from ..io import read_checkpoint, read_header, structure, write_checkpoint
from ..models import Model
from ..theories import AbstractTheory
from ..training import GaussNewton, TrainingDiverged, TrainingState, fit, initial_state
from ._build import OBJECTIVES, build_model, build_optimiser, build_theory, keys_of, with_integration_steps
from ._config import TrainCommand, as_json, model_from_json, theory_from_json
from ._interrupt import interrupts_deferred, on_interrupt
from ._report import announce, complain, say
from ._run_folder import CommandError, RunFolder, config_hash

CHECKPOINT, MODEL = "checkpoint.ckpt", "model.ckpt"


class _BudgetSpent(Exception):
    """The wall clock allowed by --budget is over."""


def train(command: TrainCommand) -> int:
    """Train, or continue to train, in a run folder; returns the exit status."""
    config = as_json(command)
    theory = build_theory(command.theory)
    folder = RunFolder(command.out or f"runs/train-{config['theory']['kind']}-{config_hash(config)}")
    _check(command, theory)
    with folder.claimed("train", config, command.resume):
        announce("train", config)
        on_interrupt(lambda: f"{_saved_step(folder)} Continue with the same command and --resume (folder {folder.path}).")
        try:
            train_in(folder, command, theory)
        except TrainingDiverged as error:
            complain(f"{error} Everything up to there is in {folder.path}.")
            return 1
        _summarise(folder, command)
    return 0


def _check(command: TrainCommand, theory: AbstractTheory) -> None:
    """Refuse what cannot work before anything is written."""
    if command.objective == "log-variance" and command.batch_size < 2:
        raise CommandError("--objective log-variance needs --batch-size 2 or more.")
    initial_model(command, theory)


def initial_model(command: TrainCommand, theory: AbstractTheory) -> Model:
    return build_model(command.model, theory.manifold, keys_of(command.seed, "model", "training")[0])


def train_in(folder: RunFolder, command: TrainCommand, theory: AbstractTheory) -> Model:
    """Train with metrics and a checkpoint after every chunk, from the last checkpoint if there is one.

    Whatever ends the training, `checkpoint.ckpt` holds the last good state and `model.ckpt` its model.
    """
    config = as_json(command)
    optimiser = optax.chain(optax.clip_by_global_norm(command.clip), build_optimiser(command))
    key = keys_of(command.seed, "model", "training")[1]
    state = initial_state(key, initial_model(command, theory), optimiser, command.ema)
    recorder = _Recorder(folder, config, command.budget, state)
    state = recorder.resume()
    try:
        fit(
            key,
            state.model,
            theory,
            objective=OBJECTIVES[command.objective],
            steps=command.steps,
            batch_size=command.batch_size,
            optimiser=optimiser,
            clip=None,  # part of the optimiser already, so that its state has the structure of the checkpoint
            ema=command.ema,
            dtype=jnp.dtype(command.precision),
            chunk=command.chunk,
            state=state,
            on_chunk=recorder,
            finish=GaussNewton(command.finish, dtype=jnp.dtype(command.precision)) if command.finish else None,
        )
    except _BudgetSpent:
        say(f"budget of {command.budget:g} s spent after step {int(recorder.state.step)}")
    except TrainingDiverged as error:
        recorder.checkpoint(error.state)
        raise
    finally:
        model = recorder.state.averaged_model
        with interrupts_deferred():
            header = {"config": config, "step": int(recorder.state.step), "integration_steps": model.transport.steps}
            write_checkpoint(folder / MODEL, model, header)
    return model


def load_model(folder: RunFolder) -> tuple[Model, AbstractTheory, dict[str, Any]]:
    """The trained flow of a run folder with its theory and the header of the file."""
    config = folder.config("train")
    source = folder / "config.json"
    theory = build_theory(theory_from_json(config["theory"], source))
    if not (folder / MODEL).exists():
        raise CommandError(f"{folder.path} has no {MODEL} yet: run its `trivmap train` again with --resume.")

    # Before anything is built: what another configuration says need not fit this theory.
    folder.check_config(MODEL, read_header(folder / MODEL).get("config"), config, "train")
    flow = model_from_json(config["model"], source)
    like = structure(folder / MODEL, lambda: build_model(flow, theory.manifold, keys_of(0, "model")[0]))
    model, header = read_checkpoint(folder / MODEL, like)
    return with_integration_steps(model, header.get("integration_steps")), theory, header


class _Recorder:
    """Writes what a chunk of training has found, before the next one starts."""

    def __init__(self, folder: RunFolder, config: dict[str, Any], budget: float | None, state: TrainingState):
        self.folder, self.config, self.state = folder, config, state
        self.end = float("inf") if budget is None else time.monotonic() + budget
        self.last: dict[str, Any] | None = None
        self.records = 0

    def resume(self) -> TrainingState:
        """The state to go on from: that of the last checkpoint where there is one, with the metrics that belong to it."""
        if (self.folder / CHECKPOINT).exists():
            header = read_header(self.folder / CHECKPOINT)
            self.folder.check_config(CHECKPOINT, header.get("config"), self.config, "train")
            if "records" not in header:
                raise CommandError(f"{self.folder / CHECKPOINT} is of an earlier version; train in another folder.")
            self.last, self.records = header["last"], header["records"]
            state, _ = read_checkpoint(self.folder / CHECKPOINT, self.state)
            model = with_integration_steps(state.model, header.get("integration_steps"))
            self.state = dataclasses.replace(state, model=model)
            say(f"continuing after step {int(self.state.step)}")
        self.folder.restore_metrics(self.last, self.records)
        return self.state

    def __call__(self, state: TrainingState, record: dict[str, Any]) -> None:
        with interrupts_deferred():
            self.folder.append_metrics(record)
            self.last, self.records = record, self.records + 1
            self.checkpoint(state)
        if time.monotonic() > self.end:
            raise _BudgetSpent

    def checkpoint(self, state: TrainingState) -> None:
        header = {"config": self.config, "step": int(state.step), "last": self.last, "records": self.records}
        # Gauss-Newton may have doubled them.
        header["integration_steps"] = state.model.transport.steps
        write_checkpoint(self.folder / CHECKPOINT, state, header)
        self.state = state


def _saved_step(folder: RunFolder) -> str:
    records = folder.read_metrics()
    return f"everything up to step {records[-1]['step']} is saved." if records else "no chunk was finished yet."


def training_seconds(folder: RunFolder) -> dict[str, float]:
    """Compile and run time of all chunks in `metrics.jsonl`, those before a resume included."""
    records = folder.read_metrics()
    return {
        "compile": sum(r.get("compile_seconds", 0.0) for r in records),
        "train": sum(r.get("seconds", 0.0) for r in records),
    }


def _summarise(folder: RunFolder, command: TrainCommand) -> None:
    records, seconds = folder.read_metrics(), training_seconds(folder)
    last = records[-1]
    summary = {
        "theory": as_json(command)["theory"],
        "config_hash": config_hash(as_json(command)),
        "seed": command.seed,
        "step": last["step"],
        "loss": last["loss"],
        "ess": last["ess"],
        "acceptance": last["acceptance"],
        "seconds": {"total": sum(seconds.values())} | seconds,
    }
    folder.write_json("summary.json", summary)
    say(f"step {last['step']}: loss {last['loss']:.4f}, ESS {last['ess']:.3f}, acceptance {last['acceptance']:.3f}")
    if "halving_std" in last:
        say(f"log weights change by {last['halving_mean']:+.1e} +- {last['halving_std']:.1e} when steps are halved")
    say(f"compiled in {seconds['compile']:.1f} s, trained in {seconds['train']:.1f} s")
    say(f"results in {folder.path}; next: trivmap sample {folder.path}")
