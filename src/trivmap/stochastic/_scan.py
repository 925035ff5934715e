"""The loop over the steps of a path, with memory for gradients that grows as the root of their number."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Up to here one configuration per step is less than what the gradient of a single step needs, and a third pass no gain.
_SHORT = 16


def scan_steps(step: Callable[[Any, Any], tuple[Any, Any]], start: Any, inputs: Any, *, checkpoint: bool) -> tuple[Any, Any]:
    """`jax.lax.scan`, for `checkpoint` recomputed in the backward pass in segments of about the root of the number of steps.

    Stored are the state at the beginning of every segment and, while one segment is passed backwards, at each of its steps;
    the price is one more pass forwards.
    """
    if not checkpoint:
        return jax.lax.scan(step, start, inputs)
    # A scan keeps the recomputation apart by itself, so the barriers against common subexpressions are not needed.
    once = jax.checkpoint(step, prevent_cse=False)
    count = len(jax.tree.leaves(inputs)[0])
    if count <= _SHORT:
        return jax.lax.scan(once, start, inputs)
    length = math.isqrt(count)
    whole = count - count % length

    def segment(state: Any, inputs: Any) -> tuple[Any, Any]:
        return jax.lax.scan(once, state, inputs)

    segments = jax.tree.map(lambda a: a[:whole].reshape(-1, length, *a.shape[1:]), inputs)
    state, found = jax.lax.scan(jax.checkpoint(segment, prevent_cse=False), start, segments)
    found = jax.tree.map(lambda a: a.reshape(whole, *a.shape[2:]), found)
    if whole == count:
        return state, found
    state, rest = jax.lax.scan(once, state, jax.tree.map(lambda a: a[whole:], inputs))
    return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), found, rest)
