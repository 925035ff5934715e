"""`trivmap hmc`."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from ..io import file_kind, read_chain, read_checkpoint, write_chain, write_checkpoint
from ..samplers import HMCState, hmc
from ..statistics import Chain, Estimate, acceptance_rate, creutz, expectation, measure
from ..theories import AbstractTheory
from ._build import build_theory
from ._config import HMCCommand, as_json
from ._observables import exact_values, observables
from ._report import announce, complain, pair, say, say_estimates
from ._run_folder import RunFolder, config_hash

STATE = "checkpoint.ckpt"


def hmc_command(command: HMCCommand) -> int:
    """Run chains, or continue to run them, in a run folder; returns the exit status."""
    config = as_json(command)
    theory = build_theory(command.theory)
    folder = RunFolder(command.out or f"runs/hmc-{config['theory']['kind']}-{config_hash(config)}")
    folder.claim("hmc", config, command.resume)
    announce("hmc", config)
    start = time.perf_counter()
    try:
        chain = _run(folder, command, theory, config)
    except KeyboardInterrupt:
        done = sum(read_chain(part)[0].shape[1] for part in _parts(folder))
        complain(f"interrupted; {done} of {command.trajectories} trajectories are saved. Continue with --resume.")
        return 130
    summary = summarise_chain(chain, theory) | {"theory": config["theory"], "seed": command.seed}
    folder.write_json("summary.json", summary | {"seconds": {"total": time.perf_counter() - start}})
    exact = {name: row["exact"] for name, row in summary["observables"].items()}
    say(f"{chain.shape[0]} chains of {chain.shape[1]} trajectories: acceptance {summary['acceptance']:.3f}")
    say_estimates({"hmc": chain_estimates(chain)}, exact)
    say(f"results in {folder.path}")
    return 0


def _run(folder: RunFolder, command: HMCCommand, theory: AbstractTheory, config: dict[str, Any]) -> Chain:
    """Chunks of trajectories, each saved in a file of its own before the sampler's state, then joined."""
    if (folder / "samples.h5").exists():
        return read_chain(folder / "samples.h5")[0]
    run = _Runner(command, theory)
    state, done = _resume(folder, run)
    attributes = {"theory": config["theory"], "seed": command.seed, "config": config}
    with tqdm(total=command.trajectories, initial=done, desc="hmc", unit="trajectory", dynamic_ncols=True) as bar:
        while done < command.trajectories:
            # A last chunk of another length would be another program to compile.
            count = min(command.chunk, command.trajectories - done)
            chain = run(state, count)
            state, done = chain.state, done + count
            write_chain(folder / f"part-{done:09d}.h5", chain, attributes)
            write_checkpoint(folder / STATE, state, {"done": done})
            bar.update(count)
    parts = _parts(folder)
    chain = join_chains([read_chain(part)[0] for part in parts])
    write_chain(folder / "samples.h5", chain, attributes)
    for part in parts:
        part.unlink()
    return chain


class _Runner:
    """HMC of one configuration in pieces; the functions are made once, so that one compilation serves all pieces."""

    def __init__(self, command: HMCCommand, theory: AbstractTheory):
        self.command, self.theory = command, theory
        self.functions = observables(theory)

    def __call__(self, state: HMCState | None, n: int) -> Chain:
        command = self.command
        chain = hmc(
            jax.random.key(command.seed),
            self.theory,
            n,
            trajectory_length=command.trajectory_length,
            length_spread=command.length_spread,
            steps=command.md_steps,
            chains=command.chains,
            integrator=command.integrator,
            thermalisation=command.warmup if state is None else 0,
            initial="hot" if state is None else state,
            measure=None if command.keep_configurations else self.functions,
            dtype=jnp.dtype(command.precision),
            chunk=command.chunk,
        )
        return self._measured(chain) if command.keep_configurations else chain

    def _measured(self, chain: Chain) -> Chain:
        chains, n = chain.shape
        stored: Any = chain.configurations
        flat = stored.reshape(chains * n, *stored.shape[2:])
        values = {name: measure(f, flat) for name, f in self.functions.items()}
        shaped = {name: v.reshape(chains, n, *v.shape[1:]) for name, v in values.items()}
        return Chain(
            stored, shaped, chain.accepted, chain.delta_h, chain.force_evaluations, chain.unitarity_defect, state=chain.state
        )


def _parts(folder: RunFolder) -> list[Path]:
    return sorted(folder.path.glob("part-*.h5"))


def _resume(folder: RunFolder, run: _Runner) -> tuple[HMCState | None, int]:
    """The sampler's state and the number of trajectories that are saved together with it."""
    if not (folder / STATE).exists():
        return None, 0
    import equinox as eqx

    state, header = read_checkpoint(folder / STATE, eqx.filter_eval_shape(_initial_state, run))
    for part in _parts(folder):
        file_kind(part)
        if int(part.stem.split("-")[1]) > header["done"]:
            part.unlink()  # written, but the state behind it was not: it will be computed again
    return state, header["done"]


def _initial_state(run: _Runner) -> HMCState:
    manifold, chains = run.theory.manifold, run.command.chains
    keys = jax.random.split(jax.random.key(0), chains)
    tangent = jax.vmap(lambda k: manifold.random_tangent(k, jnp.dtype(run.command.precision)))(keys)
    action = jax.vmap(run.theory.action)(tangent)
    return HMCState(tangent, action, tangent, jnp.zeros(chains, jnp.uint32))


def join_chains(chains: list[Chain]) -> Chain:
    """One chain from consecutive pieces."""

    def joined(arrays: list[Any]) -> Any:
        return None if arrays[0] is None else np.concatenate(arrays, axis=1)

    defects = [chain.unitarity_defect for chain in chains if chain.unitarity_defect is not None]
    return Chain(
        joined([chain.configurations for chain in chains]),
        {name: joined([chain.observables[name] for chain in chains]) for name in chains[0].observables},
        accepted=joined([chain.accepted for chain in chains]),
        delta_h=joined([chain.delta_h for chain in chains]),
        force_evaluations=chains[0].force_evaluations,
        unitarity_defect=max(defects, default=None),
    )


def chain_estimates(chain: Chain) -> dict[str, Estimate]:
    return {name: expectation(chain, name) for name in chain.observables}


def summarise_chain(chain: Chain, theory: AbstractTheory) -> dict[str, Any]:
    """Acceptance, Creutz equality, estimates with autocorrelation times and exact values, for JSON."""
    estimates = chain_estimates(chain)
    known = exact_values(theory, estimates)
    observed = {
        name: {"hmc": pair(e), "tau_int": [float(e.tau_int), float(e.dtau_int)], "exact": known[name]}
        for name, e in estimates.items()
    }
    return {
        "acceptance": acceptance_rate(chain),
        "exp_minus_delta_h": pair(creutz(chain)),
        "force_evaluations": chain.force_evaluations,
        "observables": observed,
    }
