"""Discrete flows: depth, exact priors, other volumes, masks, bad input; what all flows have is in test_flows.py."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from flow_table import AFFINE, FAST, KEY, NCP, SCALARS, SPLINE, U1_LINKS, configurations, scalar, u1
from helpers import randomised

import trivmap as tm


@eqx.filter_jit
def forward(flow, batch):
    return jax.vmap(flow.forward_and_log_det)(batch)


def test_checkpointing_changes_nothing():
    flows = [randomised(KEY, scalar(SPLINE, checkpoint=value), 0.2) for value in (False, True)]
    z = configurations(SCALARS, 1)[0]
    gradient = eqx.filter_jit(eqx.filter_grad(lambda flow: flow.forward_and_log_det(z)[1]))
    for a, b in zip(*(jax.tree.leaves(gradient(flow)) for flow in flows), strict=True):
        assert jnp.max(jnp.abs(a - b)) < 1e-12


@pytest.mark.parametrize("build", [lambda n: scalar(AFFINE, n), lambda n: u1(tm.transforms.Moebius(1), n)])
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
            tm.CouplingFlow(KEY, small.manifold, 3, AFFINE, **FAST),
        )
        flow = tm.FlowSequence(tm.flows.FourierFlow(small.manifold), tm.flows.Rescaling(small.manifold), flow)
        large, copies = tm.Phi4Action((6, 12), m2=-4.0, lam=8.0), (1, 2)
    else:
        small = tm.WilsonAction(tm.U1(), (4, 4), beta=1.0)
        prior, flow = tm.HaarPrior(small.manifold), u1(NCP, 3, small.manifold)
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
        (lambda: tm.CouplingFlow(KEY, SCALARS, 2).forward(jnp.zeros((4, 6))), ValueError, "expected .4, 4."),
        (lambda: tm.GaugeCouplingFlow(KEY, tm.LinkField(tm.U1(), (6, 8))), ValueError, "multiples of 4"),
        (lambda: tm.GaugeCouplingFlow(KEY, tm.LinkField(tm.U1(), (8,))), ValueError, "two dimensions or more"),
        (lambda: tm.GaugeCouplingFlow(KEY, tm.LinkField(tm.SU(2), (4, 4))), TypeError, "expected links of U.1."),
        (lambda: tm.GaugeCouplingFlow(KEY, SCALARS), TypeError, "CouplingFlow"),
        (lambda: tm.GaugeCouplingFlow(KEY, U1_LINKS, 4, AFFINE), TypeError, "expected one of the circle"),
        (lambda: tm.GaugeCouplingFlow(KEY, U1_LINKS, mask="rows"), ValueError, "'stripes' or 'columns'"),
        (lambda: tm.flows.FourierFlow(U1_LINKS), TypeError, "no linear momenta"),
        (lambda: tm.flows.FourierFlow(SCALARS, mass=0.0), ValueError, "a positive finite number"),
        (lambda: tm.flows.FourierFlow(SCALARS, knots=1), ValueError, "at least 2"),
        (lambda: tm.flows.Rescaling(U1_LINKS), TypeError, "no linear momenta"),
        (lambda: tm.flows.PointwiseFlow(SCALARS, tm.transforms.Phase()), TypeError, "a map of the line"),
        (lambda: tm.FlowSequence(), ValueError, "one or more"),
        (
            lambda: tm.FlowSequence(tm.flows.Rescaling(SCALARS), tm.flows.Rescaling(tm.RealField((4, 6)))),
            ValueError,
            "same manifold",
        ),
    ],
)
def test_errors_teach(construct, error, message):
    with pytest.raises(error, match=message):
        construct()
