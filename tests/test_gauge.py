"""Planes, plaquettes, staples and Casimirs, and the products of small matrices that all gauge code shares."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm
from trivmap.gauge import (
    LoopAlgebra,
    LoopFamily,
    casimir,
    link_matrices,
    oriented_links,
    planes,
    plaquette_angle,
    plaquette_sum,
    staple_links,
    staple_sum,
    staple_sum_of,
    staples,
)
from trivmap.groups import (
    adjoint,
    adjoint_times_stack,
    conjugate,
    generators,
    matrix_product,
    stack_times,
    stack_times_adjoint,
)
from trivmap.lattice import neighbours, shift

EPS = float(np.finfo(np.float64).eps)
LATTICES = [(2, 3), (3, 4), (2, 3, 4)]


def _complex(key, shape):
    return jax.lax.complex(*jax.random.normal(key, (2, *shape)))


def _links(group, lattice):
    return tm.LinkField(group, lattice).reference_sample(jax.random.key(3))


def _all_staples(group, links):
    """Staples of all links by `staple_links`, in NumPy and in JAX: `(2 (dim - 1), *element_shape, dim volume)` and sums."""
    dim, lattice = len(links), links.shape[1 + len(group.element_shape) :]
    flat = jnp.moveaxis(links, 0, len(group.element_shape)).reshape(*group.element_shape, -1)
    mu, sites = np.divmod(np.arange(dim * math.prod(lattice), dtype=np.int32), np.int32(math.prod(lattice)))
    table = staple_links(neighbours(lattice), mu, sites)
    traced = jax.jit(staple_links)(tuple(map(jnp.asarray, neighbours(lattice))), jnp.asarray(mu), jnp.asarray(sites))
    assert np.array_equal(table, traced)
    return flat, staples(group, flat, jnp.asarray(table)), staple_sum_of(group, flat, jnp.asarray(table))


@pytest.mark.parametrize("lattice", LATTICES)
def test_neighbours_are_shifts(lattice):
    sites = jnp.arange(math.prod(lattice)).reshape(lattice)
    for mu in range(len(lattice)):
        for table, step in zip(neighbours(lattice), (1, -1), strict=True):
            assert np.array_equal(table[mu], shift(sites, mu, step, len(lattice)).reshape(-1))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_casimir_is_minus_the_sum_of_squared_generators(n):
    t = generators(n)
    squares = np.einsum("aij,ajk->ik", t, t)
    # n^2 - 1 products of numbers of size one half.
    assert np.allclose(squares, -float(casimir(n)) * np.eye(n), atol=n**2 * EPS, rtol=0)
    # The same without generators: the Laplacian of a loop that meets every link once.
    algebra = LoopAlgebra(n, 2)
    plaquette = algebra.term((1, 2, -1, -2))
    assert algebra.laplacian(plaquette) == {plaquette: 4 * casimir(n)}


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("n", [2, 3, 4])
def test_sums_of_staples_agree(n, lattice):
    group = tm.SU(n)
    links = _links(group, lattice)
    flat, each, total = _all_staples(group, links)
    expected = jnp.moveaxis(staple_sum(group, links), 0, 2).reshape(flat.shape)
    # Two products of n terms, entries at most one, and 2 (dim - 1) summands.
    tolerance = 4 * n * 2 * len(lattice) * EPS
    assert jnp.max(jnp.abs(jnp.sum(each, axis=0) - expected)) < tolerance
    assert jnp.max(jnp.abs(total - expected)) < tolerance
    # Every plaquette is counted by each of its four links.
    found = jnp.sum(group.real_trace(group.multiply(flat, total)))
    assert jnp.abs(found - 4 * plaquette_sum(group, links)) < tolerance * flat.shape[-1]


@pytest.mark.parametrize("lattice", LATTICES)
def test_staples_of_angles_close_the_plaquettes(lattice):
    links = _links(tm.U1(), lattice)
    flat, each, total = _all_staples(tm.U1(), links)
    angles = [plaquette_angle(links, mu, nu) for mu, nu in planes(len(lattice))]
    cosines = sum(jnp.sum(jnp.cos(angle)) for angle in angles)
    tolerance = 64 * EPS * each.size
    assert jnp.abs(jnp.sum(jnp.cos(flat[None] + each)) - 4 * cosines) < tolerance
    assert jnp.max(jnp.abs(total - jnp.sum(tm.U1().trace(each), axis=0))) < tolerance
    assert jnp.abs(plaquette_sum(tm.U1(), links) - cosines) < tolerance


def test_the_plaquette_of_matrices_is_that_of_angles():
    links = _links(tm.U1(), (3, 4))
    matrices = link_matrices(links)
    oriented = oriented_links(matrices)
    # U_0(x) U_1(x + 0) U_0(x + 1)^dagger U_1(x)^dagger by the directions 0, 1 and, from x + 1, 2 + 0, 2 + 1.
    loop = matrix_product(oriented[0], shift(oriented[1], 0, 1, 2))
    loop = matrix_product(loop, shift(shift(oriented[2], 0, 1, 2), 1, 1, 2))
    loop = matrix_product(loop, shift(oriented[3], 1, 1, 2))
    assert jnp.max(jnp.abs(loop[0, 0] - tm.U1().trace(plaquette_angle(links, 0, 1)))) < 16 * EPS


def test_oriented_links_of_longer_transports():
    links = _links(tm.SU(2), (4, 3))
    twice = jnp.stack([matrix_product(u, shift(u, mu, 1, 2)) for mu, u in enumerate(links)])
    oriented = oriented_links(twice, 2)
    for mu in range(2):
        product = matrix_product(shift(oriented[mu], mu, -2, 2), oriented[2 + mu])
        assert jnp.max(jnp.abs(product - tm.SU(2).identity((4, 3)))) < 32 * EPS


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_products_of_matrices_are_those_of_numpy(n):
    keys = jax.random.split(jax.random.key(0), 2)
    a, b = (_complex(key, (4, n, n, 6)) for key in keys)
    last = [np.moveaxis(np.asarray(m), -1, 1) for m in (a, b)]
    dagger = [np.swapaxes(m, -1, -2).conj() for m in last]
    # Sums of n products of numbers up to about four in size; three factors in the last line.
    tolerance = 64 * n**2 * EPS
    cases = [
        (jax.vmap(matrix_product)(a, b), last[0] @ last[1]),
        (stack_times(a, b), last[0] @ last[1]),
        (stack_times_adjoint(a, b), last[0] @ dagger[1]),
        (adjoint_times_stack(a, b), dagger[0] @ last[1]),
        (jax.vmap(adjoint)(a), dagger[0]),
        (conjugate(a[0], b), last[0][0] @ last[1] @ dagger[0][0]),
        (conjugate(a[0], b.reshape(2, 2, n, n, 6)).reshape(b.shape), last[0][0] @ last[1] @ dagger[0][0]),
        (conjugate(a[0], b[1]), (last[0][0] @ last[1] @ dagger[0][0])[1]),
    ]
    for found, expected in cases:
        found = np.moveaxis(np.asarray(found), -1, -3)
        assert np.max(np.abs(found - expected)) < tolerance * max(1, np.max(np.abs(expected)))


@pytest.mark.parametrize(("n", "dim"), [(1, 2), (2, 3), (3, 2)])
def test_normalised_families_count_plaquettes_on_unit_links(n, dim):
    algebra = LoopAlgebra(n, dim)
    terms = [algebra.canonical(algebra.term(path)) for path in ((1, 2, -1, -2), (1, 1, 2, -1, -1, -2))]
    family = LoopFamily(algebra, terms)
    manifold = tm.LinkField(tm.SU(n) if n > 1 else tm.U1(), (3,) * dim)
    unit = jax.vmap(lambda _: manifold.group.identity(manifold.lattice))(jnp.arange(dim))
    values, _ = family.values_and_gradient(jnp.zeros(len(family.terms)), unit)
    count = len(planes(dim)) * math.prod(manifold.lattice)
    assert np.allclose(values * family.normalisation(), count, rtol=16 * EPS * count)


def test_planes_are_all_pairs_of_directions():
    assert planes(1) == []
    assert planes(4) == [(mu, nu) for mu, nu in itertools.product(range(4), repeat=2) if mu < nu]
