"""Where Markov chains start, and what Hybrid Monte Carlo needs to go on."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._trees import cast, length, precision, shapes, stacked
from ..lattice import accumulator_dtype


class HMCState(eqx.Module):
    """All that a further trajectory needs, one leading axis for the chains; action and gradient are reused."""

    configuration: Any
    action: jax.Array
    gradient: Any
    trajectory: jax.Array


def initial_state(key: jax.Array, theory: Any, chains: int, initial: Any, dtype: Any) -> HMCState:
    if isinstance(initial, HMCState):
        return _checked_state(theory, chains, initial)
    state = _evaluate(theory, initial_configurations("hmc", key, theory.manifold, chains, initial, dtype))
    if not np.all(np.isfinite(np.asarray(state.action))):
        raise ValueError("hmc: the action of the initial configuration is not finite; start from another one")
    return state


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


@eqx.filter_jit
def _evaluate(theory: Any, x: Any) -> HMCState:
    action = jax.vmap(theory.action)(x).astype(accumulator_dtype())
    return HMCState(x, action, jax.vmap(theory.gradient)(x), jnp.zeros(length(x), jnp.uint32))


def _checked_state(theory: Any, chains: int, state: HMCState) -> HMCState:
    expected = jax.tree.map(lambda a: (chains, *a.shape), jax.eval_shape(theory.manifold.cold))
    if shapes(state.configuration) != expected:
        raise ValueError(
            f"hmc: the state to continue has configurations of shape {shapes(state.configuration)}, expected "
            f"{expected} for {chains} chains of this theory"
        )
    action = np.asarray(_evaluate(theory, state.configuration).action)
    scale = np.abs(action) + theory.manifold.dimension
    if np.any(np.abs(action - np.asarray(state.action)) > 100 * float(jnp.finfo(precision(state.gradient)).eps) * scale):
        raise ValueError(
            "hmc: the state to continue belongs to another theory (its stored action differs); pass its "
            "`configuration` as `initial` to start anew from there"
        )
    return state


def _start(name: str, key: jax.Array, manifold: Any, chains: int, start: str, dtype: Any) -> Any:
    if start == "cold":
        return stacked(manifold.cold(dtype), chains)
    if start == "hot":
        return jax.vmap(lambda k: manifold.hot(k, dtype))(jax.random.split(key, chains))
    raise ValueError(f'{name}: initial must be "hot", "cold", a configuration or a state, got {start!r}')
