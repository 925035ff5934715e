"""Residual flows: step bound, derivatives of the inverse, kinds of updates, potentials of a user's own, errors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_table import RECTANGLES, case, residual
from helpers import dense_jacobian, randomised

import trivmap as tm


def _case(name, scale=None):
    flow = case(f"residual_{name}", scale)
    return flow, flow.manifold.generic_sample(jax.random.key(2))


@eqx.filter_jit
def _jacobian(function, manifold, x):
    return dense_jacobian(function, manifold, x)


@pytest.mark.parametrize("name", ["u1_odd", "su2"])
def test_derivatives_of_the_inverse_are_those_of_the_implicit_function(name):
    flow, z = _case(name)
    x, jacobian = flow.forward(z), _jacobian(flow.forward, flow.manifold, z)
    inverse = _jacobian(flow.inverse, flow.manifold, x)
    # Tens of layers, each exact to rounding.
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


class Plain(tm.fields.AbstractPotential):
    """A potential with the capabilities that residual layers need, and without those that save time."""

    inner: tm.fields.AbstractPotential
    manifold: tm.LinkField = eqx.field(static=True)

    def __call__(self, t, x):
        return self.inner(t, x)

    def gradient_and_laplacian(self, t, x):
        return self.inner.gradient_and_laplacian(t, x)

    def receptive_field(self):
        return self.inner.receptive_field()

    def curvature_bound(self, t):
        return self.inner.curvature_bound(t)


def test_all_kinds_of_updates_agree():
    flow, z = _case("su3")
    arrays, times, _ = flow._inputs()
    potential = flow._layer(jax.tree.map(lambda leaf: leaf[0], arrays[0]))
    links = jnp.moveaxis(z, 0, 2).reshape(3, 3, -1)
    table = jax.tree.map(lambda leaf: leaf[0], flow._tables())
    without = table._replace(staples=None)
    updates = [
        flow._update(potential, times[0], links, table, None),
        flow._update(potential, times[0], links, without, None),
        flow._update(Plain(potential, flow.manifold), times[0], links, without, None),
    ]
    assert len({type(update) for update in updates}) == 3
    u = links[..., flow._masks.active[0]]
    expected, *others = (update.velocity_and_curvature(u) for update in updates)
    for other in others:
        for a, b in zip(expected, other, strict=True):
            assert jnp.max(jnp.abs(a - b)) < 1e-14


@pytest.mark.parametrize("name", ["su2", "u1_odd"])
def test_curvature_bound_holds_and_is_reached(name):
    # On a trivial configuration all plaquettes pull in the same direction: the bound is the curvature there.
    flow, _ = _case(name)
    potential = tm.LoopPotential(flow.manifold, coefficient=1.0, time="constant")

    bound = float(potential.curvature_bound(jnp.zeros(())))
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


def test_every_link_moves_and_extents_need_not_be_even():
    flow = residual(tm.U1(), (3, 5))
    masks = flow._masks
    assert sorted(masks.active[masks.used]) == list(range(30))
    assert residual(tm.U1(), (4, 4))._masks.count == 4
    assert residual(tm.SU(2), (4, 4, 4, 4))._masks.count == 8


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


def test_unknown_curvature_can_be_given():
    manifold = tm.RealField((4, 4))
    potential = tm.fields.LocalPotential(lambda t, x: jnp.sum(jnp.cos(x) - jnp.sin(x) * jnp.roll(x, 1, 0) / 8), manifold, 1)
    with pytest.raises(TypeError, match="curvature_bound"):
        tm.ResidualFlow(potential, 1)
    # Slopes that are too large for the promised bound: there is no unique inverse, which is not hidden.
    steep = tm.fields.LocalPotential(lambda t, x: -4 * jnp.sum(jnp.cos(2 * x)), manifold, 1)
    wrong = tm.ResidualFlow(steep, 1, curvature=0.1)
    x = 3 * jax.random.normal(jax.random.key(0), manifold.shape)
    assert jnp.any(jnp.isnan(eqx.filter_jit(wrong.inverse)(x)))


class Cosines(tm.fields.AbstractPotential):
    """V = a sum_x cos(phi_x) + b sum_{x, mu} cos(phi_x + phi_{x+mu}): written from the interfaces alone."""

    strengths: jax.Array
    manifold: tm.RealField = eqx.field(static=True)

    def __call__(self, t, x):
        a, b = self.strengths.astype(x.dtype)
        return a * jnp.sum(jnp.cos(x)) + b * sum(jnp.sum(jnp.cos(pair)) for pair in self._pairs(x))

    def _pairs(self, x):
        return [x + jnp.roll(x, -1, mu) for mu in range(x.ndim)]

    def gradient_and_laplacian(self, t, x):
        a, b = self.strengths.astype(x.dtype)
        sines = [(jnp.sin(pair), mu) for mu, pair in enumerate(self._pairs(x))]
        gradient = -a * jnp.sin(x) - b * sum(s + jnp.roll(s, 1, mu) for s, mu in sines)
        laplacian = -a * jnp.sum(jnp.cos(x)) - 2 * b * sum(jnp.sum(jnp.cos(pair)) for pair in self._pairs(x))
        return gradient, laplacian

    def receptive_field(self):
        return tuple((0, 0, *step) for step in ((1, 0), (-1, 0), (0, 1), (0, -1)))

    def curvature_bound(self, t):
        return jnp.abs(self.strengths[0]) + 2 * len(self.manifold.lattice) * jnp.abs(self.strengths[1])

    def on(self, manifold):
        return Cosines(self.strengths, manifold)


def _own(tied):
    manifold = tm.RealField((4, 4))
    flow = tm.ResidualFlow(Cosines(jnp.array([0.3, 0.2]), manifold), 2, tied=tied)
    return randomised(jax.random.key(3), flow, 0.1)


@pytest.mark.parametrize("tied", [False, True])
def test_a_potential_of_a_users_own(tied):
    """Its capabilities are those of the library's: masks, step bound, exact Jacobian, inverse, transfer."""
    flow = _own(tied)
    manifold = flow.manifold
    z = manifold.generic_sample(jax.random.key(0))
    assert flow._masks.count == 2  # a checkerboard, as its terms are pairs of neighbours
    assert jnp.all(flow.layer_bounds() < flow.bound)
    x, log_det = eqx.filter_jit(flow.forward_and_log_det)(z)
    assert jnp.abs(log_det - jnp.linalg.slogdet(_jacobian(flow.forward, manifold, z))[1]) < 1e-11
    assert jnp.max(jnp.abs(flow.inverse(x) - z)) < 1e-11
    theory = tm.Phi4Action((8, 4), m2=-1.0, lam=1.0)
    moved = tm.transfer(tm.Model(tm.GaussianPrior(manifold), flow), theory).transport
    assert moved.manifold == theory.manifold
    y, total = eqx.filter_jit(moved.forward_and_log_det)(jnp.tile(z, (2, 1)))
    assert jnp.max(jnp.abs(y - jnp.tile(x, (2, 1)))) < 1e-12
    assert jnp.abs(total - 2 * log_det) < 1e-11


def test_capabilities_that_a_potential_lacks_are_named():
    manifold = tm.RealField((4, 4))
    potential = tm.fields.LocalPotential(lambda t, x: jnp.sum(jnp.cos(x)), manifold, 0)
    flow = tm.ResidualFlow(potential, 1, curvature=1.0)
    with pytest.raises(TypeError, match=r"LocalPotential belong to its lattice .*`on\(manifold\)`"):
        flow.on(tm.RealField((8, 4)))

    class Without(Cosines):
        receptive_field = tm.fields.AbstractPotential.receptive_field

    with pytest.raises(TypeError, match=r"Without may depend on the whole lattice.*receptive_field\(\)"):
        tm.ResidualFlow(Without(jnp.array([0.3, 0.2]), manifold), 1)


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda: tm.ResidualFlow(tm.LoopPotential(tm.LinkField(tm.U1(), (4, 4))), 0), ValueError, "sweeps"),
        (lambda: residual(tm.U1(), (4, 4), bound=1.0), ValueError, "Lipschitz"),
        (lambda: residual(tm.SU(2), (3, 3), RECTANGLES, hidden=(4,)), ValueError, "plaquettes on SU"),
        (lambda: tm.fields.NeighbourPotential(jax.random.key(0), tm.LinkField(tm.U1(), (4, 4))), TypeError, "real fields"),
        (lambda: tm.fields.NeighbourPotential(jax.random.key(0), tm.RealField((4, 4)), sites=0), ValueError, "sites: got 0"),
        (
            lambda: residual(tm.SU(2), (2, 2)).forward(
                1.1 * tm.LinkField(tm.SU(2), (2, 2)).reference_sample(jax.random.key(0))
            ),
            ValueError,
            "unitary",
        ),
        (lambda: residual(tm.SU(2), (2, 2)).forward(jnp.zeros((2, 2, 2, 2, 3), complex)), ValueError, "extents"),
    ],
)
def test_errors_teach(construct, error, message):
    with pytest.raises(error, match=message):
        construct()


def test_links_that_are_not_unitary_give_nan_inside_of_jit():
    flow, z = _case("su2")
    assert jnp.isnan(eqx.filter_jit(flow.forward_and_log_det)(1.1 * z)[1])
