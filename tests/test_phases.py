"""Complex actions: magnitudes with phases, against a Gaussian, a quadrature and the exact Z(theta)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import trivmap as tm
from trivmap.statistics import weight_cautions


def within(estimate, exact, limit=4.0):
    """Both parts; recorded in the message."""
    pull = estimate.pull(exact + 0j)
    assert max(abs(pull.real), abs(pull.imag)) < limit, f"{estimate} against {exact}"


def gaussian(seed, n, a):
    """x normal with the phase a x: <x> = i a, <x^2> = 1 - a^2, average phase exp(-a^2/2)."""
    x = np.random.default_rng(seed).normal(size=n)
    return tm.Ensemble(None, np.zeros(n), {"x": x, "powers": np.stack([x, x**2], -1)}, phases=a * x)


def chain_of(ensemble):
    shaped = {name: v.reshape(4, -1, *v.shape[1:]) for name, v in ensemble.observables.items()}
    return tm.Chain(None, shaped, phases=ensemble.phases.reshape(4, -1))


def test_identities():
    """A ratio of complex sums, written out; and where all phases are equal they drop out."""
    rng = np.random.default_rng(1)
    lw, theta, x = rng.normal(size=(3, 200))
    w = np.exp(lw + 1j * theta)
    ensemble = tm.Ensemble(None, lw, {"x": x, "one": np.ones(200)}, phases=theta)
    assert tm.expectation(ensemble, "x").value == pytest.approx((w @ x) / w.sum(), rel=1e-12)
    assert tm.expectation(ensemble, "one").value == pytest.approx(1.0, rel=1e-12)
    assert tm.log_z(ensemble).value == pytest.approx(np.log(w.mean()), rel=1e-12)
    mean = w.sum() / np.abs(w).sum()
    assert tm.statistics.average_phase(ensemble).value == pytest.approx(mean, rel=1e-12)
    assert tm.statistics.average_phase(ensemble, modulus=True).value == pytest.approx(abs(mean), rel=1e-12)
    assert tm.ess_fraction(ensemble) == tm.ess_fraction(lw)
    turned = tm.Ensemble(None, lw, {"x": x}, phases=np.full(200, 0.3))
    plain = tm.expectation(tm.Ensemble(None, lw, {"x": x}), "x")
    found = tm.expectation(turned, "x")
    assert found.value == pytest.approx(plain.value, rel=1e-12)
    assert found.error.real == pytest.approx(plain.error, rel=1e-9)
    assert found.error.imag < 1e-12


def test_error_of_the_ratio_is_its_linear_response():
    """Against a derivative of the ratio by each weight, taken numerically, which knows nothing of the formula."""
    rng = np.random.default_rng(2)
    lw, theta, x = rng.normal(size=(3, 50))
    w = np.exp(lw + 1j * theta)

    def ratio(counts):
        return (counts * w) @ x / (counts @ w)

    slopes = np.array([(ratio(1 + 1e-5 * e) - ratio(1 - 1e-5 * e)) / 2e-5 for e in np.eye(50)])
    found = tm.expectation(tm.Ensemble(None, lw, {"x": x}, phases=theta), "x")
    assert found.error.real == pytest.approx(np.sqrt(np.sum(slopes.real**2)), rel=1e-8)
    assert found.error.imag == pytest.approx(np.sqrt(np.sum(slopes.imag**2)), rel=1e-8)


ESTIMATES = {
    "mean": (lambda e: tm.expectation(e, "x"), lambda a: 1j * a),
    "variance": (lambda e: tm.expectation(e, "powers", function=lambda m: m[1] - m[0] ** 2), lambda a: 1.0),
    "untraceable": (lambda e: tm.expectation(e, "powers", function=lambda m: np.asarray(m)[0] * 2), lambda a: 2j * a),
    "phase": (tm.statistics.average_phase, lambda a: np.exp(-(a**2) / 2)),
    "modulus": (lambda e: tm.statistics.average_phase(e, modulus=True), lambda a: np.exp(-(a**2) / 2)),
    "log Z": (tm.log_z, lambda a: -(a**2) / 2),
    "chain": (lambda e: tm.expectation(chain_of(e), "x"), lambda a: 1j * a),
    "chain, function": (lambda e: tm.expectation(chain_of(e), "x", function=abs), abs),
    "chain, phase": (lambda e: tm.statistics.average_phase(chain_of(e)), lambda a: np.exp(-(a**2) / 2)),
    "jackknife": (lambda e: tm.statistics.jackknife(e.observables["x"], log_weights=e), lambda a: 1j * a),
    "bootstrap": (
        lambda e: tm.statistics.bootstrap(jax.random.key(1), e.observables["x"], log_weights=e, resamples=100),
        lambda a: 1j * a,
    ),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_errors(name):
    """Pulls of 100 ensembles: their mean square is one within 4.5 sqrt(2/100), their mean zero within 4.5/10."""
    estimate, exact = ESTIMATES[name]
    pulls = [estimate(gaussian(seed, 1000, 0.7)).pull(exact(0.7)) for seed in range(100)]
    parts = [np.real(pulls)] if np.isrealobj(np.asarray(pulls)) else [np.real(pulls), np.imag(pulls)]
    for part in parts:
        assert abs(np.mean(part)) < 0.45
        assert abs(np.mean(np.square(part)) - 1) < 0.65


def test_an_estimate_of_a_complex_number():
    found = tm.Estimate(0.69753 + 0.0012j, 0.00012 + 0.0009j)
    assert str(found) == "0.69753(12) + 0.00120(90)i"
    assert str(tm.Estimate(0.5 - 2.0j, 0.1 + 0.1j)) == "0.50(10) - 2.00(10)i"
    assert found.pull(0.69765 + 0.0012j) == pytest.approx(-1.0 + 0j, abs=1e-9)
    with pytest.raises(TypeError, match="complex"):  # complex observables ask for complex weights
        tm.expectation(tm.Ensemble(None, np.zeros(9), {"x": np.ones(9) * 1j}), "x")


def test_sign_problem_is_said():
    assert any("sign problem" in c for c in tm.expectation(gaussian(0, 1000, 4.0), "x").cautions)
    assert not weight_cautions(np.full(1000, 1e-3))
    assert tm.expectation(gaussian(0, 1000, 0.7), "x").cautions == ()


class Source(tm.AbstractTheory):
    """S = -i h sum phi."""

    manifold: tm.RealField = eqx.field(static=True)
    h: jax.Array

    def action(self, x):
        return jax.lax.complex(jnp.zeros(()), -self.h * jnp.sum(x))


SITE = tm.Phi4Action((1,), m2=1.0, lam=0.5)
DRIVEN = tm.theories.SumTheory(SITE, Source(SITE.manifold, jnp.asarray(1.3)))


def moments(h):
    """Integrals of x^k exp(-S), k = 0, 1, 2, by quadrature."""

    def integral(k, wave):
        return quad(lambda x: x**k * np.exp(-(x**2) - 0.5 * x**4) * wave(h * x), -8, 8, epsabs=1e-12)[0]

    return [integral(k, np.cos) + 1j * integral(k, np.sin) for k in range(3)]


def test_interface():
    assert DRIVEN.complex_action
    assert not SITE.complex_action
    assert SITE.phase_quenched is SITE
    x = jnp.asarray([0.4])
    quenched = DRIVEN.phase_quenched
    assert quenched.action(x) == SITE.action(x)
    np.testing.assert_allclose(DRIVEN.gradient(x), SITE.gradient(x), rtol=1e-13)
    np.testing.assert_allclose(quenched.gradient(x), SITE.gradient(x), rtol=1e-13)
    assert not quenched.complex_action


def test_source_against_quadrature():
    """A Gaussian model and HMC of phi^4 on one site with an imaginary source."""
    z, first, second = moments(1.3)
    prior = tm.GaussianPrior(SITE.manifold)
    model = tm.Model(prior, tm.flows.Rescaling(SITE.manifold))
    ensemble = tm.sample(jax.random.key(0), model, DRIVEN, 20_000)
    within(tm.log_z(ensemble), np.log(z))
    powers = lambda x: jnp.stack([x[0], x[0] ** 2])  # noqa: E731
    for data in (
        ensemble,
        tm.independence_metropolis(jax.random.key(1), ensemble),
        tm.hmc(jax.random.key(2), DRIVEN, 2000, chains=4, steps=5),
    ):
        found = tm.expectation(data, powers)
        for k, exact in enumerate((first / z, second / z)):
            within(tm.Estimate(found.value[k], found.error[k]), exact)
    within(tm.statistics.average_phase(data), z / np.exp(float(tm.exact.log_z(SITE))))
    stored = tm.hmc(jax.random.key(2), DRIVEN, 2000, chains=4, steps=5, measure={"powers": powers})
    np.testing.assert_allclose(stored.phases, data.phases, rtol=1e-12)
    np.testing.assert_array_equal(data[5:].phases, data.phases[:, 5:])


GAUGE = tm.WilsonAction(tm.U1(), (4, 4), beta=1.0)


def theta(value, gauge=GAUGE):
    return tm.theories.SumTheory(gauge, tm.theories.ThetaTerm(gauge.manifold, value))


def test_exact_theta():
    """At zero the pure gauge theory; 2 pi periodic; the plaquette is the derivative of log Z."""
    assert tm.exact.log_z(theta(0.0)) == pytest.approx(tm.exact.log_z(GAUGE), rel=1e-13)
    assert tm.exact.plaquette(theta(0.0)) == pytest.approx(tm.exact.plaquette(GAUGE), rel=1e-12)
    assert tm.exact.charge_squared(theta(0.0)) == pytest.approx(tm.exact.charge_squared(GAUGE), rel=1e-12)
    for observable in (tm.exact.log_z, tm.exact.plaquette, tm.exact.average_phase):
        assert observable(theta(1.0 + 2 * np.pi)) == pytest.approx(observable(theta(1.0)), rel=1e-10)
    h = 1e-4
    log_z = [tm.exact.log_z(theta(1.0, tm.WilsonAction(tm.U1(), (4, 4), beta=1.0 + d))) for d in (h, -h)]
    assert tm.exact.plaquette(theta(1.0)) == pytest.approx((log_z[0] - log_z[1]) / (2 * h * 16), rel=1e-7)  # error h^2
    slope = (tm.exact.log_z(theta(1.0 + h)) - tm.exact.log_z(theta(1.0 - h))) / (2 * h)
    assert tm.exact.charge_moment(theta(1.0), 1) == pytest.approx(-1j * slope, rel=1e-6)
    with pytest.raises(tm.exact.NoExactResultError, match="sum of"):
        tm.exact.log_z(tm.theories.SumTheory(GAUGE, GAUGE))


def test_theta_term():
    """An annealed flow to Wilson's action, weighted towards theta, and HMC."""
    theory = theta(1.0)
    x = theory.manifold.reference_sample(jax.random.key(3))
    assert theory.action(x) == pytest.approx(float(GAUGE.action(x)) - 1j * float(tm.topological_charge(x)), rel=1e-12)
    np.testing.assert_array_equal(theory.gradient(x), GAUGE.gradient(x))
    observables = {"P": tm.plaquette, "Q": tm.topological_charge}
    prior = tm.HaarPrior(GAUGE.manifold)
    model = tm.Model(prior, tm.AnnealedFlow(prior, GAUGE, tm.kernels.HeatbathKernel(), 4))
    ensemble = tm.sample(jax.random.key(0), model, theory, 5_000, measure=observables, batch_size=500)
    chain = tm.hmc(jax.random.key(1), theory, 1000, chains=4, steps=6, measure=observables)
    for data in (ensemble, chain):
        within(tm.expectation(data, "P"), tm.exact.plaquette(theory))
        within(tm.expectation(data, "Q"), tm.exact.charge_moment(theory, 1))
        within(tm.statistics.average_phase(data), tm.exact.average_phase(theory))
    within(tm.log_z(ensemble), tm.exact.log_z(theory))


def test_populations_follow_the_magnitude():
    theory = theta(1.0)
    prior = tm.HaarPrior(GAUGE.manifold)
    model = tm.Model(prior, tm.AnnealedFlow(prior, theory, tm.kernels.HMCKernel(steps=3), 4))
    found = tm.smc(jax.random.key(1), model, theory, 300, particles=8)
    within(tm.expectation(found, tm.plaquette), tm.exact.plaquette(theory))
    within(tm.log_z(found), tm.exact.log_z(theory))
    with pytest.raises(ValueError, match="complex"):
        tm.smc(jax.random.key(1), model, theory, 4, particles=8, measure={"P": tm.plaquette})


def test_training_sees_the_magnitude():
    """Reverse KL towards a complex action is that of its real part, bit for bit."""
    prior = tm.GaussianPrior(SITE.manifold)
    model = tm.Model(prior, tm.flows.Rescaling(SITE.manifold))
    for objective in (tm.reverse_kl, tm.objectives.path_gradient):
        values = [objective(jax.random.key(0), model, t, 16) for t in (DRIVEN, SITE)]
        np.testing.assert_array_equal(values[0][0], values[1][0])


def test_refusals():
    with pytest.raises(ValueError, match="phase_quenched"):
        tm.EnsemblePrior(DRIVEN, np.zeros((5, 1)))
    for phases in (np.zeros(4), np.zeros(3, complex), np.array([0.0, np.nan, 0.0])):
        with pytest.raises(ValueError, match="phases"):
            tm.Ensemble(None, np.zeros(3), phases=phases)
    with pytest.raises(ValueError, match="phases"):
        tm.Chain(np.zeros((2, 5, 1)), phases=np.zeros((2, 4)))
    with pytest.raises(ValueError, match="phases"):
        tm.statistics.fit_correlator(tm.Ensemble(None, np.zeros(30), {"c": np.ones((30, 8))}, phases=np.zeros(30)), "c", 0)
    ensemble = gaussian(0, 10, 0.5)
    with pytest.raises(ValueError, match="phases"):
        tm.independence_metropolis(
            jax.random.key(0), ensemble, tm.Ensemble(None, [0.0], {k: v[:1] for k, v in ensemble.observables.items()})
        )
    with pytest.raises(ValueError, match="two-dimensional|two dimensions"):
        tm.theories.ThetaTerm(tm.LinkField(tm.SU(2), (4, 4)), 1.0)
    with pytest.raises(ValueError, match="manifold"):
        tm.theories.SumTheory(GAUGE, SITE)
    with pytest.raises(ValueError, match="two or more"):
        tm.theories.SumTheory(GAUGE)
