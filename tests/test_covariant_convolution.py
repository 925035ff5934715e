"""Traces of loops site by site, and the convolution field built on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dense_divergence, randomised, scaled

from trivmap.fields import CovariantConvolutionField
from trivmap.fields._covariant_convolution import chebyshev_features
from trivmap.fields._loop_frame import combine, inner_products, laplacians, loop_functions
from trivmap.fields._loop_symmetry import tied_displacements
from trivmap.fields._loop_tables import all_images, make_tables
from trivmap.gauge import LoopAlgebra
from trivmap.groups import SU, U1
from trivmap.manifolds import LinkField, RealField
from trivmap.theories import WilsonAction

PLAQUETTE, RECTANGLE = (1, 2, -1, -2), (1, 1, 2, -1, -1, -2)
TIME = jnp.asarray(0.3)


def _trace(group, links, path, site):
    """(1/N) tr of a path from a site, one matrix at a time."""
    dim, at = len(site), list(site)
    extents = links.shape[-dim:]
    matrices = links if group.complex_elements else np.exp(1j * np.asarray(links))[:, None, None]
    product = np.eye(group.n)
    for step in path:
        mu = abs(step) - 1
        if step < 0:
            at[mu] = (at[mu] - 1) % extents[mu]
        link = np.asarray(matrices)[(mu, slice(None), slice(None), *at)]
        product = product @ (link if step > 0 else link.conj().T)
        if step > 0:
            at[mu] = (at[mu] + 1) % extents[mu]
    return np.trace(product) / group.n


def _functions(tables, group, links):
    w, gradients = loop_functions(tables, group, links)
    return w, gradients, inner_products(tables, gradients)


@pytest.mark.parametrize(
    ("group", "lattice", "loops", "imaginary"),
    [
        (SU(3), (3, 3), (PLAQUETTE, RECTANGLE), True),
        (SU(2), (2, 3, 2), (PLAQUETTE,), False),
        (U1(), (3, 2), (PLAQUETTE,), True),
        (SU(4), (2, 2), (PLAQUETTE,), True),
    ],
)
def test_traces_gradients_and_inner_products_agree_with_dense_derivatives(group, lattice, loops, imaginary):
    manifold = LinkField(group, lattice)
    x = manifold.reference_sample(jax.random.key(0))
    tables = make_tables(lattice, all_images(loops, len(lattice)), imaginary)
    w, gradients, products = jax.jit(lambda y: _functions(tables, group, y))(x)
    for k, path in enumerate(tables.paths):
        expected = _trace(group, x, path, (1,) * len(lattice))
        # A product of at most six matrices.
        assert abs(w[(k, *(1,) * len(lattice))] - expected.real) < 1e-14
        if imaginary:
            assert abs(w[(len(tables.paths) + k, *(1,) * len(lattice))] - expected.imag) < 1e-14

    def column(unit):
        v = manifold.from_coordinates(unit)
        return jax.jvp(lambda s: loop_functions(tables, group, manifold.exp(scaled(s, v), x))[0], (0.0,), (1.0,))[1]

    jacobian = jax.lax.map(column, jnp.eye(manifold.dimension)).reshape(manifold.dimension, -1)
    sites = int(np.prod(lattice))
    index = np.arange(sites).reshape(lattice)
    found = np.zeros((tables.size, sites, tables.size, sites))
    for (f, g, offset), row in zip(tables.pairs, products, strict=True):
        there = np.roll(index, [-r for r in offset], axis=tuple(range(len(lattice))))
        found[f, index.ravel(), g, there.ravel()] += row.ravel()
    assert np.max(np.abs(found.reshape(jacobian.shape[1], -1) - jacobian.T @ jacobian)) < 1e-13
    weights = jax.random.normal(jax.random.key(1), w.shape)
    velocity = manifold.coordinates(combine(tables, group, gradients, weights))
    assert np.max(np.abs(velocity - jacobian @ weights.ravel())) < 1e-13


def test_inner_products_are_those_of_the_loop_algebra():
    group, lattice = SU(3), (4, 4)
    algebra = LoopAlgebra(3, 2)
    x = LinkField(group, lattice).reference_sample(jax.random.key(0))
    tables = make_tables(lattice, all_images((PLAQUETTE,), 2), False)
    _, _, found = jax.jit(lambda y: _functions(tables, group, y))(x)
    term = algebra.term(tables.paths[0])
    for offset, expression in algebra.inner_by_offset(term, term).items():
        (row,) = [p for p, key in enumerate(tables.pairs) if key[2] == tuple(r % 4 for r in offset)]
        expected = 0.0
        for product, coefficient in expression.items():
            factors = [3 * _trace(group, x, loop.steps, tuple(s % 4 for s in loop.start)) for loop in product]
            expected += float(coefficient) * np.prod(np.array([1.0, *factors])).real / 9
        assert abs(found[row, 0, 0] - expected) < 1e-13


def test_chebyshev_features_of_an_angle():
    angle = jnp.linspace(0.1, 3.0, 7)
    h, dh, g, dg = chebyshev_features(jnp.cos(angle), 4, 2)
    for j in range(1, 5):
        assert jnp.max(jnp.abs(h[j - 1] - jnp.sin(j * angle) / jnp.sin(angle) / j**2)) < 1e-13
    slopes = jax.vmap(jax.jacfwd(lambda w: jnp.concatenate(chebyshev_features(w, 4, 2)[::2])))(jnp.cos(angle))
    assert jnp.max(jnp.abs(slopes.T - jnp.concatenate([dh, dg]))) < 1e-13
    assert jnp.max(jnp.abs(g[0] - jnp.cos(angle))) < 1e-15


def test_kernels_are_tied_on_orbits():
    plaquettes = all_images((PLAQUETTE,), 2)
    # Displacements 0, one along an axis, diagonal; on the whole of 8x8 the 15 orbits of an octant.
    assert tied_displacements((8, 8), plaquettes, 1)[1] == 3
    assert tied_displacements((8, 8), plaquettes, None)[1] == 15
    labels, count = tied_displacements((8, 8), all_images((PLAQUETTE, RECTANGLE), 2), 1)
    assert labels.max() == count
    # Plaquette and rectangle lie half a unit apart: the two plaquettes inside a rectangle are one orbit.
    assert np.array_equal(np.sort(np.unique(labels[1, 0][labels[1, 0] < count], return_counts=True)[1]), [2, 4])


def test_the_mean_of_the_first_kernel_is_the_leading_order_flow():
    manifold = LinkField(SU(3), (3, 4))
    x = manifold.reference_sample(jax.random.key(0))
    field = CovariantConvolutionField(manifold, features=1, gates=0, times=1)
    orbits = tied_displacements(manifold.lattice, field.tables.paths, None)[0]
    field = randomised(jax.random.key(1), field, 1.0)
    values = field.linear[0, 0]
    velocity, divergence = jax.jit(lambda y: field(TIME, y))(x)
    action = WilsonAction(SU(3), manifold.lattice, jnp.sum(values[orbits]))
    # h_1 = 1: Lambda is the sum of the kernel, and the field the plaquette force, L_0 tr U_p = 16/3 tr U_p.
    assert jnp.max(jnp.abs(velocity + action.gradient(x))) < 1e-12
    assert jnp.abs(divergence - 16 / 3 * action.action(x)) < 1e-11


def test_laplacian_counts_links():
    group, lattice = SU(2), (3, 4)
    tables = make_tables(lattice, all_images((PLAQUETTE, RECTANGLE), 2), False)
    w = jnp.ones((3, *lattice))
    # C_F = 3/4.
    assert jnp.array_equal(laplacians(tables, group, w)[:, 0, 0], jnp.asarray([-3.0, -4.5, -4.5]))


@pytest.mark.slow
def test_divergence_on_su3_in_three_dimensions():
    manifold = LinkField(SU(3), (2, 2, 2))
    x = manifold.reference_sample(jax.random.key(0))
    field = randomised(jax.random.key(1), CovariantConvolutionField(manifold, features=2, gates=1, mass=1.0), 0.3)
    expected = jax.jit(lambda y: dense_divergence(lambda z: field(TIME, z)[0], manifold, y))(x)
    # Sums of a few thousand terms of order one.
    assert jnp.abs(field(TIME, x)[1] - expected) < 1e-10 * jnp.maximum(1.0, jnp.abs(expected))


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda: CovariantConvolutionField(RealField((4, 4))), TypeError, "gauge links.*GatedConvolutionField"),
        (lambda: CovariantConvolutionField(LinkField(SU(2), (4,))), ValueError, "two dimensions or more"),
        (lambda: CovariantConvolutionField(LinkField(SU(2), (4, 4)), features=0), ValueError, "features: got 0"),
        (lambda: CovariantConvolutionField(LinkField(SU(2), (4, 4)), mass=0.0), ValueError, "mass: got 0.0"),
        (lambda: CovariantConvolutionField(LinkField(SU(2), (4, 4)), loops=((1, 2, -1),)), ValueError, "not closed"),
        (lambda: CovariantConvolutionField(LinkField(SU(2), (4, 4)), loops=((1, 3, -1, -3),)), ValueError, "steps"),
        (lambda: CovariantConvolutionField(LinkField(SU(2), (4, 2)), loops=(RECTANGLE,)), ValueError, "larger extents"),
    ],
)
def test_errors_teach(construct, error, message):
    with pytest.raises(error, match=message):
        construct()
