"""Coverage of error bars: how often the truth lies within one and two errors, where there is no caution.

Every cell of 600 trials with at least 100 without a caution must lie within 60 and 76 % at one error. The nominal 68 % have
a binomial error of 1.9 % for 600 trials (4.7 % for 100): the bounds stand at four standard deviations for a full cell, and
one with fewer uncautioned trials is given the three standard deviations that its own number asks for.
The figures are printed.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import lfilter

import trivmap as tm

TRIALS, ENOUGH = 600, 100
NOMINAL, LOW, HIGH = 0.683, 0.60, 0.76


def measured(record_property, name, draw, truth, trials=TRIALS):
    """Pulls of the estimates without a caution, recorded as `coverage at one / two errors (uncautioned share)`."""
    found = [draw(seed) for seed in range(trials)]
    pulls = np.abs([(e.value - truth) / e.error for e in found if not e.cautions])
    share = len(pulls) / trials
    if len(pulls) == 0:
        record_property(name, "all cautioned")
        return
    one, two = np.mean(pulls < 1), np.mean(pulls < 2)
    record_property(name, f"{100 * one:.0f} / {100 * two:.0f} % ({100 * share:.0f} % without a caution)")
    if len(pulls) >= ENOUGH:
        slack = 3 * np.sqrt(NOMINAL * (1 - NOMINAL) / len(pulls))
        assert min(LOW, NOMINAL - slack) <= one <= max(HIGH, NOMINAL + slack), name


def ar1(seed, n, a):
    """Stationary, variance one, mean zero, tau_int = (1 + a) / (2 (1 - a))."""
    noise = np.random.default_rng(seed).normal(size=n) * np.sqrt(1 - a * a)
    noise[0] /= np.sqrt(1 - a * a)
    return lfilter([1.0], [1.0, -a], noise)


def tau_as_estimate(estimate):
    return tm.Estimate(estimate.tau_int, estimate.dtau_int, cautions=estimate.cautions)


def second_moment(x):
    return np.stack([x + 1.0, (x + 1.0) ** 2], axis=-1)


def susceptibility(means):
    return means[1] - means[0] ** 2


SERIES = {
    "mean": lambda seed, x, tau: (tm.statistics.gamma_method(x), 0.0),
    "susceptibility": lambda seed, x, tau: (tm.statistics.gamma_method(second_moment(x)[None], susceptibility), 1.0),
    "tau_int": lambda seed, x, tau: (tau_as_estimate(tm.statistics.gamma_method(x)), tau),
    "jackknife": lambda seed, x, tau: (tm.statistics.jackknife(x), 0.0),
    "bootstrap": lambda seed, x, tau: (tm.statistics.bootstrap(jax.random.key(seed), x, resamples=200), 0.0),
}
# tau_int has no normal distribution: it is skew, and of white noise it is exact where the window is one.
LENGTHS = {0.5: (20, 200, 1000), 5.0: (1000, 4000), 50.0: (10_000, 20_000), 0.026: (500, 4000), 0.167: (1000,)}


@pytest.mark.parametrize(("tau", "n"), [(tau, n) for tau, lengths in LENGTHS.items() for n in lengths])
@pytest.mark.parametrize("kind", SERIES)
def test_chains(record_property, kind, tau, n):
    a = (2 * tau - 1) / (2 * tau + 1)
    truth = SERIES[kind](0, ar1(0, n, a), tau)[1]
    draw = lambda seed: SERIES[kind](seed, ar1(seed, n, a), tau)[0]  # noqa: E731
    if kind == "tau_int":
        of_a_skew_estimate(record_property, f"{kind}, tau {tau}, n {n}", draw, truth)
    else:
        measured(record_property, f"{kind}, tau {tau}, n {n}", draw, truth)


def of_a_skew_estimate(record_property, name, draw, truth):
    """The estimate of tau_int is skew and biased towards zero by its window, and its error counts the whole window.

    One declared error therefore holds it up to 79 % of the time (measured), and its root mean square pull stays near one.
    """
    found = [e for e in (draw(seed) for seed in range(TRIALS)) if not e.cautions]
    if len(found) < ENOUGH:
        record_property(name, f"{len(found)} of {TRIALS} without a caution")
        return
    pulls = np.array([(e.value - truth) / e.error for e in found])
    one = np.mean(np.abs(pulls) < 1)
    record_property(name, f"{100 * one:.0f} %, pulls {pulls.mean():+.2f} +- {pulls.std():.2f}")
    assert LOW <= one <= 0.85
    assert np.sqrt(np.mean(pulls**2)) < 1.5


def lognormal(seed, n, ess):
    """Weights of this ESS whose logarithm is s x; under them x has mean s."""
    s, x = np.sqrt(-np.log(ess)), np.random.default_rng(seed).normal(size=n)
    return s * x, x, s, s * s / 2


def narrow(seed, n, width):
    """Gaussian proposals that are too narrow: the weights have the tail index 1 - width^2."""
    x = np.random.default_rng(seed).normal(0, width, (n, 2))
    return -(x**2).sum(1) / 2 * (1 - 1 / width**2) + 2 * np.log(width), (x**2).mean(1), 1.0, 0.0


WEIGHTS = [(lognormal, ess, n) for ess in (0.9, 0.3, 0.1, 0.02) for n in (1000, 4000)]
WEIGHTS += [(narrow, width, n) for width in (0.9, 0.55, 0.4) for n in (1000, 4000)]


@pytest.mark.parametrize(("family", "parameter", "n"), WEIGHTS)
def test_weights(record_property, family, parameter, n):
    draw = functools.partial(family, n=n, **{"ess" if family is lognormal else "width": parameter})
    label = f"{family.__name__} {parameter}, n {n}"
    ensemble = lambda seed: tm.Ensemble(None, draw(seed)[0], {"x": draw(seed)[1]})  # noqa: E731
    _, _, mean, log_z = draw(0)
    measured(record_property, f"ratio, {label}", lambda seed: tm.expectation(ensemble(seed), "x"), mean)
    measured(record_property, f"log Z, {label}", lambda seed: tm.log_z(ensemble(seed)), log_z)
    jackknife = lambda seed: tm.statistics.jackknife(draw(seed)[1], log_weights=draw(seed)[0])  # noqa: E731
    measured(record_property, f"jackknife, {label}", jackknife, mean)
    metropolis = lambda seed: tm.expectation(tm.independence_metropolis(jax.random.key(seed), ensemble(seed)), "x")  # noqa: E731
    measured(record_property, f"Metropolis, {label}", metropolis, mean)


def test_hmc(record_property):
    """A free field, 200 chains of 1000 in one call; each is a trial."""
    theory = tm.theories.FreeScalarAction((4, 4), m2=1.0)
    observables = {"mean": jnp.mean, "phi2": lambda x: jnp.mean(x**2)}
    chain = tm.hmc(jax.random.key(0), theory, 1000, chains=200, thermalisation=100, measure=observables)
    for name, truth in (("mean", 0.0), ("phi2", float(tm.exact.phi_squared(theory)))):
        measured(
            record_property, f"HMC, {name}", lambda c, k=name: tm.statistics.gamma_method(chain.observables[k][c]), truth, 200
        )


def test_flow(record_property):
    """An annealed flow of U(1); ensembles of 1000 are trials."""
    theory = tm.WilsonAction(tm.U1(), (4, 4), 0.7)
    prior = tm.HaarPrior(theory.manifold)
    model = tm.Model(prior, tm.AnnealedFlow(prior, theory, tm.kernels.HeatbathKernel(), 6))
    drawn = tm.sample(jax.random.key(0), model, theory, 200_000, measure={"plaquette": tm.plaquette}, batch_size=1000)
    part = lambda seed: drawn[1000 * seed : 1000 * (seed + 1)]  # noqa: E731
    record_property("flow, ESS", f"{tm.ess_fraction(drawn):.2f}")
    plaquette, log_z = float(tm.exact.plaquette(theory)), float(tm.exact.log_z(theory))
    measured(record_property, "flow, plaquette", lambda seed: tm.expectation(part(seed), "plaquette"), plaquette, 200)
    measured(record_property, "flow, log Z", lambda seed: tm.log_z(part(seed)), log_z, 200)
