"""Stochastic flows: weights that are unbiased at any step size, both ways, on every manifold."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import randomised

import trivmap as tm
from trivmap.training.objectives._continuity import _residual

TABLE = {
    "phi4": (lambda: tm.Phi4Action((2, 3), m2=-1.0, lam=1.0), 0.02),
    "u1": (lambda: tm.WilsonAction(tm.U1(), (3, 2), beta=1.0), 0.05),
    "su2": (lambda: tm.WilsonAction(tm.SU(2), (2, 2), beta=2.0), 0.05),
    "su3": (lambda: tm.WilsonAction(tm.SU(3), (2, 2), beta=2.0), 0.05),
}


def _prior(theory):
    scalar = isinstance(theory.manifold, tm.RealField)
    return tm.GaussianPrior(theory.manifold, 0.6) if scalar else tm.HaarPrior(theory.manifold)


def _drift(manifold, strength=1.0):
    """A drift that has nothing to do with the theory."""
    if isinstance(manifold, tm.LinkField) and manifold.group.n > 1:
        return tm.GradientField(tm.LoopPotential(manifold, coefficient=0.6 * strength))
    return randomised(jax.random.key(9), tm.GatedConvolutionField(manifold, features=2, gates=1, times=2), 0.2 * strength)


def _langevin(theory, size, steps, **options):
    return tm.LangevinFlow(_prior(theory), theory, steps, step_size=size, **options)


def _annealed(theory, size, steps, **options):
    kernel = tm.kernels.HMCKernel(length=0.4, steps=2)
    return tm.AnnealedFlow(_prior(theory), theory, kernel, steps, **options)


FLOWS = {
    "langevin": _langevin,
    "langevin_coarse": lambda theory, size, steps: _langevin(theory, 4 * size, steps),
    "langevin_drift": lambda theory, size, steps: _langevin(theory, size, steps, drift=_drift(theory.manifold)),
    "annealed": _annealed,
    "annealed_layers": lambda theory, size, steps: _annealed(
        theory,
        size,
        steps,
        repeats=2,
        layers=tm.stochastic.stack_layers([tm.ContinuousFlow(_drift(theory.manifold, 0.25), steps=2)] * steps),
    ),
}


@pytest.mark.parametrize(
    ("name", "case"),
    [*((name, case) for name in FLOWS if "langevin" in name for case in TABLE)]
    + [("annealed", "phi4"), ("annealed", "su3"), ("annealed_layers", "u1"), ("annealed_layers", "su2")],
)
def test_weights_are_unbiased_at_any_step_size(name, case):
    """log Z and the action from eight steps, with a wrong drift and layers as well."""
    make, size = TABLE[case]
    theory = make()
    model = tm.Model(_prior(theory), FLOWS[name](theory, size, 4))
    ensemble = tm.sample(jax.random.key(0), model, theory, 2000, batch_size=500, measure={"action": theory.action})
    assert abs(tm.log_z(ensemble).pull(tm.exact.log_z(theory))) < 4
    # The error of log Z can be trusted while the weights are not those of a few samples.
    assert tm.ess_fraction(ensemble.log_weights) > 0.005


@pytest.mark.parametrize("name", FLOWS)
def test_backward_paths_have_the_reciprocal_weight(name):
    r"""$\langle e^{-\log w}\rangle = 1/Z$ over backward paths from the theory: a wrong level or sign of the drift fails here.

    Configurations of the theory come from resampled independent weights.
    """
    make, size = TABLE["su2"]
    theory = make()
    prior, flow = _prior(theory), FLOWS[name](theory, size, 4)
    good = tm.sample(jax.random.key(1), tm.Model(prior, _annealed(theory, size, 60)), theory, 2000, batch_size=500)
    weights = np.exp(good.log_weights - good.log_weights.max())
    index = np.random.default_rng(0).choice(len(weights), size=2000, p=weights / weights.sum())

    @eqx.filter_jit
    def backward(flow, key, x):
        z, log_weight = flow.backward_and_log_weight(key, x)
        return prior.log_prob(z) + theory.action(x) + log_weight

    keys = jax.random.split(jax.random.key(2), 2000)
    values = jax.lax.map(lambda a: backward(flow, *a), (keys, jnp.asarray(good.configurations)[index]), batch_size=500)
    factor = np.exp(np.asarray(values) + tm.exact.log_z(theory))
    # Resampling repeats configurations: their effective number enters the error.
    share = tm.ess_fraction(good.log_weights) / 2
    assert share > 0.3
    assert abs(factor.mean() - 1) < 4 * factor.std() / np.sqrt(share * len(factor))


@pytest.mark.parametrize("case", TABLE)
def test_a_langevin_step_is_the_ratio_of_two_gaussians(case):
    """One step by hand, from the formula."""
    make, size = TABLE[case]
    theory = make()
    drift = _drift(theory.manifold)
    flow = _langevin(theory, size, 1, drift=drift)
    manifold, prior = theory.manifold, _prior(theory)
    z = prior.sample(jax.random.key(3))
    key = jax.random.key(4)
    x, log_weight = flow.forward_and_log_weight(key, z)
    noise = manifold.random_tangent(jax.random.split(key, 1)[0], jnp.real(z).dtype)
    mean = -size * theory.gradient(z) + drift(jnp.asarray(0.5), z)[0]
    shift = mean + jnp.sqrt(jnp.asarray(2 * size)).astype(noise.dtype) * noise
    end = manifold.exp(shift, z)
    back = -shift - (-size * theory.gradient(end) - drift(jnp.asarray(0.5), end)[0])
    expected = (manifold.inner(noise, noise) - manifold.inner(back, back) / (2 * size)) / 2
    assert manifold.distance(x, end) < 1e-12
    assert abs(log_weight - expected) < 1e-10 * max(1.0, abs(expected))


class _Towards(tm.fields.AbstractVectorField):
    """Velocity -c dS; a drift needs no divergence."""

    theory: tm.AbstractTheory
    strength: float

    @property
    def manifold(self):
        return self.theory.manifold

    def __call__(self, t, x):
        return -self.strength * self.theory.gradient(x), jnp.zeros(())


def test_single_plaquette_of_su2():
    """log Z = 3.0178514 at beta = 6 with and without the drift 4 d q_0 (q_0 = tr U/2), which raises the ESS."""
    theory = tm.theories.MatrixAction(tm.SU(2), 6.0, (1.0,))
    exact = tm.exact.OneMatrixModel(2, 6.0, (1.0,)).log_z()
    assert abs(exact - 3.0178514) < 1e-6
    ess = []
    for strength in (0.0, 4.0 / 6.0):
        flow = tm.LangevinFlow(_prior(theory), theory, 64, step_size=0.06, drift=_Towards(theory, strength))
        ensemble = tm.sample(jax.random.key(0), tm.Model(_prior(theory), flow), theory, 4000, batch_size=1000)
        assert abs(tm.log_z(ensemble).pull(exact)) < 4
        ess.append(float(tm.ess_fraction(ensemble.log_weights)))
    # Measured 0.38 and 0.81; 4000 samples give each to about 0.02.
    assert ess[1] > 0.75
    assert ess[1] > ess[0] + 0.3


def test_gradients_flow_through_paths_and_memory_stays_flat():
    theory = TABLE["u1"][0]()

    def temporary(steps):
        flow = _langevin(theory, 0.05, steps)
        gradient = eqx.filter_jit(
            eqx.filter_grad(lambda f, k: f.forward_and_log_weight(k, theory.manifold.reference_sample(k))[1])
        )
        return gradient.lower(flow, jax.random.key(0)).compile().compiled.memory_analysis().temp_size_in_bytes

    short, long, longest = map(temporary, (25, 100, 400))
    # 10, 20 and 40 states of about 300 bytes, and of every step its level, step size, time and key, 60 bytes with gradients.
    # A state per step would be 22500 and 112500 bytes more, intermediates ten times that.
    assert long - short < 20 * 300 + 75 * 60
    assert longest - short < 40 * 300 + 375 * 60


@pytest.mark.parametrize("steps", [5, 23])
def test_segments_change_nothing(steps):
    """A path and its gradient, in one segment and in several with a rest."""
    theory = TABLE["phi4"][0]()
    x, weights = _prior(theory).sample(jax.random.key(1)), jnp.linspace(0.5, 1, steps)

    def loss(flow):
        _, log_weight, kept, changes = flow.path(jax.random.key(0), x)
        return log_weight + jnp.sum(weights * changes) + jnp.sum(jnp.sin(kept)), kept

    plain, recomputed = (
        eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))(_langevin(theory, 0.02, steps, checkpoint=value))
        for value in (False, True)
    )
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(recomputed), strict=True):
        # Same operations in another order: rounding of up to 23 steps, of numbers of order 10.
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_training_raises_the_effective_sample_size():
    theory = TABLE["u1"][0]()
    model = tm.Model(_prior(theory), _langevin(theory, 0.02, 4))
    # Step sizes that are far too small grow about sevenfold; the coupling stays.
    options = {"batch_size": 64, "chunk": 20, "progress": False, "optimiser": tm.training.default_optimiser(60, 0.1)}
    trained, history = tm.fit(jax.random.key(0), model, theory, steps=60, **options)
    assert history[-1]["ess"] > history[0]["ess"]
    assert jnp.all(trained.transport.log_step_sizes > model.transport.log_step_sizes)
    assert trained.transport.theory.beta == theory.beta
    with pytest.raises(TypeError, match="integral over paths"):
        trained.log_prob(theory.manifold.reference_sample(jax.random.key(0)))


def test_sequential_monte_carlo():
    """Populations of eight particles, which resample at nearly every level: still without bias."""
    theory = tm.WilsonAction(tm.SU(2), (2, 2), beta=4.0)
    model = tm.Model(_prior(theory), tm.AnnealedFlow(_prior(theory), theory, tm.kernels.HeatbathKernel(), 4))
    measure = {"plaquette": tm.plaquette}
    ensemble = tm.smc(jax.random.key(0), model, theory, 400, particles=8, resample_below=0.9, measure=measure)
    assert ensemble.observables["resampled"].mean() > 0.5
    assert abs(tm.log_z(ensemble).pull(tm.exact.log_z(theory))) < 4
    assert abs(tm.expectation(ensemble, "plaquette").pull(tm.exact.plaquette(theory))) < 4


def test_populations_of_a_model_lead_to_the_theory_that_is_given():
    """Levels made for beta = 1, populations at beta = 2: log Z is that of the second. Other transports are refused."""
    first, second = (tm.WilsonAction(tm.U1(), (2, 2), beta=b) for b in (1.0, 2.0))
    model = tm.Model(_prior(first), tm.AnnealedFlow(_prior(first), first, tm.kernels.HeatbathKernel(), 4))
    ensemble = tm.smc(jax.random.key(0), model, second, 100, particles=8, measure={})
    assert abs(tm.log_z(ensemble).pull(tm.exact.log_z(second))) < 4
    assert abs(tm.log_z(ensemble).pull(tm.exact.log_z(first))) > 8
    bound = tm.Model(_prior(second), model.transport.towards(second))
    same = tm.smc(jax.random.key(0), bound, second, 100, particles=8, measure={})
    np.testing.assert_array_equal(ensemble.log_weights, same.log_weights)
    with pytest.raises(TypeError, match="annealing steps of an AnnealedFlow: got a model with a LangevinFlow"):
        tm.smc(jax.random.key(0), tm.Model(_prior(first), _langevin(first, 0.1, 2)), first, 4)
    with pytest.raises(ValueError, match="got a theory on"):
        tm.smc(jax.random.key(0), model, tm.WilsonAction(tm.U1(), (2, 4), beta=1.0), 4)


def test_craft_trains_layers_inside_of_the_population():
    """The mean loss is the sum of the divergences of the levels, minus log Z: it comes near to this bound, from above."""
    theory = TABLE["u1"][0]()
    field = tm.GatedConvolutionField(theory.manifold, features=2, gates=1, times=1)
    flow = _annealed(theory, 0.0, 2, layers=tm.stochastic.stack_layers([tm.ContinuousFlow(field, steps=2)] * 2))
    model = tm.Model(_prior(theory), flow)
    optimiser = optax.adam(3e-2)
    trained, _ = tm.fit(
        jax.random.key(0),
        model,
        theory,
        objective=tm.objectives.craft,
        steps=60,
        batch_size=64,
        optimiser=optimiser,
        progress=False,
    )
    loss = eqx.filter_jit(lambda model, key: tm.objectives.craft(key, model, theory, 512)[0])

    def divergence(model):
        losses = np.array([loss(model, key) for key in jax.random.split(jax.random.key(5), 8)])
        return losses.mean() + tm.exact.log_z(theory), losses.std(ddof=1) / np.sqrt(8)

    # Measured: 0.70 without layers, 0.026 after training.
    before, after = divergence(model), divergence(trained)
    assert before[0] > 0.5
    assert -4 * after[1] < after[0] < 0.15
    options = {"particles": 64, "resample_below": 0.0}
    ensembles = [tm.smc(jax.random.key(1), m, theory, 20, **options) for m in (model, trained)]
    assert ensembles[1].configurations.shape == (20, *theory.manifold.shape)
    assert ensembles[1].observables["ess"].mean() > ensembles[0].observables["ess"].mean()
    assert abs(tm.log_z(ensembles[1]).pull(tm.exact.log_z(theory))) < 4
    with pytest.raises(TypeError, match="layers of an AnnealedFlow"):
        tm.objectives.craft(jax.random.key(0), tm.Model(_prior(theory), _langevin(theory, 0.1, 2)), theory, 4)


def test_continuity_residual_lowers_the_variance_of_the_weights():
    """Measured: from 12 to 1.5 on six sites with eight steps, most of which is their size."""
    theory = TABLE["phi4"][0]()
    drift = tm.GatedConvolutionField(theory.manifold, features=3, gates=1, times=3)
    model = tm.Model(_prior(theory), _langevin(theory, 0.01, 8, drift=drift))
    trained, history = tm.fit(
        jax.random.key(0),
        model,
        theory,
        objective=functools.partial(tm.objectives.continuity_residual, chosen=4),
        steps=100,
        batch_size=32,
        progress=False,
    )
    assert history[-1]["loss"] < 0.4 * history[0]["loss"]
    before, after = (tm.sample(jax.random.key(1), m, theory, 2000, measure={}) for m in (model, trained))
    assert np.var(after.log_weights) < 0.3 * np.var(before.log_weights)
    assert abs(tm.log_z(after).pull(tm.exact.log_z(theory))) < 4
    # Step sizes and levels are not touched.
    assert np.array_equal(trained.transport.log_step_sizes, model.transport.log_step_sizes)
    with pytest.raises(TypeError, match="drift of a LangevinFlow"):
        tm.objectives.continuity_residual(jax.random.key(0), tm.Model(_prior(theory), _langevin(theory, 0.1, 2)), theory, 4)


def test_action_matching_lowers_the_variance_of_the_weights():
    theory = tm.WilsonAction(tm.SU(2), (2, 2), beta=2.0)
    potential = tm.LoopPotential(theory.manifold, time="affine")
    model = tm.Model(_prior(theory), _langevin(theory, 0.02, 8, drift=tm.GradientField(potential)))
    trained, history = tm.fit(
        jax.random.key(0),
        model,
        theory,
        objective=tm.objectives.action_matching,
        steps=60,
        batch_size=64,
        chunk=20,
        progress=False,
    )
    assert history[-1]["loss"] < history[0]["loss"] - 0.1
    before, after = (tm.sample(jax.random.key(1), m, theory, 2000, measure={}) for m in (model, trained))
    assert np.var(after.log_weights) < 0.5 * np.var(before.log_weights)
    assert abs(tm.log_z(after).pull(tm.exact.log_z(theory))) < 4
    assert np.array_equal(trained.transport.log_step_sizes, model.transport.log_step_sizes)
    drift = tm.GatedConvolutionField(TABLE["u1"][0]().manifold)
    flow = _langevin(TABLE["u1"][0](), 0.1, 2, drift=drift)
    with pytest.raises(TypeError, match="GradientField.*given GatedConvolutionField"):
        tm.objectives.action_matching(jax.random.key(0), tm.Model(flow.prior, flow), flow.theory, 4)


class _Normal(tm.AbstractTheory):
    manifold: tm.RealField
    precision: float

    def action(self, x):
        return self.precision * jnp.sum(x**2) / 2


class _Dilation(tm.fields.AbstractPotential):
    """-a_k |x|^2/2 at the time of step k."""

    manifold: tm.RealField
    rates: jax.Array

    def _rate(self, t):
        return self.rates[jnp.floor(t * len(self.rates)).astype(int)]

    def __call__(self, t, x):
        return -self._rate(t) * jnp.sum(x**2) / 2

    def gradient_and_laplacian(self, t, x):
        return -self._rate(t) * x, -self._rate(t) * x.size


def test_action_matching_has_its_minimum_at_the_exact_drift():
    r"""Normal distributions of variance $v_k$: the minimum is at $a_k = K (v_{k+1} - v_k)/(v_{k+1} + v_k)$."""
    manifold = tm.RealField((6,))
    theory, prior, steps = _Normal(manifold, 4.0), tm.GaussianPrior(manifold), 4
    drift = tm.GradientField(_Dilation(manifold, jnp.zeros(steps)))
    flow = tm.LangevinFlow(prior, theory, steps, step_size=0.05, drift=drift)
    variances = 1 / (1 + 3 * flow.schedule())
    exact = steps * (variances[1:] - variances[:-1]) / (variances[1:] + variances[:-1])

    def gradient(key):
        return eqx.filter_grad(lambda m: tm.objectives.action_matching(key, m, theory, 1000)[0])(
            eqx.tree_at(lambda m: m.transport.drift.potential.rates, tm.Model(prior, flow), exact)
        ).transport.drift.potential.rates

    found = jax.jit(jax.vmap(gradient))(jax.random.split(jax.random.key(0), 80))
    error = jnp.std(found, axis=0) / 80**0.5
    assert jnp.all(jnp.abs(jnp.mean(found, axis=0)) < 4 * error)
    # The gradient of a drift that is wrong by a fifth: a_k <x^2>/(5 K).
    assert jnp.all(4 * error < 0.2 * jnp.abs(exact) * 6 * variances[1:] / steps)


def test_the_residual_is_the_change_of_the_density_along_the_drift():
    r"""$-d/dt\,[U_t(x_t) - \log\det]$ along the flow of the drift, by differentiation: no sign or factor is free."""
    theory = TABLE["su2"][0]()
    prior, drift, levels = _prior(theory), _drift(theory.manifold), jnp.asarray([0.3, 0.4, 0.5])
    x = prior.sample(jax.random.key(0))
    residual = _residual(prior, theory, drift, levels[1], jnp.asarray(1.0), jnp.asarray(0.4), x)

    def pushed(s):
        """log of the density of level 0.4 + s at exp(s b) x, and of the volume, to first order in s."""
        velocity, divergence = drift(jnp.asarray(0.4), x)
        moved = theory.manifold.exp(velocity * s.astype(velocity.dtype), x)
        return -(levels[1] + s) * theory.action(moved) + s * divergence

    assert abs(residual - jax.grad(pushed)(jnp.asarray(0.0))) < 1e-11 * abs(residual)


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda t, p: tm.LangevinFlow(p, t, 4, step_size=0.0), "step_size: got 0.0, expected a positive"),
        (lambda t, p: tm.LangevinFlow(p, t, tm.stochastic.Schedule([0.0, 0.6, 0.5, 1.0])), "increase from 0 to 1"),
        (lambda t, p: tm.LangevinFlow(p, tm.WilsonAction(tm.U1(), (4, 4), beta=1.0), 4), "lives on"),
        (lambda t, p: tm.AnnealedFlow(p, t, tm.kernels.HMCKernel(), 4, repeats=0), "repeats: got 0"),
        (
            lambda t, p: tm.AnnealedFlow(
                p, t, tm.kernels.HMCKernel(), 4, layers=tm.ContinuousFlow(_drift(t.manifold), steps=1)
            ),
            "per annealing step",
        ),
        (lambda t, p: tm.kernels.HMCKernel(steps=0), "steps: got 0"),
        (lambda t, p: tm.kernels.HMCKernel(integrator="euler"), "unknown integrator"),
    ],
)
def test_errors_teach(construct, message):
    theory = TABLE["u1"][0]()
    with pytest.raises(ValueError, match=message):
        construct(theory, _prior(theory))


def test_quench_between_two_couplings():
    """From equilibrium at one coupling to another: log Z in full if that of the start is known; levels are Wilson actions."""
    start, theory = (tm.WilsonAction(tm.U1(), (3, 2), beta=beta) for beta in (1.0, 2.0))
    chain = tm.heatbath(jax.random.key(0), start, 400, chains=20, thin=2)
    prior = tm.EnsemblePrior(start, chain, float(tm.exact.log_z(start)))
    flow = tm.AnnealedFlow(prior, theory, tm.kernels.HeatbathKernel(), 4)
    levels, at = flow.annealing_steps()
    betas = [at(jax.tree.map(lambda a, k=k: a[k], levels))[0].beta for k in range(4)]
    assert np.allclose(betas, [1.25, 1.5, 1.75, 2.0], atol=1e-12)
    ensemble = tm.sample(jax.random.key(1), tm.Model(prior, flow), theory, 2000, measure={"plaquette": tm.plaquette})
    assert abs(tm.log_z(ensemble).pull(tm.exact.log_z(theory))) < 4
    assert abs(tm.expectation(ensemble, "plaquette").pull(tm.exact.plaquette(theory))) < 4
    x = np.asarray(prior.sample(jax.random.key(2), jnp.float32))
    assert x.dtype == np.float32
    assert np.any(np.all(chain.configurations.astype(np.float32) == x, axis=(-3, -2, -1)))
    with pytest.raises(ValueError, match="got shape"):
        tm.EnsemblePrior(theory, np.zeros((5, 2, 4, 4)))


def test_a_sequence_of_deterministic_flows_is_refused():
    with pytest.raises(TypeError, match="got FourierFlow, expected stochastic flows"):
        tm.stochastic.StochasticSequence(tm.flows.FourierFlow(tm.RealField((2, 2))))
