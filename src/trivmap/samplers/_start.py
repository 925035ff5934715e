"""Where Markov chains start, and what they need to go on."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._trees import cast, length, shapes, stacked
from ..kernels import AbstractKernel, init_key


class ChainState(eqx.Module):
    """All that further steps need, one leading axis for the chains: the states of the kernel, and the number of steps so far.

    `run_chain`, `hmc` and `heatbath` take it as `initial` and go on bit for bit.
    """

    kernel: Any
    step: jax.Array

    @property
    def configuration(self) -> Any:
        """The configuration of every chain."""
        return self.kernel.configuration


def initial_state(
    name: str, key: jax.Array, theory: Any, kernel: AbstractKernel, chains: int, initial: Any, dtype: Any
) -> ChainState:
    """The state in which chains start. **Raises:** `ValueError` for what is no start, or the state of something else."""
    if isinstance(initial, ChainState):
        return _checked_state(name, theory, kernel, chains, initial)
    x = initial_configurations(name, key, theory.manifold, chains, initial, dtype)
    state = fresh_state(init_key(key), theory, kernel, x)
    for leaf in jax.tree.leaves(state):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.all(np.isfinite(np.asarray(leaf))):
            raise ValueError(
                f"{name}: the action of the initial configuration is not finite, or its gradient; start from another one"
            )
    return state


@eqx.filter_jit
def fresh_state(key: jax.Array, theory: Any, kernel: AbstractKernel, x: Any) -> ChainState:
    """The state before the first step, from configurations with a leading axis for the chains."""
    chains = length(x)
    keys = jax.random.split(key, chains)
    return ChainState(jax.vmap(lambda k, y: kernel.init(k, theory, y))(keys, x), jnp.zeros(chains, jnp.uint32))


def initial_configurations(name: str, key: jax.Array, manifold: Any, chains: int, initial: Any, dtype: Any) -> Any:
    """One configuration per chain from "hot", "cold", one configuration or several."""
    if isinstance(initial, str):
        return _start(name, key, manifold, chains, initial, dtype)
    x = jax.tree.map(jnp.asarray, initial, is_leaf=lambda part: not isinstance(part, dict))
    if shapes(x) == manifold.shape:
        x = stacked(x, chains)
    several = jax.tree.map(lambda a: a.shape[1:], x) == manifold.shape
    if several and any(len(a) != chains for a in jax.tree.leaves(x)):
        raise ValueError(f"{name}: got {length(x)} initial configurations for {chains} chains")
    manifold.check(jax.tree.map(lambda a: a[0], x) if several else x)
    return x if dtype is None else cast(x, dtype)


def _checked_state(name: str, theory: Any, kernel: AbstractKernel, chains: int, state: ChainState) -> ChainState:
    found = shapes(state.configuration)
    shape = jax.tree.map(lambda a: (chains, *a.shape), jax.eval_shape(theory.manifold.cold))
    if found != shape:
        raise ValueError(
            f"{name}: the state to continue has configurations of shape {found}, expected {shape} for {chains} chains of "
            "this theory"
        )
    expected = eqx.filter_eval_shape(fresh_state, jax.random.key(0), theory, kernel, state.configuration)
    if jax.tree.structure(expected) != jax.tree.structure(state):
        raise ValueError(
            f"{name}: the state to continue belongs to another kernel than this {type(kernel).__name__}; pass its "
            "`configuration` as `initial` to start anew from there"
        )
    if not np.all(_belongs(theory, kernel, state.kernel)):
        raise ValueError(
            f"{name}: the state to continue belongs to another theory (its stored action differs); pass its "
            "`configuration` as `initial` to start anew from there"
        )
    return state


@eqx.filter_jit
def _belongs(theory: Any, kernel: AbstractKernel, states: Any) -> jax.Array:
    return jax.vmap(lambda state: kernel.belongs(theory, state))(states)


def _start(name: str, key: jax.Array, manifold: Any, chains: int, start: str, dtype: Any) -> Any:
    if start == "cold":
        return stacked(manifold.cold(dtype), chains)
    if start == "hot":
        return jax.vmap(lambda k: manifold.hot(k, dtype))(jax.random.split(key, chains))
    raise ValueError(f'{name}: initial must be "hot", "cold", a configuration or a state, got {start!r}')
