"""Continuous flows on another lattice: kernels regridded, everything else kept."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import randomised

import trivmap as tm
from trivmap.fields._regrid import regrid_displacements, regrid_momenta

ANGLES, SCALARS, LINKS = tm.LinkField(tm.U1(), (4, 4)), tm.RealField((4, 4)), tm.LinkField(tm.SU(2), (4, 4))

FIELDS = {
    "convolution": lambda: tm.ConvolutionField(
        jax.random.key(1), SCALARS, sines=3, site_features=2, harmonics=1, time_features=2
    ),
    "gated": lambda: tm.GatedConvolutionField(SCALARS, features=3, gates=1, times=2),
    "gated U(1)": lambda: tm.GatedConvolutionField(ANGLES, features=2, gates=1, times=2),
    "covariant": lambda: tm.fields.CovariantConvolutionField(LINKS, features=2, gates=0, times=2, radius=1),
    "covariant, smooth": lambda: tm.fields.CovariantConvolutionField(LINKS, features=2, gates=1, times=2, mass=1.0),
    "loops": lambda: tm.GradientField(tm.LoopPotential(LINKS)),
    "neural": lambda: tm.GradientField(tm.fields.NeuralPotential(jax.random.key(1), LINKS, hidden=(3,))),
    "neighbours": lambda: tm.GradientField(tm.fields.NeighbourPotential(jax.random.key(1), SCALARS)),
}


@pytest.fixture(params=FIELDS, scope="module")
def field(request):
    return randomised(jax.random.key(2), FIELDS[request.param](), 0.3)


def _on(manifold, lattice):
    return tm.LinkField(manifold.group, lattice) if isinstance(manifold, tm.LinkField) else tm.RealField(lattice)


def test_growing_and_shrinking_back_is_the_identity(field):
    back = field.on(_on(field.manifold, (6, 8))).on(field.manifold)
    for a, b in zip(*(jax.tree.leaves(eqx.filter(f, eqx.is_array)) for f in (field, back)), strict=True):
        # Sums of a few dozen numbers of order one.
        assert jnp.all(jnp.abs(a - b) < 1e-12)


def test_periodic_configurations_move_as_on_the_small_lattice(field):
    # The images of a regridded kernel add up to the kernel itself.
    larger = field.on(_on(field.manifold, (8, 8)))
    manifold = field.manifold
    x = manifold.exp(
        manifold.random_tangent(jax.random.key(3)), jnp.zeros(manifold.shape) if manifold == SCALARS else _start(manifold)
    )
    leading = (1,) * (x.ndim - 2)
    velocity, _ = field(jnp.asarray(0.3), x)
    expected = jnp.tile(velocity, (*leading, 2, 2))
    # Rounding of sums over 64 sites.
    assert jnp.max(jnp.abs(larger(jnp.asarray(0.3), jnp.tile(x, (*leading, 2, 2)))[0] - expected)) < 1e-12 * 64


def _start(manifold):
    return manifold.reference_sample(jax.random.key(4))


def test_collective_fields_keep_their_numbers():
    """Means over the lattice and winding loops have no kernel: the same numbers on every lattice, at the same charge gate."""
    gated = tm.GatedConvolutionField(ANGLES, features=2, gates=1, times=2)
    holonomies = tm.fields.HolonomyField(jax.random.key(1), ANGLES, times=2, ridges=2, boundary=(-1, 1))
    start = tm.fields.SumField(tm.fields.ChargeGatedField(gated, order=2, width=0.5), holonomies)
    field = randomised(jax.random.key(2), start, 0.3)
    theory = tm.WilsonAction(tm.U1(), (6, 8), beta=1.0)
    larger = tm.transfer(tm.Model(tm.HaarPrior(ANGLES), tm.ContinuousFlow(field, steps=2)), theory).transport.field
    assert larger.manifold == theory.manifold
    assert eqx.tree_equal(larger.fields[1].network, field.fields[1].network)
    assert (larger.fields[1].boundary, larger.fields[0].order, larger.fields[0].width) == ((-1, 1), 2, 0.5)
    assert jnp.allclose(larger.fields[0].field.on(ANGLES).convolution.gate, field.fields[0].field.convolution.gate)


def test_a_local_kernel_keeps_its_values_and_a_constant_its_mean():
    # Orbits of 4x4: displacements (0,0), (0,1), (0,2), (1,1), (1,2), (2,2).
    kernel = jnp.asarray([1.0, 0.5, 0.2, 0.1, 0.0, 0.0])
    moved = regrid_displacements(kernel, (4, 4), (6, 6))
    # Orbits of 6x6 in the order of their first site: 00 01 02 03 11 12 ...; the edge (0, 2) is shared by +2 and -2.
    assert np.allclose(moved[:6], [1.0, 0.5, 0.1, 0.0, 0.1, 0.0], atol=1e-14)
    mean = jnp.zeros(6).at[0].set(0.7)
    assert np.allclose(regrid_momenta(mean, (4, 4), (6, 8)), jnp.zeros(20).at[0].set(0.7), atol=1e-14)


def test_the_map_of_u1_without_training_moves_to_the_same_map():
    small, large = ANGLES, tm.LinkField(tm.U1(), (8, 6))
    moved = tm.GatedConvolutionField.trivializing(small, 2.0, times=3).on(large)
    direct = tm.GatedConvolutionField.trivializing(large, 2.0, times=3)
    for a, b in zip(*(jax.tree.leaves(eqx.filter(f, eqx.is_array)) for f in (moved, direct)), strict=True):
        # Eigenvalues up to about fifty.
        assert jnp.max(jnp.abs(a - b)) < 1e-12 * 50


class Inward(tm.fields.AbstractVectorField):
    manifold: tm.RealField = eqx.field(static=True)

    def __call__(self, t, x):
        return -x, -jnp.asarray(x.size, x.dtype)


def test_models_move_as_a_whole_and_refuse_what_does_not_fit():
    theory = tm.Phi4Action((4, 4), m2=-4.0, lam=8.0)
    flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=2)
    model = tm.transfer(tm.Model(tm.GaussianPrior(theory.manifold), flow), tm.Phi4Action((6, 8), m2=-4.0, lam=8.0))
    x, log_q = eqx.filter_jit(model.sample_and_log_prob)(jax.random.key(0))
    assert x.shape == (6, 8)
    assert jnp.isfinite(log_q)
    with pytest.raises(ValueError, match="same group and dimension"):
        tm.transfer(model, tm.Phi4Action((4, 4, 4), m2=-4.0, lam=8.0))
    local = tm.Model(tm.GaussianPrior(theory.manifold), tm.ContinuousFlow(Inward(theory.manifold), steps=2))
    with pytest.raises(TypeError, match="belong to its lattice"):
        tm.transfer(local, theory)


def moved_u1():
    flow = tm.ContinuousFlow(tm.GatedConvolutionField(ANGLES, features=1, gates=1, times=1), steps=2)
    small = tm.Model(tm.HaarPrior(ANGLES), randomised(jax.random.key(1), flow, 0.1))
    theory = tm.WilsonAction(tm.U1(), (6, 6), beta=2.0)
    return small, theory, tm.models.MovedModel(small, theory)


def test_a_moved_model_is_what_transfer_makes():
    small, theory, model = moved_u1()
    sample = eqx.filter_jit(lambda m: m.sample_and_log_prob(jax.random.key(2)))
    x, log_q = sample(model)
    moved = tm.transfer(small, theory)
    assert all(jnp.allclose(a, b, rtol=1e-13) for a, b in zip((x, log_q), sample(moved), strict=True))
    assert jnp.allclose(model.log_prob(x), moved.log_prob(x), rtol=1e-13)
    assert tm.training.parameter_count(model) == tm.training.parameter_count(small)
    local = tm.Model(tm.GaussianPrior(SCALARS), tm.ContinuousFlow(Inward(SCALARS), steps=2))
    with pytest.raises(TypeError, match="belong to its lattice"):
        tm.models.MovedModel(local, tm.Phi4Action((6, 6), m2=1.0, lam=1.0))


@pytest.mark.slow
def test_a_moved_model_is_trained_in_the_numbers_of_the_small_lattice():
    _, theory, model = moved_u1()
    better, records = tm.gauss_newton(jax.random.key(3), model, theory, steps=1, samples=256, progress=False)
    assert better.model.manifold == ANGLES
    assert records[-1]["variance"] < 0.5 * records[0]["variance"]
