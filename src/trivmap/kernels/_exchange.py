"""Exchange of configurations between the rungs of a ladder of theories, with or without flows between them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from .._checks import integers
from .._trees import select
from ..lattice import translate
from ..theories import Replicas
from ._base import AbstractKernel

SCHEDULES = ("deo", "seo")


class ExchangeState(eqx.Module):
    """The configurations of all rungs by name, the states of the kernel with a leading axis for the rungs, and which walker
    is on which rung."""

    configuration: dict[str, Any]
    states: Any
    walkers: Int[Array, "*chains rungs"]


class Swap(eqx.Module):
    """What is proposed to two neighbours, lower rung first: new configurations and how they are judged."""

    lower: Any
    upper: Any
    log_ratio: Float[Array, ""]
    returned: Bool[Array, ""]


class ExchangeKernel(AbstractKernel):
    r"""Moves every rung of `Replicas` by a kernel and exchanges neighbours: parallel tempering, also with flows.

    A pair of rungs a, b with a bijection f from a to b is offered $(f^{-1}(x_b), f(x_a))$, accepted with
    $\min(1, e^d)$,

    $$ d = S_a(x_a) + S_b(x_b) - S_a(f^{-1} x_b) - S_b(f x_a) + \log\det f(x_a) + \log\det f^{-1}(x_b), $$

    so that $\langle e^d \rangle = 1$ (arXiv:2404.11674; f is the identity in plain tempering). One step moves all rungs
    `updates` times, exchanges the pairs (0, 1), (2, 3), ..., moves them again, and exchanges (1, 2), (3, 4), ...: the
    schedule "deo", whose round trips do not become diffusive with many rungs (arXiv:1905.02939); "seo" draws one of the two
    sets of pairs at random each time. `info` has "swapped" (1, 0, or -1 where not tried) and "log_ratio" d for every pair,
    "returned", and the "walkers" on the rungs.

    **Arguments:** `kernel`: what moves a rung; `flows`: one flow for each pair of neighbours, from the lower rung to the
    upper one, of one kind, or `None`; `updates`: steps of the kernel before an exchange; `schedule`: "deo" or "seo";
    `translate`: rungs whose configuration is moved by a random displacement after each exchange, for theories without a
    preferred place; `tolerance`: flows that are integrated are not exactly their own inverses: an exchange is refused where
    coming back misses the configuration by more than this, or changes log det by more; `None` for exact bijections, which
    need no check.

        >>> ladder = tm.theories.Replicas([tm.WilsonAction(tm.U1(), (4, 4), beta) for beta in (1.0, 2.0)])
        >>> chain = tm.run_chain(key, ladder, tm.kernels.ExchangeKernel(tm.kernels.HeatbathKernel()), 10)
    """

    kernel: AbstractKernel
    flows: Any
    updates: int = eqx.field(static=True)
    schedule: str = eqx.field(static=True)
    translate: tuple[int, ...] = eqx.field(static=True)
    tolerance: float | None = eqx.field(static=True)

    def __init__(
        self,
        kernel: AbstractKernel,
        flows: Any = None,
        *,
        updates: int = 1,
        schedule: str = "deo",
        translate: tuple[int, ...] = (),
        tolerance: float | None = 1e-3,
    ):
        integers("ExchangeKernel", 1, updates=updates)
        if schedule not in SCHEDULES:
            raise ValueError(f"ExchangeKernel: got schedule={schedule!r}, expected one of {', '.join(map(repr, SCHEDULES))}.")
        self.kernel = kernel
        self.flows = None if flows is None else _stacked_flows(flows)
        self.updates, self.schedule, self.tolerance = updates, schedule, tolerance
        self.translate = tuple(translate)

    @property
    def reversible(self) -> bool:
        return False

    @property
    def force_evaluations(self) -> int | None:
        return None

    def init(self, key: Key[Array, ""], theory: Replicas, x: dict[str, Any]) -> ExchangeState:
        keys = jax.random.split(key, theory.count)
        states = jax.vmap(self.kernel.init)(keys, theory.stacked, theory.together(x))
        return ExchangeState(x, states, jnp.arange(theory.count, dtype=jnp.int32))

    def relocated(self, theory: Replicas, state: ExchangeState, x: dict[str, Any]) -> ExchangeState:
        states = jax.vmap(self.kernel.relocated)(theory.stacked, state.states, theory.together(x))
        return ExchangeState(x, states, state.walkers)

    def thermalised(self, state: ExchangeState) -> ExchangeState:
        # Of one chain or of many: kernels answer for states of any leading axes.
        return ExchangeState(state.configuration, self.kernel.thermalised(state.states), state.walkers)

    def belongs(self, theory: Replicas, state: ExchangeState) -> Bool[Array, ""]:
        return jnp.all(jax.vmap(self.kernel.belongs)(theory.stacked, state.states))

    def step(self, key: Key[Array, ""], theory: Replicas, state: ExchangeState) -> tuple[ExchangeState, dict[str, Array]]:
        halves = [half for half in (0, 1) if _lower(theory.count, half).size]
        states, walkers, infos = state.states, state.walkers, []
        for half, half_key in zip(halves, jax.random.split(key, len(halves)), strict=True):
            (states, walkers), info = self._half_step(half_key, theory, states, walkers, half)
            infos.append(info)
        joined = {name: jnp.stack([info[name] for info in infos]) for name in infos[0]}
        if "defect" in joined:
            joined["defect"] = jnp.max(joined["defect"])
        return ExchangeState(theory.apart(states.configuration), states, walkers), joined

    def _half_step(self, key: Array, theory: Replicas, states: Any, walkers: Array, half: int) -> tuple[Any, dict]:
        """Updates of all rungs and one exchange."""
        move_key, swap_key, draw_key, place_key = jax.random.split(key, 4)
        states, info = self._moved(move_key, theory, states)
        lower = _lower(theory.count, half)
        if self.schedule == "seo" and theory.count > 2:
            sets = [_lower(theory.count, h) for h in (0, 1)]
            chosen = jax.random.bernoulli(draw_key)
            new, swaps = jax.tree.map(
                lambda a, b: jnp.where(chosen, b, a),
                *(self._exchanged(swap_key, theory, states, walkers, pairs) for pairs in sets),
            )
        else:
            new, swaps = self._exchanged(swap_key, theory, states, walkers, lower)
        states, walkers = new
        states = self._translated(place_key, theory, states)
        return (states, walkers), info | swaps | {"walkers": walkers}

    def _moved(self, key: Array, theory: Replicas, states: Any) -> tuple[Any, dict]:
        """`updates` steps of the kernel on every rung, and what it said, `(updates, rungs)`."""

        def once(states: Any, key: Array) -> tuple[Any, dict]:
            return jax.vmap(self.kernel.step)(jax.random.split(key, theory.count), theory.stacked, states)

        return jax.lax.scan(once, states, jax.random.split(key, self.updates))

    def _exchanged(self, key: Array, theory: Replicas, states: Any, walkers: Array, lower: np.ndarray) -> tuple[Any, dict]:
        """The states and walkers after the exchange of pairs, and what is said of every pair of neighbours."""
        (theory_a, states_a), (theory_b, states_b) = (_rows((theory.stacked, states), i) for i in (lower, lower + 1))
        x_a, x_b = states_a.configuration, states_b.configuration
        swap = eqx.filter_vmap(self._proposed)(theory_a, theory_b, _rows(self.flows, lower), x_a, x_b)
        chance = jnp.log(jax.random.uniform(key, (len(lower),), swap.log_ratio.dtype))
        accept = swap.returned & (chance < swap.log_ratio)

        def taken(theories: Any, old: Any, proposed: Any) -> Any:
            new = jax.vmap(self.kernel.relocated)(theories, old, proposed)
            return jax.vmap(select)(accept, new, old)

        index = np.concatenate([lower, lower + 1])
        below, above = taken(theory_a, states_a, swap.lower), taken(theory_b, states_b, swap.upper)
        states = jax.tree.map(lambda a, b, c: a.at[index].set(jnp.concatenate([b, c])), states, below, above)
        old = walkers[index]
        crossed = jnp.where(jnp.concatenate([accept, accept]), jnp.roll(old, len(lower)), old)
        return (states, walkers.at[index].set(crossed)), self._report(theory.count, lower, swap, accept)

    def _proposed(self, theory_a: Any, theory_b: Any, flow: Any, x_a: Any, x_b: Any) -> Swap:
        """The exchange of one pair."""
        before = theory_a.real_action(x_a) + theory_b.real_action(x_b)
        if flow is None:
            change = before - theory_a.real_action(x_b) - theory_b.real_action(x_a)
            return Swap(x_b, x_a, change, jnp.ones((), bool))
        upper, log_up = flow.forward_and_log_det(x_a)
        lower, log_down = flow.inverse_and_log_det(x_b)
        change = before - theory_a.real_action(lower) - theory_b.real_action(upper) + log_up + log_down
        returned = jnp.isfinite(change)
        if self.tolerance is not None:
            back = flow.inverse_and_log_det(upper), flow.forward_and_log_det(lower)
            for start, log_det, (end, log_back) in zip((x_a, x_b), (log_up, log_down), back, strict=True):
                missed = jnp.maximum(flow.manifold.distance(start, end), jnp.abs(log_det + log_back))
                returned = returned & (missed < self.tolerance)
        return Swap(lower, upper, change, returned)

    def _report(self, count: int, lower: np.ndarray, swap: Swap, accept: Array) -> dict[str, Array]:
        """For all pairs of neighbours; those that were not tried have -1, nan and True."""
        return {
            "swapped": jnp.full(count - 1, -1, jnp.int8).at[lower].set(accept.astype(jnp.int8)),
            "log_ratio": jnp.full(count - 1, jnp.nan, swap.log_ratio.dtype).at[lower].set(swap.log_ratio),
            "returned": jnp.ones(count - 1, bool).at[lower].set(swap.returned),
        }

    def _translated(self, key: Array, theory: Replicas, states: Any) -> Any:
        """Random displacements of the rungs that ask for them."""
        extents = jnp.asarray(theory.lattice)
        for rung, k in zip(self.translate, jax.random.split(key, max(1, len(self.translate))), strict=False):
            place = jax.random.randint(k, extents.shape, 0, extents)
            one = jax.tree.map(lambda a, r=rung: a[r], states)
            x = jax.tree.map(lambda a, p=place: translate(a, p), one.configuration)
            one = self.kernel.relocated(theory[rung], one, x)
            states = jax.tree.map(lambda a, b, r=rung: a.at[r].set(b), states, one)
        return states


def _rows(tree: Any, index: Any) -> Any:
    """Some entries along the leading axis of all arrays."""
    return jax.tree.map(lambda a: a[index] if eqx.is_array(a) else a, tree)


def _lower(count: int, half: int) -> np.ndarray:
    """The lower rungs of the pairs that one half of the schedule exchanges."""
    return np.arange(half, count - 1, 2)


def _stacked_flows(flows: Any) -> Any:
    flows = tuple(flows)
    structures = [jax.tree.structure(eqx.filter(flow, eqx.is_array)) for flow in flows]
    if any(structure != structures[0] for structure in structures):
        raise ValueError("ExchangeKernel: got flows of several kinds, expected one kind, so that they run in one program.")
    return jax.tree.map(lambda *a: jnp.stack(a) if eqx.is_array(a[0]) else a[0], *flows)
