"""Where Markov chains start, and what Hybrid Monte Carlo needs to go on."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..lattice import accumulator_dtype


class HMCState(eqx.Module):
    """All that a further trajectory needs, one leading axis for the chains; action and gradient are reused."""

    configuration: jax.Array
    action: jax.Array
    gradient: jax.Array
    trajectory: jax.Array


def initial_state(key: jax.Array, theory: Any, chains: int, initial: Any, dtype: Any) -> HMCState:
    if isinstance(initial, HMCState):
        return _checked_state(theory, chains, initial)
    state = _evaluate(theory, initial_configurations("hmc", key, theory.manifold, chains, initial, dtype))
    if not np.all(np.isfinite(np.asarray(state.action))):
        raise ValueError("hmc: the action of the initial configuration is not finite; start from another one")
    return state


def initial_configurations(name: str, key: jax.Array, manifold: Any, chains: int, initial: Any, dtype: Any) -> jax.Array:
    """One configuration per chain from "hot", "cold", one configuration or several."""
    if isinstance(initial, str):
        return _start(name, key, manifold, chains, initial, dtype)
    x = jnp.asarray(initial)
    x = jnp.broadcast_to(x[None], (chains, *x.shape)) if x.shape == manifold.shape else x
    if x.shape[0] != chains and x.shape[1:] == manifold.shape:
        raise ValueError(f"{name}: got {x.shape[0]} initial configurations for {chains} chains")
    manifold.check(x[0] if x.shape[1:] == manifold.shape else x)
    if dtype is None:
        return x
    single = jnp.dtype(dtype) == jnp.float32
    return x.astype((jnp.complex64 if single else jnp.complex128) if jnp.iscomplexobj(x) else dtype)


@eqx.filter_jit
def _evaluate(theory: Any, x: jax.Array) -> HMCState:
    action = jax.vmap(theory.action)(x).astype(accumulator_dtype())
    return HMCState(x, action, jax.vmap(theory.gradient)(x), jnp.zeros(len(x), jnp.uint32))


def _checked_state(theory: Any, chains: int, state: HMCState) -> HMCState:
    if state.configuration.shape != (chains, *theory.manifold.shape):
        raise ValueError(
            f"hmc: the state to continue has configurations of shape {state.configuration.shape}, expected "
            f"{(chains, *theory.manifold.shape)} for {chains} chains of this theory"
        )
    action = np.asarray(_evaluate(theory, state.configuration).action)
    scale = np.abs(action) + theory.manifold.dimension
    if np.any(np.abs(action - np.asarray(state.action)) > 100 * float(jnp.finfo(state.gradient.dtype).eps) * scale):
        raise ValueError(
            "hmc: the state to continue belongs to another theory (its stored action differs); pass its "
            "`configuration` as `initial` to start anew from there"
        )
    return state


def _start(name: str, key: jax.Array, manifold: Any, chains: int, start: str, dtype: Any) -> jax.Array:
    if start == "cold":
        return jnp.broadcast_to(manifold.cold(dtype)[None], (chains, *manifold.shape))
    if start == "hot":
        return jax.vmap(lambda k: manifold.hot(k, dtype))(jax.random.split(key, chains))
    raise ValueError(f'{name}: initial must be "hot", "cold", a configuration or a state, got {start!r}')
