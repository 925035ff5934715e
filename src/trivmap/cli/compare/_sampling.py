"""Sampling for a given time, piece by piece; every piece is on disk before the next one starts."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ...fermions import EvenOddDirac, IncompleteLU
from ...flows import AbstractFlow
from ...io import read_checkpoint, read_header, write_checkpoint
from ...kernels import BoxHeatbath, HeatbathKernel, HMCKernel, KernelSequence, OverrelaxationKernel
from ...models import PulledBackTheory
from ...samplers import heatbath, hmc, quenched, replica_exchange, run_chain, sample, smc
from ...statistics import Chain, Ensemble, acceptance_rate
from ...theories import StochasticDeterminant, SumTheory
from .._build import with_hits
from .._interrupt import interrupts_deferred
from .._kinds import kind_of
from .._run_folder import RunFolder
from ._comparison import Comparison
from ._parts import ChainParts, WeightParts

STATE = "state.ckpt"
_PARTICLES = 256
_SWEEPS = 3  # of overrelaxation
_CONFIGURATIONS = 4000  # about as many, for methods that learn from configurations
_TRAJECTORY = {"scalar": 1.0, "u1": 2.0, "su": 1.0, "other": 1.0}
_ACCEPTANCE = (0.7, 0.95)
_MOST_MD_STEPS = 80


class Sampled(NamedTuple):
    """Data with the seconds of sampling, of compilation, and of tuning and thermalisation; force evaluations per unit."""

    data: Ensemble | Chain
    seconds: float
    compile_seconds: float
    preparation: float
    evaluations: float | None


def sample_weights(
    folder: RunFolder, key: jax.Array, draw: Callable[[jax.Array, int, int], Ensemble], piece: int, seconds: float
) -> tuple[Ensemble, float, float]:
    """Pieces of an ensemble until the time is spent: (ensemble, seconds, seconds of compilation).

    `draw(key, first, n)` gives the samples from `first` on; the first call, which compiles, is not kept.
    """
    parts = WeightParts(folder)
    compiled = 0.0
    while parts.unfinished(seconds):
        if not compiled:
            _, first = _timed(lambda: draw(key, 0, piece))
            _, again = _timed(lambda: draw(key, 0, piece))
            compiled = max(first - again, 1e-3)
        ensemble, spent = _timed(lambda: draw(key, parts.samples, piece))
        parts.add(ensemble, spent)
    return parts.joined(), parts.seconds, compiled


def sample_model(folder: RunFolder, key: jax.Array, model: Any, theory: Any, functions: Any, settings: Comparison) -> Any:
    size, dtype = settings.sample_batch, jnp.dtype(settings.precision)

    def draw(key: jax.Array, first: int, n: int) -> Ensemble:
        return sample(key, model, theory, n, batch_size=size, measure=functions, dtype=dtype, first=first)

    return sample_weights(folder, key, draw, 4 * size, settings.sampling)


def sample_noisy(folder: RunFolder, key: jax.Array, model: Any, theory: Any, functions: Any, settings: Comparison) -> Any:
    """Weights by eight pseudofermions behind an incomplete LU, each with the eighth root of the even-odd determinant."""
    size, dtype = settings.sample_batch, jnp.dtype(settings.precision)
    preconditioner = IncompleteLU(EvenOddDirac(theory.determinant.dirac), distance=4)
    noisy = SumTheory(StochasticDeterminant(preconditioner, roots=8), theory.gauge)

    def draw(key: jax.Array, first: int, n: int) -> Ensemble:
        options = {"batch_size": size, "measure": functions, "dtype": dtype, "first": first}
        return sample(key, model, noisy, n, estimates=1, **options)

    return sample_weights(folder, key, draw, 4 * size, settings.sampling)


def sample_populations(
    folder: RunFolder, key: jax.Array, model: Any, theory: Any, functions: Any, settings: Comparison
) -> Any:
    dtype = jnp.dtype(settings.precision)

    def draw(key: jax.Array, first: int, n: int) -> Ensemble:
        options = {"particles": _PARTICLES, "measure": functions, "dtype": dtype}
        piece = smc(jax.random.fold_in(key, first), model, theory, n, **options)
        return dataclasses.replace(piece, observables={name: piece.observables[name] for name in functions})

    return sample_weights(folder, key, draw, 4, settings.sampling)


def sample_quenched(folder: RunFolder, key: jax.Array, theory: Any, functions: Any, settings: Comparison) -> Any:
    dtype = jnp.dtype(settings.precision)

    def draw(key: jax.Array, first: int, n: int) -> Ensemble:
        return quenched(jax.random.fold_in(key, first), theory, n, observables=functions, dtype=dtype)

    return sample_weights(folder, key, draw, 4 * settings.sample_batch, settings.sampling)


def particles() -> int:
    return _PARTICLES


def sample_hmc(
    folder: RunFolder,
    key: jax.Array,
    theory: Any,
    functions: Any,
    settings: Comparison,
    hits: bool = False,
    flow: AbstractFlow | None = None,
) -> Sampled:
    """Tunes the number of steps to an acceptance between 0.7 and 0.95, thermalises, samples.

    With `hits` every trajectory is followed by a winding hit and a rotation of the holonomies; with `flow` trajectories live
    in its variables, whose widths are about one.
    """
    plan = _plan(folder)
    length = _TRAJECTORY[kind_of(theory.manifold)]
    if flow is not None:
        theory, length = PulledBackTheory(theory, flow), 2.0
        functions = theory.measured(functions)
    options = {"chains": settings.chains, "measure": functions, "dtype": jnp.dtype(settings.precision), "chunk": 50}

    def run(steps: int, n: int, initial: Any, thermalisation: int) -> Chain:
        started = {"initial": initial, "thermalisation": thermalisation} | options
        if not hits:
            return hmc(key, theory, n, steps=steps, trajectory_length=length, **started)
        chain = run_chain(key, theory, with_hits(HMCKernel(length, steps)), n, **started)
        return dataclasses.replace(chain, accepted=chain.info["accepted_0"])

    if plan is None:
        plan, state = _tuned(run)
        _write_state(folder, state, plan, 0)
    steps = plan["steps"]
    chain, seconds, compiled = _sample_chain(folder, lambda n, state: run(steps, n, state, 0), settings.sampling)
    return Sampled(chain, seconds, plan["compile"] + compiled, plan["seconds"], float(chain.force_evaluations or steps))


def draw_configurations(key: jax.Array, theory: Any, settings: Comparison) -> tuple[Chain, float, float]:
    """Configurations by tuned HMC to learn from: (chain, seconds with tuning and thermalisation, seconds of compilation)."""
    options = {"trajectory_length": _TRAJECTORY[kind_of(theory.manifold)], "chains": settings.chains}

    def run(steps: int, n: int, initial: Any, thermalisation: int) -> Chain:
        return hmc(key, theory, n, steps=steps, initial=initial, thermalisation=thermalisation, chunk=50, **options)

    plan, state = _tuned(run)
    n = 50 * max(_CONFIGURATIONS // (50 * settings.chains), 1)  # whole chunks: no further compilation
    chain, seconds = _timed(lambda: run(plan["steps"], n, state, 0))
    return chain, plan["seconds"] + seconds, plan["compile"]


def _tuned(run: Callable[[int, int, Any, int], Chain]) -> tuple[dict[str, Any], Any]:
    steps, state, spent, compiled = 10, "hot", 0.0, 0.0
    while True:
        chain, first = _timed(lambda s=steps, x=state: run(s, 50, x, 100 if isinstance(x, str) else 0))
        state = chain.state
        chain, seconds = _timed(lambda s=steps, x=state: run(s, 50, x, 0))
        state, rate = chain.state, acceptance_rate(chain)
        extra = 3 if spent == 0.0 else 1  # units of 50 trajectories in the first call
        spent, compiled = spent + (1 + extra) * seconds, compiled + max(first - extra * seconds, 0.0)
        if rate < _ACCEPTANCE[0] and steps < _MOST_MD_STEPS:
            steps = min(2 * steps, _MOST_MD_STEPS)
        elif rate > _ACCEPTANCE[1] and steps > 3:
            steps = max(steps * 2 // 3, 3)
        else:
            return {"steps": steps, "acceptance": rate, "seconds": spent, "compile": compiled}, state


def sample_heatbath(folder: RunFolder, key: jax.Array, theory: Any, functions: Any, settings: Comparison) -> Sampled:
    options = {"overrelaxation": _SWEEPS, "chains": settings.chains, "measure": functions}
    options["dtype"] = jnp.dtype(settings.precision)

    def run(n: int, initial: Any, thermalisation: int = 0) -> Chain:
        return heatbath(key, theory, n, initial=initial, thermalisation=thermalisation, chunk=50, **options)

    return _swept(folder, run, settings, 1.0 + _SWEEPS)


def sample_boxes(folder: RunFolder, key: jax.Array, theory: Any, functions: Any, settings: Comparison) -> Sampled:
    """All links inside of boxes at once; a step is counted as a sweep."""
    kernel = BoxHeatbath(min(8, *theory.lattice))
    options = {"chains": settings.chains, "measure": functions, "dtype": jnp.dtype(settings.precision), "chunk": 50}

    def run(n: int, initial: Any, thermalisation: int = 0) -> Chain:
        return run_chain(key, theory, kernel, n, initial=initial, thermalisation=thermalisation, **options)

    return _swept(folder, run, settings, 1.0)


def sample_exchange(
    folder: RunFolder, key: jax.Array, theory: Any, functions: Any, settings: Comparison, ladder: Callable[[Any], dict]
) -> Sampled:
    """The last rung of replica exchange by heatbath and overrelaxation; `ladder(theory)` has theories and flows."""
    options: dict[str, Any] = ladder(theory) | {"kernel": KernelSequence(HeatbathKernel(), OverrelaxationKernel(_SWEEPS))}
    options |= {"chains": settings.chains, "measure": functions, "dtype": jnp.dtype(settings.precision), "chunk": 50}

    def run(n: int, initial: Any, thermalisation: int = 0) -> Chain:
        replicas = replica_exchange(key, n=n, initial=initial, thermalisation=thermalisation, **options)
        return dataclasses.replace(replicas[-1], state=replicas.state)

    return _swept(folder, run, settings, len(options["theories"]) * (1.0 + _SWEEPS))


def _swept(folder: RunFolder, run: Callable[..., Chain], settings: Comparison, sweeps: float) -> Sampled:
    """Chains that need no tuning: thermalised by 100 steps, then sampled."""
    plan = _plan(folder)
    if plan is None:
        chain, first = _timed(lambda: run(50, "hot", 100))
        chain, seconds = _timed(lambda: run(50, chain.state))
        plan = {"seconds": 4 * seconds, "compile": max(first - 3 * seconds, 0.0)}
        _write_state(folder, chain.state, plan, 0)
    chain, seconds, compiled = _sample_chain(folder, run, settings.sampling)
    return Sampled(chain, seconds, plan["compile"] + compiled, plan["seconds"], sweeps)


def _sample_chain(folder: RunFolder, run: Callable[[int, Any], Chain], seconds: float) -> tuple[Chain, float, float]:
    """Pieces of 50 measurements from the stored state on."""
    header = read_header(folder / STATE)
    # A part behind the state will be computed again, under the same name.
    parts = ChainParts(folder, header["count"])
    compiled = 0.0
    if parts.unfinished(seconds):
        # A short call compiles, and knows the structure of the state.
        chain, first = _timed(lambda: run(50, "hot"))
        _, again = _timed(lambda: run(50, chain.state))
        compiled = max(first - again, 0.0)
        state, _ = read_checkpoint(folder / STATE, eqx.filter_eval_shape(lambda: chain.state))
    while parts.unfinished(seconds):
        chain, spent = _timed(lambda s=state: run(50, s))
        state = chain.state
        with interrupts_deferred():
            parts.add(chain, spent)
            _write_state(folder, state, header["plan"], parts.count)
    return parts.joined(), parts.seconds, compiled


def _plan(folder: RunFolder) -> dict[str, Any] | None:
    """How the chains were tuned and thermalised, `None` where they were not yet."""
    if not (folder / STATE).exists():
        return None
    header = read_header(folder / STATE)
    folder.check_config(STATE, header.get("about"), folder.about)
    return header["plan"]


def _write_state(folder: RunFolder, state: Any, plan: dict[str, Any], count: int) -> None:
    """The state of the chains after `count` parts, in one file with the plan that led to it."""
    write_checkpoint(folder / STATE, state, {"about": folder.about, "plan": plan, "count": count})


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = function()
    return jax.block_until_ready(result) if not isinstance(result, Ensemble | Chain) else result, time.perf_counter() - start
