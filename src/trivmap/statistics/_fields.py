"""Stacks of configurations on the host: one array, or arrays by name where a theory has several fields."""

from typing import Any

import jax

from ._input import plain_array


def host_fields(x: Any, what: str) -> Any:
    """NumPy arrays in the same structure; `None` where there are none."""
    if isinstance(x, dict):
        return {name: plain_array(x[name], f"{what}[{name!r}]") for name in sorted(x)}
    return None if x is None else plain_array(x, what)


def check_leading(x: Any, leading: tuple[int, ...], message: str) -> None:
    """**Raises:** `ValueError` with the message, unless every array begins with these extents."""
    shapes = [a.shape for a in jax.tree.leaves(x)]
    if any(shape[: len(leading)] != leading for shape in shapes):
        raise ValueError(message.format(shape=", ".join(map(str, shapes))))


def fields_of(x: Any) -> list[Any]:
    """The arrays without their names."""
    return jax.tree.leaves(x)


def flat_chains(x: Any) -> Any:
    """Configurations `(chains, n, ...)` of all chains along one axis."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), x)
