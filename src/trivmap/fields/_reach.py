"""The range of dependence of a velocity: declared, measured, checked, and turned into colours."""

import functools
import itertools
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from .._trees import precision, subtract
from .._types import Array, PRNGKey, Shape
from ..lattice import colour_sites
from ..manifolds import AbstractManifold

Velocity: TypeAlias = Callable[[Array, Any], Any]
# A radius in the maximum norm, or the entries (mu, nu, *displacement) of a pattern; hashable, hence not an array.
Reach: TypeAlias = int | tuple[Shape, ...]

_TIME = 0.37
# Standard deviation of the noise on the parameters: a field is usually born with zeros in its last layer.
_NOISE = 0.1


def check_reach(reach: Any, manifold: AbstractManifold) -> Reach:
    """A reach in its hashable form; raises `TypeError` or `ValueError` for anything else."""
    directions = len(manifold.generators)
    shape = (directions, directions, *manifold.lattice)
    if getattr(reach, "ndim", 0) > 0:
        if reach.shape != shape or reach.dtype != bool:
            raise ValueError(
                f"reach: got an array {reach.dtype}{reach.shape}, expected bool{shape} as "
                "trivmap.fields.dependence returns it."
            )
        extents = np.array((1, 1, *manifold.lattice))
        entries = np.argwhere(np.asarray(reach))
        centred = np.where(2 * entries > extents, entries - extents, entries)
        centred[:, :2] = entries[:, :2]
        return tuple(tuple(map(int, entry)) for entry in centred)
    try:
        radius = operator.index(reach)
    except TypeError:
        raise TypeError(
            f"reach: got {reach!r}, expected a number of lattice units, or the array that trivmap.fields.dependence returns."
        ) from None
    if radius < 0 or isinstance(reach, bool):
        raise ValueError(f"reach: got {reach!r}, expected an integer of zero or more lattice units.")
    return radius


@functools.lru_cache(maxsize=64)
def pattern(reach: Reach, directions: int, lattice: Shape) -> np.ndarray:
    """Whether the velocity on (mu, x) may depend on (nu, x + d), as `[mu, nu, *d]`; every link on itself."""
    table = np.zeros((directions, directions, *lattice), dtype=bool)
    if isinstance(reach, int):
        for displacement in _ball(reach, lattice):
            table[(slice(None), slice(None), *displacement)] = True
    else:
        for mu, nu, *displacement in reach:
            table[(mu, nu, *np.mod(displacement, lattice))] = True
    for mu in range(directions):
        table[(mu, mu, *(0 for _ in lattice))] = True
    return table


@functools.lru_cache(maxsize=64)
def colour_table(reach: Reach, directions: int, lattice: Shape) -> np.ndarray:
    """Labels `(directions, *lattice)`: equal ones on links that do not depend on each other.

    Directions do not share colours. A radius leaves nothing to share: all links of a cube of extent radius + 1 depend on
    each other.
    """
    tables, used = [], 0
    for mu in range(directions):
        if isinstance(reach, int):
            displacements = tuple(_ball(reach, lattice))
        else:
            displacements = tuple(entry[2:] for entry in reach if entry[0] == entry[1] == mu)
        tables.append(colour_sites(lattice, displacements) + used)
        used = int(tables[-1].max()) + 1
    return np.stack(tables)


@functools.lru_cache(maxsize=64)
def coordinate_colours(reach: Reach, manifold: AbstractManifold) -> tuple[np.ndarray, int]:
    """Labels `(dimension,)` of the coordinates of tangent vectors, and the number of colours of the links.

    Equal labels: the same generator on links of one colour. Labels count the generators of the first colour, of the second,
    and so on.
    """
    table = colour_table(reach, len(manifold.generators), manifold.lattice)
    labels, used = [], 0
    for colours, generators in zip(table, manifold.generators, strict=True):
        index = np.arange(generators)[:, None]
        labels.append((used + (colours.reshape(-1) - colours.min()) * generators + index).reshape(-1))
        used += generators * int(colours.max() - colours.min() + 1)
    found = np.concatenate(labels).astype(np.int32)
    found.setflags(write=False)
    return found, int(table.max()) + 1


def _ball(radius: int, lattice: Shape) -> list[Shape]:
    """Displacements of at most `radius` along every axis, each periodic image once."""
    axes = [sorted({d % extent for d in range(-min(radius, extent), radius + 1)}) for extent in lattice]
    return list(itertools.product(*axes))


def dependence(velocity: Velocity, manifold: AbstractManifold, *, key: PRNGKey | None = None, samples: int = 4) -> np.ndarray:
    """On which links (sites) the velocity on a link depends, measured by its derivatives.

    Derivatives are taken at random links of random configurations, and with noise of 0.1 on the parameters of `velocity`,
    so that zeros of an initialisation do not hide a dependence; the result is their union. It takes for granted that the
    pattern is the same everywhere on the lattice.

    **Arguments:** `velocity`: a function (t, x) -> tangent vector, or an `equinox.Module` with parameters; `samples`:
    number of random sites.

    **Returns:** a bool array `(directions, directions, *lattice)` with one direction for scalar fields, and the
    directions of all components, sorted by name, for products: entry
    `[mu, nu, *d]` tells whether the velocity on (mu, x) depends on (nu, x + d).

        >>> reach = tm.fields.dependence(lambda t, x: jnp.roll(x, 1, axis=0), scalar.manifold)
        >>> int(reach.sum())
    """
    directions = len(manifold.generators)
    key = jax.random.key(0) if key is None else key
    table = np.asarray(_measured(velocity, manifold, jax.random.split(key, samples)))
    return table.any(axis=0).reshape(directions, directions, *manifold.lattice)


@eqx.filter_jit
def _measured(velocity: Velocity, manifold: AbstractManifold, keys: Array) -> Array:
    directions = len(manifold.generators)

    def one(key: PRNGKey) -> Array:
        x, site = manifold.generic_sample(key), _random_site(manifold, key)
        moved, weight = _with_noise(velocity, key, _NOISE), manifold.random_tangent(jax.random.fold_in(key, 4))

        def row(mu: Array) -> Array:
            chosen = jnp.zeros((directions, *manifold.lattice), bool).at[(mu, *site)].set(True)
            probe = _where(manifold, chosen, weight, jax.tree.map(jnp.zeros_like, weight))
            gradient = manifold.gradient(lambda y: manifold.inner(probe, moved(_time(x), y)))(x)
            return _roll(manifold.largest(gradient) > 0, -site)

        return lax.map(row, jnp.arange(directions))

    return lax.map(one, keys)


def check_locality(velocity: Velocity, manifold: AbstractManifold, reach: Reach, samples: int = 4) -> None:
    """Raises `ValueError` unless the velocity at random links stays the same when all links out of reach are drawn anew.

    A finite change finds dependences of any kind, and of any number of links at once. Inside a transformation of JAX,
    where values are not known, nothing is checked.
    """
    directions = len(manifold.generators)
    kept = jnp.asarray(pattern(reach, directions, manifold.lattice))
    keys = jax.random.split(jax.random.key(0), samples)
    for noise, condition in ((0.0, ""), (_NOISE, f" once its parameters are moved by noise of {_NOISE}")):
        change, size, defect = _probe(velocity, manifold, kept, keys, jnp.asarray(noise))
        if any(isinstance(value, Tracer) for value in (change, size, defect)):
            return
        # Chains of rounded operations; an exactly local velocity gives zero unless it goes through Fourier space.
        tolerance = 1e3 * float(jnp.finfo(size.dtype).eps) * float(size)
        if not bool(jnp.isfinite(size)):
            raise ValueError(
                f"velocity: got values that are not finite{condition} at a random configuration, expected numbers; "
                "use check=False if only such configurations are outside its domain."
            )
        if float(defect) > tolerance:
            raise ValueError(
                f"velocity: got a component of size {float(defect):.1e} outside the algebra of {manifold}{condition}, "
                "expected traceless anti-Hermitian matrices; apply group.project_algebra."
            )
        if float(change) > tolerance:
            stated = f"reach={reach}" if isinstance(reach, int) else "the given pattern"
            raise ValueError(
                f"velocity: changes by {float(change):.1e} (of {float(size):.1e}){condition} when only links (sites) out "
                f"of reach change, with {stated}; the divergence would be wrong. Give the true reach: "
                "trivmap.fields.dependence(velocity, manifold) shows it. Arrays that are no parameters, such as masks, do "
                "not belong into the leaves of velocity."
            )


@eqx.filter_jit
def _probe(
    velocity: Velocity, manifold: AbstractManifold, kept: Array, keys: Array, noise: Array
) -> tuple[Array, Array, Array]:
    """Largest change of the velocity from links out of reach, largest velocity, largest part outside the algebra."""
    whole = jnp.ones((1, *kept.shape[1:]), bool)

    def one(key: PRNGKey) -> tuple[Array, Array, Array]:
        x, site = manifold.generic_sample(key), _random_site(manifold, key)
        # Not fold_in(key, 1): `generic_sample` splits the key, and that is one of the parts.
        fresh = manifold.generic_sample(jax.random.fold_in(key, 4))
        moved = _with_noise(velocity, key, noise)

        # One loop with a single evaluation in its body: the velocity is compiled once.
        def evaluate(mask: Array) -> Any:
            return moved(_time(x), _where(manifold, mask, x, fresh))

        values = lax.map(evaluate, jnp.concatenate([whole, _roll(kept, site)]))
        value, *mixed = (jax.tree.map(lambda a, i=i: a[i], values) for i in range(len(kept) + 1))
        changes = [manifold.largest(subtract(v, value))[(mu, *site)] for mu, v in enumerate(mixed)]
        algebra = manifold.from_coordinates(manifold.coordinates(value))
        size, defect = (jnp.max(manifold.largest(v)) for v in (value, subtract(value, algebra)))
        return jnp.max(jnp.stack(changes)), size, defect

    changes, sizes, defects = lax.map(one, keys)
    return jnp.max(changes), jnp.max(sizes), jnp.max(defects)


def _time(x: Any) -> Array:
    return jnp.asarray(_TIME, precision(x))


def _random_site(manifold: AbstractManifold, key: PRNGKey) -> Array:
    return jax.random.randint(jax.random.fold_in(key, 2), (len(manifold.lattice),), 0, jnp.asarray(manifold.lattice))


def _with_noise(velocity: Velocity, key: PRNGKey, noise: float | Array) -> Velocity:
    arrays, static = eqx.partition(velocity, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)
    keys = jax.random.split(jax.random.fold_in(key, 3), max(len(leaves), 1))
    scale = jnp.asarray(noise)
    noisy = [a + scale.astype(a.dtype) * jax.random.normal(k, a.shape, a.dtype) for k, a in zip(keys, leaves, strict=False)]
    return eqx.combine(jax.tree.unflatten(structure, noisy), static)


def _roll(mask: Any, site: Array) -> Array:
    dim = site.shape[0]
    mask = jnp.asarray(mask)
    return jnp.roll(mask, tuple(site), axis=tuple(range(mask.ndim - dim, mask.ndim)))


def _where(manifold: AbstractManifold, mask: Array, x: Any, y: Any) -> Any:
    """`x` on the links (sites) of a mask `(directions, *lattice)`, `y` on the others."""
    return jax.tree.map(lambda m, a, b: jnp.where(m, a, b), manifold.spread(mask, x), x, y)
