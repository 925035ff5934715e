"""Estimates, Gamma method, resampling: identities, known autocorrelation times, other codes as oracle."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trivmap.statistics import (
    Chain,
    Ensemble,
    Estimate,
    acceptance_rate,
    autocorrelation,
    bootstrap,
    creutz,
    expectation,
    format_estimate,
    gamma_method,
    jackknife,
    longest_rejection,
    n_eff,
)


def ar1(seed, chains, n, a):
    """x_t = a x_{t-1} + noise: stationary, variance one, tau_int = (1 + a) / (2 (1 - a))."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(chains, n)) * np.sqrt(1 - a * a)
    x = np.empty((chains, n))
    x[:, 0] = rng.normal(size=chains)
    for t in range(1, n):
        x[:, t] = a * x[:, t - 1] + noise[:, t]
    return x


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.6975312, 0.000123, "0.69753(12)"),
        (-0.6975312, 0.000123, "-0.69753(12)"),
        (12.345, 1.5, "12.3(1.5)"),
        (12.345, 0.0996, "12.35(10)"),
        (4321.0, 123.0, "4321(123)"),
        (4321.0, 15.0, "4321(15)"),
        (0.0, 0.012, "0.000(12)"),
        (1.0, 0.999, "1.0(1.0)"),
        (1.25, 0.0, "1.25"),
        (1.25, None, "1.25"),
        (1.25, float("nan"), "1.25(nan)"),
        (float("nan"), 0.1, "nan(0.1)"),
        (1.2345e-20, 1.2e-22, "1.234(12)e-20"),
        (1.2345e20, 1.2e18, "1.234(12)e+20"),
        (1e-9, 2.0, "0.0(2.0)"),
    ],
)
def test_estimate_prints_two_digits_of_the_error(value, error, text):
    assert format_estimate(value, error) == text
    assert str(Estimate(value, error)) == text


def test_vector_estimate_prints_and_pulls():
    estimate = Estimate(np.array([1.0, 2.0]), np.array([0.1, 0.0]))
    assert str(estimate) == "[1.00(10), 2]"
    np.testing.assert_allclose(estimate.pull(np.array([1.2, 2.0])), [-2.0, 0.0], rtol=1e-12)
    assert Estimate(1.0, 0.3).pull(Estimate(1.5, 0.4)) == pytest.approx(-1.0)
    assert Estimate(1.0, 0.0).pull(2.0) == -np.inf


def test_white_noise_has_tau_one_half():
    estimate = gamma_method(np.random.default_rng(1).normal(size=(4, 5000)))
    # The relative error of the error is sqrt((W + 1/2)/N), below 2 %.
    assert estimate.error == pytest.approx(1 / np.sqrt(20000), rel=0.05)
    assert abs(estimate.tau_int - 0.5) < 4 * estimate.dtau_int
    assert abs(estimate.pull(0.0)) < 4


@pytest.mark.parametrize("a", [0.5, 0.9, -0.5])
def test_autoregressive_process(a):
    tau = 0.5 * (1 + a) / (1 - a)
    estimate = gamma_method(ar1(2, 4, 20000, a))
    # Truncation at the automatic window costs a few per mille on top of the statistical error.
    assert abs(estimate.tau_int - tau) < 4 * estimate.dtau_int + 0.01 * tau
    assert estimate.dtau_int < 0.1 * tau
    assert abs(estimate.pull(0.0)) < 4
    assert estimate.error == pytest.approx(np.sqrt(2 * tau / 80000), rel=0.15)


def test_error_covers_the_truth():
    """Over many independent data sets the pulls have unit variance, their tau_int the declared error."""
    estimates = [gamma_method(ar1(seed, 1, 2000, 0.8)) for seed in range(200)]
    pulls = np.array([e.pull(0.0) for e in estimates])
    # The variance of 200 squared normal variates is 2/200; the window's truncation bias is a few per cent.
    assert abs(np.mean(pulls**2) - 1) < 4 * np.sqrt(2 / 200) + 0.05
    taus = np.array([e.tau_int for e in estimates])
    assert np.std(taus) == pytest.approx(np.mean([e.dtau_int for e in estimates]), rel=0.4)
    assert np.std([e.error for e in estimates]) == pytest.approx(np.mean([e.derror for e in estimates]), rel=0.4)


def test_autocorrelation_function():
    rho = autocorrelation(ar1(3, 2, 40000, 0.7))
    # Bartlett: the error of rho(t) is below sqrt(2 tau_int / N) = 0.0085.
    np.testing.assert_allclose(rho[:6], 0.7 ** np.arange(6), atol=4 * 0.0085)


def test_fft_equals_direct_sum():
    data = ar1(4, 3, 50, 0.5)
    deltas = data - data.mean()
    direct = [np.sum(deltas[:, : 50 - t] * deltas[:, t:]) / (3 * (50 - t)) for t in range(25)]
    np.testing.assert_allclose(autocorrelation(data), np.array(direct) / direct[0], atol=1e-13)


def test_replica_that_disagree_enlarge_the_error():
    data = np.random.default_rng(5).normal(size=(4, 1000))
    frozen = data + np.array([0.0, 1.0, 0.0, 1.0])[:, None]
    assert gamma_method(frozen).error > 3 * gamma_method(data).error


def test_against_pyerrors():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside pyerrors and its imports
        pe = pytest.importorskip("pyerrors")
        # pyerrors subtracts the mean of each replicum, we (as Wolff) the common mean: equal for equal means.
        data = ar1(6, 3, 3000, 0.8)
        data = 0.4 + data - data.mean(axis=1, keepdims=True)
        obs = pe.Obs(list(data), ["run|1", "run|2", "run|3"])
        obs.gamma_method()
        square = data**2 - (data**2).mean(axis=1, keepdims=True) + 1.1
        second = pe.Obs(list(square), ["run|1", "run|2", "run|3"])
        ratio = np.sin(obs) / second
        ratio.gamma_method()
    ours = gamma_method(data)
    assert ours.value == pytest.approx(obs.value, rel=1e-13)
    assert ours.error == pytest.approx(obs.dvalue, rel=1e-10)
    assert ours.derror == pytest.approx(obs.ddvalue, rel=1e-10)
    # They differ in how the bias of Gamma(0) is shared out, by O(tau/N).
    assert ours.tau_int == pytest.approx(obs.e_tauint["run"], rel=3 * ours.tau_int / data.size)
    derived = gamma_method(np.stack([data, square], axis=-1), lambda m: jnp.sin(m[0]) / m[1])
    assert derived.value == pytest.approx(ratio.value, rel=1e-12)
    assert derived.error == pytest.approx(ratio.dvalue, rel=1e-8)


def test_derived_quantity_without_jax_uses_differences():
    data = 2.0 + 0.1 * ar1(7, 2, 4000, 0.5)
    traced = gamma_method(data[..., None], lambda m: jnp.log(m[0]))
    opaque = gamma_method(data[..., None], lambda m: np.log(np.asarray(m)[0]))
    assert opaque.value == traced.value
    assert opaque.error == pytest.approx(traced.error, rel=1e-5)
    scalar = gamma_method(data, lambda m: m**2)
    assert scalar.error == pytest.approx(2 * data.mean() * gamma_method(data).error, rel=1e-10)


def test_vector_data_equal_their_components():
    data = np.stack([ar1(8, 2, 500, a) for a in (0.0, 0.6)], axis=-1)
    both = gamma_method(data)
    for k in range(2):
        one = gamma_method(data[..., k])
        np.testing.assert_allclose(
            [both.value[k], both.error[k], both.tau_int[k]], [one.value, one.error, one.tau_int], rtol=1e-12
        )
    mean = gamma_method(data, lambda m: 2.0 * m)  # vector-valued function, linear: exact
    np.testing.assert_allclose(mean.error, 2 * both.error, rtol=1e-12)


def test_constant_data_do_not_invent_an_autocorrelation_time():
    estimate = gamma_method(np.full((2, 100), 0.1))
    assert estimate.value == pytest.approx(0.1)
    assert estimate.error == 0.0
    assert np.isnan(estimate.tau_int)


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        (np.zeros((2, 3)), ValueError, "at least 4 measurements"),
        (np.array([1.0, np.nan, 2.0, 3.0, 4.0]), ValueError, "1 of 5 measured values"),
        (np.zeros(10, complex), TypeError, "complex"),
    ],
)
def test_gamma_method_refuses(data, error, match):
    with pytest.raises(error, match=match):
        gamma_method(data)


def test_jackknife_and_bootstrap_agree_with_the_standard_error():
    data = np.random.default_rng(9).normal(size=4000)
    exact = data.std(ddof=1) / np.sqrt(len(data))
    assert jackknife(data, bins=4000).error == pytest.approx(exact, rel=1e-10)
    # Relative errors of the error: 1/sqrt(2 bins) and 1/sqrt(2 resamples).
    assert jackknife(data, bins=200).error == pytest.approx(exact, rel=4 / np.sqrt(400))
    assert bootstrap(jax.random.key(0), data).error == pytest.approx(exact, rel=4 / np.sqrt(1000))
    square = jackknife(data + 3.0, lambda m: m**2, bins=4000)
    assert square.error == pytest.approx(2 * (data + 3.0).mean() * exact, rel=1e-3)


def test_binned_resampling_sees_autocorrelation():
    data = ar1(10, 1, 40000, 0.8)[0]
    gamma = gamma_method(data)
    assert jackknife(data, bins=200).error == pytest.approx(gamma.error, rel=0.25)
    assert bootstrap(jax.random.key(1), data, block=200).error == pytest.approx(gamma.error, rel=0.25)
    assert bootstrap(jax.random.key(1), data).error < 0.6 * gamma.error


def test_weighted_resampling_agrees_with_the_delta_method():
    rng = np.random.default_rng(11)
    x, lw = rng.normal(size=(3000, 2)), 0.5 * rng.normal(size=3000)
    lw = lw + 0.3 * x[:, 0]
    exact = expectation(Ensemble(None, lw, {"x": x}), "x")
    np.testing.assert_allclose(jackknife(x, log_weights=lw).value, exact.value, rtol=1e-12)
    np.testing.assert_allclose(jackknife(x, log_weights=lw, bins=3000).error, exact.error, rtol=0.01)
    boot = bootstrap(jax.random.key(2), x, log_weights=lw, resamples=800)
    np.testing.assert_allclose(boot.error, exact.error, rtol=4 / np.sqrt(1600))


def test_resampling_refuses():
    with pytest.raises(ValueError, match="number of bins"):
        jackknife(np.zeros(3), bins=7)
    with pytest.raises(ValueError, match="fewer than two blocks"):
        bootstrap(jax.random.key(0), np.zeros(10), block=9)
    with pytest.raises(ValueError, match="3 samples, but 2 log weights"):
        jackknife(np.zeros(3), log_weights=np.zeros(2))


def test_chain_expectation_by_name_function_and_derived():
    data = 1.0 + 0.2 * ar1(12, 3, 50, 0.5)
    chain = Chain(data[..., None], {"square": data**2})
    by_name = expectation(chain, "square")
    by_function = expectation(chain, lambda x: x[0] ** 2, batch_size=7)  # 150 is no multiple of 7
    assert by_function.value == pytest.approx(by_name.value, rel=1e-14)
    assert by_function.error == pytest.approx(by_name.error, rel=1e-12)

    class Derived:
        primary = staticmethod(lambda x: jnp.stack([x[0], x[0] ** 2]))
        function = staticmethod(lambda m: m[1] - m[0] ** 2)

    variance = expectation(chain, Derived())
    expected = gamma_method(np.stack([data, data**2], axis=-1), lambda m: m[1] - m[0] ** 2)
    assert variance.value == pytest.approx(expected.value, rel=1e-12)
    assert variance.error == pytest.approx(expected.error, rel=1e-9)
    assert n_eff(chain, "square") == pytest.approx(150 / (2 * by_name.tau_int))


def test_chain_numbers():
    accepted = np.array([[True, False, False, True], [False, False, False, True]])
    chain = Chain(None, {"x": np.zeros((2, 4))}, accepted=accepted, delta_h=np.zeros((2, 4)))
    assert acceptance_rate(chain) == 3 / 8
    assert longest_rejection(chain) == 3
    assert creutz(chain).value == 1.0
    assert longest_rejection(Chain(None, {"x": np.zeros((1, 4))}, accepted=np.ones((1, 4), bool))) == 0
    with pytest.raises(ValueError, match="no energy violations"):
        creutz(Chain(None, {"x": np.zeros((1, 4))}))


def test_expectation_refuses():
    chain = Chain(None, {"x": np.zeros((2, 10))})
    with pytest.raises(ValueError, match="no stored measurement 'y'"):
        expectation(chain, "y")
    with pytest.raises(ValueError, match="keeps no configurations"):
        expectation(chain, jnp.sum)
    with pytest.raises(ValueError, match="leading axes"):
        Chain(None, {"x": np.zeros(10)})
    with pytest.raises(ValueError, match="observable 'y' has shape"):
        Ensemble(None, np.zeros(3), {"y": np.zeros(4)})
    with pytest.raises(ValueError, match="the first axis must count the samples"):
        Ensemble(np.zeros((4, 2)), np.zeros(3))
