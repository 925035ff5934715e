"""Kernels made of kernels: one after the other, there and back, one at random."""

from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Key

from .._checks import within
from ._base import AbstractKernel


class ComposedState(eqx.Module):
    """The current configuration and the state of every kernel, each at the configuration that it has left."""

    configuration: Any
    states: tuple[Any, ...]


class AbstractComposition(AbstractKernel):
    """What compositions share: a state for each of their kernels, moved to the current configuration before its turn."""

    kernels: eqx.AbstractVar[tuple[AbstractKernel, ...]]

    def init(self, key: Key[Array, ""], theory: Any, x: Any) -> ComposedState:
        keys = jax.random.split(key, len(self.kernels))
        return ComposedState(x, tuple(kernel.init(k, theory, x) for kernel, k in zip(self.kernels, keys, strict=True)))

    def relocated(self, theory: Any, state: ComposedState, x: Any) -> ComposedState:
        return ComposedState(x, tuple(kernel.relocated(theory, s, x) for kernel, s in self._pairs(state)))

    def thermalised(self, state: ComposedState) -> ComposedState:
        return ComposedState(state.configuration, tuple(kernel.thermalised(s) for kernel, s in self._pairs(state)))

    def belongs(self, theory: Any, state: ComposedState) -> Bool[Array, ""]:
        return jnp.all(jnp.stack([kernel.belongs(theory, s) for kernel, s in self._pairs(state)]))

    def _pairs(self, state: ComposedState) -> Iterable[tuple[AbstractKernel, Any]]:
        return zip(self.kernels, state.states, strict=True)

    def _in_order(self, key: Array, theory: Any, state: ComposedState, order: tuple[int, ...]) -> tuple[Any, dict]:
        x, states, infos = state.configuration, list(state.states), []
        last = order[-1]  # the step before ended with it
        for i, k in zip(order, jax.random.split(key, len(order)), strict=True):
            current = states[i] if i == last else self.kernels[i].relocated(theory, states[i], x)
            states[i], info = self.kernels[i].step(k, theory, current)
            x, last = states[i].configuration, i
            infos.append(info)
        return ComposedState(x, tuple(states)), _joined(infos)


class KernelSequence(AbstractComposition):
    r"""Kernels in turn, $K_1 K_2 \cdots$: invariant if all are, but not reversible; see `SymmetricSequence`.

    **Arguments:** `kernels`: one or more. Names of `info` that several of them use are numbered, "accepted_0".

        >>> kernel = tm.kernels.KernelSequence(tm.kernels.HeatbathKernel(), tm.kernels.OverrelaxationKernel(4))
        >>> chain = tm.run_chain(key, theory, kernel, 10)
    """

    kernels: tuple[AbstractKernel, ...]

    def __init__(self, *kernels: Any):
        self.kernels = _checked("KernelSequence", kernels)

    @property
    def reversible(self) -> bool:
        return len(self.kernels) == 1 and self.kernels[0].reversible

    @property
    def force_evaluations(self) -> int | None:
        return _total(kernel.force_evaluations for kernel in self.kernels)

    def step(self, key: Key[Array, ""], theory: Any, state: ComposedState) -> tuple[ComposedState, dict[str, Array]]:
        return self._in_order(key, theory, state, tuple(range(len(self.kernels))))


class SymmetricSequence(AbstractComposition):
    """`outer`, then `inner`, then `outer` again: reversible if both are, as `outer` then `inner` alone would not be.

    **Arguments:** `outer`, `inner`: any kernels, such as overrelaxation around a heatbath sweep.

        >>> kernel = tm.kernels.SymmetricSequence(tm.kernels.OverrelaxationKernel(), tm.kernels.HeatbathKernel())
        >>> flow = tm.AnnealedFlow(tm.HaarPrior(theory.manifold), theory, kernel, 8)
    """

    kernels: tuple[AbstractKernel, ...]

    def __init__(self, outer: Any, inner: Any):
        self.kernels = _checked("SymmetricSequence", (outer, inner))

    @property
    def reversible(self) -> bool:
        return all(kernel.reversible for kernel in self.kernels)

    @property
    def force_evaluations(self) -> int | None:
        outer, inner = self.kernels
        return _total([outer.force_evaluations, inner.force_evaluations, outer.force_evaluations])

    def step(self, key: Key[Array, ""], theory: Any, state: ComposedState) -> tuple[ComposedState, dict[str, Array]]:
        return self._in_order(key, theory, state, (0, 1, 0))


class RandomMixture(AbstractComposition):
    r"""One of several kernels in every step, $K = \sum_i p_i K_i$: reversible if all are.

    **Arguments:** `kernels`: one or more; `probabilities`: positive numbers, one per kernel, whose sum is one; equal if not
    given. `info` says which kernel was "chosen", and of names that it has not "accepted" is true and others are zero.

    **Raises:** `ValueError` for probabilities of another number or sum.

        >>> kernel = tm.kernels.RandomMixture([tm.kernels.HeatbathKernel(), tm.kernels.HMCKernel()], [0.8, 0.2])
        >>> chain = tm.run_chain(key, theory, kernel, 10)
    """

    kernels: tuple[AbstractKernel, ...]
    probabilities: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, kernels: Iterable[Any], probabilities: Iterable[float] | None = None):
        self.kernels = _checked("RandomMixture", tuple(kernels))
        count = len(self.kernels)
        self.probabilities = (1 / count,) * count if probabilities is None else tuple(map(float, probabilities))
        if len(self.probabilities) != count or abs(sum(self.probabilities) - 1) > 1e-6:
            raise ValueError(
                f"RandomMixture: got the probabilities {self.probabilities}, expected {count} numbers whose sum is one."
            )
        for p in self.probabilities:
            within("RandomMixture: probabilities", p, 0, 1, closed=True)

    @property
    def reversible(self) -> bool:
        return all(kernel.reversible for kernel in self.kernels)

    def step(self, key: Key[Array, ""], theory: Any, state: ComposedState) -> tuple[ComposedState, dict[str, Array]]:
        choice_key, key = jax.random.split(key)
        chosen = jax.random.choice(choice_key, len(self.kernels), p=jnp.asarray(np.array(self.probabilities))).astype(
            jnp.int32
        )

        def branch(i: int):
            def take(state):
                x, states = state.configuration, list(state.states)
                states[i], info = self.kernels[i].step(key, theory, self.kernels[i].relocated(theory, states[i], x))
                return ComposedState(states[i].configuration, tuple(states)), info

            return take

        branches = [branch(i) for i in range(len(self.kernels))]
        # All branches of a switch return the same names.
        names: dict[str, Any] = {}
        for take in branches:
            names |= jax.eval_shape(take, state)[1]
        filled = [lambda state, take=take: _filled(take(state), names) for take in branches]
        state, info = lax.switch(chosen, filled, state)
        return state, info | {"chosen": chosen}


def _filled(result: tuple[Any, dict[str, Array]], names: dict[str, Any]) -> tuple[Any, dict[str, Array]]:
    state, info = result
    neutral = {name: jnp.full(a.shape, name == "accepted", a.dtype) for name, a in names.items()}
    return state, neutral | info


def _joined(infos: list[dict[str, Array]]) -> dict[str, Array]:
    """All that the kernels said; names that several use are numbered, except the defect, whose largest one counts."""
    joined: dict[str, Array] = {}
    for name in dict.fromkeys(name for info in infos for name in info):
        values = {i: info[name] for i, info in enumerate(infos) if name in info}
        if len(values) == 1:
            joined[name] = next(iter(values.values()))
        elif name == "defect":
            joined[name] = jnp.max(jnp.stack(list(values.values())))
        else:
            joined |= {f"{name}_{i}": value for i, value in values.items()}
    return joined


def _total(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _checked(owner: str, kernels: tuple[Any, ...]) -> tuple[AbstractKernel, ...]:
    if not kernels:
        raise ValueError(f"{owner}: got no kernel, expected one or more.")
    if wrong := [type(kernel).__name__ for kernel in kernels if not isinstance(kernel, AbstractKernel)]:
        raise TypeError(
            f"{owner}: got {', '.join(wrong)}, expected kernels: classes derived from AbstractKernel or AbstractMove."
        )
    return kernels
