"""Derivatives by couplings, control variates, chains carried through flows: by Stein's identity, against exact values."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm
from trivmap.lattice import hartley, squared_momentum
from trivmap.statistics import control_variate, derivative, difference
from trivmap.training import stein_regression

KEY = jax.random.key(0)
FREE = tm.theories.FreeScalarAction((4, 4), m2=1.0)
PHI4 = tm.Phi4Action((4, 4), m2=-4.0, lam=6.008)
# Derivatives of phi^2, phi^4 and chi of this theory by lam and by m2, by transfer matrices.
BY_LAM, BY_M2 = (-0.0386183378, -0.0254082366, -0.6239077389), (-0.0643563936, -0.0386183378, -1.0650082037)
SU2 = tm.WilsonAction(tm.SU(2), (4, 4), beta=2.2)


class Kernel(tm.fields.AbstractVectorField):
    """v = k * phi, linear in the eigenvalues of k: for a free field one of them follows the mass exactly."""

    eigenvalues: jax.Array
    manifold: tm.RealField = eqx.field(static=True)

    def __call__(self, t, x):
        return hartley(self.eigenvalues * hartley(x, 2), 2), jnp.sum(self.eigenvalues)


STILL = tm.ContinuousFlow(Kernel(jnp.zeros((4, 4)), FREE.manifold), steps=1)


def free_samples(count, seed=1):
    prior = tm.GaussianPrior(FREE.manifold)
    flow = tm.flows.FourierFlow(FREE.manifold, mass=1.0)
    model = tm.Model(prior, flow)
    return tm.sample(jax.random.key(seed), model, FREE, count)


@pytest.fixture(scope="module")
def phi4_chain():
    return tm.hmc(KEY, PHI4, 800, chains=16, trajectory_length=1.0, steps=8)


@pytest.fixture(scope="module")
def su2_chain():
    return tm.heatbath(KEY, SU2, 100, chains=16, thermalisation=30)


def moments(x):
    return jnp.stack([jnp.mean(x**2), jnp.mean(x**4), tm.observables.susceptibility(x)])


def test_a_family_that_holds_the_flow_leaves_no_noise():
    """d/dm2 of a free field: <phi_k^2> = 1 / (2 (k^2 + m^2)), and of its field of eigenvalues -1 / (2 (k^2 + m^2))."""
    ensemble = free_samples(200)
    denominators = squared_momentum((4, 4)) + 1.0
    found = derivative(ensemble, FREE, lambda x: jnp.mean(x**2), "m2", Kernel(jnp.zeros((4, 4)), FREE.manifold))
    plain = derivative(ensemble, FREE, lambda x: jnp.mean(x**2), "m2")
    exact = -np.mean(1 / (2 * denominators**2))
    assert abs(plain.pull(exact)) < 4
    assert plain.error > 1e-3
    # v.dO = 2 mean(phi v) is not constant, but all products with what is left of g are: the noise of <v.dO> alone.
    assert found.error < 0.5 * plain.error
    assert abs(found.pull(exact)) < 4
    fit = stein_regression(ensemble, FREE, "m2", Kernel(jnp.zeros((4, 4)), FREE.manifold))
    # Modes k and -k share a column; the least-squares solution of least norm divides it evenly. Rounding of lstsq.
    np.testing.assert_allclose(fit.field.eigenvalues, -1 / (2 * denominators), atol=1e-9)
    assert fit.unexplained < 1e-18
    assert fit.ess(0.3) == pytest.approx(1, abs=1e-12)


def test_log_z_of_a_finite_step_of_a_free_field():
    """A few steps along the field of the start: log Z of another mass with weights whose noise is of second order."""
    fit = stein_regression(free_samples(200), FREE, "m2", Kernel(jnp.zeros((4, 4)), FREE.manifold))
    new = tm.theories.FreeScalarAction((4, 4), m2=1.2)
    samples = free_samples(1000, seed=2)
    chain = tm.Chain(np.asarray(samples.configurations)[None])
    pushed = tm.push_forward(chain, fit.flow(0.2), FREE, new)
    exact = -0.5 * np.sum(np.log((squared_momentum((4, 4)) + 1.2) / (squared_momentum((4, 4)) + 1.0)))
    assert abs(tm.log_z(pushed).pull(exact)) < 4
    plain = tm.push_forward(chain, fit.flow(0.0), FREE, new)
    assert tm.ess_fraction(pushed.log_weights) > 0.99 > tm.ess_fraction(plain.log_weights)


def test_derivatives_of_phi4_against_exact_values(phi4_chain):
    field = tm.fields.RidgeField(KEY, PHI4.manifold, times=2)
    linear = lambda f: (f.amplitudes, f.linear)  # noqa: E731
    for coupling, exact in (("lam", BY_LAM), ("m2", BY_M2)):
        plain = derivative(phi4_chain, PHI4, moments, coupling)
        found = derivative(phi4_chain, PHI4, moments, coupling, field, parameters=linear)
        assert np.all(np.abs(plain.pull(np.array(exact))) < 4)
        assert np.all(np.abs(found.pull(np.array(exact))) < 4)
        # Gains of the variance between 3 and 30 when written.
        assert np.all(np.asarray(plain.error) > 1.3 * np.asarray(found.error))


def test_mixed_derivatives_of_log_z_agree(phi4_chain):
    """-cov(phi^2, sum phi^4) = -cov(phi^4, sum phi^2), on the same data to rounding."""
    first = derivative(phi4_chain, PHI4, lambda x: jnp.mean(x**2), "lam")
    second = derivative(phi4_chain, PHI4, lambda x: jnp.mean(x**4), "m2")
    assert first.value == pytest.approx(second.value, rel=1e-10)
    assert first.error == pytest.approx(second.error, rel=1e-6)


def test_a_coupling_and_its_derivative_as_a_function_are_the_same(phi4_chain):
    by_name = derivative(phi4_chain, PHI4, moments, "lam")
    by_function = derivative(phi4_chain, PHI4, moments, lambda x: jnp.sum(x**4))
    np.testing.assert_allclose(by_name.value, by_function.value, rtol=1e-10)


def test_images_average_over_a_symmetry(phi4_chain):
    """The correlator as derivative by a source on one slice: with all translations it is the average over slices."""
    at_zero = lambda x: -jnp.sum(x[0])  # noqa: E731
    slices = lambda x: jnp.mean(x, axis=1)  # noqa: E731
    shifts = lambda x: jnp.stack([jnp.roll(x, k, axis=0) for k in range(4)])  # noqa: E731
    mean = derivative(phi4_chain, PHI4, slices, at_zero, images=shifts)
    times = tm.expectation(
        phi4_chain,
        lambda x: jnp.stack([jnp.mean(jnp.sum(x, axis=1) * jnp.mean(jnp.roll(x, -t, axis=0), axis=1)) for t in range(4)]),
    )
    assert np.all(np.abs((np.asarray(mean.value) - times.value) / np.asarray(times.error)) < 4)
    assert np.asarray(mean.value)[1] == pytest.approx(np.asarray(mean.value)[3], abs=1e-10)


def test_derivatives_of_su2(su2_chain):
    """The plaquette loop explains most of the action: gain of the variance 10 when written."""
    step = 1e-4
    theories = [tm.WilsonAction(tm.SU(2), (4, 4), beta=2.2 + sign * step) for sign in (1, -1)]
    exact = (tm.exact.plaquette(theories[0]) - tm.exact.plaquette(theories[1])) / (2 * step)
    field = tm.GradientField(tm.LoopPotential(SU2.manifold, time="constant"))
    plain, found = derivative(su2_chain, SU2, tm.plaquette), derivative(su2_chain, SU2, tm.plaquette, field=field)
    assert abs(plain.pull(exact)) < 4
    assert abs(found.pull(exact)) < 4
    assert plain.error > 2 * found.error


def test_a_control_variate_keeps_the_mean(su2_chain):
    field = tm.GradientField(tm.LoopPotential(SU2.manifold, time="constant"))
    plain, found = tm.expectation(su2_chain, tm.plaquette), control_variate(su2_chain, SU2, tm.plaquette, field)
    exact = tm.exact.plaquette(SU2)
    assert abs(found.pull(exact)) < 4
    assert plain.error > 1.5 * found.error


def test_a_pushed_chain_keeps_its_order_and_the_difference_its_pairing(su2_chain):
    field = tm.GradientField(tm.LoopPotential(SU2.manifold, time="constant"))
    new = tm.WilsonAction(tm.SU(2), (4, 4), beta=2.3)
    flow = stein_regression(su2_chain[:50], SU2, "beta", field).flow(0.1)
    rest = su2_chain[50:]
    pushed = tm.push_forward(rest, flow, SU2, new, batch_size=37)
    y, log_det = flow.forward_and_log_det(jnp.asarray(rest.configurations[3, 7]))
    place = 3 * 50 + 7
    np.testing.assert_allclose(pushed.configurations[place], y, atol=1e-12)
    exact = SU2.action(jnp.asarray(rest.configurations[3, 7])) - new.action(y) + log_det
    np.testing.assert_allclose(pushed.log_weights[place], exact, atol=1e-10)
    assert tuple(pushed.source.index[place]) == (3, 7)
    assert pushed.source.shape == (16, 50)
    assert abs(tm.log_z(pushed).pull(tm.exact.log_z(new) - tm.exact.log_z(SU2))) < 4
    paired = difference(pushed, rest, tm.plaquette)
    assert abs(paired.pull(tm.exact.plaquette(new) - tm.exact.plaquette(SU2))) < 4
    assert paired.error < 0.2 * tm.expectation(rest, tm.plaquette).error
    other = difference(pushed, tm.Ensemble(rest.configurations[0], np.zeros(50)), tm.plaquette)
    assert other.error > tm.expectation(pushed, tm.plaquette).error


@pytest.mark.slow
def test_errors_cover_the_exact_value():
    """100 chains by themselves, each with coefficients of its own two halves."""
    chain = tm.hmc(jax.random.key(3), PHI4, 400, chains=100, trajectory_length=1.0, steps=8)
    field = tm.fields.RidgeField(KEY, PHI4.manifold, times=2)
    pulls = []
    for k in range(100):
        single = tm.Chain(chain.configurations[k : k + 1])
        found = derivative(single, PHI4, lambda x: jnp.mean(x**2), "lam", field, parameters=lambda f: f.linear)
        pulls.append(found.pull(BY_LAM[0]))
    # 68.3 % with a standard deviation of 4.7 %, less what errors from 400 trajectories miss.
    assert 0.58 <= np.mean(np.abs(pulls) < 1) <= 0.78


def test_what_is_refused(su2_chain, phi4_chain):
    field = tm.GradientField(tm.LoopPotential(SU2.manifold, time="constant"))
    with pytest.raises(ValueError, match="no coupling 'lam'"):
        derivative(su2_chain, SU2, tm.plaquette, "lam")
    with pytest.raises(ValueError, match="one real number"):
        derivative(su2_chain, SU2, tm.plaquette, "lattice")
    with pytest.raises(ValueError, match="acts on"):
        derivative(phi4_chain, PHI4, moments, "lam", field)
    with pytest.raises(ValueError, match="at least 4"):
        derivative(tm.Chain(su2_chain.configurations[:2, :1]), SU2, tm.plaquette, field=field)
    with pytest.raises(ValueError, match="without measure="):
        derivative(tm.Chain(None, {"x": np.zeros((1, 10))}), SU2, tm.plaquette)
    with pytest.raises(ValueError, match="one real number"):
        control_variate(phi4_chain, PHI4, moments, Kernel(jnp.zeros((4, 4)), PHI4.manifold))
    with pytest.raises(ValueError, match="one manifold"):
        tm.push_forward(su2_chain, STILL, SU2, SU2)
    with pytest.raises(ValueError, match="configurations of a Chain"):
        tm.push_forward(free_samples(4), STILL, FREE, FREE)
