"""Which variables a coupling layer moves, which it reads, and where they are: index tables in NumPy."""

import functools
import itertools
from typing import NamedTuple

import numpy as np

from .._types import Shape
from ..gauge import planes
from ..lattice import Region, check_lattice
from ..lattice import checkerboard as parities


def require_multiples(flow: str, lattice: Shape, factor: int, reason: str) -> Shape:
    """Refuses lattices with an extent that is not a multiple of `factor`."""
    lattice = check_lattice(lattice)
    if any(extent % factor for extent in lattice):
        possible = tuple(max(factor, factor * round(extent / factor)) for extent in lattice)
        raise ValueError(
            f"{flow}: got extents {lattice}, expected multiples of {factor}, because {reason}; "
            f"the nearest possible lattice is {possible}."
        )
    return lattice


class CheckerboardTables(NamedTuple):
    """`sites` (2, V/2): flat indices of the even and the odd sites; `merge` (V,): position of each site among even then odd.

    `neighbours` (2, V/2, k): for active even and active odd sites, positions of nearby sites of the other parity in `sites`.
    """

    sites: np.ndarray
    merge: np.ndarray
    neighbours: np.ndarray


@functools.lru_cache(maxsize=64)
def checkerboard(lattice: Shape, reach: int) -> CheckerboardTables:
    """Tables of the checkerboard; `neighbours` lists displacements of odd length at most `reach` along every axis.

    Displacements that differ by a period of the lattice are listed once.
    """
    require_multiples("checkerboard", lattice, 2, "neighbours must have different colours")
    sites = np.stack([region.indices for region in parities(lattice)])
    merge = np.empty(sites.size, np.int64)
    merge[sites.reshape(-1)] = np.arange(sites.size)
    displacements = np.array([d for d in displacements_within(lattice, reach) if sum(d) % 2])
    within = merge % sites.shape[1]
    neighbours = np.stack([within[shifted(lattice, active, displacements)] for active in sites])
    return CheckerboardTables(sites, merge, neighbours.astype(np.int32))


def displacements_within(lattice: Shape, reach: int) -> list[tuple[int, ...]]:
    """Displacements of at most `reach` along every axis, one for each class modulo the periods, in a fixed order."""
    axes = []
    for extent in lattice:
        low = -min(reach, (extent - 1) // 2)
        axes.append(range(low, min(reach, extent // 2) + 1))
    return list(itertools.product(*axes))


def shifted(lattice: Shape, sites: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    """Flat indices (sites, displacements) of the sites moved by each displacement."""
    position = np.stack(np.unravel_index(sites, lattice), axis=-1)
    moved = (position[:, None] + displacements[None]) % np.array(lattice)
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(moved, -1, 0)), lattice))


class GaugeMask(NamedTuple):
    """Links moved in one layer, each with its own active plaquette.

    The active links lead from `sites` along `direction`; the plaquette of each spans `direction` and `normal` and starts at
    the same site. No plaquette contains two of them. `frozen` (planes, *lattice): whether the plaquette of the plane at the
    site contains no active link, planes in the order of `planes`.
    """

    direction: int
    normal: int
    sites: np.ndarray
    frozen: np.ndarray


@functools.lru_cache(maxsize=64)
def gauge_masks(lattice: Shape, kind: str) -> tuple[GaugeMask, ...]:
    r"""One sweep of masks, which moves every link once: the links of direction $\mu$ with $f(x) = n \bmod 4$, n = 0 .. 3.

    `"stripes"`: $f = x_\nu + 2 \sum_{\rho \neq \mu, \nu} x_\rho$, whole lines along $\mu$ (arXiv:2003.06413).
    `"columns"`: $f = x_\mu + 2 \sum_{\rho \neq \mu} x_\rho$, every fourth site along $\mu$, staggered (arXiv:2202.11712).

    Any number of dimensions from two; 4 dim masks. In one sweep the normal of direction $\mu$ is $\mu + 1$ (modulo dim).

    **Raises:** `ValueError` for extents that are not multiples of four, one dimension, or an unknown kind.
    """
    if kind not in ("stripes", "columns"):
        raise ValueError(f"mask: got {kind!r}, expected 'stripes' or 'columns'.")
    lattice = require_multiples("mask", lattice, 4, f"the {kind} repeat after four sites")
    dim = len(lattice)
    if dim < 2:
        raise ValueError(f"mask: got lattice {lattice}, expected two dimensions or more: plaquettes span two.")
    position = np.indices(lattice)
    masks = []
    for offset, mu in itertools.product((0, 2, 1, 3), range(dim)):
        nu = (mu + 1) % dim
        coefficients = np.full(dim, 2)
        coefficients[[mu, nu]] = (0, 1) if kind == "stripes" else (1, 2)
        active = np.tensordot(coefficients, position, 1) % 4 == offset
        masks.append(GaugeMask(mu, nu, Region(active).indices, _frozen(active, mu)))
    return tuple(masks)


def _frozen(active: np.ndarray, mu: int) -> np.ndarray:
    frozen = []
    for plane in planes(active.ndim):
        if mu in plane:
            other = plane[0] if plane[1] == mu else plane[1]
            frozen.append(~(active | np.roll(active, -1, axis=other)))
        else:
            frozen.append(np.ones_like(active))
    return np.stack(frozen)


class PlaquetteTables(NamedTuple):
    """Index tables of one gauge mask, or of a sweep with a leading axis; all into flattened links and plaquettes.

    `links` (n,): active links. `plaquettes` (n, 2(dim - 1)): those that contain the link, the active one first; `signs`: of
    the link in them. `frozen` (n, k): frozen plaquettes near each active one; `loops` (n, m): positions of nearby active
    links, whose two-plaquette loops are read.
    """

    links: np.ndarray
    plaquettes: np.ndarray
    signs: np.ndarray
    frozen: np.ndarray
    loops: np.ndarray


@functools.lru_cache(maxsize=64)
def plaquette_tables(lattice: Shape, kind: str, reach: int) -> PlaquetteTables:
    """Tables of one sweep of `gauge_masks`; what is near is listed in an order that moves and turns with the mask."""
    tables = [_plaquette_table(lattice, mask, reach) for mask in gauge_masks(lattice, kind)]
    return PlaquetteTables(*(np.stack(column) for column in zip(*tables, strict=True)))


def _plaquette_table(lattice: Shape, mask: GaugeMask, reach: int) -> PlaquetteTables:
    dim, volume = len(lattice), int(np.prod(lattice))
    mu = mask.direction
    # The normal first; a plaquette above the link (starting at its site), then the one below.
    others = [mask.normal, *(rho for rho in range(dim) if rho not in (mu, mask.normal))]
    plaquettes, signs = [], []
    for rho in others:
        plane = planes(dim).index((min(mu, rho), max(mu, rho)))
        sign = 1 if mu < rho else -1
        below = shifted(lattice, mask.sites, -np.eye(dim, dtype=int)[rho][None])[:, 0]
        plaquettes += [plane * volume + mask.sites, plane * volume + below]
        signs += [sign, -sign]
    axes = [mu, *others]
    frozen = _nearby_frozen(lattice, mask, axes, reach)
    loops = _nearby_active(lattice, mask, axes, reach)
    return PlaquetteTables(
        (mu * volume + mask.sites).astype(np.int32),
        np.stack(plaquettes, axis=1).astype(np.int32),
        np.broadcast_to(np.array(signs, np.int32), (mask.sites.size, len(signs))),
        frozen.astype(np.int32),
        loops.astype(np.int32),
    )


def _turned_displacements(lattice: Shape, axes: list[int], reach: int) -> np.ndarray:
    """Displacements listed by their components along `axes`, as rows in lattice order; as many for every choice of axes."""
    reach = min(reach, (min(lattice) - 1) // 2)
    turned = np.array(displacements_within(tuple(lattice[axis] for axis in axes), reach))
    result = np.empty_like(turned)
    result[:, axes] = turned
    return result


def _nearby_frozen(lattice: Shape, mask: GaugeMask, axes: list[int], reach: int) -> np.ndarray:
    volume = int(np.prod(lattice))
    displacements = _turned_displacements(lattice, axes, reach)
    origin = shifted(lattice, mask.sites[:1], displacements)[0]
    columns = []
    for pair in itertools.combinations(axes, 2):
        plane = planes(len(lattice)).index((min(pair), max(pair)))
        # The pattern is the same around every active site.
        near = displacements[mask.frozen[plane].reshape(-1)[origin]]
        columns.append(plane * volume + shifted(lattice, mask.sites, near))
    return np.concatenate(columns, axis=1)


def _nearby_active(lattice: Shape, mask: GaugeMask, axes: list[int], reach: int) -> np.ndarray:
    displacements = _turned_displacements(lattice, axes, reach)
    origin = shifted(lattice, mask.sites[:1], displacements)[0]
    near = displacements[np.isin(origin, mask.sites)]
    return np.searchsorted(mask.sites, shifted(lattice, mask.sites, near))
