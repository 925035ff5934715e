"""Data on which error bars fail (short, anticorrelated, frozen, stuck, masked, heavy-tailed), and what keeps cautions."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import lfilter

import trivmap as tm
from trivmap.cli._report import cautions_of, estimates_table
from trivmap.io import encode_json
from trivmap.statistics import Chain, Ensemble, Estimate, creutz, expectation, gamma_method, jackknife, log_z, n_eff
from trivmap.statistics._gamma import check_s
from trivmap.statistics._tail import tail_index


def ar1(rng, n, a):
    noise = rng.normal(size=n) * np.sqrt(1 - a * a)
    noise[0] /= np.sqrt(1 - a * a)
    return lfilter([1.0], [1.0, -a], noise)


def said(estimate, what):
    return any(what in caution for caution in estimate.cautions)


# --- the Gamma method -----------------------------------------------------------------------------


def test_anticorrelated_data_have_honest_errors():
    """a = -0.9: tau_int 0.0263; the windowed sum alone comes out at or below zero in one of seven runs of 1000."""
    rng, a, n = np.random.default_rng(0), -0.9, 4000
    found = [gamma_method(ar1(rng, n, a)) for _ in range(100)]
    pulls = np.array([e.pull(0.0) for e in found])
    assert abs(np.mean(pulls**2) - 1) < 4 * np.sqrt(2 / 100) + 0.1
    assert max(n / (2 * e.tau_int) for e in found) < 2.5 * 76_000 * (n / 4000)  # Parzen: 23 % of the variance
    assert n_eff(Chain(None, {"x": ar1(rng, n, a)[None]}), "x") < 200_000
    assert all(said(gamma_method(ar1(rng, 500, a)), "anticorrelated") for _ in range(20))


def test_few_measurements_are_cautioned():
    rng = np.random.default_rng(1)
    assert said(gamma_method(rng.normal(size=20)), "fewer than 50")
    assert said(creutz(Chain(None, {"x": np.zeros((1, 6))}, delta_h=0.1 * rng.normal(size=(1, 6)))), "fewer than 50")
    series = 1.0 + 0.1 * rng.normal(size=(1, 40, 6)) * np.exp(-np.arange(6)) + np.exp(-np.arange(6.0))
    chain = Chain(None, {"c": np.concatenate([series, series[..., ::-1]], -1)})
    assert said(tm.statistics.fit_correlator(chain, "c", 0, 2, correlated=False).masses, "fewer than 50")
    assert gamma_method(rng.normal(size=(8, 60))).cautions == ()


@pytest.mark.parametrize("s", [np.nan, np.inf, -1.0, "2", True])
def test_the_window_parameter_is_checked(s):
    with pytest.raises(ValueError, match="finite number"):
        check_s(s)


def test_frozen_data():
    rng = np.random.default_rng(2)
    for x in (np.full(100, 0.1), 1 + 1e-16 * rng.normal(size=100), (1 + 1e-7 * rng.normal(size=100)).astype(np.float32)):
        assert said(gamma_method(x), "never change")
        assert np.isnan(n_eff(Chain(None, {"x": x[None]}), "x"))
        assert said(jackknife(x), "never change")
        assert said(expectation(Ensemble(None, np.zeros(100), {"x": x}), "x"), "never change")
    # Rounding around zero may be data of that size: cautioned, not declared constant.
    noise = 1e-15 * rng.normal(size=500)
    for x in (noise, noise**2):
        assert said(gamma_method(x), "rounding")
        assert said(expectation(Ensemble(None, np.zeros(500), {"x": x}), "x"), "rounding")
    assert not said(gamma_method(1e-9 * noise / 1e-15), "rounding")


def test_cancelling_fluctuations_are_rounding():
    x = np.random.default_rng(3).normal(size=300)
    assert said(gamma_method(np.stack([x, x], -1)[None], lambda m: m[0] - m[1] + 1.0), "never change")


def test_a_stuck_chain():
    x = np.random.default_rng(4).normal(size=(4, 200))
    x[2] = x[2, 0]
    assert said(gamma_method(x), "chain 2 keeps one value for 200 of 200")
    x = np.random.default_rng(4).normal(size=(4, 200))
    x[1, 80:] = 0.1
    assert said(gamma_method(x), "chain 1 keeps one value for 120 of 200")
    # At the common mean the chains agree; the last digits of either precision do not hide it.
    for noise in (1e-15, 3e-7):
        x[1] = noise * np.random.default_rng(5).normal(size=200)
        assert said(gamma_method(x), "chain 1 keeps one value for 200 of 200")
    assert not said(gamma_method(1e-7 * ar1(np.random.default_rng(6), 4000, 0.99)), "keeps one value")


def test_a_chain_on_a_closed_path():
    """Bins as long as its period have equal means: jackknife and bootstrap see no error."""
    x = np.tile(np.random.default_rng(7).normal(size=5), 200)
    for estimate in (gamma_method, jackknife, lambda x: tm.statistics.bootstrap(jax.random.key(0), x)):
        assert said(estimate(x), "chain 0 repeats its first 5 values")
        assert not said(estimate(np.append(x[:-1], 3.0)), "repeats")
    charges = np.random.default_rng(8).integers(-1, 2, 2000).astype(float)
    assert not said(gamma_method(charges), "repeats")
    assert not said(gamma_method(np.sin(np.arange(2000.0))), "repeats")


def test_data_are_taken_out_of_their_container():
    with pytest.raises(TypeError, match="got an Ensemble; pass data.observables"):
        gamma_method(Ensemble(None, np.zeros(9), {"x": np.zeros(9)}))


@pytest.mark.parametrize("offset", [1e6, 1e12])
def test_offsets_change_nothing(offset):
    """The digits of the sum are lost, 1e-16 of the offset, and no more."""
    x = np.random.default_rng(5).normal(size=2000)
    shifted = offset + x
    x = shifted - offset  # as the sum holds it
    lw = 0.3 * np.random.default_rng(6).normal(size=2000)
    for estimate in (
        gamma_method,
        jackknife,
        lambda y: tm.statistics.bootstrap(jax.random.key(0), y),
        lambda y: expectation(Ensemble(None, lw, {"y": y}), "y"),
    ):
        plain, moved = estimate(x), estimate(shifted)
        assert moved.error == pytest.approx(plain.error, rel=1e-9)
        assert moved.value - offset == pytest.approx(plain.value, abs=2e-16 * offset)


def test_data_of_any_size():
    x = np.random.default_rng(7).normal(size=400)
    for scale in (1e-200, 1e200):
        for estimate in (gamma_method, jackknife, lambda y: expectation(Ensemble(None, np.zeros(400), {"y": y}), "y")):
            assert estimate(scale * x).error == pytest.approx(scale * estimate(x).error, rel=1e-9)


def test_masks_are_not_dropped():
    masked = np.ma.masked_less(np.arange(100.0), 3.0)
    for refuses in (
        gamma_method,
        jackknife,
        tm.ess_fraction,
        lambda x: Ensemble(None, np.zeros(100), {"x": x}),
        lambda x: Chain(x[None]),
    ):
        with pytest.raises(ValueError, match="masked"):
            refuses(masked)
    assert gamma_method(np.ma.masked_less(np.arange(100.0), -1.0)).value == 49.5


@pytest.mark.parametrize("data", [np.zeros((0, 50)), np.zeros((2, 50, 0)), np.zeros(0)])
def test_empty_data_are_refused(data):
    with pytest.raises(ValueError, match=r"nothing to analyse|at least 4"):
        gamma_method(data)
    with pytest.raises(ValueError, match="two samples or more"):
        jackknife(np.zeros(0))


def test_one_measurement_that_makes_the_error():
    rare = np.zeros(400)
    rare[7] = 1.0
    assert said(gamma_method(rare + 1e-3 * np.random.default_rng(8).normal(size=400)), "one sample makes")
    assert said(expectation(Ensemble(None, np.zeros(400), {"x": rare}), "x"), "one sample makes")


def test_creutz_away_from_equilibrium():
    chain = Chain(None, {"x": np.zeros((1, 100))}, delta_h=np.r_[-800.0, np.zeros(99)][None])
    found = creutz(chain)
    assert np.isinf(found.value)
    assert said(found, "falls by 800")


# --- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ess", "n", "good"), [(0.9, 1000, True), (0.98, 48, True), (0.3, 500, False), (0.1, 4000, False)])
def test_effective_samples(ess, n, good):
    lw = np.sqrt(-np.log(ess)) * np.random.default_rng(0).normal(size=n)
    assert (log_z(lw).cautions == ()) is good


def test_heavy_tails():
    """Proposals of width 0.55: the weights have the tail index 0.7 and no variance."""
    x = np.random.default_rng(0).normal(0, 0.55, (4000, 2))
    lw = -(x**2).sum(1) / 2 * (1 - 1 / 0.55**2)
    assert said(log_z(lw), "heavy tail")
    chain = tm.independence_metropolis(jax.random.key(0), Ensemble(None, lw, {"x": x[:, 0]}))
    assert said(expectation(chain, "x"), "heavy tail")
    assert said(jackknife(x[:, 0], log_weights=lw), "heavy tail")


def test_tail_index_of_pareto_weights():
    """Exact Pareto tails: 190 of 4000 weights give k to k / sqrt(190) (Hill) and (1 + k) / sqrt(190) (fit)."""
    for k in (0.3, 0.7):
        found = [tail_index(k * np.random.default_rng(seed).exponential(size=4000)) for seed in range(40)]
        assert np.mean(found) == pytest.approx(k, abs=4 * (1 + 2 * k) / 2 / np.sqrt(190 * 40) + 0.02)


@pytest.mark.parametrize("shift", [0.0, 0.1, -1e6, 1e6, 7e8])
def test_bounds_hold_to_the_last_bit(shift):
    for n in (2, 3, 10, 1000):
        lw = np.full(n, shift)
        values = [tm.ess_fraction(lw), tm.statistics.forward_ess(lw), tm.statistics.expected_acceptance(lw)]
        values.append(tm.statistics.lognormal_acceptance(values[0]))
        assert all(v == pytest.approx(1.0, abs=1e-12) and v <= 1.0 for v in values)
        assert log_z(lw).error == 0.0
    assert tm.statistics.lognormal_acceptance(tm.statistics.forward_ess(np.array([0.0, 5000.0]))) == 0.0


# --- what carries cautions ------------------------------------------------------------------------


def test_cautions_travel(tmp_path):
    few = Ensemble(np.zeros((30, 2)), np.zeros(30), {"x": np.random.default_rng(0).normal(size=30)}, ("a mode is missing",))
    assert said(expectation(few[5:25], "x"), "a mode is missing")
    chain = tm.independence_metropolis(jax.random.key(0), few)
    assert said(expectation(chain[10:], "x"), "a mode is missing")
    assert chain[10:].shape == chain[10:].accepted.shape == (1, 20)
    tm.write_ensemble(tmp_path / "e.h5", few)
    tm.write_chain(tmp_path / "c.h5", chain)
    tm.io.write_npz(tmp_path / "e.npz", few)
    read = tm.read_ensemble(tmp_path / "e.h5")[0], tm.read_chain(tmp_path / "c.h5")[0], tm.io.read_npz(tmp_path / "e.npz")
    assert all(found.cautions == ("a mode is missing",) for found in read)
    with pytest.raises(ValueError, match="cautions of their own"):
        tm.io.append_ensemble(tmp_path / "e.h5", Ensemble(few.configurations, few.log_weights, few.observables, ("another",)))
    with pytest.raises(TypeError, match="slice"):
        chain[3]


def test_cautions_are_seen():
    good, bad = Estimate(0.69753, 0.00012), Estimate(0.5, np.nan, cautions=("why",))
    assert (str(good), str(bad)) == ("0.69753(12)", "0.5(nan)!")
    shown = estimates_table({"hmc": {"a": good, "b": Estimate(0.5, 0.01, cautions=("why",))}}, {}).splitlines()
    assert len({len(line) for line in shown}) == 1
    assert cautions_of({"hmc": {"a": good, "b": bad}, "flow": {"a": good}}) == {"hmc": {"b": ["why"]}}
    assert json.loads(encode_json({"x": [1.0, np.inf, np.float64("nan")], "y": (2,)})) == {"x": [1.0, None, None], "y": [2]}


# --- derived observables --------------------------------------------------------------------------


def test_families_of_derived_observables():
    x = np.random.default_rng(0).normal(size=(2, 100, 4, 4))
    chain = Chain(x)
    named = Chain(
        None, {"pole": tm.statistics.measure(tm.observables.pole_mass.primary, x.reshape(-1, 4, 4)).reshape(2, 100, -1)}
    )
    mass = tm.observables.second_moment_mass
    assert expectation(chain, mass).value == expectation(chain, mass()).value
    np.testing.assert_allclose(
        expectation(named, "pole", function=tm.observables.pole_mass).value,
        expectation(chain, tm.observables.pole_mass()).value,
        rtol=1e-12,
    )
    with pytest.raises(ValueError, match=r"'pole'.*function=DERIVED"):
        expectation(named, tm.observables.pole_mass)
    with pytest.raises(TypeError, match=r"write expectation\(data, pole_mass\)"):
        expectation(chain, lambda x: tm.observables.pole_mass(x))
    binder = tm.observables.binder_cumulant
    assert isinstance(binder(), tm.observables.DerivedObservable)
    assert expectation(chain, binder).value == expectation(chain, binder()).value
    falling = lambda x: jnp.stack([-x[0, 0], x[0, 0]])  # noqa: E731
    noise = expectation(tm.Ensemble(x[0], np.zeros(100)), falling, function=lambda m: jnp.sqrt(-jnp.abs(m[0])))
    assert np.isnan(noise.value)
    assert said(noise, "not finite")
    with pytest.raises(TypeError, match="takes other arguments"):
        expectation(chain, tm.observables.moment)
    assert said(gamma_method(x[:, :, 0, 0], lambda m: jnp.log(-jnp.abs(m))), "not finite")
