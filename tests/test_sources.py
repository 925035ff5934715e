"""Samples that start from stored chains: which configuration, and errors that know its autocorrelation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import lfilter

import trivmap as tm
from trivmap.io import EnsembleFileError, append_ensemble, read_npz, write_npz
from trivmap.statistics import Source, join_ensembles

LOW, HIGH = 0.60, 0.76  # of the nominal 0.683, for 200 trials: at least two of their standard deviations of 0.033


def ar1(rng, chains, n, tau):
    """Stationary, variance one, mean zero, with this tau_int."""
    a = (2 * tau - 1) / (2 * tau + 1)
    noise = rng.normal(size=(chains, n)) * np.sqrt(1 - a * a)
    noise[:, 0] /= np.sqrt(1 - a * a)
    return lfilter([1.0], [1.0, -a], noise, axis=1)


def drawn(seed, tau, chains, n, samples):
    """Weights and an observable that depend on the source y and on noise e of their own: log w = 0.4 y + 0.3 e, x = y + e.

    Under the weights y and e are normal with means 0.4 and 0.3: <x> = 0.7, log Z = 0.08 + 0.045.
    """
    rng = np.random.default_rng(seed)
    y = ar1(rng, chains, n, tau)
    flat = rng.integers(chains * n, size=samples)
    y, e = y.reshape(-1)[flat], rng.normal(size=samples)
    source = Source(np.stack(np.divmod(flat, n), axis=1), (chains, n))
    return tm.Ensemble(None, 0.4 * y + 0.3 * e, {"x": y + e}, source=source)


@functools.cache
def trials(tau, chains, n, samples):
    return [drawn(seed, tau, chains, n, samples) for seed in range(200)]


ESTIMATES = {
    "expectation": (lambda e: tm.expectation(e, "x"), 0.7),
    "log Z": (tm.log_z, 0.125),
    "jackknife": (lambda e: tm.statistics.jackknife(e.observables["x"], log_weights=e), 0.7),
    "bootstrap": (
        lambda e: tm.statistics.bootstrap(jax.random.key(0), e.observables["x"], log_weights=e, resamples=100),
        0.7,
    ),
}
SHAPES = [(15, 1, 4000, 4000), (10, 4, 1000, 2000), (15, 1, 4000, 1000), (0.5, 2, 500, 1000)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ESTIMATES)
def test_coverage(name, shape, record_property):
    estimate, exact = ESTIMATES[name]
    pulls = np.array([estimate(e).pull(exact) for e in trials(*shape)])
    one = np.mean(np.abs(pulls) < 1)
    record_property(f"{name}, {shape}", f"{100 * one:.0f} %, width {pulls.std():.2f}")
    # Bins of finite length take 5 % off the error of a mean that is blocked (docs of jackknife), more where blocks are few.
    assert (LOW if name in ("expectation", "log Z") else 0.55) <= one <= HIGH


def test_without_the_source_errors_are_too_small():
    """What the test above is worth: the same samples taken for independent ones."""
    pulls = [
        tm.expectation(tm.Ensemble(None, e.log_weights, e.observables), "x").pull(0.7) for e in trials(15, 1, 4000, 4000)
    ]
    assert np.std(pulls) > 2.5


def test_sum_over_sources_is_the_gamma_method():
    """One sample from every configuration of a chain: the mean has the error of the chain itself, but for the window."""
    x = ar1(np.random.default_rng(5), 2, 4000, 10.0)
    source = Source(np.stack(np.divmod(np.arange(8000), 4000), axis=1), (2, 4000))
    found = tm.expectation(tm.Ensemble(None, np.zeros(8000), {"x": x.reshape(-1)}, source=source), "x")
    exact = tm.statistics.gamma_method(x)
    assert found.value == pytest.approx(exact.value, rel=1e-12)
    assert found.error == pytest.approx(exact.error, rel=0.1)  # their windows differ


def test_repeated_draws_count_once():
    """100 independent configurations, each drawn ten times: the error is that of 100."""
    x = np.random.default_rng(6).normal(size=100)
    source = Source(np.stack([np.repeat(np.arange(100), 10), np.zeros(1000, int)], axis=1), (100, 1))
    repeated = tm.Ensemble(None, np.zeros(1000), {"x": np.repeat(x, 10)}, source=source)
    found, once = (tm.expectation(e, "x") for e in (repeated, tm.Ensemble(None, np.zeros(100), {"x": x})))
    assert found.value == pytest.approx(once.value, rel=1e-12)
    assert found.error == pytest.approx(once.error, rel=0.006)  # 1 / (2 N), of the subtracted mean
    assert tm.log_z(repeated).error == 0.0


FREE = tm.theories.FreeScalarAction((1,), m2=0.5)  # S = m2 phi^2: normal, of variance one
NARROW = tm.theories.FreeScalarAction((1,), m2=0.7)
IDENTITY = tm.flows.Rescaling(FREE.manifold)


def stored(seed, chains=2, n=2000, tau=10.0):
    return tm.Chain(ar1(np.random.default_rng(seed), chains, n, tau)[..., None])


TRANSPORTS = {
    "flow": lambda prior: tm.Model(prior, IDENTITY),
    "langevin": lambda prior: tm.Model(prior, tm.LangevinFlow(prior, NARROW, 2, step_size=1e-16)),
    "mirrored": lambda prior: tm.models.SymmetrisedModel(tm.Model(prior, IDENTITY)),
}


@pytest.mark.parametrize("name", TRANSPORTS)
def test_samples_know_where_they_start(name, tmp_path):
    chain = stored(0, n=50)
    model = TRANSPORTS[name](tm.EnsemblePrior(FREE, chain))
    ensemble = tm.sample(jax.random.key(1), model, NARROW, 30, batch_size=16)
    start = chain.configurations[tuple(ensemble.source.index.T)]
    # The Langevin steps move a configuration by the root of the step size.
    np.testing.assert_allclose(np.abs(ensemble.configurations), np.abs(start), atol=1e-6)
    assert ensemble.source.shape == (2, 50)
    assert len(np.unique(ensemble.source.flat)) > 20


def test_ensembles_as_sources():
    """Configurations of an ensemble have no order in time; where it starts from a chain itself, that chain is the source."""
    plain = tm.Ensemble(np.arange(6.0)[:, None], np.zeros(6))
    draw = lambda data: tm.sample(jax.random.key(0), tm.Model(tm.EnsemblePrior(FREE, data), IDENTITY), FREE, 20)  # noqa: E731
    first = draw(plain)
    assert first.source.shape == (6, 1)
    np.testing.assert_array_equal(first.source.index[:, 0], first.configurations[:, 0])
    chained = draw(stored(1, n=10))
    second = draw(chained)
    assert second.source.shape == (2, 10)
    np.testing.assert_array_equal(second.configurations, stored(1, n=10).configurations[tuple(second.source.index.T)])
    assert tm.sample(jax.random.key(0), tm.Model(tm.GaussianPrior(FREE.manifold), IDENTITY), FREE, 3).source is None


def test_a_quench_from_a_stored_chain():
    """Pulls of <phi^2> and log Z over 24 chains, whose variance is one within 4 sqrt(2/24); without the source over two."""
    pulls, without = [], []
    exact_log_z = float(tm.exact.log_z(NARROW) - tm.exact.log_z(FREE))
    square = {"phi2": lambda x: x[0] ** 2}
    for seed in range(24):
        model = tm.Model(tm.EnsemblePrior(FREE, stored(seed, n=500, tau=5.0)), IDENTITY)
        e = tm.sample(jax.random.key(seed), model, NARROW, 2000, batch_size=2000, measure=square)
        pulls.append([tm.expectation(e, "phi2").pull(1 / 1.4), tm.log_z(e).pull(exact_log_z)])
        without.append(tm.expectation(tm.Ensemble(None, e.log_weights, e.observables), "phi2").pull(1 / 1.4))
    assert np.all(np.abs(np.mean(np.square(pulls), axis=0) - 1) < 1.15)
    assert np.mean(np.square(without)) > 2


def test_files_slices_and_pieces(tmp_path):
    """All that an ensemble may carry comes back; what does not fit is refused."""
    rng = np.random.default_rng(0)
    source = Source(rng.integers(5, size=(12, 2)), (5, 8))
    phased = tm.Ensemble(None, rng.normal(size=12), {"x": rng.normal(size=12)}, phases=rng.normal(size=12), source=source)
    noisy = tm.Ensemble(rng.normal(size=(12, 3)), None, noisy_log_weights=rng.normal(size=(12, 4)), source=source)
    for k, ensemble in enumerate((phased, noisy)):
        path = tmp_path / f"{k}.h5"
        append_ensemble(path, ensemble[:5])
        append_ensemble(path, ensemble[5:])
        write_npz(tmp_path / "a.npz", ensemble)
        for back in (tm.read_ensemble(path)[0], read_npz(tmp_path / "a.npz"), join_ensembles([ensemble[:5], ensemble[5:]])):
            for name in ("log_weights", "phases", "noisy_log_weights"):
                np.testing.assert_array_equal(getattr(back, name), getattr(ensemble, name))
            np.testing.assert_array_equal(back.source.index, source.index)
            assert back.source.shape == (5, 8)
        with pytest.raises(EnsembleFileError, match="stored chains"):
            append_ensemble(path, tm.Ensemble(ensemble.configurations, ensemble.log_weights, ensemble.observables))
    with pytest.raises(EnsembleFileError, match="cannot append"):
        append_ensemble(tmp_path / "0.h5", noisy)
    with pytest.raises(ValueError, match="join"):
        join_ensembles([phased, tm.Ensemble(None, np.zeros(3), {"x": np.zeros(3)})])
    chain = tm.Chain(rng.normal(size=(2, 6, 1)), phases=rng.normal(size=(2, 6)))
    tm.write_chain(tmp_path / "c.h5", chain)
    np.testing.assert_array_equal(tm.read_chain(tmp_path / "c.h5")[0].phases, chain.phases)


def test_refusals():
    for index, shape in (
        (np.zeros(3, int), (2, 2)),
        (np.zeros((3, 2)), (2, 2)),
        (np.full((3, 2), 2), (2, 2)),
        (np.zeros((3, 2), int), (0, 2)),
    ):
        with pytest.raises(ValueError, match="source"):
            Source(index, shape)
    with pytest.raises(ValueError, match="source"):
        tm.Ensemble(None, np.zeros(4), source=Source(np.zeros((3, 2), int), (2, 2)))
    e = drawn(0, 5, 1, 100, 50)
    assert any("stored" in c for c in tm.independence_metropolis(jax.random.key(0), e).cautions)
    assert any("stored chains of 100" in c for c in tm.expectation(drawn(0, 10, 1, 100, 1000), "x").cautions)
    prior = tm.EnsemblePrior(FREE, stored(0))
    flow = tm.AnnealedFlow(prior, NARROW, tm.kernels.HMCKernel(steps=2), 2)
    populations = tm.smc(jax.random.key(0), tm.Model(prior, flow), NARROW, 3, particles=4)
    assert any("stored" in c for c in populations.cautions)
    assert jnp.isfinite(tm.log_z(populations).value)
