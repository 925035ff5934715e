"""Gauss-Newton on Var[log w]: the solution of linear problems, both forms of the step, the integrator, runs of `fit`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import trivmap as tm
from trivmap.training._gauss_newton import GaussNewton, _Steps

KEY = jax.random.key(0)
SITE = tm.theories.FreeScalarAction((4,), m2=1.0)


class Linear(tm.models.AbstractModel):
    """A model whose log weight is linear in its numbers: exactly one step of least squares from the minimum."""

    numbers: jax.Array
    target: jax.Array
    manifold: tm.RealField = eqx.field(static=True)

    def frozen_fields(self):
        return ("target",)

    def sample_and_log_prob(self, key, dtype=None):
        x = jax.random.normal(key, self.manifold.shape)
        features = jnp.stack([x[0], x[1] ** 2, x[2] * x[3], jnp.sin(x[1])])
        return x, -SITE.action(x) + (self.numbers - self.target) @ features


def linear(dead: int = 0):
    target = jnp.asarray([1.0, -0.5, 2.0, 0.3] + [0.0] * dead)[:4]
    return Linear(jnp.zeros(4), target, SITE.manifold)


def test_a_linear_problem_is_solved_in_one_step():
    model, records = tm.gauss_newton(KEY, linear(), SITE, steps=1, samples=64, damping=0.0, progress=False)
    # log w is a constant at the minimum: rounding of sums of four terms of order one.
    np.testing.assert_allclose(model.numbers, model.target, atol=1e-12)
    assert records[0]["variance"] > 1
    assert records[1]["variance"] < 1e-24
    assert records[1]["ess"] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_both_forms_of_a_step_agree(power):
    """From P x P and from N x N matrices, and from the normal equations as they are written down."""
    rng = np.random.default_rng(0)
    for samples, parameters in ((40, 6), (6, 40)):
        log_weights, slopes = rng.normal(size=samples), rng.normal(size=(samples, parameters))
        steps = _Steps(log_weights, slopes, GaussNewton(power=power))
        assert steps.dual == (parameters > samples)
        weights = np.exp(power * log_weights)
        weights /= weights.sum()
        centred = slopes - weights @ slopes
        y = log_weights - weights @ log_weights
        gram = (centred.T * weights) @ centred
        expected = -np.linalg.solve(gram + 1e-3 * gram.diagonal().max() * np.eye(parameters), (centred.T * weights) @ y)
        # Rounding, amplified by the inverse damping.
        np.testing.assert_allclose(steps.damped(1e-3), expected, atol=1e-10)


def test_dead_directions_stay_where_they_are():
    """A column of noise, 1e-6 of the others: with a unit of its own it would move by a million of theirs."""
    rng = np.random.default_rng(0)
    slopes = rng.normal(size=(100, 3)) * [1.0, 1.0, 1e-6]
    step = _Steps(rng.normal(size=100), slopes, GaussNewton()).damped(1e-4)
    assert abs(step[2]) < 1e-1 * abs(step[:2]).max()
    own = _Steps(rng.normal(size=100), slopes, GaussNewton(floor=0.0)).damped(1e-4)
    assert abs(own[2]) > 1e3 * abs(own[:2]).max()


class Coarse(tm.models.AbstractModel):
    """log w = x_1 + 2 (1 - a) x_0 and an error of fourth order in the steps that the numbers can use.

    The variance can only fall from 5 to 1, by a = 1. With a single step the error would let b cancel x_1, or, where it is a
    constant, a shift log Z while it lowers the variance.
    """

    numbers: jax.Array
    constant: bool = eqx.field(static=True)
    steps: int = eqx.field(static=True, default=1)
    manifold: tm.RealField = eqx.field(static=True, default=SITE.manifold)

    refinable = True

    def refined(self):
        return Coarse(self.numbers, self.constant, 2 * self.steps)

    def sample_and_log_prob(self, key, dtype=None):
        x = jax.random.normal(key, self.manifold.shape)
        a, b = self.numbers
        error = 10 * a if self.constant else -b * x[1]
        return x, -SITE.action(x) - x[1] - 2 * (1 - a) * x[0] - 0.1 * b * x[2] - error / self.steps**4


def log_weights(model, count=4000):
    return tm.sample(jax.random.key(7), model, SITE, count, measure={}).log_weights


def test_too_few_steps_are_not_fitted():
    """The variance of one step of integration could fall to 0.01, by fitting the error of the integrator."""
    # The mean of the error is zero within 0.01, half of what counts: its spread is all that there is to see.
    options = {"steps": 4, "samples": 40_000, "batch_size": 10_000, "progress": False}
    better, records = tm.gauss_newton(KEY, Coarse(jnp.zeros(2), False), SITE, **options)
    assert abs(records[1]["halving_mean"]) < 0.02
    assert records[1]["halving_std"] > 0.1
    assert better.steps > 1
    own, finer = (np.var(log_weights(m)) for m in (better, better.refined()))
    # The variance of a variance of normal numbers is 2/n: 2 %, common to both; the error counts for a fifth at most.
    assert finer == pytest.approx(1, abs=0.2)
    assert abs(own - finer) < 0.2 * finer
    assert better.numbers[0] == pytest.approx(1, abs=0.1)


def test_a_constant_error_is_not_fitted():
    """The variance does not see a shift of log w by the integrator, of 10 in log Z with one step."""
    better, records = tm.gauss_newton(KEY, Coarse(jnp.zeros(2), True), SITE, steps=8, samples=512, progress=False)
    # No step that gains less variance than the square of its shift: 4 are to be gained in all.
    assert all(record["halving_mean"] ** 2 < 4 for record in records)
    assert better.numbers[0] == pytest.approx(1, abs=0.1)
    # 10/n^4 is below 2 % of the standard deviation of one from n = 8 on.
    assert better.steps >= 8


def _gated(steps: int):
    theory = tm.WilsonAction(tm.U1(), (4, 4), beta=2.0)
    field = tm.GatedConvolutionField(theory.manifold, features=2, gates=1, times=2)
    return theory, tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(field, steps=steps))


@pytest.mark.slow
def test_the_integrator_is_not_exploited():
    """From two steps of integration: their number grows, and log Z, of which the variance knows nothing, is right."""
    theory, model = _gated(steps=2)
    model, _ = tm.fit(KEY, model, theory, steps=60, batch_size=64, optimiser=optax.adam(1e-2), progress=False)
    before = tm.sample(jax.random.key(5), model, theory, 2000)
    better, records = tm.gauss_newton(KEY, model, theory, steps=4, samples=1024, progress=False)
    assert better.transport.steps > 2
    ensemble = tm.sample(jax.random.key(5), better, theory, 2000)
    # 0.45 and 0.93 when written.
    assert tm.ess_fraction(ensemble.log_weights) > 0.2 + tm.ess_fraction(before.log_weights)
    assert abs(tm.log_z(ensemble).pull(tm.exact.log_z(theory))) < 4


@pytest.mark.slow
def test_fit_finishes_and_goes_on_where_it_was():
    theory, model = _gated(steps=1)
    options = {"steps": 10, "batch_size": 32, "chunk": 5, "progress": False, "optimiser": optax.adam(3e-2)}
    finish = tm.GaussNewton(steps=2, samples=512)
    assert model.transport.steps == 1
    seen = []
    trained, history = tm.fit(
        KEY, model, theory, finish=finish, on_chunk=lambda state, record: seen.append((state, record)), **options
    )
    assert [record["step"] for record in history] == [5, 10, 11, 12]
    assert history[-1]["variance"] < history[2]["variance"]
    assert history[-1]["ess"] > history[1]["ess"]
    for a, b in zip(jax.tree.leaves(trained), jax.tree.leaves(seen[-1][0].model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert trained.transport.steps > 1
    # A run of both parts ends as one that is resumed in between.
    state = seen[1][0]
    resumed, rest = tm.fit(KEY, state.model, theory, finish=finish, state=state, **options)
    assert [record["step"] for record in rest] == [11, 12]
    for a, b in zip(jax.tree.leaves(trained), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    # One that is resumed later does what is left, and at the end nothing.
    last = seen[-1][0]
    unchanged, rest = tm.fit(KEY, last.model, theory, finish=finish, state=last, **options)
    assert list(rest) == []
    assert unchanged.transport.steps == trained.transport.steps


def test_it_takes_all_parameters_of_any_flow():
    """More numbers than samples, and a sequence of which one part is integrated."""
    scalar = tm.Phi4Action((4, 4), m2=1.0, lam=1.0)
    flow = tm.FlowSequence(
        tm.flows.FourierFlow(scalar.manifold),
        tm.ContinuousFlow(tm.fields.RidgeField(KEY, scalar.manifold, times=2), steps=2),
    )
    model = tm.Model(tm.GaussianPrior(scalar.manifold), flow)
    assert model.refinable
    assert model.refined().transport.flows[1].steps == 4
    count = tm.training.parameter_count(model)
    assert count > 64
    better, records = tm.gauss_newton(KEY, model, scalar, steps=1, samples=64, progress=False)
    assert records[1]["variance"] < records[0]["variance"]
    assert "halving_mean" in records[0]
    changed = [not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(better), strict=True)]
    assert any(changed)


def test_a_model_of_many_couplings_is_not_fitted_to_one():
    theory, model = _gated(steps=1)
    conditional = tm.ConditionalModel(lambda _: model, theory, 1.0, 2.0, degree=1)
    couplings = tm.training.CouplingRange(tm.WilsonAction(tm.U1(), (4, 4), beta=1.0), theory)
    with pytest.raises(ValueError, match="expected one theory"):
        tm.gauss_newton(KEY, conditional, couplings, steps=1, progress=False)


def test_the_error_of_a_sequence_is_that_of_its_parts():
    theory = tm.Phi4Action((4, 4), m2=1.0, lam=1.0)
    field = jax.tree.map(lambda a: a + 0.1 if eqx.is_inexact_array(a) else a, tm.GatedConvolutionField(theory.manifold))
    part = tm.ContinuousFlow(field, steps=2)
    z = theory.manifold.random_tangent(KEY)
    flow = tm.FlowSequence(part, part)
    x, log_det, error = flow.forward_with_error(z)
    y, first, missed = part.forward_with_error(z)
    y, second, again = part.forward_with_error(y)
    np.testing.assert_array_equal(x, y)
    assert float(log_det) == float(first + second)
    assert float(error) == float(missed + again) > 0
