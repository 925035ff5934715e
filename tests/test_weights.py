"""Importance weights: effective sample size, log Z, acceptance, reweighted means."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from trivmap.statistics import (
    Ensemble,
    ess_fraction,
    expectation,
    expected_acceptance,
    forward_ess,
    log_z,
    lognormal_acceptance,
    normalised_weights,
)


def gaussian(n, width, seed=0):
    """Proposals N(0, 1) for the target exp(-x^2 / (2 width^2)), Z = width sqrt(2 pi)."""
    x = np.random.default_rng(seed).normal(size=n)
    return x, -(x**2) / (2 * width**2) + x**2 / 2 + 0.5 * math.log(2 * math.pi)


def test_equal_weights():
    lw = np.full(10, -1e5)
    assert ess_fraction(lw) == pytest.approx(1.0, rel=1e-10)  # rounding of 2e5 in exp: 4e-11
    assert expected_acceptance(lw) == pytest.approx(1.0, rel=1e-13)
    assert forward_ess(lw) == pytest.approx(1.0, rel=1e-10)
    assert log_z(lw).value == pytest.approx(-1e5, rel=1e-14)
    assert log_z(lw).error < 1e-5
    assert log_z(np.array([1.0])).value == 1.0
    assert math.isnan(log_z(np.array([1.0])).error)


def test_ess_is_the_definition_and_ignores_the_normalisation():
    lw = np.random.default_rng(1).normal(size=1000)
    w = np.exp(lw)
    assert ess_fraction(lw) == pytest.approx(w.sum() ** 2 / (1000 * (w**2).sum()), rel=1e-12)
    assert ess_fraction(lw + 5000.0) == pytest.approx(ess_fraction(lw), rel=1e-9)
    assert ess_fraction(jnp.asarray(lw)) == ess_fraction(Ensemble(None, lw)) == ess_fraction(lw)
    assert normalised_weights(lw).sum() == pytest.approx(1.0, rel=1e-13)


def test_samples_of_weight_zero():
    lw = np.array([0.0, -np.inf, 0.0, -np.inf])
    assert ess_fraction(lw) == pytest.approx(0.5)
    assert log_z(lw).value == pytest.approx(math.log(0.5))
    # nan in a sample that has no weight is no obstacle
    estimate = expectation(Ensemble(None, lw, {"x": np.array([1.0, np.nan, 3.0, np.nan])}), "x")
    assert estimate.value == 2.0
    assert estimate.error == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_invalid_weights_are_refused(bad):
    with pytest.raises(ValueError, match=r"1 of 3 log weights are nan or \+inf, the first at index 1"):
        ess_fraction(np.array([0.0, bad, 1.0]))
    with pytest.raises(ValueError, match="all log weights are -inf"):
        log_z(np.array([-np.inf, -np.inf]))
    with pytest.raises(ValueError, match="at least one sample"):
        ess_fraction(np.array([]))
    with pytest.raises(ValueError, match="weight zero"):
        forward_ess(np.array([0.0, -np.inf]))


def test_gaussian_target_exact():
    width = 0.8
    x, lw = gaussian(100_000, width)
    z = log_z(lw)
    assert abs(z.pull(math.log(width * math.sqrt(2 * math.pi)))) < 4
    ensemble = Ensemble(x, lw)
    second = expectation(ensemble, lambda x: x**2)
    assert abs(second.pull(width**2)) < 4
    assert second.error < 0.01 * width**2
    # E_q[w]^2 / E_q[w^2] with w = exp(-a x^2 / 2), a = 1/width^2 - 1
    a = 1 / width**2 - 1
    assert ess_fraction(lw) == pytest.approx(math.sqrt(1 + 2 * a) / (1 + a), rel=0.01)


def test_reweighted_error_covers_the_truth():
    pulls_z, pulls_x = [], []
    for seed in range(200):
        x, lw = gaussian(1000, 0.8, seed)
        pulls_z.append(log_z(lw).pull(math.log(0.8 * math.sqrt(2 * math.pi))))
        pulls_x.append(expectation(Ensemble(x, lw, {"x2": x**2}), "x2").pull(0.64))
    for pulls in (pulls_z, pulls_x):
        # 200 squared normal variates: standard deviation of the mean 0.1; corrections of order 1/1000.
        assert abs(np.mean(np.square(pulls)) - 1) < 0.4


def test_derived_and_vector_observables():
    x, lw = gaussian(5000, 0.9)
    ensemble = Ensemble(x, lw, {"moments": np.stack([x**2, x**4], axis=-1)})
    binder = expectation(ensemble, "moments", function=lambda m: 1 - m[1] / (3 * m[0] ** 2))
    assert abs(binder.pull(0.0)) < 4
    assert binder.tau_int is None

    class Derived:
        primary = staticmethod(lambda x: jnp.stack([x**2, x**4]))
        function = staticmethod(lambda m: 1 - m[1] / (3 * m[0] ** 2))

    again = expectation(ensemble, Derived(), batch_size=999)
    assert again.value == pytest.approx(binder.value, abs=1e-12)
    assert again.error == pytest.approx(binder.error, rel=1e-9)
    # The linearised error of a ratio of means, written out.
    w = normalised_weights(lw)
    m2, m4 = w @ x**2, w @ x**4
    direct = np.sqrt(np.sum(w**2 * (-(x**4 - m4) / (3 * m2**2) + 2 * m4 / (3 * m2**3) * (x**2 - m2)) ** 2))
    assert binder.error == pytest.approx(direct, rel=1e-10)
    vector = expectation(ensemble, "moments")
    assert vector.value.shape == vector.error.shape == (2,)


def test_bad_observables():
    ensemble = Ensemble(np.zeros((4, 2)), np.zeros(4), {"x": np.array([1.0, np.inf, 0.0, 0.0])})
    with pytest.raises(ValueError, match="nan or infinite at samples of non-zero weight"):
        expectation(ensemble, "x")
    with pytest.raises(TypeError, match="complex"):
        expectation(ensemble, lambda x: jnp.exp(1j * x[0].astype(complex)))
    with pytest.raises(TypeError, match="an observable is a function"):
        expectation(ensemble, 3)


def test_expected_acceptance_is_the_mean_over_pairs():
    lw = np.random.default_rng(2).normal(size=300)
    w = np.exp(lw)
    pairs = np.minimum(w[:, None], w[None, :])
    np.fill_diagonal(pairs, 0.0)
    assert expected_acceptance(lw) == pytest.approx(pairs.sum() / (299 * w.sum()), rel=1e-12)


@pytest.mark.parametrize(("ess", "acceptance"), [(0.91, 0.83), (0.80, 0.74), (0.56, 0.59), (0.34, 0.463), (0.055, 0.2285)])
def test_lognormal_relation(ess, acceptance):
    assert lognormal_acceptance(ess) == pytest.approx(acceptance, abs=0.006)  # the table is rounded to two digits
    s = math.sqrt(-math.log(ess))
    lw = s * np.random.default_rng(3).normal(size=200_000)
    # Relative error of both estimates: a few e^{s^2/2} / sqrt(M).
    tolerance = 5 * math.exp(s * s) / math.sqrt(200_000)
    assert expected_acceptance(lw) == pytest.approx(lognormal_acceptance(ess), rel=tolerance)
    with pytest.raises(ValueError, match="lies in"):
        lognormal_acceptance(1.5)


def test_forward_ess():
    # Under the target lognormal weights have mean s^2 / 2 and the same width: E_p[w] E_p[1/w] = exp(s^2).
    s = 0.7
    lw = s * s / 2 + s * np.random.default_rng(4).normal(size=200_000)
    assert forward_ess(lw) == pytest.approx(math.exp(-s * s), rel=0.01)
