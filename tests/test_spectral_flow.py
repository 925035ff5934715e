"""Spectral flows: eigenphases, the alcove, inverse next to degenerate eigenvalues, exact moments."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flow_table import KEY, case, one_matrix, spectral
from helpers import randomised, rows

import trivmap as tm
from trivmap.flows._spectral_cell import from_alcove, log_haar, to_alcove
from trivmap.groups import eigenphases, special_polar_factor, spectral_matrix
from trivmap.groups._eigen import inverse, polar_factor


def centre_phases(n, k):
    """exp(2 pi i k/n)."""
    angle = 2 * jnp.pi / n * jnp.asarray(k, float)
    return jax.lax.complex(jnp.cos(angle), jnp.sin(angle))


def nearly_degenerate(group, count):
    """Centre elements times exp(v) with |v| from 1 down to rounding."""
    size = 10.0 ** jnp.linspace(-17, 0, count)
    v = group.from_coordinates(size[None] * jax.random.normal(KEY, (group.dimension, count)))
    return group.exp(v) * centre_phases(group.n, jnp.arange(count))[None, None]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_eigenphases_rebuild_the_matrix(n):
    group = tm.SU(n)
    u = jnp.concatenate([group.haar(KEY, (500,)), nearly_degenerate(group, 100)], axis=2)
    theta, v = jax.jit(eigenphases)(u)
    assert jnp.max(jnp.abs(spectral_matrix(theta, v) - u)) < 1e-14
    assert jnp.max(jnp.abs(group.multiply(group.adjoint(v), v) - group.identity((600,)))) < 1e-14
    assert jnp.all(theta[1:] >= theta[:-1])
    low_theta, low_v = eigenphases(u.astype(jnp.complex64))
    assert jnp.max(jnp.abs(spectral_matrix(low_theta, low_v) - u.astype(jnp.complex64))) < 1e-5


@pytest.mark.parametrize("n", [2, 3, 4])
def test_derivatives_of_matrix_functions(n):
    group = tm.SU(n)
    u, generator = group.haar(KEY, ()), group.random_algebra(jax.random.key(1), ())
    function = lambda u: (lambda theta, v: spectral_matrix(jnp.sin(theta) + theta / 3, v))(*eigenphases(u))  # noqa: E731
    x = jax.random.normal(KEY, (2, n, n)) @ jnp.eye(n)
    x, y = jax.lax.complex(x[0], x[1]), jax.lax.complex(x[1], -x[0].T)
    for f, at, direction in (
        (function, u, group.multiply(generator, u)),
        (polar_factor, x, y),
        (lambda x: special_polar_factor(x, u), x, y),
    ):
        _, tangent = jax.jvp(f, (at,), (direction,))
        h = 1e-5
        shifted = [
            f(group.multiply(group.exp(s * generator), at)) if f is function else f(at + s * direction) for s in (h, -h)
        ]
        # Central differences: h^2 times a third derivative of order 100, rounding eps/h.
        assert jnp.max(jnp.abs((shifted[0] - shifted[1]) / (2 * h) - tangent)) < 1e-7


def test_polar_factor_is_covariant_and_unitary():
    group = tm.SU(3)
    x = sum(group.haar(jax.random.key(k), (200,)) for k in range(6))
    left, right = group.haar(jax.random.key(7), (200,)), group.haar(jax.random.key(8), (200,))
    near = group.haar(jax.random.key(9), (200,))
    a = special_polar_factor(x, near)
    assert group.unitarity_defect(a) < 1e-14
    overlap = jnp.sum(near.conj() * a, axis=(0, 1))
    assert all(jnp.all((root * overlap).real <= overlap.real) for root in centre_phases(3, [1, 2]))
    moved = special_polar_factor(*(group.multiply(left, group.multiply(y, right)) for y in (x, near)))
    assert jnp.max(jnp.abs(moved - group.multiply(left, group.multiply(a, right)))) < 1e-11
    assert jnp.max(jnp.abs(group.multiply(inverse(x), x) - group.identity((200,)))) < 1e-10


@pytest.mark.parametrize("n", [2, 3, 4])
def test_rounding_does_not_choose_the_active_loop(n):
    """Sums of two staples with equal weights, whose polar factor often has the determinant -1."""
    group, count = tm.SU(n), 4000
    first, second = group.haar(jax.random.key(1), (count,)), group.haar(jax.random.key(2), (count,))
    direction = group.random_algebra(KEY, (count,))
    a, moved = (special_polar_factor(first + group.multiply(group.exp(h * direction), second), first) for h in (0.0, 1e-12))
    # The derivative is 1/distance of an eigenvalue from -1: above 10^6 with a probability of 10^-6. Another root: order 1.
    assert jnp.max(jnp.abs(a - moved)) < 1e-6


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_alcove_is_reached_by_a_rotation(n):
    group = tm.SU(n)
    u = group.haar(KEY, (400,))
    theta, v = eigenphases(u)
    gaps, order = to_alcove(theta)
    x = from_alcove(gaps)
    assert jnp.max(jnp.abs(jnp.sum(x, axis=0))) < 1e-13
    assert jnp.all(x[1:] >= x[:-1])
    assert jnp.all(x[-1] - x[0] <= 2 * jnp.pi)
    assert jnp.max(jnp.abs(spectral_matrix(x, jnp.take_along_axis(v, order[None], axis=1)) - u)) < 1e-13
    values = jax.lax.complex(jnp.cos(theta), jnp.sin(theta))
    pairs = [jnp.abs(values[i] - values[j]) ** 2 for i in range(n) for j in range(i)]
    assert jnp.max(jnp.abs(log_haar(gaps) - sum(map(jnp.log, pairs)))) < 1e-8
    # The order of the eigenvalues of a centre rotation is that of the matrix, turned by one: gaps permute cyclically.
    turned, _ = to_alcove(eigenphases(u * centre_phases(n, 1))[0])
    assert jnp.max(jnp.abs(jnp.sort(turned, axis=0) - jnp.sort(gaps, axis=0))) < 1e-12


def _case(name):
    flow = case(f"spectral_{name}")
    return flow, flow.manifold.generic_sample(jax.random.key(2))


@eqx.filter_jit
def forward(flow, z):
    return jax.vmap(flow.forward_and_log_det)(z)


@eqx.filter_jit
def backward(flow, x):
    return jax.vmap(flow.inverse_and_log_det)(x)


def on_walls(group, count):
    """Two eigenvalues of a random matrix at a distance from 1 down to rounding."""
    gap = 10.0 ** jnp.linspace(-17, 0, count)
    first = jax.random.uniform(KEY, (group.n - 1, count), minval=-1.0, maxval=1.0)
    phases = jnp.concatenate([first, first[-1:] + gap[None]])
    phases = phases - jnp.mean(phases, axis=0)[None]
    return spectral_matrix(phases, group.haar(jax.random.key(6), (count,)))


@pytest.mark.parametrize("name", rows(["su2", "su3", "su4"], slow=["su4"]))
def test_degenerate_eigenvalues(name):
    flow, _ = _case(name)
    group = flow.manifold.group
    u = jnp.concatenate([on_walls(group, 400), nearly_degenerate(group, 400)], axis=2)
    u = jnp.moveaxis(u, 2, 0)[:, None, :, :, None]
    x, log_det = forward(flow, u)
    back, inverse_log_det = backward(flow, x)
    assert jnp.max(jnp.abs(back - u)) < 1e-9
    # Next to a centre element the log-det depends on the direction of v, which rounding hides if |v| is below 1e-6: an
    # error of eps/|v| remains. Where two eigenvalues meet nothing is lost.
    error = jnp.abs(log_det + inverse_log_det)
    assert jnp.max(error[:400]) < 1e-8
    assert jnp.max(error[400 + 400 * 11 // 17 :]) < 1e-8
    assert jnp.max(error) < 5
    # The identity and the other centre elements stay where they are; the slope there is that of the splines.
    phases = centre_phases(group.n, jnp.arange(group.n)).reshape(-1, 1, 1, 1, 1)
    centre = phases * group.identity((1,))[None, None]
    moved, at_centre = forward(flow, centre)
    assert jnp.max(jnp.abs(moved - centre)) < 1e-12
    assert jnp.all(jnp.isfinite(at_centre))

    @jax.jit
    def gradients(u):
        loss = lambda f, u: (lambda x, d: jnp.sum(x.real) + d)(*f.forward_and_log_det(u))  # noqa: E731
        arrays, static = eqx.partition(flow, eqx.is_inexact_array)
        return jax.grad(lambda a, u: loss(eqx.combine(a, static), u), (0, 1))(arrays, u)

    by_parameters, by_links = jax.vmap(gradients)(jnp.concatenate([centre, u[::40]]))
    for leaf in jax.tree.leaves(by_parameters):
        assert jnp.all(jnp.isfinite(leaf))
    # SU(2) has the derivative of its limit; for n > 2 the map has kinks where eigenvalues meet, and says so.
    finite = jnp.all(jnp.isfinite(by_links), axis=(1, 2, 3, 4))
    assert jnp.all(finite[: group.n]) == (group.n == 2)
    assert finite[-1]


@pytest.mark.slow
def test_transfer_to_a_larger_lattice():
    """A field that repeats the small lattice is carried to the repeated image, with as many times the log-det."""
    flow = randomised(KEY, tm.SpectralCouplingFlow(KEY, tm.LinkField(tm.SU(2), (4, 4)), 1, bins=4, hidden=(4,), reach=0), 0.2)
    z = flow.manifold.reference_sample(KEY)
    moved = tm.transfer(tm.Model(tm.HaarPrior(flow.manifold), flow), tm.WilsonAction(tm.SU(2), (8, 4), 1.0)).transport
    x, log_det = flow.forward_and_log_det(z)
    y, total = moved.forward_and_log_det(jnp.tile(z, (1, 1, 1, 2, 1)))
    assert jnp.max(jnp.abs(y - jnp.tile(x, (1, 1, 1, 2, 1)))) < 1e-11
    assert jnp.abs(total - 2 * log_det) < 1e-10
    with pytest.raises(ValueError, match="masks"):
        flow.on(tm.LinkField(tm.SU(2), (5, 4)))


def test_training_one_matrix_reaches_the_exact_moments():
    theory = tm.theories.MatrixAction(tm.SU(2), 9.0, (0.98, -0.63, -0.21))
    exact = tm.exact.OneMatrixModel(2, 9.0, (0.98, -0.63, -0.21))
    model = tm.Model(tm.HaarPrior(theory.manifold), tm.flows.SpectralFlow(KEY, theory.manifold, bins=16))
    model, _ = tm.fit(KEY, model, theory, steps=300, batch_size=256, optimiser=optax.adam(2e-2), progress=False)
    measure = {"trace": lambda x: theory.manifold.group.real_trace(x[0])[0]}
    ensemble = tm.sample(jax.random.key(1), model, theory, 8192, batch_size=2048, measure=measure)
    assert tm.ess_fraction(ensemble.log_weights) > 0.95
    for estimate, expected in (
        (tm.log_z(ensemble), exact.log_z()),
        (tm.expectation(ensemble, "trace"), exact.trace_moment(1)),
    ):
        assert abs(estimate.value - expected) < 4 * estimate.error


def test_matrix_action_against_its_definition():
    theory = tm.theories.MatrixAction(tm.SU(3), 9.0, (0.17, -0.65, 1.22))
    u = theory.manifold.reference_sample(KEY)
    eigenvalues = np.linalg.eigvals(np.asarray(u[0, :, :, 0]))
    expected = -3 * sum(c * np.sum(eigenvalues ** (k + 1)).real for k, c in enumerate((0.17, -0.65, 1.22)))
    assert abs(theory.action(u) - expected) < 1e-12


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda: tm.flows.SpectralFlow(KEY, tm.LinkField(tm.U1(), (1,))), TypeError, "SU\\(n\\)"),
        (lambda: tm.flows.SpectralFlow(KEY, tm.LinkField(tm.SU(2), (2, 2))), ValueError, "SpectralCouplingFlow"),
        (lambda: spectral(2, (4,)), ValueError, "two or more"),
        (lambda: spectral(2, (4, 1)), ValueError, "at least 2"),
        (lambda: spectral(2, (4, 4), loop="chair"), ValueError, "staples"),
        (lambda: tm.SpectralCouplingFlow(KEY, tm.LinkField(tm.SU(2), (2, 2)), 0), ValueError, "sweeps"),
        (lambda: one_matrix(2).forward(jnp.ones((1, 2, 2, 1), complex)), ValueError, "unitary"),
        (lambda: tm.theories.MatrixAction(tm.U1(), 1.0, (1.0,)), TypeError, "SU\\(n\\)"),
        (lambda: tm.theories.MatrixAction(tm.SU(2), 1.0, ()), ValueError, "coefficients"),
    ],
)
def test_errors_teach(construct, error, message):
    with pytest.raises(error, match=message):
        construct()
