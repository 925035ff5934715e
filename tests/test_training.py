"""Training: objectives, exact resumption, and what happens when a run goes wrong."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import randomised

import trivmap as tm
from trivmap.training import initial_state

QUIET = {"progress": False}


def _phi4(extent=4):
    theory = tm.Phi4Action((extent, extent), m2=-4.0, lam=8.0)
    field = tm.GatedConvolutionField(theory.manifold, features=4, gates=2, times=2)
    return theory, tm.Model(tm.GaussianPrior(theory.manifold, 0.5), tm.ContinuousFlow(field, steps=3, checkpoint=False))


def _u1():
    theory = tm.WilsonAction(tm.U1(), (4, 4), beta=1.0)
    field = tm.GatedConvolutionField(theory.manifold, features=2, gates=1, times=2)
    return theory, tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(field, steps=3, checkpoint=False))


def _leaves(tree):
    arrays = [leaf for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf)]
    return [jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf for leaf in arrays]


def _identical(a, b):
    return all(np.array_equal(x, y) for x, y in zip(_leaves(a), _leaves(b), strict=True))


@pytest.mark.parametrize("objective", [tm.reverse_kl, tm.objectives.log_variance])
def test_objectives_are_functions_of_the_log_weights_and_the_embedded_error(objective):
    theory, model = _phi4()
    loss, log_weights = objective(jax.random.key(0), model, theory, 16, error_weight=0.0)
    expected = -np.mean(log_weights) if objective is tm.reverse_kl else np.var(log_weights, ddof=1) / 2
    assert abs(loss - expected) < 1e-12 * abs(expected)
    # A new flow is the identity: log w = -S(z) - log r(z), and no step has an error.
    keys = jax.random.split(jax.random.key(0), 16)
    z = jax.vmap(model.prior.sample)(keys)
    direct = -jax.vmap(theory.action)(z) - jax.vmap(model.prior.log_prob)(z)
    assert np.max(np.abs(log_weights - direct)) < 1e-12 * np.max(np.abs(direct))
    assert objective(jax.random.key(0), model, theory, 16)[0] == loss


def _perturbed(case):
    theory, model = case()
    return theory, eqx.tree_at(lambda m: m.transport.field, model, randomised(jax.random.key(5), model.transport.field, 0.1))


@pytest.mark.parametrize(
    "objective", [tm.objectives.path_gradient, pytest.param(tm.objectives.reinforce, marks=pytest.mark.slow)]
)
def test_estimators_of_one_gradient_agree(objective):
    """Value, log weights and mean gradient are those of `reverse_kl`."""
    theory, model = _perturbed(_phi4)
    model = eqx.tree_at(lambda m: m.transport, model, tm.ContinuousFlow(model.transport.field, steps=6))
    parameters, static = eqx.partition(model, eqx.is_inexact_array)

    @eqx.filter_jit
    def gradient(parameters, key, objective):
        def loss(parameters):
            value, weights = objective(key, eqx.combine(parameters, static), theory, 64, error_weight=0.0)
            return value, weights

        (value, weights), g = jax.value_and_grad(loss, has_aux=True)(parameters)
        return value, weights, jax.flatten_util.ravel_pytree(g)[0]

    keys = jax.random.split(jax.random.key(1), 48)
    ours, expected = ([gradient(parameters, k, f) for k in keys] for f in (objective, tm.reverse_kl))
    for (value, weights, _), (loss, log_weights, _) in zip(ours, expected, strict=True):
        assert abs(value - loss) < 1e-12 * abs(loss)
        np.testing.assert_allclose(weights, log_weights, rtol=1e-12)
    difference = np.array([a[2] - b[2] for a, b in zip(ours, expected, strict=True)])
    # Along a fixed direction the difference has mean zero; 48 batches give its error. The inverse of six steps of a
    # fourth-order scheme misses by about 1e-5, far below that.
    direction = np.asarray(gradient(parameters, jax.random.key(2), tm.reverse_kl)[2])
    projected = difference @ direction / np.linalg.norm(direction)
    assert abs(projected.mean()) < 4 * projected.std(ddof=1) / np.sqrt(len(projected))
    assert np.linalg.norm(np.mean([b[2] for b in expected], axis=0)) > projected.std() / 4


class _Prior(tm.AbstractTheory):
    """The theory whose density is the prior of a model."""

    prior: tm.priors.AbstractPrior

    @property
    def manifold(self):
        return self.prior.manifold

    def action(self, x):
        return -self.prior.log_prob(x)


def test_path_gradient_of_a_coupling_flow_is_that_through_its_inverse():
    """The textbook form: the fixed density differentiated at the moving sample."""
    theory = tm.Phi4Action((4, 4), m2=-4.0, lam=8.0)
    flow = randomised(jax.random.key(3), tm.CouplingFlow(jax.random.key(2), theory.manifold, 4, hidden=(4,), reach=1), 0.2)
    parameters, static = eqx.partition(tm.Model(tm.GaussianPrior(theory.manifold), flow), eqx.is_inexact_array)

    def ours(parameters):
        return tm.objectives.path_gradient(jax.random.key(0), eqx.combine(parameters, static), theory, 8)[0]

    def textbook(moving):
        keys = jax.random.split(jax.random.key(0), 8)
        x, _ = jax.vmap(eqx.combine(moving, static).sample_and_log_prob)(keys)
        return jnp.mean(jax.vmap(eqx.combine(parameters, static).log_prob)(x) + jax.vmap(theory.action)(x))

    gradient, expected = (jax.flatten_util.ravel_pytree(jax.jit(jax.grad(f))(parameters))[0] for f in (ours, textbook))
    assert jnp.linalg.norm(gradient - expected) < 1e-10 * jnp.linalg.norm(expected)


def test_path_gradients_have_no_noise_at_the_theory():
    _, model = _phi4()
    objectives = {"reverse": tm.reverse_kl, "path": tm.objectives.path_gradient, "reinforce": tm.objectives.reinforce}
    report = tm.training.gradient_noise(jax.random.key(0), model, _Prior(model.prior), objectives, batch_size=16, repeats=4)
    # The identity is exact: log q + S is zero for every sample up to rounding.
    assert report["path"]["noise"] < 1e-12
    assert report["reinforce"]["noise"] < 1e-12
    assert report["reverse"]["noise"] > 0.1
    assert all(row["seconds"] > 0 for row in report.values())


def test_forward_kl_is_the_likelihood_of_the_data():
    theory, model = _phi4()
    x = jax.vmap(model.prior.sample)(jax.random.split(jax.random.key(0), 32))
    loss, log_weights = tm.objectives.ForwardKL(x)(jax.random.key(1), model, theory, 2048)
    # The identity flow: each log weight is that of one of the data, and the loss is the entropy of the prior on them.
    log_probs = np.asarray(jax.vmap(model.prior.log_prob)(x))
    of_data = -np.asarray(jax.vmap(theory.action)(x)) - log_probs
    nearest = np.argmin(np.abs(np.asarray(log_weights)[:, None] - of_data), axis=1)
    assert np.max(np.abs(log_weights - of_data[nearest])) < 1e-11
    assert abs(loss + np.mean(log_probs[nearest])) < 1e-12 * abs(loss)
    # Uniformly drawn: 64 of each, with the spread of a multinomial distribution.
    assert np.max(np.abs(np.bincount(nearest, minlength=32) - 64)) < 4.5 * np.sqrt(64)
    only = tm.Ensemble(x, np.where(np.arange(32) == 3, 0.0, -np.inf))
    loss, _ = tm.objectives.ForwardKL(only)(jax.random.key(1), model, theory, 8)
    assert abs(loss + model.prior.log_prob(x[3])) < 1e-12 * abs(loss)
    with pytest.raises(ValueError, match="keeps observables only"):
        tm.objectives.ForwardKL(tm.Ensemble(None, np.zeros(3), {"m": np.zeros(3)}))
    with pytest.raises(ValueError, match="configurations of shape"):
        tm.objectives.ForwardKL(x[:, :2])(jax.random.key(1), model, theory, 8)


def test_training_on_a_chain_and_mixtures():
    theory, model = _phi4()
    chain = tm.hmc(jax.random.key(0), theory, 64, chains=4)
    objective = tm.objectives.MixedObjective([(0.5, tm.reverse_kl), (0.5, tm.objectives.ForwardKL(chain))])
    trained, _ = tm.fit(
        jax.random.key(1),
        model,
        theory,
        objective=objective,
        steps=30,
        batch_size=32,
        chunk=15,
        optimiser=optax.adam(1e-2),
        **QUIET,
    )
    # Both divergences are bounded by zero. Measured: the reverse one falls from 14 to 0.09, and the ESS is 0.82.
    log_weights = tm.sample(jax.random.key(2), trained, theory, 2048, measure={}).log_weights
    excess = tm.exact.log_z(theory) - np.mean(log_weights)
    assert -4 * np.std(log_weights) / np.sqrt(2048) < excess < 0.3
    assert tm.ess_fraction(log_weights) > 0.6
    parts = [
        f(k, trained, theory, 8)[0] for f, k in zip(objective.objectives, jax.random.split(jax.random.key(3)), strict=True)
    ]
    assert abs(objective(jax.random.key(3), trained, theory, 8)[0] - (parts[0] + parts[1]) / 2) < 1e-12
    with pytest.raises(ValueError, match="one .weight, objective. or more"):
        tm.objectives.MixedObjective([])


def test_annealed_couplings():
    start, end = (tm.Phi4Action((4, 4), m2=m2, lam=8.0) for m2 in (1.0, -4.0))
    annealed = tm.training.AnnealedTheory(start, end, fraction=0.5)
    for share, m2 in ((0.0, 1.0), (0.25, -1.5), (0.5, -4.0), (1.0, -4.0)):
        assert annealed.at(jnp.asarray(share)).m2 == m2
    x = jax.random.normal(jax.random.key(0), (4, 4))
    assert annealed.action(x) == end.action(x)
    seen = []

    def objective(key, model, theory, batch_size, *, dtype=None):
        jax.debug.callback(lambda m2: seen.append(float(m2)), theory.m2)
        return tm.reverse_kl(key, model, theory, batch_size, dtype=dtype)

    tm.fit(jax.random.key(0), _phi4()[1], annealed, objective=objective, steps=4, batch_size=2, chunk=2, **QUIET)
    jax.effects_barrier()
    assert sorted(set(seen), reverse=True) == [1.0, -1.5, -4.0]
    with pytest.raises(ValueError, match="cannot be moved"):
        tm.training.AnnealedTheory(start, tm.Phi4Action((4, 6), m2=1.0, lam=8.0))
    with pytest.raises(ValueError, match="fraction"):
        tm.training.AnnealedTheory(start, end, fraction=0.0)


def test_the_embedded_error_enters_the_loss():
    theory, model = _u1()
    model = eqx.tree_at(lambda m: m.transport.field.convolution.linear, model, replace_fn=lambda a: a + 0.5)
    with_error, log_weights = tm.reverse_kl(jax.random.key(0), model, theory, 8)
    without, same = tm.reverse_kl(jax.random.key(0), model, theory, 8, error_weight=0.0)
    assert np.array_equal(log_weights, same)
    z = model.prior.sample(jax.random.split(jax.random.key(0), 8)[0])
    result = model.transport.integrate(z, error=True)
    assert result.error_log_det + 10 * result.error_x > 0
    assert with_error > without


@pytest.mark.slow
@pytest.mark.parametrize("objective", [tm.reverse_kl, tm.objectives.log_variance])
@pytest.mark.parametrize("case", [_phi4, _u1])
def test_training_reaches_the_theory(case, objective):
    theory, model = case()
    start = tm.ess_fraction(tm.sample(jax.random.key(1), model, theory, 2048, measure={}).log_weights)
    model, history = tm.fit(
        jax.random.key(0), model, theory, objective=objective, steps=200, batch_size=64, dtype=jnp.float32, **QUIET
    )
    ensemble = tm.sample(jax.random.key(1), model, theory, 4096, measure={})
    assert tm.ess_fraction(ensemble.log_weights) > 0.85 > 2 * start
    # The embedded-error term keeps the loss above the bound: -log Z up to the standard error of one batch, 1/8.
    exact = tm.exact.log_z(theory)
    if objective is tm.reverse_kl:
        assert history[-1]["loss"] > -exact - 0.1
    estimate = tm.log_z(ensemble)
    assert abs(estimate.value - exact) < 4 * estimate.error + 3 * abs(history[-1]["halving_mean"])
    assert history[-1]["halving_std"] < 0.05
    assert [record["step"] for record in history] == [50, 100, 150, 200]


def test_resuming_is_bit_identical_and_chunks_do_not_matter():
    theory, model = _u1()
    options = dict(steps=12, batch_size=8, ema=0.9, **QUIET)
    states = []
    whole, _ = tm.fit(jax.random.key(0), model, theory, chunk=4, on_chunk=lambda state, _: states.append(state), **options)
    assert [int(state.step) for state in states] == [4, 8, 12]
    resumed, history = tm.fit(jax.random.key(0), model, theory, chunk=4, state=states[0], **options)
    assert _identical(resumed, whole)
    assert [record["step"] for record in history] == [8, 12]
    other, _ = tm.fit(jax.random.key(0), model, theory, chunk=5, **options)
    assert _identical(other, whole)


def test_moving_average_of_decay_zero_is_the_last_model():
    theory, model = _u1()
    options = dict(steps=3, batch_size=8, chunk=3, **QUIET)
    plain, _ = tm.fit(jax.random.key(0), model, theory, **options)
    averaged, _ = tm.fit(jax.random.key(0), model, theory, ema=0.0, **options)
    assert _identical(plain, averaged)
    slow, _ = tm.fit(jax.random.key(0), model, theory, ema=0.5, **options)
    # Parameters p_0 = 0, p_1, p_2, p_3 give p_0/8 + p_1/8 + p_2/4 + p_3/2.
    trail = []
    tm.fit(jax.random.key(0), model, theory, on_chunk=lambda s, _: trail.append(s.model), **(options | {"chunk": 1}))
    linear = [m.transport.field.convolution.linear for m in trail]
    expected = linear[0] / 8 + linear[1] / 4 + linear[2] / 2
    assert np.allclose(slow.transport.field.convolution.linear, expected, rtol=0, atol=1e-15)


class _Poisoned(tm.AbstractTheory):
    """A free action that turns into NaN once the width of the samples has moved."""

    manifold: tm.RealField
    threshold: float

    def action(self, x):
        value = jnp.sum(x**2, dtype=jnp.float64)
        return jnp.where(value < self.threshold, jnp.nan, value)


def test_a_loss_that_is_not_finite_stops_with_the_last_good_state():
    manifold = tm.RealField((2, 2))
    model = tm.Model(
        tm.GaussianPrior(manifold, 3.0),
        tm.ContinuousFlow(tm.GatedConvolutionField(manifold, features=2, gates=1), steps=2),
    )
    options = dict(steps=50, batch_size=4, optimiser=optax.adam(0.3), chunk=5, **QUIET)
    with pytest.raises(tm.training.TrainingDiverged, match="not finite at step [0-9]+.*learning rate") as caught:
        tm.fit(jax.random.key(0), model, _Poisoned(manifold, 2.0), **options)
    stopped = int(caught.value.state.step)
    assert 0 < stopped < 50
    assert caught.value.history[-1]["step"] == stopped
    good, _ = tm.fit(jax.random.key(0), model, _Poisoned(manifold, -1.0), **(options | {"steps": stopped}))
    assert _identical(caught.value.model, good)


def test_an_interrupt_keeps_the_finished_chunks():
    theory, model = _u1()
    options = dict(batch_size=8, chunk=2, **QUIET)

    def interrupt(state, record):
        if record["step"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(tm.training.TrainingInterrupted, match="after step 4.*state=error.state") as caught:
        tm.fit(jax.random.key(0), model, theory, steps=8, on_chunk=interrupt, **options)
    resumed, _ = tm.fit(jax.random.key(0), model, theory, steps=8, state=caught.value.state, **options)
    whole, _ = tm.fit(jax.random.key(0), model, theory, steps=8, **options)
    assert _identical(resumed, whole)
    assert isinstance(caught.value, KeyboardInterrupt)


def test_clipping_bounds_the_update():
    theory, model = _u1()
    options = dict(steps=1, batch_size=8, chunk=1, optimiser=optax.sgd(1.0), **QUIET)
    clipped, history = tm.fit(jax.random.key(0), model, theory, clip=1e-3, **options)
    change = jax.tree.map(
        lambda a, b: a - b, eqx.filter(clipped, eqx.is_inexact_array), eqx.filter(model, eqx.is_inexact_array)
    )
    assert history[0]["gradient_norm"] > 1e-3
    assert abs(optax.tree.norm(change) - 1e-3) < 1e-12


def test_objective_options_by_partial_and_custom_objectives():
    theory, model = _u1()
    options = dict(steps=2, batch_size=8, chunk=2, **QUIET)
    partial = functools.partial(tm.reverse_kl, error_weight=0.0)
    a, _ = tm.fit(jax.random.key(0), model, theory, objective=partial, **options)

    def custom(key, model, theory, batch_size, *, dtype=None):
        return tm.reverse_kl(key, model, theory, batch_size, dtype=dtype, error_weight=0.0)

    b, _ = tm.fit(jax.random.key(0), model, theory, objective=custom, **options)
    assert _identical(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps: got 0"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"chunk": 0}, "chunk: got 0"),
        ({"ema": 1.0}, "number in \\[0, 1\\)"),
        ({"theory": tm.WilsonAction(tm.U1(), (6, 6), beta=1.0)}, "theory.manifold"),
        ({"objective": tm.objectives.log_variance, "batch_size": 1}, "batch_size >= 2"),
    ],
)
def test_errors_teach(change, message):
    theory, model = _u1()
    arguments = {"theory": theory, "steps": 2, "batch_size": 4} | change
    with pytest.raises(ValueError, match=message):
        tm.fit(jax.random.key(0), model, progress=False, **arguments)


def test_a_state_of_another_run_is_refused():
    theory, model = _u1()
    state = initial_state(jax.random.key(0), model, optax.sgd(1.0))
    with pytest.raises(ValueError, match="another structure"):
        tm.fit(jax.random.key(0), model, theory, steps=2, state=state, progress=False)
