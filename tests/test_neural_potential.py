"""A network of local traces as a potential: layers, symmetrisation, and agreement with the generic potential."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dense_divergence, randomised

from trivmap.fields import LocalPotential, LoopPotential, NeuralPotential
from trivmap.fields._loop_symmetry import surroundings
from trivmap.fields._loop_tables import all_images
from trivmap.groups import SU, U1
from trivmap.manifolds import LinkField, RealField
from trivmap.observables import plaquette

PLAQUETTE, RECTANGLE = (1, 2, -1, -2), (1, 1, 2, -1, -1, -2)
TIME = jnp.asarray(0.3)


def _potential(manifold, **options):
    return randomised(jax.random.key(1), NeuralPotential(jax.random.key(0), manifold, times=2, **options), 0.5)


@pytest.mark.parametrize(
    ("group", "lattice", "options"),
    [
        (SU(2), (2, 3, 2), {"hidden": (2,)}),
        (SU(3), (3, 3), {"hidden": (2, 3, 2)}),
        (SU(3), (3, 3), {"hidden": (2,), "loops": (PLAQUETTE, RECTANGLE)}),
        (U1(), (2, 3), {"hidden": (3,), "stencil": 2}),
    ],
)
def test_gradient_and_laplacian_are_the_derivatives_of_the_value(group, lattice, options):
    manifold = LinkField(group, lattice)
    potential = _potential(manifold, **options)
    x = manifold.reference_sample(jax.random.key(2))
    gradient, laplacian = jax.jit(lambda y: potential.gradient_and_laplacian(TIME, y))(x)
    expected = jax.jit(manifold.gradient(lambda y: potential(TIME, y)))(x)
    assert jnp.max(jnp.abs(gradient - expected)) < 1e-12
    dense = jax.jit(lambda y: dense_divergence(lambda z: potential.gradient(TIME, z), manifold, y))(x)
    # Sums of at most a few thousand terms of order one.
    assert jnp.abs(laplacian - dense) < 1e-10 * jnp.maximum(1.0, jnp.abs(dense))


class _Value(eqx.Module):
    potential: NeuralPotential

    def __call__(self, t, x):
        return self.potential(t, x)


def test_agrees_with_the_generic_local_potential():
    manifold = LinkField(SU(2), (4, 4))
    potential = _potential(manifold, hidden=(2,), stencil=0)
    x = manifold.reference_sample(jax.random.key(2))
    generic = LocalPotential(_Value(potential), manifold, 1, check=False)
    gradient, laplacian = jax.jit(lambda y: potential.gradient_and_laplacian(TIME, y))(x)
    other_gradient, other_laplacian = jax.jit(lambda y: generic.gradient_and_laplacian(TIME, y))(x)
    assert jnp.max(jnp.abs(gradient - other_gradient)) < 1e-12
    assert jnp.abs(laplacian - other_laplacian) < 1e-10


def test_value_of_one_unit_without_neighbours():
    manifold = LinkField(SU(2), (3, 4))
    potential = NeuralPotential(jax.random.key(0), manifold, hidden=(1,), stencil=0, times=1)
    potential = eqx.tree_at(lambda p: p.last, potential, jnp.ones((1, 1)))
    links = manifold.group.identity((2, 3, 4))
    x = jnp.moveaxis(links, 2, 0)
    assert plaquette(x) == 1
    # Twelve plaquettes, each tanh(a + b).
    expected = 12 * jnp.tanh(potential.first[0, 0] + potential.bias[0, 0])
    assert jnp.abs(potential(TIME, x) - expected) < 1e-13


def test_a_new_potential_is_its_base():
    manifold = LinkField(SU(3), (3, 3))
    x = manifold.reference_sample(jax.random.key(2))
    base = LoopPotential(manifold, coefficient=0.7)
    potential = NeuralPotential(jax.random.key(0), manifold, hidden=(2,), base=base)
    gradient, laplacian = jax.jit(lambda y: potential.gradient_and_laplacian(TIME, y))(x)
    base_gradient, base_laplacian = jax.jit(lambda y: base.gradient_and_laplacian(TIME, y))(x)
    assert jnp.array_equal(gradient, base_gradient)
    assert laplacian == base_laplacian
    assert potential(TIME, x) == base(TIME, x)
    moved = randomised(jax.random.key(1), potential, 0.5)
    gradient, laplacian = jax.jit(lambda y: moved.gradient_and_laplacian(TIME, y))(x)
    assert jnp.max(jnp.abs(gradient - jax.jit(manifold.gradient(lambda y: moved(TIME, y)))(x))) < 1e-12


def test_surroundings():
    star = surroundings(all_images((PLAQUETTE,), 2), 2, 1.0, False)
    assert star.loops.shape == (1, 5)
    # The symmetries of a square act on its four neighbours in eight ways; with charge conjugation there are sixteen.
    assert star.order.shape == (8, 5)
    assert surroundings(all_images((PLAQUETTE,), 2), 2, 1.0, True).order.shape == (16, 5)
    # In three dimensions: four in the plane, two parallel, eight perpendicular.
    cube = surroundings(all_images((PLAQUETTE,), 3), 3, 1.0, False)
    assert cube.loops.shape == (3, 15)
    assert cube.order.shape == (16, 15)
    for row in cube.order:
        assert np.array_equal(np.sort(row), np.arange(15))
        assert row[0] == 0


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda: NeuralPotential(jax.random.key(0), RealField((4, 4))), TypeError, "gauge links"),
        (lambda: NeuralPotential(jax.random.key(0), LinkField(SU(2), (4,))), ValueError, "two dimensions or more"),
        (lambda: NeuralPotential(jax.random.key(0), LinkField(SU(2), (4, 4)), hidden=()), ValueError, "width of one or more"),
        (lambda: _with_base_elsewhere(), ValueError, "same manifold"),
    ],
)
def test_errors_teach(construct, error, message):
    with pytest.raises(error, match=message):
        construct()


def _with_base_elsewhere():
    base = LoopPotential(LinkField(SU(2), (3, 3)))
    return NeuralPotential(jax.random.key(0), LinkField(SU(2), (4, 4)), base=base)
