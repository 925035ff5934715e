"""Active loops and features of frozen loops of a spectral coupling layer."""

import dataclasses
import functools
import itertools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..gauge import Loop, LoopAlgebra, LoopFamily, Path, letters, loop_reach, planes, staples
from ..groups import AbstractGroup, special_polar_factor
from ..lattice import shift
from ..manifolds import LinkField
from ._masks import displacements_within, shifted
from ._matrix import shaped_links
from ._residual_tables import Masks, active_staples, make_masks


class LayerTable(NamedTuple):
    """Of one mask, or with a leading axis of all of them: active links, their staples, and the frozen loops near them.

    `loops` `(near, active)` are positions in the flattened `(loops, *lattice)`, `frozen` says which contain no active link.
    """

    active: Any
    used: Any
    staples: Any
    loops: Any
    frozen: Any


@dataclasses.dataclass(frozen=True, eq=False)
class LoopFeatures:
    """Masks, tables of all of them, and the number of features per active link.

    `layout` tells what the features are: displacements of sites, and loops kept for every mask.
    """

    masks: Masks
    tables: LayerTable
    size: int
    layout: tuple


def loop_paths(dim: int) -> list[Path]:
    """Plaquettes of all planes, then rectangles, in the order of `loop_traces`."""
    pairs = [(mu + 1, nu + 1) for mu, nu in planes(dim)]
    plaquettes: list[Path] = [(a, b, -a, -b) for a, b in pairs]
    long: list[Path] = [(a, a, b, -a, -a, -b) for a, b in pairs]
    tall: list[Path] = [(a, b, b, -a, -b, -b) for a, b in pairs]
    return plaquettes + long + tall


@functools.lru_cache(maxsize=64)
def loop_masks(manifold: LinkField, reach: int) -> LoopFeatures:
    """Links of one layer share no plaquette; loops near them are those whose first site is within `reach`."""
    lattice, dim = manifold.lattice, len(manifold.lattice)
    algebra = LoopAlgebra(manifold.group.n, dim)
    plaquette = LoopFamily(algebra, (algebra.canonical(algebra.term((1, 2, -1, -2))),))
    masks = make_masks(manifold, loop_reach(plaquette))
    volume = int(np.prod(lattice))
    frozen = np.stack([_frozen(lattice, row[row < masks.size]) for row in masks.active])
    displacements = np.array(displacements_within(lattice, reach + 1))
    # Loops start at their lower corner: one more site below than above makes the neighbourhood symmetric.
    displacements = displacements[np.all(displacements <= reach, axis=1)]
    near = []
    for row in masks.active:
        sites = np.minimum(row, masks.size - 1) % volume
        moved = shifted(lattice, sites, displacements)
        near.append((np.arange(frozen.shape[1])[:, None, None] * volume + moved.T[None]).reshape(-1, len(row)))
    near = np.stack(near)
    mask_of = np.take_along_axis(frozen.reshape(len(near), -1), near.reshape(len(near), -1), axis=1).reshape(near.shape)
    # Loops that are frozen for no active link of a mask are of no use; how many are kept must not depend on the mask.
    ever = np.any(mask_of, axis=2).reshape(mask_of.shape[:2])
    keep = [np.flatnonzero(row) for row in ever]
    width = max(map(len, keep))
    rows = np.stack([np.concatenate([k, np.flatnonzero(~e)[: width - len(k)]]) for k, e in zip(keep, ever, strict=True)])
    near = np.take_along_axis(near, rows[:, :, None], axis=1)
    mask_of = np.take_along_axis(mask_of, rows[:, :, None], axis=1)
    tables = LayerTable(masks.active, masks.used, active_staples(lattice, masks), near.astype(np.int32), mask_of)
    pairs = (dim - 1) * (2 * dim - 3)
    size = (near.shape[1] + pairs) * (1 if manifold.group.n == 2 else 2)
    return LoopFeatures(masks, tables, size, (displacements.tolist(), rows.tolist()))


def _frozen(lattice: tuple[int, ...], active: np.ndarray) -> np.ndarray:
    """Loops that contain none of the links, `(loops, volume)`."""
    dim, volume = len(lattice), int(np.prod(lattice))
    moving = np.zeros(dim * volume, bool)
    moving[active] = True
    moving = moving.reshape(dim, *lattice)
    found = []
    for path in loop_paths(dim):
        touched = np.zeros(lattice, bool)
        for letter in letters(Loop((0,) * dim, path)):
            touched |= np.roll(moving[letter.mu], tuple(-s for s in letter.site), axis=tuple(range(dim)))
        found.append(~touched.ravel())
    return np.stack(found)


def loop_traces(manifold: LinkField, flat: Array) -> Array:
    """(1/n) tr of all `loop_paths` at every site, `(loops, volume)`."""
    links, group = shaped_links(manifold, flat), manifold.group
    dim = links.shape[0]
    plaquettes, long, tall = [], [], []
    for mu, nu in planes(dim):
        u, v = links[mu], links[nu]
        u_up, v_up = shift(u, nu, 1, dim), shift(v, mu, 1, dim)
        a, b = group.multiply(u, v_up), group.multiply(v, u_up)
        plaquettes.append(_trace_of_pair(group, a, b))
        long.append(
            _trace_of_pair(group, group.multiply(u, shift(a, mu, 1, dim)), group.multiply(b, shift(u_up, mu, 1, dim)))
        )
        tall.append(
            _trace_of_pair(group, group.multiply(a, shift(v_up, nu, 1, dim)), group.multiply(v, shift(b, nu, 1, dim)))
        )
    return jnp.stack(plaquettes + long + tall).reshape(len(plaquettes) * 3, -1)


def _trace_of_pair(group: AbstractGroup, a: Array, b: Array) -> Array:
    """(1/n) tr a b^dagger."""
    return jnp.sum(a * b.conj(), axis=(0, 1)) / group.n


def active_loops(
    group: AbstractGroup, flat: Array, table: LayerTable, weights: Float[Array, " staples"], reference: Array | int
) -> tuple[Array, Array]:
    """The frozen part A of the active loops, and (1/n) tr S_k S_l^dagger of all pairs of staples, `(pairs, active)`.

    A is the special polar factor of the weighted sum of staples next to the staple with the number `reference`.
    """
    found = staples(group, flat, table.staples)
    total = jnp.sum(weights.astype(found.dtype)[:, None, None, None] * found, axis=0)
    return special_polar_factor(total, found[reference]), staple_traces(group, found)


def staple_traces(group: AbstractGroup, found: Array) -> Array:
    """(1/n) tr S_k S_l^dagger of all pairs of staples, `(pairs, active)`."""
    pairs = list(itertools.combinations(range(found.shape[0]), 2))
    first, second = found[np.array([p[0] for p in pairs])], found[np.array([p[1] for p in pairs])]
    return jnp.sum(first * second.conj(), axis=(1, 2)) / group.n


def loop_features(manifold: LinkField, flat: Array, table: LayerTable, own: Array) -> Float[Array, "active features"]:
    """Traces of the frozen loops near every active link and of the products of its staples; real ones for SU(2)."""
    near = jnp.take(loop_traces(manifold, flat).reshape(-1), table.loops, mode="clip")
    near = jnp.where(table.frozen, near, jnp.zeros_like(near))
    both = jnp.concatenate([near, own])
    parts = [both.real] if manifold.group.n == 2 else [both.real, both.imag]
    return jnp.concatenate(parts).T
