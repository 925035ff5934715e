r"""Weights that are unbiased estimates: a Gaussian with a stochastic determinant, of which everything is known.

The theory is exp(-x^2/2) / det M(x) for x in two dimensions with the positive matrix M = 1 + a diag(x_1^2, x_2^2). The
estimate of 1/det M is that of pseudofermions, <exp(-eta^* (M - 1) eta)> over complex normal eta with <|eta|^2> = 1.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import trivmap as tm
from trivmap.statistics import weight_noise

A = 3.0


class Determinant(tm.AbstractTheory):
    manifold: tm.RealField = eqx.field(default=tm.RealField((2,)), static=True)

    def action(self, x):
        return jnp.sum(x**2) / 2 + jnp.sum(jnp.log1p(A * x**2))

    def noisy_action(self, key, x):
        eta = jax.random.normal(key, (2, 2), x.dtype)  # real and imaginary parts, times the root of two
        return jnp.sum(x**2) / 2 + jnp.sum(A * x**2 * jnp.sum(eta**2, axis=0)) / 2


THEORY = Determinant()
MODEL = tm.Model(tm.GaussianPrior(THEORY.manifold), tm.flows.Rescaling(THEORY.manifold))
ONE, X2 = (quad(lambda x, k=k: x**k * np.exp(-(x**2) / 2) / (1 + A * x**2), -12, 12, epsabs=1e-12)[0] for k in (0, 2))
LOG_Z, SQUARE = 2 * np.log(ONE), X2 / ONE
OBSERVABLE = {"square": lambda x: jnp.mean(x**2)}


def drawn(seed=0, n=20_000, estimates=2, theory=THEORY):
    return tm.sample(jax.random.key(seed), MODEL, theory, n, batch_size=n, measure=OBSERVABLE, estimates=estimates)


def test_estimates_are_unbiased():
    x = jnp.asarray([0.7, -1.9])
    keys = jax.random.split(jax.random.key(0), 50_000)
    weights = np.exp(-np.asarray(jax.vmap(lambda k: THEORY.noisy_action(k, x))(keys)))
    assert abs(weights.mean() - np.exp(-THEORY.action(x))) < 4 * weights.std() / np.sqrt(len(weights))


@pytest.mark.parametrize("estimates", [1, 4])
def test_exact_whatever_the_noise(estimates):
    """Means, log Z and Metropolis; the mean of the logs in the place of the log of the mean is far off."""
    ensemble = drawn(estimates=estimates)
    assert ensemble.noisy_log_weights.shape == (20_000, estimates)
    chain = tm.independence_metropolis(jax.random.key(1), ensemble)
    for found in (tm.expectation(ensemble, "square"), tm.expectation(chain, "square")):
        assert abs(found.pull(SQUARE)) < 4, found
    assert abs(tm.log_z(ensemble).pull(LOG_Z)) < 4
    logs = tm.Ensemble(None, ensemble.noisy_log_weights.mean(axis=1), ensemble.observables)
    if estimates > 1:
        assert abs(tm.log_z(logs).pull(LOG_Z)) > 8
        assert abs(tm.expectation(logs, "square").pull(SQUARE)) > 4


def test_loss_from_the_noise():
    """Pairs of estimates give the ESS of the exact weights; the loss falls with the number of estimates."""
    exact = tm.ess_fraction(tm.sample(jax.random.key(0), MODEL, THEORY, 20_000, batch_size=20_000, measure=OBSERVABLE))
    found = [weight_noise(drawn(estimates=k)) for k in (2, 8)]
    for noise in found:
        assert noise.noiseless_ess == pytest.approx(exact, abs=0.03)  # its error is about 0.005
        assert noise.ess < noise.noiseless_ess
        assert noise.spread > 0.2
    assert found[1].loss < 0.5 * found[0].loss
    # The same samples with the noise known: E[w_noisy^2] = E[w^2] (1 + variance / k).
    losses = [1 / noise.ess - 1 / noise.noiseless_ess for noise in found]
    assert losses[0] / losses[1] == pytest.approx(4.0, rel=0.25)


def test_exact_actions_have_no_noise():
    """The default of every theory, and of a sum the noise of its noisy terms alone."""
    site = tm.Phi4Action((2,), m2=1.0, lam=0.5)
    silent = drawn(n=50, theory=site)
    np.testing.assert_array_equal(silent.noisy_log_weights[:, 0], silent.noisy_log_weights[:, 1])
    np.testing.assert_allclose(
        silent.log_weights, tm.sample(jax.random.key(0), MODEL, site, 50, measure={}).log_weights, rtol=1e-13
    )
    assert weight_noise(silent).loss == pytest.approx(0.0, abs=1e-12)
    total = tm.theories.SumTheory(site, THEORY)
    x = jnp.asarray([0.3, 1.1])
    key = jax.random.key(3)
    second = jax.random.split(key, 2)[1]
    np.testing.assert_allclose(total.noisy_action(key, x), site.action(x) + THEORY.noisy_action(second, x), rtol=1e-13)


def test_configurations_do_not_depend_on_the_estimates():
    options = {"batch_size": 7}
    plain = tm.sample(jax.random.key(0), MODEL, THEORY, 20, **options)
    noisy = tm.sample(jax.random.key(0), MODEL, THEORY, 20, estimates=3, **options)
    np.testing.assert_array_equal(plain.configurations, noisy.configurations)
    np.testing.assert_array_equal(noisy[4:9].noisy_log_weights, noisy.noisy_log_weights[4:9])


class Complex(tm.AbstractTheory):
    manifold: tm.RealField = eqx.field(default=tm.RealField((2,)), static=True)

    def action(self, x):
        return jax.lax.complex(jnp.sum(x**2), jnp.sum(x))


def test_refusals():
    with pytest.raises(ValueError, match="samples, estimates"):
        tm.Ensemble(None, None, noisy_log_weights=np.zeros(3))
    with pytest.raises(ValueError, match="pass None"):
        tm.Ensemble(None, np.ones(3), noisy_log_weights=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="positive"):
        tm.Ensemble(None, None, noisy_log_weights=np.zeros((3, 2)), phases=np.zeros(3))
    with pytest.raises(ValueError, match="estimates=2"):
        weight_noise(tm.Ensemble(None, np.zeros(3)))
    with pytest.raises(TypeError, match="phase_quenched"):
        tm.sample(jax.random.key(0), MODEL, Complex(), 3, estimates=2)
    with pytest.raises((TypeError, ValueError), match="estimates"):
        tm.sample(jax.random.key(0), MODEL, THEORY, 3, estimates=0)
    zero = tm.Ensemble(None, None, noisy_log_weights=[[-np.inf, -np.inf], [0.0, -np.inf]])
    assert zero.log_weights[0] == -np.inf
    assert zero.log_weights[1] == pytest.approx(-np.log(2))
