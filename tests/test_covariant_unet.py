"""The covariant U-Net: where it starts, how far it reaches, and what it is for. Symmetries are in `test_fields`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from helpers import randomised

import trivmap as tm


@pytest.mark.parametrize(("group", "lattice"), [(tm.U1(), (3, 4)), (tm.SU(2), (2, 3, 2)), (tm.SU(3), (3, 2))])
def test_a_new_network_is_the_force_of_its_theory(group, lattice):
    theory = tm.WilsonAction(group, lattice, beta=1.7)
    network = tm.fields.CovariantUNet(jax.random.key(0), theory.manifold, theory=theory, channels=1, levels=1)
    x = theory.manifold.reference_sample(jax.random.key(1))
    # Sums of two plaquettes per plane and end, of order one.
    assert jnp.max(jnp.abs(eqx.filter_jit(network)(jnp.asarray(0.3), x) + theory.gradient(x))) < 1e-13


def test_the_reach_is_as_large_as_it_says():
    manifold = tm.LinkField(tm.U1(), (8, 9))
    network = tm.fields.CovariantUNet(jax.random.key(0), manifold, channels=1, levels=1)
    network = randomised(jax.random.key(1), network, 0.3)
    tm.fields.LocalField(network, manifold, network.reach)
    with pytest.raises(ValueError, match=f"reach={network.reach - 1}"):
        tm.fields.LocalField(network, manifold, network.reach - 1)
    assert tm.fields.CovariantUNet(jax.random.key(0), manifold, levels=3).reach == 1 + 2 + 4 + 2 + 1 + 2


@pytest.mark.slow
def test_score_matching_and_exact_weights():
    """Neither needs the divergence, which has as many derivatives as there are angles here."""
    theory = tm.WilsonAction(tm.SU(2), (2, 2), beta=2.0)
    noising = tm.stochastic.HeatKernelNoising(theory.manifold)
    network = tm.fields.CovariantUNet(jax.random.key(0), theory.manifold, channels=2, times=2, levels=1)
    field = tm.fields.LocalField(network, theory.manifold, network.reach, check=False)
    model = tm.Model(noising.prior, tm.ScoreDiffusion(noising, field, 12))
    chain = tm.hmc(jax.random.key(1), theory, 100, chains=8)
    matching = tm.objectives.ScoreMatching(chain)
    trained, _ = tm.fit(jax.random.key(2), model, theory, objective=matching, steps=80, batch_size=64, progress=False)
    # The same configurations, times and noise; measured: 0.85 and 0.82, most of which no score can do without.
    before, after = (eqx.filter_jit(matching)(jax.random.key(3), m, theory, 512)[0] for m in (model, trained))
    assert after < before - 0.02
    ensemble = tm.sample(jax.random.key(4), trained, theory, 2000, measure={"plaquette": tm.plaquette})
    assert abs(tm.log_z(ensemble).pull(tm.exact.log_z(theory))) < 4
    assert abs(tm.expectation(ensemble, "plaquette").pull(tm.exact.plaquette(theory))) < 4


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: tm.fields.CovariantUNet(jax.random.key(0), tm.RealField((4, 4))), TypeError, "gauge links"),
        (
            lambda: tm.fields.CovariantUNet(jax.random.key(0), tm.LinkField(tm.SU(2), (4,))),
            ValueError,
            "two dimensions or more",
        ),
        (
            lambda: tm.fields.CovariantUNet(jax.random.key(0), tm.LinkField(tm.SU(2), (4, 4)), levels=0),
            ValueError,
            "levels: got 0",
        ),
        (
            lambda: tm.fields.CovariantUNet(
                jax.random.key(0), tm.LinkField(tm.SU(2), (4, 4)), theory=tm.WilsonAction(tm.SU(2), (4, 2), beta=1.0)
            ),
            TypeError,
            "WilsonAction on",
        ),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
