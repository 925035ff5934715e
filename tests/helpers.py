"""What several test files share: dense derivatives in coordinates, gauge transformations, random parameters and links."""

import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trivmap.lattice import shift
from trivmap.training import trainable


def as_users_have_it() -> dict[str, str]:
    """The environment for a process without the compiler flags that `make test` sets to save time."""
    return {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}


def rows(table, slow=()):
    """The names of a property table; those in `slow` are left to `make test-long`."""
    assert set(slow) <= set(table), f"unknown: {set(slow) - set(table)}"
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in table]


def scaled(s, v):
    """s v, in the dtypes of v."""
    return jax.tree.map(lambda a: a * jnp.asarray(s, a.dtype), v)


def random_configuration(manifold, key, dtype=None):
    """Of order one for real fields, whose reference measure cannot be sampled; disordered on compact manifolds."""
    hot, move = jax.random.split(key)
    return manifold.exp(manifold.random_tangent(move, dtype), manifold.hot(hot, dtype))


def close(x, y, **tolerance):
    """`jnp.allclose` for arrays or dictionaries of arrays of the same structure."""
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.allclose(a, b, **tolerance)), x, y)))


def along(f, manifold, x, v):
    """d/ds f(exp(s v) x) at s = 0."""
    return jax.jvp(lambda s: f(manifold.exp(scaled(s, v), x)), (0.0,), (1.0,))[1]


def dense_divergence(field, manifold, x):
    """sum_i d_i v^i of x -> tangent vector, one forward derivative per coordinate: the definition, at cost O(V^2)."""

    def term(unit):
        derivative = along(lambda y: manifold.coordinates(field(y)), manifold, x, manifold.from_coordinates(unit))
        return jnp.sum(derivative * unit)

    return jnp.sum(jax.lax.map(term, jnp.eye(manifold.dimension)))


def dense_jacobian(f, manifold, x):
    """Jacobian of a map of the manifold in tangent coordinates: column j holds the coordinates of (d_j f) f^{-1}."""
    y = f(x)

    def trivialised(motion, y):
        return jnp.einsum("mij...,mkj...->mik...", motion, jnp.conj(y)) if jnp.iscomplexobj(y) else motion

    def column(unit):
        motion = along(f, manifold, x, manifold.from_coordinates(unit))
        return manifold.coordinates(jax.tree.map(trivialised, motion, y))

    return jax.vmap(column)(jnp.eye(manifold.dimension)).T


def random_gauge_transformation(key, group, lattice):
    """Independent Haar-distributed group elements on the sites."""
    return group.haar(key, lattice)


def gauge_transform(group, omega, links):
    """U_mu(x) -> Omega(x) U_mu(x) Omega(x + mu)^dagger."""
    dim = links.shape[0]
    return jnp.stack(
        [group.multiply(group.multiply(omega, links[mu]), group.adjoint(shift(omega, mu, 1, dim))) for mu in range(dim)]
    )


def randomised(key, module, scale):
    """The module with normal noise of the given scale on every parameter: away from the special initial values."""
    arrays, static = eqx.partition(module, trainable(module))
    leaves, structure = jax.tree.flatten(arrays)
    keys = jax.random.split(key, len(leaves))
    noisy = [leaf + scale * jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    return eqx.combine(jax.tree.unflatten(structure, noisy), static)


def random_links(lattice, n=3, seed=0):
    """(4, n, n, *lattice) in SU(n), by Gram-Schmidt."""
    rng = np.random.default_rng(seed)
    shape = (4, *lattice, n, n)
    q, r = np.linalg.qr(rng.normal(size=shape) + 1j * rng.normal(size=shape))
    q = q / np.linalg.det(q)[..., None, None] ** (1 / n)
    return np.moveaxis(q, (-2, -1), (1, 2))
