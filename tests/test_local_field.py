"""Fields from any local function: exact divergence by colouring, at a cost per site that the volume does not change."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dense_divergence, scaled
from local_velocities import GatedForce, SiteNetwork

from trivmap.fields import GradientField, LocalField, LocalPotential, LoopPotential, dependence
from trivmap.groups import SU, U1
from trivmap.lattice import colour_sites, shift
from trivmap.manifolds import LinkField, RealField
from trivmap.theories import WilsonAction

TIME = jnp.asarray(0.3)


def gauge(group, lattice, reach=1, **options):
    manifold = LinkField(group, lattice)
    return LocalField(GatedForce(jnp.asarray([0.3, 0.5, 0.2]), manifold), manifold, reach, **options)


def scalar(lattice, reach=1, **options):
    return LocalField(SiteNetwork(jnp.asarray([0.3, 0.5, 0.2])), RealField(lattice), reach, **options)


def configuration(manifold, dtype=None):
    key = jax.random.key(2)
    if isinstance(manifold, RealField):
        return manifold.random_tangent(key, dtype)
    return manifold.reference_sample(key, dtype)


@eqx.filter_jit
def evaluate(field, t, x):
    return field(t, x)


@eqx.filter_jit
def _velocity(field, x):
    return field.velocity(TIME, x)


@eqx.filter_jit
def _dense_divergence(field, x):
    return dense_divergence(lambda y: field.velocity(TIME, y), field.manifold, x)


CASES = {
    "scalar_5": lambda: scalar((5,), check=False),
    "scalar_3x4": lambda: scalar((3, 4), check=False),
    "scalar_5x6": lambda: scalar((5, 6), check=False),
    "scalar_3x4x5": lambda: scalar((3, 4, 5), check=False),
    "u1_3x6": lambda: gauge(U1(), (3, 6), check=False),
    "u1_4x5": lambda: gauge(U1(), (4, 5), check=False),
    "u1_2x2": lambda: gauge(U1(), (2, 2), check=False),
    "u1_3x4x3": lambda: gauge(U1(), (3, 4, 3), check=False),
    "su2_5x4": lambda: gauge(SU(2), (5, 4), check=False),
    "su2_6x3": lambda: gauge(SU(2), (6, 3), check=False),
    "su2_3x3x4": lambda: gauge(SU(2), (3, 3, 4), check=False),
    "su3_4x3": lambda: gauge(SU(3), (4, 3), check=False),
    "su3_2x4x2": lambda: gauge(SU(3), (2, 4, 2), check=False),
}


@pytest.mark.parametrize("name", CASES)
def test_divergence_is_the_trace_of_the_dense_jacobian(name):
    field = CASES[name]()
    x = configuration(field.manifold)
    velocity, divergence = evaluate(field, TIME, x)
    # The same operations in another order: a few hundred roundings.
    assert jnp.max(jnp.abs(velocity - _velocity(field, x))) < 1e-13 * jnp.max(jnp.abs(velocity))
    expected = _dense_divergence(field, x)
    # Sums of at most a few thousand terms of order one, rounded once each.
    assert jnp.abs(divergence - expected) < 1e-10 * max(1.0, jnp.abs(expected))


def _derivatives_in(field):
    """Trips of the only loop of the evaluation, counted in the traced program."""
    x = jax.eval_shape(lambda: configuration(field.manifold))
    jaxpr = jax.make_jaxpr(lambda y: field(TIME, y))(x)
    loops = [eqn for eqn in jaxpr.jaxpr.eqns if eqn.primitive.name == "scan"]
    assert len(loops) == 1
    return loops[0].params["length"]


@pytest.mark.parametrize(
    ("group", "small", "large", "expected"),
    [
        (None, (8, 8), (16, 16), 4),
        (U1(), (8, 8), (16, 16), 8),
        (SU(2), (8, 8), (16, 16), 24),
        (SU(3), (8, 8), (16, 16), 64),
        (SU(2), (4, 4, 4), (6, 8, 10), 72),
    ],
)
def test_number_of_derivatives_does_not_depend_on_the_volume(group, small, large, expected):
    # d (r + 1)^d colours times the number of generators; each derivative is one evaluation of the linearised velocity.
    for lattice in (small, large):
        field = scalar(lattice, check=False) if group is None else gauge(group, lattice, check=False)
        assert field.derivatives == _derivatives_in(field) == expected


def test_cost_per_site_is_constant():
    def flops(extent):
        field, x = gauge(SU(2), (extent, extent), check=False), jnp.zeros((2, 2, 2, extent, extent), complex)
        # XLA counts the body of the loop once: the linearisation and one of 24 equal derivatives.
        return jax.jit(lambda y: field(TIME, y)).lower(x).compile().cost_analysis()["flops"] / extent**2

    assert abs(flops(16) / flops(8) - 1) < 0.05


@pytest.mark.parametrize("lattice", [(4,), (5,), (7, 6), (5, 5), (8, 8), (3, 4, 5), (2, 1, 6), (4, 4, 2, 6)])
@pytest.mark.parametrize("radius", [0, 1, 2])
def test_equal_colours_are_out_of_reach(lattice, radius):
    axes = [range(-radius, radius + 1)] * len(lattice)
    ball = tuple(itertools.product(*axes))
    table = colour_sites(lattice, ball)
    assert set(np.unique(table)) == set(range(int(table.max()) + 1))
    for step in ball:
        if any(d % extent for d, extent in zip(step, lattice, strict=True)):
            assert np.all(table != np.roll(table, step, axis=range(len(lattice)))), step
    if all(extent % (radius + 1) == 0 for extent in lattice):
        # The least possible, since all sites of a cube of extent radius + 1 differ.
        assert table.max() + 1 == (radius + 1) ** len(lattice)


def test_colourings_of_patterns():
    # Neighbours along the axes: the checkerboard, also where one extent is odd and the sum over both is not periodic.
    neighbours = ((1, 0), (0, 1))
    assert colour_sites((6, 4), neighbours).max() + 1 == 2
    assert colour_sites((5, 5), neighbours).max() + 1 <= 5
    # Nothing connected, and everything.
    assert colour_sites((3, 4), ()).max() == 0
    assert colour_sites((3, 4), tuple(itertools.product(range(3), range(4)))).max() == 11
    with pytest.raises(ValueError, match="read-only"):
        colour_sites((6, 4), neighbours)[0, 0] = 1


def test_dependence_finds_the_plaquettes_around_a_link_and_saves_colours():
    velocity = gauge(SU(2), (4, 6), check=False).velocity
    manifold = velocity.manifold
    table = dependence(velocity, manifold)
    expected = np.zeros((2, 2, 4, 6), dtype=bool)
    for mu, nu in ((0, 1), (1, 0)):
        for step in (-1, 0, 1):
            expected[(mu, mu, *np.roll((0, step), mu))] = True
        for along, across in itertools.product((0, 1), (0, -1)):
            expected[(mu, nu, *np.roll((along, across), mu))] = True
    assert np.array_equal(table, expected)
    # A new field with zeros in its coefficients depends on the same links once it is trained.
    silent = GatedForce(jnp.zeros(3), manifold)
    assert np.array_equal(dependence(silent, manifold), expected)
    # Links of one direction meet in plaquettes only across: two colours each, instead of four.
    field = LocalField(velocity, manifold, table)
    assert field.colours == 4
    x = configuration(manifold)
    _, divergence = evaluate(field, TIME, x)
    _, reference = evaluate(gauge(SU(2), (4, 6), check=False), TIME, x)
    assert jnp.abs(divergence - reference) < 1e-12 * max(1.0, jnp.abs(reference))


def test_dependence_of_scalars():
    network = SiteNetwork(jnp.zeros(3), hops=2)
    table = dependence(network, RealField((6, 7)))
    expected = np.zeros((1, 1, 6, 7), dtype=bool)
    expected[0, 0, [0, 2, 4, 0, 0], [0, 0, 0, 2, 5]] = True
    assert np.array_equal(table, expected)
    field = LocalField(network, RealField((6, 7)), table)
    assert field.colours == 4
    assert scalar((6, 7), 2).colours == 12


class MeanGate(eqx.Module):
    """Every site reacts to the mean over the lattice, with a coefficient that is zero at first."""

    strength: jax.Array

    def __call__(self, t, phi):
        return phi * (1 + self.strength.astype(phi.dtype) * jnp.mean(phi))


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: scalar((6, 6), 0), "reach=0.*dependence"),
        (lambda: LocalField(SiteNetwork(jnp.ones(3), hops=2), RealField((6, 5)), 1), "reach=1"),
        (lambda: LocalField(SiteNetwork(jnp.zeros(3), hops=2), RealField((6, 5)), 1), "noise of 0.1"),
        (lambda: LocalField(MeanGate(jnp.asarray(0.0)), RealField((8, 8)), 2), "noise of 0.1"),
        (lambda: LocalField(lambda t, x: jnp.where(x[0] > 0, x, 2 * x), RealField((6,)), 1), "reach=1"),
        (lambda: gauge(SU(2), (4, 4), 0), "reach=0"),
        (lambda: gauge(U1(), (4, 4), np.zeros((2, 2, 4, 4), bool)), "the given pattern"),
        (lambda: LocalPotential(lambda t, x: jnp.sum(x * shift(x, 0, 2, 1)), RealField((6,)), 1), "reach=1"),
        (lambda: LocalField(lambda t, x: x, LinkField(SU(2), (2, 2)), 0), "outside the algebra"),
        (lambda: LocalField(lambda t, x: x[0], RealField((6,)), 1), "expected a tangent vector"),
        (lambda: LocalField(lambda t, x: jnp.log(x), RealField((6,)), 1), "not finite"),
        (lambda: scalar((4,), -1), "zero or more"),
        (lambda: scalar((4,), np.ones((4,), bool)), "trivmap.fields.dependence returns"),
    ],
)
def test_a_wrong_velocity_or_reach_is_refused(construct, message):
    with pytest.raises(ValueError, match=message):
        construct()
    with pytest.raises(TypeError, match="lattice units"):
        scalar((4,), 1.5)


def test_the_check_steps_aside_inside_transformations():
    # Ensembles of fields are made by vmap, where values are not known.
    weights = jnp.asarray([[0.3, 0.5, 0.2], [0.1, 0.2, 0.3]])
    fields = eqx.filter_vmap(lambda w: LocalField(SiteNetwork(w), RealField((4,)), 1))(weights)
    assert fields.velocity.weights.shape == (2, 3)


@pytest.mark.parametrize("name", ["scalar_3x4", "su2_2x4"])
def test_gradients_with_respect_to_parameters_and_configuration(name):
    field = scalar((3, 4), check=False) if name.startswith("scalar") else gauge(SU(2), (2, 4), check=False)
    x = configuration(field.manifold)
    velocity = field.velocity

    @jax.jit
    def of_parameters(weights):
        leaf = jax.tree.leaves(velocity)[0]
        return eqx.tree_at(lambda f: jax.tree.leaves(f)[0], field, leaf + weights)(TIME, x)[1]

    slope = jax.jit(jax.grad(of_parameters))(jnp.zeros(3))
    exact = jax.jit(jax.jacfwd(of_parameters))(jnp.zeros(3))
    # Two exact methods.
    assert jnp.max(jnp.abs(slope - exact)) < 1e-11 * max(1.0, jnp.max(jnp.abs(exact)))
    assert jnp.max(jnp.abs(slope)) > 1e-3
    direction = field.manifold.random_tangent(jax.random.key(5))
    gradient = jax.jit(field.manifold.gradient(lambda y: field(TIME, y)[1]))(x)
    along = jax.jit(
        lambda: jax.jvp(
            lambda s: field(TIME, field.manifold.exp(scaled(s, direction), x))[1],
            (0.0,),
            (1.0,),
        )
    )()[1]
    assert jnp.abs(field.manifold.inner(gradient, direction) - along) < 1e-11 * max(1.0, jnp.abs(along))


@pytest.mark.parametrize("group", [SU(2), U1()])
def test_potential_agrees_with_the_closed_form(group):
    manifold = LinkField(group, (4, 3))
    exact = GradientField(LoopPotential(manifold, coefficient=0.7, times=1))

    def action(t, links):
        return WilsonAction(group, manifold.lattice, jnp.asarray(0.7)).action(links)

    field = GradientField(LocalPotential(action, manifold, 1))
    x = configuration(manifold)
    assert jnp.abs(field.potential(TIME, x) - exact.potential(TIME, x)) < 1e-12
    velocity, divergence = evaluate(field, TIME, x)
    expected_velocity, expected = evaluate(exact, TIME, x)
    assert jnp.max(jnp.abs(velocity - expected_velocity)) < 1e-13
    assert jnp.abs(divergence - expected) < 1e-12 * max(1.0, jnp.abs(expected))


def test_a_plain_function_leaves_no_leaves():
    field = LocalField(lambda t, x: jnp.sin(x), RealField((4,)), 0)
    assert jax.tree.leaves(field) == []
    velocity, divergence = jax.jit(lambda f, x: f(TIME, x))(field, jnp.ones(4))
    assert jnp.max(jnp.abs(velocity - jnp.sin(1.0))) < 1e-15
    assert jnp.abs(divergence - 4 * jnp.cos(1.0)) < 1e-14


@pytest.mark.parametrize("name", ["scalar_3x4", "u1_4x5", "su2_5x4"])
def test_float32(name):
    field = CASES[name]()
    x = configuration(field.manifold)
    low = x.astype(jnp.complex64 if jnp.iscomplexobj(x) else jnp.float32)
    velocity, divergence = evaluate(field, TIME.astype(jnp.float32), low)
    assert velocity.dtype == low.dtype
    assert divergence.dtype == jnp.float64
    _, expected = evaluate(field, TIME, x)
    # A few hundred terms of order one with about a hundred roundings each.
    assert jnp.abs(divergence - expected) < 1e-4 * max(1.0, jnp.abs(expected))
