"""Sweeps over links that do not share plaquettes: by direction, and by colours of the sites (even and odd)."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact, Key

from ..gauge import staple_links, staple_plaquettes, staple_sum_of
from ..lattice import colour_classes, neighbours
from ..theories import AbstractTheory, RegionTheory, WeightedWilsonAction, WilsonAction


class _Tables(NamedTuple):
    """Link mu at site x has number mu V + x. `sites` is padded by V, which no array holds: such entries are dropped."""

    directions: np.ndarray  # (half sweeps,)
    sites: np.ndarray  # (half sweeps, sites of the largest colour)
    neighbours: tuple[np.ndarray, np.ndarray]


@functools.lru_cache(maxsize=16)
def _tables(lattice: tuple[int, ...]) -> _Tables:
    dim, volume = len(lattice), int(np.prod(lattice))
    directions, members = [], []
    for mu in range(dim):
        across = tuple(tuple(int(nu == k) for k in range(dim)) for nu in range(dim) if nu != mu)
        for region in colour_classes(lattice, across):
            directions.append(mu)
            members.append(region.indices)
    sites = np.full((len(members), max(map(len, members))), volume, np.int32)
    for row, member in zip(sites, members, strict=True):
        row[: len(member)] = member
    return _Tables(np.asarray(directions, np.int32), sites, neighbours(lattice))


def sweep(key: Key[Array, ""], theory: AbstractTheory, x: Inexact[Array, "*shape"], move: Callable) -> Array:
    """All links once, in a random order of half sweeps, so that the sweep is reversible if every `move` is.

    `move(key, group, links, staples)` returns new links from the old ones `(*element_shape, links)` and the sums of their
    staples V, the weight of a link U being exp((beta/N) Re tr(U V)). Of a `RegionTheory` the links outside stay.
    """
    action = wilson(theory)
    group, lattice = action.group, theory.lattice
    volume, colours = int(np.prod(lattice)), len(group.element_shape)
    # Link numbers trail, so that a half sweep is one gather and one scatter whatever its direction.
    flat = jnp.moveaxis(x.reshape(len(lattice), *group.element_shape, volume), 0, colours)
    flat = flat.reshape(*group.element_shape, -1)
    tables = jax.tree.map(jnp.asarray, _tables(lattice))
    moving = jnp.asarray(theory.region.of_links().reshape(-1)) if isinstance(theory, RegionTheory) else None
    order_key, key = jax.random.split(key)
    count = len(tables.directions)
    order = jax.random.permutation(order_key, count)

    def half(flat, inputs):
        index, key = inputs
        mu, sites = tables.directions[index], tables.sites[index]
        numbers = jnp.where(sites < volume, mu * volume + sites, flat.shape[-1])
        links = jnp.take(flat, numbers, axis=-1, mode="clip")
        sites = jnp.minimum(sites, volume - 1)
        table = staple_links(tables.neighbours, mu, sites)
        weights = None
        if isinstance(action, WeightedWilsonAction):
            weights = action.weights.reshape(-1)[staple_plaquettes(tables.neighbours, mu, sites)]
        moved = move(key, group, links, staple_sum_of(group, flat, table, weights))
        if moving is not None:
            moved = jnp.where(_trailing(jnp.take(moving, numbers, mode="clip"), moved.ndim), moved, links)
        return flat.at[..., numbers].set(moved, mode="drop", unique_indices=True), None

    flat, _ = lax.scan(half, flat, (order, jax.random.split(key, count)))
    flat = flat.reshape(*group.element_shape, len(lattice), volume)
    return theory.manifold.project(jnp.moveaxis(flat, colours, 0).reshape(x.shape))


def _trailing(mask: Array, ndim: int) -> Array:
    return mask.reshape((1,) * (ndim - 1) + mask.shape)


def wilson(theory: AbstractTheory) -> WilsonAction | WeightedWilsonAction:
    """The theory, or that of which a region moves, if these kernels apply to it."""
    theory = theory.theory if isinstance(theory, RegionTheory) else theory
    if not isinstance(theory, WilsonAction | WeightedWilsonAction):
        raise TypeError(
            f"Heatbath and overrelaxation know the conditional distribution of a link for WilsonAction and "
            f"WeightedWilsonAction only, got {type(theory).__name__}; use HMCKernel. Between a HaarPrior and a WilsonAction "
            "all annealing steps are of this kind."
        )
    if min(theory.lattice) < 2:
        raise ValueError(
            f"Heatbath and overrelaxation need extents of 2 or more, got {theory.lattice}: along an extent of one a link "
            "occurs twice in a plaquette."
        )
    return theory
