"""What an optimiser may change: the one rule of what is a parameter and what is physics or data."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree


def trainable(tree: PyTree) -> PyTree:
    """True for every parameter of a model or of a part of it, False for every other leaf: a filter for `equinox.partition`.

    Parameters are the floating-point and complex arrays that no class on the way to them declares frozen. A class does so by
    a method `frozen_fields()`, which names fields that training leaves as they are, with all they hold. Theories
    and stored configurations are frozen as a whole; so are the theory and the prior inside of a stochastic flow, the solver
    of a continuous flow and the noise of a diffusion. `fit`, `gauss_newton`, `gradient_noise`, moving averages and norms of
    gradients go by this function.

    **Arguments:** `tree`: any pytree. **Returns:** a tree of the same structure with a bool for every leaf.

        parameters, rest = equinox.partition(model, trainable(model))
    """
    children, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda node: node is not tree)
    if len(children) == 1 and children[0][1] is tree:
        return eqx.is_inexact_array(tree)
    frozen = _frozen_fields(tree)
    return jax.tree.unflatten(structure, [_nothing(c) if _name(path) in frozen else trainable(c) for path, c in children])


def parameters(tree: PyTree) -> PyTree:
    """The tree with `None` in the place of every leaf that is no parameter."""
    return eqx.filter(tree, trainable(tree))


def parameter_count(tree: PyTree) -> int:
    """How many numbers of a model, or of a part of it, training changes.

    >>> tm.training.parameter_count(model)
    """
    return sum(leaf.size for leaf in jax.tree.leaves(parameters(tree)))


class Moved(eqx.Module):
    """A tree with other values of chosen parameters."""

    fixed: PyTree
    choose: Callable[[Any], PyTree] = eqx.field(static=True)
    unravel: Callable[[Array], PyTree] = eqx.field(static=True)

    def __call__(self, tree: Any, values: Array) -> Any:
        # Leaves only: the static parts, such as the number of integration steps, are those of the tree that is given.
        leaves = jax.tree.leaves(eqx.combine(self.unravel(values), self.fixed))
        moved = jax.tree.unflatten(jax.tree.structure(self.choose(tree)), leaves)
        return eqx.tree_at(self.choose, tree, moved)


def chosen(name: str, tree: Any, choose: Callable[[Any], PyTree] | None = None) -> tuple[Array, Moved]:
    """The parameters of a part of a tree, by default of all of it, as one row of numbers, and how other values are put back.

    **Raises:** `ValueError` where the part holds no parameter.
    """
    choose = _all if choose is None else choose
    parameters, fixed = eqx.partition(choose(tree), choose(trainable(tree)))
    flat, unravel = ravel_pytree(parameters)
    if flat.size == 0:
        raise ValueError(f"{name}: `parameters` picks no number to train; couplings and stored configurations are none.")
    return flat, Moved(fixed, choose, unravel)


def all_fields(module: Any) -> frozenset[str]:
    """What `frozen_fields()` returns where nothing of a class is a parameter."""
    return frozenset(field.name for field in dataclasses.fields(module))


def fixed_numbers(tree: PyTree) -> PyTree:
    """The same tree with numbers that have no derivative."""
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, tree)


def _frozen_fields(node: Any) -> frozenset[str]:
    declared = getattr(type(node), "frozen_fields", None)
    if declared is None:
        return frozenset()
    names = declared(node)
    unknown = sorted(set(names) - all_fields(node)) if not isinstance(names, str) else [names]
    if unknown:
        raise ValueError(
            f"{type(node).__name__}.frozen_fields() returned {names!r}, expected a collection of names of its fields "
            f"{sorted(all_fields(node))}; {unknown} is none."
        )
    return frozenset(names)


def _name(path: Any) -> str:
    return getattr(path[0], "name", "") if path else ""


def _all(tree: Any) -> Any:
    return tree


def _nothing(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda _: False, tree)
