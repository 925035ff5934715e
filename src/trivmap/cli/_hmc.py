"""`trivmap hmc`."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from .._trees import stacked
from ..io import read_chain, read_checkpoint, read_header, write_chain, write_checkpoint
from ..kernels import AbstractKernel, HMCKernel
from ..samplers import ChainState, fresh_state, run_chain
from ..statistics import Chain, Estimate, acceptance_rate, creutz, measure, merged_cautions
from ..theories import AbstractTheory
from ._build import build_theory, with_hits
from ._config import HMCCommand, as_json
from ._exact import Known, write_summary
from ._interrupt import interrupts_deferred, on_interrupt
from ._kinds import kind_of
from ._observables import all_estimates, observables
from ._report import announce, cautions_of, pair, say, say_estimates
from ._run_folder import CommandError, RunFolder, config_hash

STATE, SAMPLES = "checkpoint.ckpt", "samples.h5"


def hmc_command(command: HMCCommand) -> int:
    """Run chains, or continue to run them, in a run folder; returns the exit status."""
    config = as_json(command)
    theory = build_theory(command.theory)
    _check_hits(command, theory)
    folder = RunFolder(command.out or f"runs/hmc-{config['theory']['kind']}-{config_hash(config)}")
    with folder.claimed("hmc", config, command.resume):
        announce("hmc", config)
        on_interrupt(lambda: f"{_saved(folder)} of {command.trajectories} trajectories are saved. Continue with --resume.")
        start = time.perf_counter()
        chain, length = _run(folder, command, theory, config)
        more = {"theory": config["theory"], "seed": command.seed, "seconds": {"total": time.perf_counter() - start}}
        more |= {"trajectory_length": length, "step_size": length / command.md_steps}
        estimates = all_estimates(chain)
        build = lambda known: summarise_chain(chain, estimates, known) | more  # noqa: E731
        summary = write_summary(folder, "summary.json", theory, estimates, build)
    exact = {name: row["exact"] for name, row in summary["observables"].items()}
    say(f"{chain.shape[0]} chains of {chain.shape[1]} trajectories: acceptance {summary['acceptance']:.3f}")
    say(f"trajectories of length {length:.4g} in steps of {length / command.md_steps:.4g}")
    say_estimates({"hmc": estimates}, exact)
    say(f"results in {folder.path}")
    return 0


def _run(folder: RunFolder, command: HMCCommand, theory: AbstractTheory, config: dict[str, Any]) -> tuple[Chain, float]:
    """Chunks of trajectories, each saved in a file of its own before the sampler's state, then joined; and their length."""
    attributes = {"theory": config["theory"], "seed": command.seed, "config": config}
    if (folder / SAMPLES).exists():
        chain, found = _read(folder, SAMPLES, config, command.trajectories)
        _remove_parts(folder)
        return chain, found["trajectory_length"]
    run = _Runner(command, theory)
    state, pieces, done = _resume(folder, run, config)
    with tqdm(total=command.trajectories, initial=done, desc="hmc", unit="trajectory", dynamic_ncols=True) as bar:
        while done < command.trajectories:
            # A last chunk of another length would be another program to compile.
            count = min(command.chunk, command.trajectories - done)
            piece = run(state, count)
            state, done = piece.state, done + count
            with interrupts_deferred():
                write_chain(folder / _part(done), piece, attributes)
                write_checkpoint(folder / STATE, state, {"config": config, "done": done})
            pieces.append(piece)
            bar.update(count)
    assert state is not None  # there is at least one chunk
    chain, length = join_chains(pieces), _found_length(command, state)
    with interrupts_deferred():
        write_chain(folder / SAMPLES, chain, attributes | {"trajectory_length": length})
        _remove_parts(folder)
    return chain, length


class _Runner:
    """HMC of one configuration in pieces; the functions are made once, so that one compilation serves all pieces."""

    def __init__(self, command: HMCCommand, theory: AbstractTheory):
        self.command, self.theory = command, theory
        self.functions = observables(theory)

    def __call__(self, state: ChainState | None, n: int) -> Chain:
        command = self.command
        chain = run_chain(
            jax.random.key(command.seed),
            self.theory,
            _kernel(command),
            n,
            chains=command.chains,
            thermalisation=command.warmup if state is None else 0,
            initial="hot" if state is None else state,
            measure=None if command.keep_configurations else self.functions,
            dtype=jnp.dtype(command.precision),
            chunk=command.chunk,
        )
        if command.hits:  # the first kernel is HMC; what was accepted of the others, files do not hold
            chain = dataclasses.replace(chain, accepted=chain.info["accepted_0"])
        return self._measured(chain) if command.keep_configurations else chain

    def _measured(self, chain: Chain) -> Chain:
        chains, n = chain.shape
        stored: Any = chain.configurations
        flat = stored.reshape(chains * n, *stored.shape[2:])
        values = {name: measure(f, flat) for name, f in self.functions.items()}
        shaped = {name: v.reshape(chains, n, *v.shape[1:]) for name, v in values.items()}
        return dataclasses.replace(chain, observables=shaped)


def _part(done: int) -> str:
    """The file of the chunk that ends after so many trajectories."""
    return f"part-{done:09d}.h5"


def _remove_parts(folder: RunFolder) -> None:
    for part in folder.path.glob("part-?????????.h5"):
        part.unlink()


def _resume(folder: RunFolder, run: "_Runner", config: dict[str, Any]) -> tuple[ChainState | None, list[Chain], int]:
    """The sampler's state, the pieces that are saved together with it, and their trajectories.

    A part behind the state will be computed again, under the same name.
    """
    if not (folder / STATE).exists():
        return None, [], 0
    import equinox as eqx

    header = read_header(folder / STATE)
    folder.check_config(STATE, header.get("config"), config, "hmc")
    state, _ = read_checkpoint(folder / STATE, eqx.filter_eval_shape(_initial_state, run))
    done, chunk = header["done"], run.command.chunk
    ends = [*range(chunk, done, chunk), done]
    return state, [_read(folder, _part(end), config, (end - 1) % chunk + 1)[0] for end in ends], done


def _read(folder: RunFolder, name: str, config: dict[str, Any], trajectories: int) -> tuple[Chain, dict[str, Any]]:
    """Stored trajectories and their attributes.

    **Raises:** `CommandError` if they are missing, of another configuration, or not so many.
    """
    if not (folder / name).exists():
        raise CommandError(
            f"{folder / name} is missing: trajectories are lost. Put the file back, or remove {folder.path} and start again."
        )
    chain, attributes = read_chain(folder / name)
    folder.check_config(name, attributes.get("config"), config, "hmc")
    if chain.shape[1] != trajectories:
        raise CommandError(
            f"{folder / name} holds {chain.shape[1]} trajectories, expected {trajectories}. "
            f"Put the right file back, or remove {folder.path} and start again."
        )
    return chain, attributes


def _saved(folder: RunFolder) -> int:
    return read_header(folder / STATE)["done"] if (folder / STATE).exists() else 0


def _initial_state(run: _Runner) -> ChainState:
    """The structure of the sampler's state."""
    command, manifold = run.command, run.theory.manifold
    cold = stacked(manifold.cold(jnp.dtype(command.precision)), command.chains)
    return fresh_state(jax.random.key(0), run.theory, _kernel(command), cold)


def _check_hits(command: HMCCommand, theory: AbstractTheory) -> None:
    manifold = theory.manifold
    if command.hits and not (kind_of(manifold) == "u1" and len(theory.lattice) == 2):
        raise CommandError(f"--hits: they move the charge of U(1) links in two dimensions, got {manifold}.")


def _hmc_kernel(command: HMCCommand) -> HMCKernel:
    target = command.target_acceptance or None
    return HMCKernel(command.trajectory_length, command.md_steps, command.integrator, command.length_spread, target)


def _kernel(command: HMCCommand) -> AbstractKernel:
    kernel = _hmc_kernel(command)
    return with_hits(kernel) if command.hits else kernel


def _found_length(command: HMCCommand, state: ChainState) -> float:
    """The length of trajectories after warmup, in the mean over the chains, each of which adapts its own."""
    hmc_state = state.kernel.states[0] if command.hits else state.kernel
    return float(np.mean(jax.vmap(_hmc_kernel(command).trajectory_length)(hmc_state)))


def join_chains(chains: list[Chain]) -> Chain:
    """One chain from consecutive pieces."""

    def joined(arrays: list[Any]) -> Any:
        # In one order in memory, whether read or just computed: sums depend on it in the last bit.
        return None if arrays[0] is None else np.ascontiguousarray(np.concatenate(arrays, axis=1))

    defects = [chain.unitarity_defect for chain in chains if chain.unitarity_defect is not None]
    return Chain(
        joined([chain.configurations for chain in chains]),
        {name: joined([chain.observables[name] for chain in chains]) for name in chains[0].observables},
        accepted=joined([chain.accepted for chain in chains]),
        delta_h=joined([chain.delta_h for chain in chains]),
        force_evaluations=chains[0].force_evaluations,
        unitarity_defect=max(defects, default=None),
        cautions=merged_cautions(*(chain.cautions for chain in chains)),
        phases=joined([chain.phases for chain in chains]),
    )


def summarise_chain(chain: Chain, estimates: dict[str, Estimate], known: Known) -> dict[str, Any]:
    """Acceptance, Creutz equality, estimates with autocorrelation times and exact values, for JSON."""
    observed = {
        name: {"hmc": pair(e), "tau_int": [float(e.tau_int), float(e.dtau_int)], "exact": known.values[name]}
        for name, e in estimates.items()
    }
    equality = creutz(chain)
    return {
        "acceptance": acceptance_rate(chain),
        "exp_minus_delta_h": pair(equality),
        "force_evaluations": chain.force_evaluations,
        "observables": observed,
        "cautions": cautions_of({"hmc": estimates | {"exp_minus_delta_h": equality}}),
    }
