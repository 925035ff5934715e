"""Estimates, Gamma method, resampling: identities, known autocorrelation times, other codes as oracle."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trivmap.plotting import plot_autocorrelation
from trivmap.statistics import (
    Chain,
    Ensemble,
    Estimate,
    acceptance_rate,
    analyse_autocorrelation,
    autocorrelation,
    bootstrap,
    creutz,
    expectation,
    fit_correlator,
    format_estimate,
    gamma_method,
    jackknife,
    log_z,
    longest_rejection,
    n_eff,
)
from trivmap.statistics._autocovariance import autocovariance


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
    data = ar1(10, 1, 16000, 0.8)[0]
    gamma = gamma_method(data)
    assert jackknife(data, bins=200).error == pytest.approx(gamma.error, rel=0.25)
    assert bootstrap(jax.random.key(1), data, block=200).error == pytest.approx(gamma.error, rel=0.25)
    assert bootstrap(jax.random.key(1), data, block=1).error < 0.6 * gamma.error


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


# --- many chains, long chains ---------------------------------------------------------------------


def test_ten_chains_within_a_percent_of_pyerrors():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pe = pytest.importorskip("pyerrors")
        for seed in range(10):
            data = ar1(seed, 1, 10_000, 0.09 * seed)[0] ** 2
            obs = pe.Obs([data], ["run"])
            obs.gamma_method()
            ours = gamma_method(data)
            assert ours.error == pytest.approx(obs.dvalue, rel=0.01)
            # For white noise they differ by choice: see the comment on alternating rho(t) at the window.
            assert ours.tau_int == pytest.approx(obs.e_tauint["run"], rel=0.01 if seed else 0.02)


@pytest.mark.parametrize(("n", "lags"), [(1000, 7), (1003, 50), (129, 16)])
def test_few_lags_equal_the_direct_sum(n, lags):
    data = np.random.default_rng(n).normal(size=(3, n)) + 0.3
    direct = [np.mean(data[:, : n - t] * data[:, t:]) for t in range(lags)]
    np.testing.assert_allclose(autocovariance(data, lags), direct, rtol=1e-12)
    np.testing.assert_allclose(autocovariance(data)[:lags], direct, rtol=1e-12)


def test_long_autocorrelation_is_found_beyond_the_first_lags():
    estimate = gamma_method(ar1(1, 1, 400_000, 0.995))  # tau_int = 199.5, window above 256
    assert abs(estimate.tau_int - 199.5) < 4 * estimate.dtau_int


def test_analysis_for_plots_agrees_with_the_estimate(tmp_path):
    data = ar1(3, 4, 5000, 0.8)
    found, estimate = analyse_autocorrelation(data), gamma_method(data)
    assert found.tau_int[found.window] == pytest.approx(estimate.tau_int, rel=1e-12)
    assert found.dtau_int[found.window] == pytest.approx(estimate.dtau_int, rel=1e-12)
    # Normalised by four errors at every lag: the exact function is 0.8^t.
    assert np.all(np.abs(found.rho - 0.8 ** np.arange(len(found.rho)))[1:] < 4 * found.drho[1:])
    figure = plot_autocorrelation({"x": data, "frozen": np.zeros((1, 10))})
    assert [axes.get_ylabel() for axes in figure.axes] == [r"$\rho(t)$", r"$\tau_{int}(W)$"]
    for constant in (np.zeros(10), np.full((2, 1000), 0.1)):
        assert np.all(np.isnan(analyse_autocorrelation(constant).tau_int))


def test_bias_of_a_square():
    """m^2 is too large by Var(m), on average; both corrections remove it."""
    rng = np.random.default_rng(0)
    plain, chains, jack = [], [], []
    for _ in range(300):
        data = rng.normal(size=(4, 10))
        plain.append(gamma_method(data, lambda m: m**2).value)
        chains.append(gamma_method(data, lambda m: m**2, correct_bias=True).value)
        jack.append(jackknife(data.ravel(), lambda m: m**2, bins=40, correct_bias=True).value)
        assert jack[-1] == pytest.approx(data.mean() ** 2 - data.var(ddof=1) / 40, rel=1e-9, abs=1e-15)
    error = np.std(plain) / np.sqrt(300)
    assert np.mean(plain) > 1 / 40 - 4 * error
    assert abs(np.mean(jack)) < 4 * error
    assert abs(np.mean(chains)) < 4 * np.std(chains) / np.sqrt(300)
    with pytest.raises(ValueError, match="one chain"):
        gamma_method(np.arange(9.0), lambda m: m**2, correct_bias=True)


# --- cautions -------------------------------------------------------------------------------------


def tunnelling(moves):
    """Two modes at -1 and 1, `moves` transitions."""
    signs = np.repeat((-1.0) ** np.arange(moves + 1), 5000 // (moves + 1))
    return signs + 0.2 * np.random.default_rng(moves).normal(size=len(signs))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (ar1(0, 1, 100, 0.95), "fewer than 50 tau_int"),
        (tunnelling(3), "two modes, near -0.999 and 1, with 3 transitions"),
        (ar1(0, 2, 5000, 0.3) + np.array([[0.0], [0.5]]), "disagree"),
        (np.zeros((2, 50)), "never change"),
    ],
)
def test_chains_that_cannot_be_trusted(data, said):
    assert any(said in caution for caution in gamma_method(data).cautions)


@pytest.mark.parametrize(
    "data",
    [ar1(0, 4, 5000, 0.8), ar1(1, 1, 5000, 0.0) ** 2, np.sign(ar1(2, 2, 5000, 0.5)), np.rint(2 * ar1(3, 2, 5000, 0.5))],
)
def test_good_chains_pass_without_a_word(data):
    assert gamma_method(data).cautions == ()


def test_weights_that_cannot_be_trusted():
    rng = np.random.default_rng(0)
    good = Ensemble(None, rng.normal(size=3000), {"x": rng.normal(size=3000)})
    assert expectation(good, "x").cautions == log_z(good).cautions == ()
    few = Ensemble(None, rng.normal(size=150), {"x": rng.normal(size=150)})
    assert "effective samples" in expectation(few, "x").cautions[0]
    lw = np.zeros(1000)
    lw[0] = np.log(500.0)
    assert "one sample carries 33 % of the weight" in " ".join(expectation(Ensemble(None, lw, {"x": lw}), "x").cautions)


# --- masses ---------------------------------------------------------------------------------------


def free_field_correlators(rng, n, extent, m2):
    """Of a free field on a ring: C(t) is one cosh with 4 sinh^2(m/2) = m2."""
    p2 = 4 * np.sin(np.pi * np.arange(extent) / extent) ** 2
    noise = np.fft.fft(rng.normal(size=(n, extent)), axis=1)
    phi = np.fft.ifft(noise / np.sqrt(2 * (p2 + m2)), axis=1).real
    power = np.abs(np.fft.fft(phi, axis=1)) ** 2 / extent
    return np.fft.ifft(power, axis=1).real


def test_masses_of_a_free_field():
    rng, m2, extent = np.random.default_rng(0), 0.3, 16
    mass = 2 * np.arcsinh(np.sqrt(m2) / 2)
    pulls, chi2 = [], []
    for _ in range(80):
        chain = Chain(None, {"c": free_field_correlators(rng, 2000, extent, m2).reshape(2, 1000, extent)})
        fit = fit_correlator(chain, "c", 1, 6)
        pulls.append((fit.masses.value[0] - mass) / fit.masses.error[0])
        chi2.append(fit.chi2)
    # Variances of 80 squares: 2/80; of chi^2 with four degrees: 8/80.
    assert abs(np.mean(np.square(pulls)) - 1.0) < 4 * np.sqrt(2 / 80)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(80)
    assert fit.degrees == 4
    assert abs(np.mean(chi2) - 4.0) < 4 * np.sqrt(8 / 80)
    # Amplitude of a free field: 1 / (2 * 2 sinh m (1 - e^{-mT})).
    exact = 1 / (4 * np.sinh(mass) * (1 - np.exp(-mass * extent)))
    assert abs(fit.amplitudes.value[0] - exact) < 4 * fit.amplitudes.error[0]


def test_reweighted_and_two_state_fits():
    rng = np.random.default_rng(1)
    light, heavy = (free_field_correlators(rng, 40_000, 16, m2) for m2 in (0.1, 2.0))
    masses = [2 * np.arcsinh(np.sqrt(m2) / 2) for m2 in (0.1, 2.0)]
    values = light + 3 * heavy
    for data in (Chain(None, {"c": values[None]}), Ensemble(None, np.zeros(40_000), {"c": values})):
        fit = fit_correlator(data, "c", 0, 8, states=2)
        assert np.all(np.abs(fit.masses.value - masses) < 4 * fit.masses.error)
        assert fit.masses.error[0] < 0.05
    shifted = fit_correlator(Chain(None, {"c": light[None] + 4.0, "s": np.full((1, 40_000), 2.0)}), "c", 1, connected="s")
    plain = fit_correlator(Chain(None, {"c": light[None]}), "c", 1)
    assert shifted.masses.value == pytest.approx(plain.masses.value, rel=1e-6)
    with pytest.raises(ValueError, match="cannot fix 4 parameters"):
        fit_correlator(data, "c", 6, 8, states=2)
    with pytest.raises(ValueError, match="pass correlated=False"):
        fit_correlator(Chain(None, {"c": light[None, :20]}), "c", 0, 4)
