"""Every discrete flow, one line each in the table: inverse, log-det, symmetries, precisions, gradients, depth, bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from helpers import dense_jacobian, gauge_transform, random_gauge_transformation, randomised

import trivmap as tm

KEY = jax.random.key(0)
SCALARS, U1_LINKS = tm.RealField((4, 6)), tm.LinkField(tm.U1(), (4, 8))
SPLINE = tm.transforms.RationalQuadraticSpline(4, (-2.0, 2.0))
NCP = tm.transforms.Composition(tm.transforms.NonCompactProjection(2), tm.transforms.Phase())
FAST = {"hidden": (6,), "reach": 1}


def _scalar(transform, layers=5, **options):
    return tm.CouplingFlow(KEY, SCALARS, layers, transform, **FAST | options)


def _u1(transform=None, layers=9, manifold=U1_LINKS, **options):
    return tm.GaugeCouplingFlow(KEY, manifold, layers, transform, **FAST | options)


FLOWS = {
    "affine": lambda: _scalar(tm.transforms.Affine()),
    "affine_sign": lambda: _scalar(tm.transforms.Affine(), reach=2, equivariance="sign"),
    "nice": lambda: tm.FlowSequence(_scalar(tm.transforms.Shift(), layers=4), tm.flows.Rescaling(SCALARS)),
    "spline": lambda: _scalar(tm.transforms.Composition(SPLINE, tm.transforms.Affine()), checkpoint=True),
    "spline_3d": lambda: tm.CouplingFlow(KEY, tm.RealField((2, 2, 4)), 3, SPLINE, **FAST),
    "fourier": lambda: tm.flows.FourierFlow(SCALARS, mass=0.7),
    "momenta": lambda: tm.FlowSequence(tm.flows.Rescaling(SCALARS, momenta=True), tm.flows.PointwiseFlow(SCALARS, SPLINE)),
    "u1_circular_spline": lambda: _u1(checkpoint=True),
    "u1_ncp_stripes": lambda: _u1(NCP, mask="stripes", pairs=False, equivariance="none"),
    "u1_moebius_3d": lambda: _u1(tm.transforms.Moebius(2), manifold=tm.LinkField(tm.U1(), (4, 4, 4)), equivariance="sign"),
    "u1_residual": lambda: tm.ResidualFlow(tm.LoopPotential(U1_LINKS, coefficient=1.0, time="constant"), 2),
    "residual": lambda: tm.ResidualFlow(tm.fields.NeighbourPotential(KEY, SCALARS), 2),
}


def case(name, scale=0.2):
    """A flow with random parameters of the size that training reaches."""
    return randomised(jax.random.key(1), FLOWS[name](), scale)


def configurations(manifold, count, dtype=None):
    """Random configurations of the prior, with a leading axis."""
    draw = manifold.random_tangent if isinstance(manifold, tm.RealField) else manifold.reference_sample
    return jax.vmap(lambda k: draw(k, dtype))(jax.random.split(jax.random.key(2), count))


@eqx.filter_jit
def forward(flow, batch):
    return jax.vmap(flow.forward_and_log_det)(batch)


@eqx.filter_jit
def inverse(flow, batch):
    return jax.vmap(flow.inverse_and_log_det)(batch)


@eqx.filter_jit
def _jacobian_log_det(flow, z):
    return jnp.linalg.slogdet(dense_jacobian(flow.forward, flow.manifold, z))[1]


@pytest.mark.parametrize("name", FLOWS)
def test_round_trip_of_every_configuration(name):
    flow = case(name)
    z = configurations(flow.manifold, 512)
    x, log_det = forward(flow, z)
    back, inverse_log_det = inverse(flow, x)
    # Rounding of a few layers, magnified by slopes of e^3 and less.
    assert jnp.max(jnp.abs(back - z)) < 1e-9
    assert jnp.max(jnp.abs(log_det + inverse_log_det)) < 1e-8
    assert jnp.max(jnp.abs(x - z)) > 0.1
    assert jnp.min(jnp.abs(log_det)) > 1e-6 if name != "nice" else jnp.ptp(log_det) < 1e-12


@pytest.mark.parametrize("name", FLOWS)
def test_log_det_matches_the_dense_jacobian(name):
    flow = case(name)
    z = configurations(flow.manifold, 1)
    # Elimination of a matrix of a hundred rows loses three digits at most.
    assert jnp.abs(forward(flow, z)[1][0] - _jacobian_log_det(flow, z[0])) < 1e-11


@eqx.filter_jit
def _score(flow, z, score):
    return flow.forward_and_score(z, score)


@pytest.mark.parametrize("name", FLOWS)
def test_score_is_the_derivative_of_the_log_density(name):
    """Found along with the sample, it agrees with the derivative through the inverse."""
    flow = case(name)
    z = configurations(flow.manifold, 1)[0]
    x, log_det, score = _score(flow, z, -z)
    expected_x, expected_log_det = forward(flow, z[None])
    assert jnp.max(jnp.abs(x - expected_x[0])) < 1e-12
    assert jnp.abs(log_det - expected_log_det[0]) < 1e-12 * max(1.0, abs(log_det))

    # d log q = -z dz + d log det(inverse), at fixed z on the left of the product.
    def log_density(x):
        back, inverse_log_det = flow.inverse_and_log_det(x)
        return -jnp.sum(z * back) + inverse_log_det

    expected = jax.jit(jax.grad(log_density))(x)
    # The inverse is exact to 1e-9 (round trip above), and slopes of e^3 magnify it in the second derivative of the layers.
    assert jnp.max(jnp.abs(score - expected)) < 1e-7 * jnp.max(jnp.abs(expected))


def test_scores_through_the_inverse_take_matrices():
    """On SU(N) the score is what `jax.grad` of the log density gives, as far as it acts on motions of the links."""
    manifold = tm.LinkField(tm.SU(2), (4, 4))
    flow = randomised(KEY, tm.ResidualFlow(tm.LoopPotential(manifold, coefficient=1.0, time="constant"), 1), 0.1)
    z = manifold.reference_sample(KEY)
    x, _, score = _score(flow, z, jnp.zeros_like(z))
    velocity = manifold.random_tangent(jax.random.key(1))

    def along(s):
        return flow.inverse_and_log_det(manifold.exp(s * velocity, x))[1]

    moved = jax.jvp(lambda s: manifold.exp(s * velocity, x), (0.0,), (1.0,))[1]
    slope = jax.jit(jax.grad(along))(0.0)
    assert abs(jnp.sum(jnp.real(score * moved)) - slope) < 1e-9 * abs(slope)


@pytest.mark.parametrize("name", FLOWS)
def test_symmetries(name):
    flow = case(name)
    manifold = flow.manifold
    z = configurations(manifold, 4)
    x, log_det = forward(flow, z)
    for image, expected in _images(flow, name, z, x):
        moved, moved_log_det = forward(flow, image)
        assert jnp.max(jnp.abs(moved - expected)) < 1e-12
        assert jnp.max(jnp.abs(moved_log_det - log_det)) < 1e-11


def _images(flow, name, z, x):
    """Pairs of images of z and x under the symmetries that the flow has."""
    manifold = flow.manifold
    if name != "u1_ncp_stripes":
        yield -z, -x
    step = 1 if name in ("fourier", "momenta") else 2 if isinstance(manifold, tm.RealField) else 4
    for axis in range(1, len(manifold.lattice) + 1):
        yield jnp.roll(z, step, -axis), jnp.roll(x, step, -axis)
    if isinstance(manifold, tm.LinkField):
        omega = random_gauge_transformation(jax.random.key(4), manifold.group, manifold.lattice)
        yield tuple(jax.vmap(lambda u: gauge_transform(manifold.group, omega, u))(batch) for batch in (z, x))


@pytest.mark.parametrize("name", FLOWS)
def test_float32(name):
    flow = case(name)
    z = configurations(flow.manifold, 64, jnp.float32)
    x, log_det = forward(flow, z)
    back, inverse_log_det = inverse(flow, x)
    assert log_det.dtype == jnp.float64
    assert back.dtype == x.dtype == z.dtype
    # Failures are counted: where a map is nearly flat, its inverse magnifies rounding by the reciprocal of the slope, and
    # nine layers multiply. Of 1024 configurations of the Moebius mixtures 3 % miss 1e-3 (largest error 1.3), of the other
    # flows none; 0.12 is four standard deviations of the count in 64 above that.
    error = jnp.max(jnp.abs(back - z).reshape(len(z), -1), axis=1)
    assert jnp.median(error) < 1e-4
    assert jnp.mean((error > 1e-3) | (jnp.abs(log_det + inverse_log_det) > 1e-3)) < 0.12


@pytest.mark.parametrize("name", FLOWS)
def test_gradients_are_finite(name):
    flow = FLOWS[name]()
    z = configurations(flow.manifold, 4)

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(flow):
        x, log_det = jax.vmap(flow.forward_and_log_det)(z)
        return jnp.mean(log_det) + jnp.mean(jnp.cos(x))

    leaves = jax.tree.leaves(gradient(flow))
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in leaves)
    assert any(jnp.any(leaf != 0) for leaf in leaves)


def test_checkpointing_changes_nothing():
    flows = [randomised(KEY, _scalar(SPLINE, checkpoint=value), 0.2) for value in (False, True)]
    z = configurations(SCALARS, 1)[0]
    gradient = eqx.filter_jit(eqx.filter_grad(lambda flow: flow.forward_and_log_det(z)[1]))
    for a, b in zip(*(jax.tree.leaves(gradient(flow)) for flow in flows), strict=True):
        assert jnp.max(jnp.abs(a - b)) < 1e-12


@pytest.mark.parametrize("build", [lambda n: _scalar(tm.transforms.Affine(), n), lambda n: _u1(tm.transforms.Moebius(1), n)])
def test_programs_do_not_grow_with_depth(build):
    def operations(layers):
        flow = build(layers)
        z = configurations(flow.manifold, 1)[0]
        arrays, static = eqx.partition(flow, eqx.is_array)
        gradient = jax.grad(lambda arrays: eqx.combine(arrays, static).forward_and_log_det(z)[1])
        return jax.jit(gradient).lower(arrays).as_text().count("\n")

    assert operations(16) == operations(8)


def test_free_field_is_the_exact_prior():
    """The Fourier layer with c = 0 samples the free theory: the weights are constant, their logarithm is log Z."""
    theory = tm.theories.FreeScalarAction((4, 6), m2=0.49)
    model = tm.Model(tm.GaussianPrior(theory.manifold), tm.flows.FourierFlow(theory.manifold, mass=0.7))
    x, log_q = jax.jit(lambda keys: jax.vmap(model.sample_and_log_prob)(keys))(jax.random.split(KEY, 16))
    log_weights = -jax.vmap(theory.action)(x) - log_q
    assert jnp.max(jnp.abs(log_weights - tm.exact.log_z(theory))) < 1e-11


@pytest.mark.parametrize("kind", ["phi4", "u1"])
def test_transfer_to_another_volume(kind):
    """A field that repeats the small lattice is carried to the repeated image, with as many times the log-det."""
    if kind == "phi4":
        small = tm.Phi4Action((6, 6), m2=-4.0, lam=8.0)
        prior, flow = (
            tm.GaussianPrior(small.manifold, 0.6),
            tm.CouplingFlow(KEY, small.manifold, 3, tm.transforms.Affine(), **FAST),
        )
        flow = tm.FlowSequence(tm.flows.FourierFlow(small.manifold), tm.flows.Rescaling(small.manifold), flow)
        large, copies = tm.Phi4Action((6, 12), m2=-4.0, lam=8.0), (1, 2)
    else:
        small = tm.WilsonAction(tm.U1(), (4, 4), beta=1.0)
        prior, flow = tm.HaarPrior(small.manifold), _u1(NCP, 3, small.manifold)
        large, copies = tm.WilsonAction(tm.U1(), (8, 4), beta=2.0), (1, 2, 1)
    model = tm.Model(prior, randomised(KEY, flow, 0.2))
    moved = tm.transfer(model, large)
    z = configurations(small.manifold, 1)
    x, log_det = forward(model.transport, z)
    repeated, repeated_log_det = forward(moved.transport, jnp.tile(z, (1, *copies)))
    assert jnp.max(jnp.abs(repeated - jnp.tile(x, (1, *copies)))) < 1e-12
    if kind == "u1":
        assert jnp.abs(repeated_log_det[0] - 2 * log_det[0]) < 1e-11
    assert moved.manifold == large.manifold
    with pytest.raises(ValueError, match="same group and dimension"):
        tm.transfer(model, tm.Phi4Action((4, 4, 4), m2=1.0, lam=1.0))


def test_transfer_refuses_what_belongs_to_a_lattice():
    theory = tm.Phi4Action((2, 2), m2=1.0, lam=1.0)
    small = tm.Model(tm.GaussianPrior(SCALARS), tm.CouplingFlow(KEY, SCALARS, 2, reach=2))
    with pytest.raises(ValueError, match="larger extents"):
        tm.transfer(small, theory)
    with pytest.raises(ValueError, match="FourierFlow is free of it"):
        tm.transfer(tm.Model(tm.GaussianPrior(SCALARS), tm.flows.Rescaling(SCALARS, momenta=True)), theory)


def test_symmetrised_model():
    """Samples and densities agree, the density is even, and one number gives the mixture of two normal distributions."""
    manifold = tm.RealField((2, 2))
    shift = randomised(KEY, tm.flows.PointwiseFlow(manifold, tm.transforms.Shift(), odd=False), 1.0)
    model = tm.models.SymmetrisedModel(tm.Model(tm.GaussianPrior(manifold, 0.5), shift))
    samples, log_q = jax.jit(jax.vmap(lambda k: model.sample_and_log_prob(k)))(jax.random.split(KEY, 64))
    assert jnp.max(jnp.abs(jax.vmap(lambda x: model.log_prob(-x))(samples) - log_q)) < 1e-12
    centre = shift.parameters[0]
    normal = [jnp.sum(-2 * (samples - s * centre) ** 2, (1, 2)) - 2 * jnp.log(2 * jnp.pi * 0.25) for s in (1, -1)]
    assert jnp.max(jnp.abs(jnp.logaddexp(*normal) - jnp.log(2.0) - log_q)) < 1e-12
    signs = jnp.sign(jnp.mean(samples, (1, 2)) * centre)
    assert 10 < jnp.sum(signs > 0) < 54
    links = tm.LinkField(tm.SU(2), (2, 2))
    flow = tm.ContinuousFlow(tm.GradientField(tm.LoopPotential(links)), steps=1)
    complex_model = tm.Model(tm.HaarPrior(links), flow)
    with pytest.raises(TypeError, match="scalar field or U.1. links"):
        tm.models.SymmetrisedModel(complex_model)


def test_active_loops_and_what_is_read_of_them():
    """Masks move every link once in a sweep; each plaquette holds at most one active link, frozen ones none."""
    from trivmap.flows._masks import gauge_masks, plaquette_tables

    for lattice in ((4, 8), (4, 4, 4)):
        dim, volume = len(lattice), 1
        for extent in lattice:
            volume *= extent
        for kind in ("stripes", "columns"):
            tables = plaquette_tables(lattice, kind, 1)
            moved = jnp.sort(jnp.asarray(tables.links).reshape(-1))
            assert jnp.array_equal(moved, jnp.arange(dim * volume, dtype=moved.dtype))
            for i, mask in enumerate(gauge_masks(lattice, kind)):
                touched = tables.plaquettes[i].reshape(-1)
                assert len(set(touched.tolist())) == touched.size
                assert not mask.frozen.reshape(-1)[touched].any()
                assert mask.frozen.sum() + touched.size == mask.frozen.size
                assert mask.frozen.reshape(-1)[tables.frozen[i]].all()


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (
            lambda: tm.CouplingFlow(KEY, tm.RealField((5, 4))),
            ValueError,
            r"multiples of 2.*nearest possible lattice is \(4, 4\)",
        ),
        (lambda: tm.CouplingFlow(KEY, U1_LINKS), TypeError, "expected a RealField.*GaugeCouplingFlow"),
        (lambda: tm.CouplingFlow(KEY, SCALARS, 2, tm.transforms.Phase()), TypeError, "expected one of the line"),
        (lambda: tm.CouplingFlow(KEY, SCALARS, 0), ValueError, "layers: got 0"),
        (lambda: tm.CouplingFlow(KEY, SCALARS, 2, reach=0), ValueError, "reach: got 0"),
        (lambda: tm.CouplingFlow(KEY, SCALARS, 2, hidden=(0,)), ValueError, "channels of a layer"),
        (lambda: tm.CouplingFlow(KEY, SCALARS, 2, equivariance="odd"), ValueError, "'average', 'sign' or 'none'"),
        (lambda: tm.CouplingFlow(KEY, SCALARS, 2).forward(jnp.zeros((4, 4))), ValueError, "expected .4, 6."),
        (lambda: tm.GaugeCouplingFlow(KEY, tm.LinkField(tm.U1(), (6, 8))), ValueError, "multiples of 4"),
        (lambda: tm.GaugeCouplingFlow(KEY, tm.LinkField(tm.U1(), (8,))), ValueError, "two dimensions or more"),
        (lambda: tm.GaugeCouplingFlow(KEY, tm.LinkField(tm.SU(2), (4, 4))), TypeError, "expected links of U.1."),
        (lambda: tm.GaugeCouplingFlow(KEY, SCALARS), TypeError, "CouplingFlow"),
        (lambda: tm.GaugeCouplingFlow(KEY, U1_LINKS, 4, tm.transforms.Affine()), TypeError, "expected one of the circle"),
        (lambda: tm.GaugeCouplingFlow(KEY, U1_LINKS, mask="rows"), ValueError, "'stripes' or 'columns'"),
        (lambda: tm.flows.FourierFlow(U1_LINKS), TypeError, "no linear momenta"),
        (lambda: tm.flows.FourierFlow(SCALARS, mass=0.0), ValueError, "a positive finite number"),
        (lambda: tm.flows.FourierFlow(SCALARS, knots=1), ValueError, "at least 2"),
        (lambda: tm.flows.Rescaling(U1_LINKS), TypeError, "no linear momenta"),
        (lambda: tm.flows.PointwiseFlow(SCALARS, tm.transforms.Phase()), TypeError, "a map of the line"),
        (lambda: tm.FlowSequence(), ValueError, "one or more"),
        (
            lambda: tm.FlowSequence(tm.flows.Rescaling(SCALARS), tm.flows.Rescaling(tm.RealField((4, 4)))),
            ValueError,
            "same manifold",
        ),
    ],
)
def test_errors_teach(construct, error, message):
    with pytest.raises(error, match=message):
        construct()
