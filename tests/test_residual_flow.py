"""Residual flows: exact inverse and Jacobian, step bound, symmetry, derivatives of the inverse, errors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dense_jacobian, gauge_transform, random_gauge_transformation, randomised, rows

import trivmap as tm
from trivmap.gauge import LoopAlgebra


def _loops(group, lattice, terms=None, **options):
    potential = tm.LoopPotential(tm.LinkField(group, lattice), terms, coefficient=1.0, time="constant")
    return tm.ResidualFlow(potential, 2, **options)


RECTANGLES = [(1, 2, -1, -2), (1, 1, 2, -1, -1, -2)]

# The square of a plaquette contains its links twice.
PRODUCTS = [LoopAlgebra(2, 2).term((1, 2, -1, -2), (1, 2, -1, -2))]

FLOWS = {
    "u1": lambda: _loops(tm.U1(), (4, 2)),
    "u1_odd": lambda: _loops(tm.U1(), (3, 2)),
    "su2": lambda: _loops(tm.SU(2), (2, 2)),
    "su3": lambda: _loops(tm.SU(3), (2, 2)),
    "su2_conditioned": lambda: _loops(tm.SU(2), (4, 2), hidden=(4,)),
    "su2_products": lambda: _loops(tm.SU(2), (3, 3), PRODUCTS),
    "su2_rectangles": lambda: _loops(tm.SU(2), (3, 3), RECTANGLES),
    "scalar": lambda: tm.ResidualFlow(tm.fields.NeighbourPotential(jax.random.key(0), tm.RealField((4, 2))), 2),
}


def _case(name, scale=0.5):
    flow = randomised(jax.random.key(1), FLOWS[name](), scale)
    manifold = flow.manifold
    if isinstance(manifold, tm.RealField):
        return flow, 2 * jax.random.normal(jax.random.key(2), manifold.shape)
    return flow, manifold.reference_sample(jax.random.key(2))


@eqx.filter_jit
def _jacobian(function, manifold, x):
    return dense_jacobian(function, manifold, x)


@pytest.mark.parametrize("name", rows(FLOWS, slow=["su2_products", "su3"]))
def test_log_det_and_inverse_against_dense_jacobians(name):
    flow, z = _case(name)
    x, log_det = eqx.filter_jit(flow.forward_and_log_det)(z)
    jacobian = _jacobian(flow.forward, flow.manifold, z)
    # Tens of layers, each exact to rounding.
    assert jnp.abs(log_det - jnp.linalg.slogdet(jacobian)[1]) < 1e-11
    assert jnp.abs(log_det) > 1e-3
    back, inverse_log_det = eqx.filter_jit(flow.inverse_and_log_det)(x)
    assert jnp.max(jnp.abs(back - z)) < 1e-11
    assert jnp.abs(log_det + inverse_log_det) < 1e-10
    if name not in ("u1_odd", "su2"):
        return
    # Derivatives pass through the fixed point as those of the implicit function.
    inverse = _jacobian(flow.inverse, flow.manifold, x)
    assert jnp.max(jnp.abs(inverse @ jacobian - jnp.eye(flow.manifold.dimension))) < 1e-9


@pytest.mark.parametrize("name", ["u1", "su2", "su3", "su2_conditioned"])
def test_large_parameters_stay_invertible(name):
    flow, _ = _case(name, scale=20.0)
    assert jnp.all(flow.layer_bounds() <= flow.bound)
    assert jnp.max(flow.layer_bounds()) > 0.8 * flow.bound
    z = jax.vmap(flow.manifold.reference_sample)(jax.random.split(jax.random.key(3), 64))
    x, log_det = jax.jit(jax.vmap(flow.forward_and_log_det))(z)
    back, inverse_log_det = jax.jit(jax.vmap(flow.inverse_and_log_det))(x)
    # Inverse steps expand distances by at most 1/(1 - 0.9) = 10 per layer, in practice on few links.
    assert jnp.max(jnp.abs(back - z)) < 1e-8
    assert jnp.max(jnp.abs(log_det + inverse_log_det)) < 1e-8


def test_the_general_update_agrees_with_staples():
    flow, z = _case("su3")
    from trivmap.flows._residual_layer import PotentialLayer

    masks = flow._masks
    arrays, times, _ = flow._inputs()
    potential = flow._layer(jax.tree.map(lambda leaf: leaf[0], arrays[0]))
    links = jnp.moveaxis(z, 0, 2).reshape(3, 3, -1)
    table = jax.tree.map(lambda leaf: leaf[0], flow._tables())
    update = flow._update(potential, times[0], links, table, None)
    general = flow._update(potential, times[0], links, table._replace(staples=None), None)
    assert isinstance(general, PotentialLayer)
    u = links[..., masks.active[0]]
    for a, b in zip(update.velocity_and_curvature(u), general.velocity_and_curvature(u), strict=True):
        assert jnp.max(jnp.abs(a - b)) < 1e-14


@pytest.mark.parametrize("name", ["su2", "u1_odd"])
def test_curvature_bound_holds_and_is_reached(name):
    # On a trivial configuration all plaquettes pull in the same direction: the bound is the curvature there.
    flow = FLOWS[name]()
    potential = tm.LoopPotential(flow.manifold, coefficient=1.0, time="constant")
    from trivmap.flows._residual_bounds import curvature_bound

    bound = float(curvature_bound(potential, jnp.zeros(())))
    gradient = flow.manifold.gradient(lambda x: potential(jnp.zeros(()), x))
    identity = jax.vmap(lambda k: flow.manifold.group.identity(flow.manifold.lattice))(jnp.arange(2))
    hessian = _jacobian_of(gradient, flow.manifold, identity)
    assert jnp.abs(jnp.max(jnp.abs(jnp.diag(hessian))) - bound) < 1e-12


def _jacobian_of(gradient, manifold, x):
    from helpers import along

    def column(unit):
        return along(lambda y: manifold.coordinates(gradient(y)), manifold, x, manifold.from_coordinates(unit))

    return jax.vmap(column)(jnp.eye(manifold.dimension))


def test_first_order_in_the_step_is_the_continuous_flow():
    # One sweep of strength c is an Euler step of the gradient flow up to O(c^2).
    manifold = tm.LinkField(tm.SU(2), (4, 4))
    z = manifold.reference_sample(jax.random.key(0))
    errors = []
    for c in (0.02, 0.01):
        potential = tm.LoopPotential(manifold, coefficient=c, time="constant")
        discrete = eqx.filter_jit(tm.ResidualFlow(potential, 1).forward_and_log_det)(z)
        continuous = eqx.filter_jit(tm.ContinuousFlow(tm.GradientField(potential), steps=2).forward_and_log_det)(z)
        errors.append([float(jnp.max(jnp.abs(a - b))) for a, b in zip(discrete, continuous, strict=True)])
    slopes = np.log2(np.array(errors[0]) / errors[1])
    assert np.all(np.abs(slopes - 2) < 0.1), slopes


@pytest.mark.parametrize("name", ["u1", "su2_conditioned", "su3"])
def test_gauge_equivariance(name):
    flow, z = _case(name)
    group = flow.manifold.group
    omega = random_gauge_transformation(jax.random.key(4), group, flow.manifold.lattice)
    x, log_det = eqx.filter_jit(flow.forward_and_log_det)(z)
    moved, other = eqx.filter_jit(flow.forward_and_log_det)(gauge_transform(group, omega, z))
    assert jnp.max(jnp.abs(moved - gauge_transform(group, omega, x))) < 1e-12
    assert jnp.abs(log_det - other) < 1e-11


def test_every_link_moves_and_extents_need_not_be_even():
    flow = _loops(tm.U1(), (3, 5))
    masks = flow._masks
    assert sorted(masks.active[masks.used]) == list(range(30))
    assert _loops(tm.U1(), (4, 4))._masks.count == 4
    assert _loops(tm.SU(2), (4, 4, 4, 4))._masks.count == 8


def test_transfer_to_a_larger_lattice():
    """A field that repeats the small lattice is carried to the repeated image, with as many times the log-det."""
    flow, z = _case("u1")
    moved = tm.transfer(tm.Model(tm.HaarPrior(flow.manifold), flow), tm.WilsonAction(tm.U1(), (8, 2), 1.0)).transport
    x, log_det = eqx.filter_jit(flow.forward_and_log_det)(z)
    y, total = eqx.filter_jit(moved.forward_and_log_det)(jnp.tile(z, (1, 2, 1)))
    assert jnp.max(jnp.abs(y - jnp.tile(x, (1, 2, 1)))) < 1e-12
    assert jnp.abs(total - 2 * log_det) < 1e-11
    with pytest.raises(ValueError, match="masks"):
        flow.on(tm.LinkField(tm.U1(), (5, 3)))


def test_float32():
    flow, z = _case("su3")
    x, log_det = eqx.filter_jit(flow.forward_and_log_det)(z.astype(jnp.complex64))
    exact, expected = eqx.filter_jit(flow.forward_and_log_det)(z)
    assert x.dtype == jnp.complex64
    assert log_det.dtype == jnp.float64
    assert jnp.max(jnp.abs(x.astype(exact.dtype) - exact)) < 1e-5
    assert jnp.abs(log_det - expected) < 1e-4
    back, _ = eqx.filter_jit(flow.inverse_and_log_det)(x)
    assert jnp.max(jnp.abs(back - z.astype(jnp.complex64))) < 1e-4


def test_unknown_curvature_can_be_given():
    manifold = tm.RealField((4, 4))
    potential = tm.fields.LocalPotential(lambda t, x: jnp.sum(jnp.cos(x) - jnp.sin(x) * jnp.roll(x, 1, 0) / 8), manifold, 1)
    with pytest.raises(ValueError, match="curvature"):
        tm.ResidualFlow(potential, 1)
    # Slopes that are too large for the promised bound: there is no unique inverse, which is not hidden.
    steep = tm.fields.LocalPotential(lambda t, x: -4 * jnp.sum(jnp.cos(2 * x)), manifold, 1)
    wrong = tm.ResidualFlow(steep, 1, curvature=0.1)
    x = 3 * jax.random.normal(jax.random.key(0), manifold.shape)
    assert jnp.any(jnp.isnan(eqx.filter_jit(wrong.inverse)(x)))


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda: tm.ResidualFlow(tm.LoopPotential(tm.LinkField(tm.U1(), (4, 4))), 0), ValueError, "sweeps"),
        (lambda: _loops(tm.U1(), (4, 4), bound=1.0), ValueError, "Lipschitz"),
        (lambda: _loops(tm.SU(2), (3, 3), RECTANGLES, hidden=(4,)), ValueError, "plaquettes on SU"),
        (lambda: tm.fields.NeighbourPotential(jax.random.key(0), tm.LinkField(tm.U1(), (4, 4))), TypeError, "real fields"),
        (lambda: tm.fields.NeighbourPotential(jax.random.key(0), tm.RealField((4, 4)), sites=0), ValueError, "sites: got 0"),
        (
            lambda: _loops(tm.SU(2), (2, 2)).forward(
                1.1 * FLOWS["su2"]().manifold.reference_sample(jax.random.key(0))[..., :2]
            ),
            ValueError,
            "unitary",
        ),
        (lambda: _loops(tm.SU(2), (2, 2)).forward(jnp.zeros((2, 2, 2, 2, 3), complex)), ValueError, "extents"),
    ],
)
def test_errors_teach(construct, error, message):
    with pytest.raises(error, match=message):
        construct()


def test_links_that_are_not_unitary_give_nan_inside_of_jit():
    flow, z = _case("su2")
    assert jnp.isnan(eqx.filter_jit(flow.forward_and_log_det)(1.1 * z)[1])
