"""Replica exchange: a ladder of theories whose configurations change places."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import integers
from ..kernels import ExchangeKernel
from ..lattice import translate as translated
from ..statistics import Chain, ReplicaChains, merged_cautions
from ..theories import AbstractTheory, Replicas
from ._interrupt import SamplingInterrupted
from ._run_chain import chain_of
from ._sample import primary_functions
from ._start import ChainState

# Relative change of the action by a displacement, in double precision and single.
_INVARIANT = 1e-4
# Share of proposals that may fail to come back before estimates are cautioned.
_LOST = 0.05


def replica_exchange(
    key: jax.Array,
    theories: Any,
    n: int,
    *,
    kernel: Any,
    flows: Any = None,
    updates: int = 1,
    schedule: str = "deo",
    translate: tuple[int, ...] = (),
    tolerance: float | None = 1e-3,
    chains: int = 1,
    thermalisation: int | None = None,
    thin: int = 1,
    initial: Any = "hot",
    measure: Any = None,
    dtype: Any = None,
    chunk: int = 100,
    progress: bool = False,
) -> ReplicaChains:
    r"""Markov chains of a ladder of theories, neighbours of which exchange configurations: parallel tempering, with flows
    between neighbours (T-REX) where they are given, and in the coupling of a defect (`WeightedWilsonAction.with_defect`).

    Each rung is a `Chain` of its own theory with honest errors: walkers that come back to a rung make its autocorrelation.
    Errors are never pooled over rungs, since they share walkers. A step is one cycle of the schedule: `updates` of all rungs,
    exchanges of the pairs (0, 1), (2, 3), ..., `updates`, exchanges of (1, 2), (3, 4), ....

    **Arguments:** `theories`: one for each rung, of one kind and on one manifold; `n`: measurements kept per chain; `kernel`,
    `flows`, `updates`, `schedule`, `translate`, `tolerance`: as for `kernels.ExchangeKernel`; `initial`: also a list of one
    configuration per rung; the rest as for `run_chain`, with one `measure` for all rungs.

    **Returns:** `ReplicaChains`, whose `state` goes on bit for bit.

    **Raises:** `ValueError` for rungs of different manifolds or kinds, a number of flows other than that of neighbours, flows
    on another manifold or that never come back, and translated rungs whose action has a preferred place;
    `SamplingInterrupted` on an interrupt, with the rungs so far.

        >>> ladder = [tm.WilsonAction(tm.U1(), (4, 4), beta) for beta in (1.0, 1.5, 2.0)]
        >>> rungs = tm.replica_exchange(key, ladder, 20, kernel=tm.kernels.HeatbathKernel())
        >>> tm.expectation(rungs[2], tm.plaquette)
    """
    replicas = Replicas(theories)
    _check_flows(flows, replicas)
    _check_translated(translate, replicas)
    integers("replica_exchange", 1, n=n)
    functions = None if measure is None else primary_functions(measure)
    together = None if functions is None else {name: _OnRungs(f, replicas.rungs) for name, f in functions.items()}
    exchange = ExchangeKernel(kernel, flows, updates=updates, schedule=schedule, translate=translate, tolerance=tolerance)
    try:
        chain = chain_of(
            "replica_exchange", key, replicas, exchange, n, chains=chains, thermalisation=thermalisation, thin=thin,
            initial=_start(initial, replicas), measure=together, dtype=dtype, chunk=chunk,
            progress=progress,
        )  # fmt: skip
    except SamplingInterrupted as interrupt:
        partial = _split(interrupt.partial, replicas, functions, flows)
        raise SamplingInterrupted(partial, partial[0].shape[1], n) from interrupt
    return _split(chain, replicas, functions, flows)


@dataclasses.dataclass(frozen=True)
class _OnRungs:
    """A function of one configuration, as one of those of all rungs; equal to itself in the next call, which then compiles
    nothing."""

    function: Any
    rungs: tuple[str, ...]

    def __call__(self, x: dict[str, Any]) -> Any:
        return jax.vmap(self.function)(jax.tree.map(lambda *a: jnp.stack(a), *(x[name] for name in self.rungs)))


def _split(chain: Chain, replicas: Replicas, functions: Any, flows: Any) -> ReplicaChains:
    """One chain for each rung."""
    info = dict(chain.info)
    exchange = {name: info.pop(name) for name in ("swapped", "log_ratio", "returned", "walkers")}
    cautions = () if flows is None else _flow_cautions(exchange)
    said = info | {"accepted": chain.accepted, "delta_h": chain.delta_h}

    def rung(i: int, name: str) -> Chain:
        configurations = None if chain.configurations is None else chain.configurations[name]
        observables = None if functions is None else {key: values[:, :, i] for key, values in chain.observables.items()}
        # (chains, steps, halves, updates, rungs): decisions of one rung follow each other.
        own = {key: a[..., i].reshape(a.shape[0], -1) for key, a in said.items() if a is not None}
        return Chain(
            configurations,
            observables,
            accepted=own.pop("accepted", None),
            delta_h=own.pop("delta_h", None),
            unitarity_defect=chain.unitarity_defect,
            cautions=merged_cautions(chain.cautions, cautions),
            info=own,
        )

    rungs = tuple(rung(i, name) for i, name in enumerate(replicas.rungs))
    # (chains, steps, halves, pairs) in the order of the exchanges.
    flat = {name: a.reshape(a.shape[0], -1, a.shape[-1]) for name, a in exchange.items()}
    return ReplicaChains(rungs, state=chain.state, **flat)


def _flow_cautions(exchange: dict[str, np.ndarray]) -> tuple[str, ...]:
    tried = exchange["swapped"] >= 0
    lost = np.sum(tried & ~exchange["returned"], axis=(0, 1, 2)) / np.maximum(1, np.sum(tried, axis=(0, 1, 2)))
    if np.any(lost == 1):
        pairs = ", ".join(f"({i}, {i + 1})" for i in np.flatnonzero(lost == 1))
        raise ValueError(
            f"replica_exchange: the flows of the pairs {pairs} never came back to where they started within the tolerance: "
            "take more integration steps, or a larger tolerance."
        )
    if np.any(lost > _LOST):
        worst = int(np.argmax(lost))
        return (
            f"{lost[worst]:.0%} of the exchanges of rungs {worst} and {worst + 1} were refused because the flow did not come "
            "back within the tolerance: take more integration steps",
        )
    return ()


def _start(initial: Any, replicas: Replicas) -> Any:
    """What `run_chain` takes, from one configuration per rung, or one for all."""
    if isinstance(initial, str | ChainState):
        return initial
    several = initial if isinstance(initial, list | tuple) else [initial] * replicas.count
    if len(several) != replicas.count:
        raise ValueError(
            f"replica_exchange: got {len(several)} initial configurations, expected one for each of {replicas.count} rungs."
        )
    return dict(zip(replicas.rungs, several, strict=True))


def _check_flows(flows: Any, replicas: Replicas) -> None:
    if flows is None:
        return
    flows = tuple(flows)
    if len(flows) != replicas.count - 1:
        raise ValueError(
            f"replica_exchange: got {len(flows)} flows, expected {replicas.count - 1}: one from each rung to the next."
        )
    for i, flow in enumerate(flows):
        if flow.manifold != replicas.base:
            raise ValueError(
                f"replica_exchange: got a flow on {flow.manifold} between rungs {i} and {i + 1}, expected {replicas.base}."
            )


def _check_translated(rungs: tuple[int, ...], replicas: Replicas) -> None:
    """Refuses displacements of a theory that knows places."""
    for rung in rungs:
        if not 0 <= rung < replicas.count:
            raise ValueError(f"replica_exchange: translate: got rung {rung}, expected 0 ... {replicas.count - 1}.")
        theory: AbstractTheory = replicas[rung]
        x = theory.manifold.generic_sample(jax.random.key(0))
        before = float(theory.real_action(x))
        for axis in range(len(theory.lattice)):
            place = tuple(int(axis == mu) for mu in range(len(theory.lattice)))
            after = float(theory.real_action(jax.tree.map(lambda a, p=place: translated(a, p), x)))
            if abs(after - before) > _INVARIANT * (abs(before) + 1):
                raise ValueError(
                    f"replica_exchange: translate: got rung {rung}, whose action changes by {after - before:.2g} under a "
                    f"displacement along axis {axis}; expected a theory without defect."
                )
