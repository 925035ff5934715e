"""Ensembles of several couplings combined: identities, exact log Z and plaquettes, overlap, what is refused."""

import jax
import numpy as np
import pytest

import trivmap as tm
from trivmap.statistics import mbar

KEY = jax.random.key(0)
BETAS = (1.0, 1.6, 2.2)
THEORIES = [tm.WilsonAction(tm.U1(), (4, 4), beta=beta) for beta in BETAS]


@pytest.fixture(scope="module")
def chains():
    return [tm.heatbath(jax.random.fold_in(KEY, k), t, 320, chains=4, thermalisation=30) for k, t in enumerate(THEORIES)]


@pytest.fixture(scope="module")
def combined(chains):
    return mbar(list(zip(chains, THEORIES, strict=True)))


def test_differences_of_log_z_are_exact(combined):
    assert not combined.absolute
    for theory in (*THEORIES[1:], tm.WilsonAction(tm.U1(), (4, 4), beta=1.9)):
        exact = tm.exact.log_z(theory) - tm.exact.log_z(THEORIES[0])
        assert abs(combined.log_z(theory).pull(exact)) < 4
    assert combined.log_z(THEORIES[0]).value == pytest.approx(0, abs=1e-8)


def test_expectation_values_between_the_couplings(combined, chains):
    between = tm.WilsonAction(tm.U1(), (4, 4), beta=1.9)
    found = combined.expectation(tm.plaquette, between)
    assert abs(found.pull(tm.exact.plaquette(between))) < 4
    square = combined.expectation(tm.plaquette, between, function=lambda m: m**2)
    assert square.value == pytest.approx(found.value**2)
    at = combined.expectation(tm.plaquette, THEORIES[1])
    assert at.error < tm.expectation(chains[1], tm.plaquette).error
    assert combined.ess(between) > 0.2


def test_two_states_are_bennetts_acceptance_ratio(chains):
    """The equation of two states: sum over the first of a Fermi function of the work equals that over the second."""
    pair = mbar(list(zip(chains[:2], THEORIES[:2], strict=True)))
    f = -float(pair.log_z(THEORIES[1]).value)
    first, second = (
        np.asarray(
            tm.statistics.measure(
                lambda x: THEORIES[1].action(x) - THEORIES[0].action(x), c.configurations.reshape(-1, 2, 4, 4)
            )
        )
        for c in chains[:2]
    )
    assert np.sum(1 / (1 + np.exp(first - f))) == pytest.approx(np.sum(1 / (1 + np.exp(f - second))), rel=1e-7)


def test_overlap_is_a_stochastic_matrix(combined):
    np.testing.assert_allclose(combined.overlap.sum(axis=1), 1.0, atol=1e-6)
    assert combined.overlap[0, 1] > combined.overlap[0, 2] > 0


def test_a_model_makes_log_z_absolute(chains):
    """Samples of Haar measure, a prior of known normalisation, beside two chains."""
    flow = tm.ContinuousFlow(tm.GatedConvolutionField(THEORIES[0].manifold, features=1, gates=1, times=1), steps=1)
    model = tm.Model(tm.HaarPrior(THEORIES[0].manifold), flow)
    samples = tm.sample(KEY, model, THEORIES[0], 1000)
    found = mbar([(samples, model), *zip(chains[:2], THEORIES[:2], strict=True)], blocks=20)
    assert found.absolute
    for theory in THEORIES[:2]:
        assert abs(found.log_z(theory).pull(tm.exact.log_z(theory))) < 4


def test_states_without_overlap_are_cautioned():
    far = [tm.WilsonAction(tm.U1(), (4, 4), beta=beta) for beta in (0.5, 6.0)]
    chains = [tm.heatbath(KEY, t, 100, chains=2, thermalisation=20) for t in far]
    found = mbar(list(zip(chains, far, strict=True)), blocks=10)
    assert any("overlaps" in caution for caution in found.log_z(far[1]).cautions)


@pytest.mark.slow
def test_errors_cover_the_exact_value():
    """100 sets of two chains: 68.3 % within one error, standard deviation 4.7 %; blocks of a twentieth take little off."""
    long = [
        tm.heatbath(jax.random.fold_in(KEY, 7 + k), t, 400, chains=100, thermalisation=30) for k, t in enumerate(THEORIES[:2])
    ]
    exact = tm.exact.log_z(THEORIES[1]) - tm.exact.log_z(THEORIES[0])
    pulls = []
    for k in range(100):
        single = [(tm.Chain(chain.configurations[k : k + 1]), t) for chain, t in zip(long, THEORIES[:2], strict=True)]
        pulls.append(mbar(single, blocks=20).log_z(THEORIES[1]).pull(exact))
    assert 0.57 <= np.mean(np.abs(pulls) < 1) <= 0.78


def test_what_is_refused(chains):
    other = tm.WilsonAction(tm.U1(), (2, 4), beta=1.0)
    with pytest.raises(ValueError, match="one manifold"):
        mbar([(chains[0], THEORIES[0]), (tm.heatbath(KEY, other, 40), other)])
    weighted = tm.Ensemble(chains[0].configurations[0], np.linspace(0, 1, 320))
    with pytest.raises(ValueError, match="with the model"):
        mbar([(weighted, THEORIES[0])])
    with pytest.raises(ValueError, match="without measure="):
        mbar([(tm.Chain(None, {"x": np.zeros((1, 100))}), THEORIES[0])])
    with pytest.raises(ValueError, match="fewer blocks"):
        mbar([(chains[0][:10], THEORIES[0])])
