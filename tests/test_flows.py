"""Every flow of the table: inverse, log-det and score against dense Jacobians, symmetries, precisions, gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
from flow_table import FLOWS, case, configurations, flows
from helpers import gauge_transform, random_gauge_transformation, randomised

import trivmap as tm
from trivmap.lattice import reflect, rotate, translate


@eqx.filter_jit
def run(flow, batch):
    """Images, their log-dets, and both of the way back: one program, which most of the tests share."""
    x, log_det = jax.vmap(flow.forward_and_log_det)(batch)
    return x, log_det, *jax.vmap(flow.inverse_and_log_det)(x)


@flows()
def test_round_trip(name):
    row, flow = FLOWS[name], case(name)
    z = configurations(flow.manifold, row.batch)
    x, log_det, back, inverse_log_det = run(flow, z)
    # Rounding of a few layers, magnified by slopes of e^3 and less; the way back integrates with errors of its own.
    assert jnp.max(jnp.abs(back - z)) < 1e-9 + row.integration
    assert jnp.max(jnp.abs(log_det + inverse_log_det)) < 1e-8 + row.integration
    assert jnp.max(jnp.abs(x - z)) > 0.01
    # A zero log-det would agree with that of a wrong inverse.
    assert jnp.ptp(log_det) < 1e-12 if row.constant else jnp.ptp(log_det) > 1e-3
    assert jnp.max(jnp.abs(log_det)) > 1e-3


@eqx.filter_jit
def derivatives(flow, z, score):
    """Image, log-det, their derivatives along all coordinates of z, and what `forward_and_score` says of a given score."""
    manifold = flow.manifold

    def along(unit):
        motion = manifold.motion(manifold.from_coordinates(unit), z)
        (x, log_det), moved = jax.jvp(flow.forward_and_log_det, (z,), (motion,))
        return (x, log_det), (motion, *moved)

    units = jnp.eye(manifold.dimension)
    image, moved = jax.vmap(along, out_axes=(None, 0))(units)
    return image, moved, None if score is None else flow.forward_and_score(z, score)


def _coordinates(manifold, motions, x):
    """Coordinates of motions of x, as columns."""
    group = manifold.local_group
    if group.complex_elements:
        motions = jnp.einsum("cmij...,mkj...->cmik...", motions, jnp.conj(x))
    return jax.vmap(manifold.coordinates)(motions).T


@flows()
def test_log_det_and_score_against_the_dense_jacobian(name):
    """Scores obey d log q(x(z)) = d log r(z) - d log det, the right side of which needs the way forward only."""
    row, flow = FLOWS[name], case(name)
    manifold = flow.manifold
    batch = configurations(manifold, row.batch)
    z, score = batch[0], batch[1] if row.score else None  # any array is the score of some log r
    (x, log_det), (motions, moved, slopes), scored = derivatives(flow, z, score)
    expected = jnp.linalg.slogdet(_coordinates(manifold, moved, x))[1]
    # Elimination of a matrix of two hundred rows loses three digits at most.
    assert jnp.abs(log_det - expected) < 1e-11 + row.integration
    # One of a batch is the same as alone.
    batched, batched_log_det, *_ = run(flow, batch)
    assert jnp.max(jnp.abs(x - batched[0])) < 1e-12
    assert jnp.abs(log_det - batched_log_det[0]) < 1e-11
    if scored is None:
        return
    again, same, found = scored
    assert jnp.max(jnp.abs(x - again)) < 1e-12
    assert jnp.abs(log_det - same) < 1e-11
    pairing = lambda score, motions: jnp.sum((score[None] * motions).real.reshape(len(motions), -1), axis=1)  # noqa: E731
    change = pairing(score, motions) - slopes
    # The default goes back through the inverse, exact to 1e-9, and slopes of e^3 magnify it in second derivatives.
    assert jnp.max(jnp.abs(pairing(found, moved) - change)) < (1e-7 + row.integration) * jnp.max(jnp.abs(change))


def _symmetries(row, manifold):
    """The maps of configurations that a flow commutes with, by its row."""
    dim, links = len(manifold.lattice), isinstance(manifold, tm.LinkField)
    adjoint = manifold.group.adjoint if links else None
    if row.translation is not None:
        yield lambda x: translate(x, tuple(row.translation * (mu + 1) for mu in range(dim)))
    for axis in range(dim if row.reflections else 0):
        yield lambda x: reflect(x, axis, dim=dim, adjoint=adjoint)  # noqa: B023
        if axis and manifold.lattice[axis] == manifold.lattice[0]:
            yield lambda x: rotate(x, (0, axis), dim=dim, adjoint=adjoint)  # noqa: B023
    if row.sign:
        yield lambda x: x.conj() if jnp.iscomplexobj(x) else -x
    if links:
        omega = random_gauge_transformation(jax.random.key(4), manifold.group, manifold.lattice)
        yield lambda x: gauge_transform(manifold.group, omega, x)


@flows()
def test_symmetries(name):
    row, flow = FLOWS[name], case(name)
    z = configurations(flow.manifold, row.batch)
    x, log_det, *_ = run(flow, z)
    for symmetry in _symmetries(row, flow.manifold):
        moved, moved_log_det, *_ = run(flow, jax.vmap(symmetry)(z))
        # Rounding of some layers, each of which may magnify it by the largest slope of a spline.
        assert jnp.max(jnp.abs(moved - jax.vmap(symmetry)(x))) < 1e-10
        assert jnp.max(jnp.abs(moved_log_det - log_det)) < 1e-9


@flows()
def test_single_precision(name):
    row, flow = FLOWS[name], case(name)
    z = configurations(flow.manifold, row.batch)
    low = z.astype(jnp.complex64 if jnp.iscomplexobj(z) else jnp.float32)
    exact, exact_log_det, *_ = run(flow, z)
    x, log_det, back, inverse_log_det = run(flow, low)
    assert log_det.dtype == inverse_log_det.dtype == jnp.float64
    assert back.dtype == x.dtype == low.dtype
    # A few hundred operations, eps = 1.2e-7, and the slopes of some layers.
    away = jnp.max(jnp.abs(x.astype(exact.dtype) - exact).reshape(len(z), -1), axis=1)
    assert jnp.median(away) < 1e-4
    assert jnp.median(jnp.abs(log_det - exact_log_det)) < 1e-3
    # Where a map is nearly flat its inverse magnifies rounding by the reciprocal of the slope, and layers multiply: such
    # configurations are counted.
    error = jnp.max(jnp.abs(back - low).reshape(len(z), -1), axis=1)
    # Nine layers of mixtures have a median of 1e-4.
    assert jnp.median(error) < 5e-4
    assert jnp.mean((error > 1e-3) | (jnp.abs(log_det + inverse_log_det) > 1e-2)) <= row.magnified


@eqx.filter_jit
@eqx.filter_value_and_grad
def loss_and_gradient(flow, batch):
    return _loss(*jax.vmap(flow.forward_and_log_det)(batch))


def _loss(x, log_det):
    return jnp.mean(log_det) + jnp.mean(jnp.cos(x.real))


@flows(*(name for name, row in FLOWS.items() if row.learned))
def test_gradients_are_slopes(name):
    """Reverse mode through a flow against central differences along a random direction of its parameters."""
    row, flow = FLOWS[name], case(name)
    z = configurations(flow.manifold, row.batch)
    parameters = eqx.filter(flow, tm.training.trainable(flow))
    _, gradient = loss_and_gradient(flow, z[:4])
    direction = randomised(jax.random.key(7), jax.tree.map(jnp.zeros_like, parameters), 1.0)

    def along(s):
        x, log_det, *_ = run(eqx.apply_updates(flow, jax.tree.map(lambda d: s * d, direction)), z)
        # Few configurations: a sign that parameters follow (equivariance="sign") may change in between.
        return _loss(x[:4], log_det[:4])

    h = 1e-6
    pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    slope = sum(jnp.sum(g * d) for g, d in pairs)
    # h^2 times a third derivative, up to 1e6 where nine layers multiply, and eps/h times the size of the loss.
    assert jnp.abs((along(h) - along(-h)) / (2 * h) - slope) < 1e-6 * max(1.0, jnp.abs(slope))
    assert jnp.abs(slope) > 1e-3
