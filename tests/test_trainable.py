"""Physics is never trained: what is a parameter of a model, for every objective and transport."""

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

KEY = jax.random.key(0)
U1 = tm.WilsonAction(tm.U1(), (2, 2), beta=1.3)
SCALAR = tm.Phi4Action((2, 2), m2=0.7, lam=0.3)
HAAR, GAUSS = tm.HaarPrior(U1.manifold), tm.GaussianPrior(SCALAR.manifold, 0.6)
U1_DATA = jax.vmap(U1.manifold.reference_sample)(jax.random.split(KEY, 16))
SCALAR_DATA = jax.vmap(SCALAR.manifold.random_tangent)(jax.random.split(KEY, 16))
STORED = tm.EnsemblePrior(tm.WilsonAction(tm.U1(), (2, 2), beta=0.4), U1_DATA, log_z=0.1)


def _drift(manifold):
    return tm.GatedConvolutionField(manifold, features=2, gates=1, times=2)


def _layers(manifold, steps):
    return tm.stochastic.stack_layers([tm.ContinuousFlow(_drift(manifold), steps=1)] * steps)


def _gradient_drift(manifold):
    potential = (
        tm.LoopPotential(manifold) if isinstance(manifold, tm.LinkField) else tm.fields.NeighbourPotential(KEY, manifold)
    )
    return tm.GradientField(potential)


def _diffusion(noising, manifold):
    return tm.ScoreDiffusion(noising, _drift(manifold), 2, corrections=1)


# Transports with everything in them that is no parameter, each with its prior and theory.
MODELS = {
    "continuous": lambda: (U1, HAAR, tm.ContinuousFlow(_drift(U1.manifold), steps=2)),
    "coupling": lambda: (SCALAR, GAUSS, tm.CouplingFlow(KEY, SCALAR.manifold, layers=2, hidden=(2,))),
    "residual": lambda: (SCALAR, GAUSS, tm.ResidualFlow(tm.fields.NeighbourPotential(KEY, SCALAR.manifold), 1)),
    "fourier": lambda: (SCALAR, GAUSS, tm.flows.FourierFlow(SCALAR.manifold)),
    "langevin": lambda: (SCALAR, GAUSS, tm.LangevinFlow(GAUSS, SCALAR, 2, drift=_gradient_drift(SCALAR.manifold))),
    "langevin_u1": lambda: (U1, HAAR, tm.LangevinFlow(HAAR, U1, 2, drift=_gradient_drift(U1.manifold))),
    "langevin_stored": lambda: (U1, STORED, tm.LangevinFlow(STORED, U1, 2, step_size=0.1)),
    "annealed": lambda: (U1, HAAR, tm.AnnealedFlow(HAAR, U1, tm.kernels.HeatbathKernel(), 2)),
    "annealed_stored": lambda: (U1, STORED, tm.AnnealedFlow(STORED, U1, tm.kernels.HeatbathKernel(), 2)),
    "annealed_layers": lambda: (
        SCALAR,
        GAUSS,
        tm.AnnealedFlow(GAUSS, SCALAR, tm.kernels.HMCKernel(0.5, 2), 2, layers=_layers(SCALAR.manifold, 2)),
    ),
    "diffusion": lambda: (SCALAR, GAUSS, _diffusion(tm.stochastic.VariancePreserving(SCALAR.manifold), SCALAR.manifold)),
    "diffusion_u1": lambda: (U1, HAAR, _diffusion(tm.stochastic.HeatKernelNoising(U1.manifold), U1.manifold)),
    "sequence": lambda: (
        U1,
        HAAR,
        tm.stochastic.StochasticSequence(
            tm.LangevinFlow(HAAR, U1, 2), tm.stochastic.KernelFlow(U1, tm.kernels.HMCKernel(0.3, 1))
        ),
    ),
}


def _data(theory):
    return SCALAR_DATA if theory is SCALAR else U1_DATA


PLAIN = ["reverse_kl", "log_variance"]
DENSITY = [*PLAIN, "path_gradient", "reinforce", "forward_kl", "mixed"]
OBJECTIVES = {
    "reverse_kl": lambda theory: tm.reverse_kl,
    "log_variance": lambda theory: tm.objectives.log_variance,
    "path_gradient": lambda theory: tm.objectives.path_gradient,
    "reinforce": lambda theory: tm.objectives.reinforce,
    "forward_kl": lambda theory: tm.objectives.ForwardKL(_data(theory)),
    "mixed": lambda theory: tm.objectives.MixedObjective(
        [(1.0, tm.reverse_kl), (0.5, tm.objectives.ForwardKL(_data(theory)))]
    ),
    "craft": lambda theory: tm.objectives.craft,
    "continuity": lambda theory: tm.objectives.continuity_residual,
    "action_matching": lambda theory: tm.objectives.action_matching,
    "score": lambda theory: tm.objectives.ScoreMatching(_data(theory), anchor=0.1),
    "flow_matching": lambda theory: tm.objectives.FlowMatching(_data(theory)),
}
# What an objective can train, besides the first two, which train everything.
SUITED = {
    "continuous": [*DENSITY, "flow_matching"],
    "coupling": DENSITY,
    "residual": [*PLAIN, "path_gradient"],
    "fourier": DENSITY,
    "langevin": [*PLAIN, "continuity", "action_matching"],
    "langevin_u1": [*PLAIN, "continuity", "action_matching"],
    "annealed": [*PLAIN, "craft"],
    "annealed_stored": [*PLAIN, "craft"],
    "annealed_layers": [*PLAIN, "craft"],
    "diffusion": [*PLAIN, "score"],
    "diffusion_u1": [*PLAIN, "score"],
}
PAIRS = [(name, objective) for name in MODELS for objective in SUITED.get(name, PLAIN)]
# Every objective and every transport once; tests/long has all pairs.
COVER = [
    ("continuous", "flow_matching"),
    ("coupling", "path_gradient"),
    ("coupling", "reinforce"),
    ("coupling", "forward_kl"),
    ("fourier", "mixed"),
    ("langevin", "continuity"),
    ("langevin_u1", "action_matching"),
    ("langevin_stored", "reverse_kl"),
    ("annealed", "reverse_kl"),
    ("annealed_stored", "craft"),
    ("annealed_layers", "craft"),
    ("diffusion", "score"),
    ("diffusion_u1", "score"),
    ("sequence", "log_variance"),
]


def model_of(name):
    theory, prior, transport = MODELS[name]()
    # Away from the zeros of a new model, where some gradients vanish.
    return theory, randomised(jax.random.key(1), tm.Model(prior, transport), 0.05)


def physics(tree):
    """All couplings, theories, copies of priors and stored configurations of a model, by their classes."""
    kinds = (tm.AbstractTheory, tm.EnsemblePrior)
    copy = getattr(getattr(tree, "transport", None), "prior", None)
    leaf = lambda n: n is copy or isinstance(n, kinds)  # noqa: E731
    return jax.tree.leaves([node for node in jax.tree.leaves(tree, is_leaf=leaf) if leaf(node)])


def identical(a, b):
    a, b = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def parameters(model):
    return jax.tree.leaves(eqx.filter(model, tm.training.trainable(model)))


# Everything that could touch a number without a gradient: decay of weights, averages, momenta.
OPTIMISER = optax.adamw(1e-2, weight_decay=0.1)


def check_training(name, objective):
    """Two updates change parameters and nothing else, bit for bit."""
    theory, model = model_of(name)
    options = {"steps": 2, "chunk": 2, "batch_size": 4, "progress": False, "ema": 0.5, "optimiser": OPTIMISER}
    trained, _ = tm.fit(KEY, model, theory, objective=OBJECTIVES[objective](theory), **options)
    assert identical(physics(model), physics(trained))
    frozen = lambda m: eqx.filter(m, tm.training.trainable(m), inverse=True)  # noqa: E731
    assert identical(eqx.filter(frozen(model), eqx.is_array), eqx.filter(frozen(trained), eqx.is_array))
    assert not identical(parameters(model), parameters(trained))


@pytest.mark.parametrize(("name", "objective"), COVER)
def test_training_leaves_physics_bit_for_bit(name, objective):
    check_training(name, objective)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_trainable(name):
    theory, model = model_of(name)
    inexact = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    assert len(parameters(model)) + len(physics(model)) == len(inexact)
    assert tm.training.parameter_count(model) == sum(leaf.size for leaf in parameters(model)) > 0
    # The optimiser keeps two numbers per parameter (Adam) and nothing else of the size of a model.
    state = initial_state(KEY, model, optax.adam(1e-3), 0.9)
    assert sum(a.size for a in jax.tree.leaves(state.optimiser_state)) == 2 * tm.training.parameter_count(model) + 1
    assert sum(a.size for a in jax.tree.leaves(state.average)) == tm.training.parameter_count(model)


def check_log_z(kind):
    """The coupling that moved under training gave log Z = 0.630(8) where 1.431 is right."""
    theory = tm.WilsonAction(tm.U1(), (4, 4), beta=0.8)
    prior, kernel = tm.HaarPrior(theory.manifold), tm.kernels.HeatbathKernel()
    if kind == "stored":
        other = tm.WilsonAction(tm.U1(), (4, 4), beta=0.5)
        prior = tm.EnsemblePrior(other, tm.heatbath(KEY, other, 1000, chains=4), log_z=float(tm.exact.log_z(other)))
    if kind == "gauss":
        theory = tm.theories.FreeScalarAction((4, 4), m2=1.0)
        prior, kernel = tm.GaussianPrior(theory.manifold, 0.4), tm.kernels.HMCKernel(1.0, 4)
    model = tm.Model(prior, tm.AnnealedFlow(prior, theory, kernel, 4))
    options = {"steps": 20, "chunk": 20, "batch_size": 32, "progress": False, "optimiser": optax.adam(3e-2)}
    trained, _ = tm.fit(jax.random.key(2), model, theory, **options)
    exact = float(tm.exact.log_z(theory))
    populations = tm.smc(jax.random.key(3), trained, theory, 64, particles=64)
    # A single path has another prior where its width is learned: that of the model, which its path starts from.
    paths = tm.sample(jax.random.key(4), trained, theory, 4000)
    assert abs(tm.log_z(populations).pull(exact)) < 4
    assert abs(tm.log_z(paths).pull(exact)) < 4


@pytest.mark.parametrize("kind", ["haar", "gauss"])
def test_log_z_of_populations_after_training(kind):
    check_log_z(kind)


def test_the_path_starts_from_the_prior_of_the_model():
    """The copy of the prior is frozen; where that of the model is learned, the path of the model follows it."""
    model = tm.Model(GAUSS, tm.LangevinFlow(GAUSS, SCALAR, 3, step_size=0.05))
    wide = tm.GaussianPrior(SCALAR.manifold, 0.9)
    learned = eqx.tree_at(lambda m: m.prior, model, wide)
    expected = tm.Model(wide, tm.LangevinFlow(wide, SCALAR, 3, step_size=0.05))
    assert identical(learned.sample_and_log_prob(KEY), expected.sample_and_log_prob(KEY))
    sequence = tm.stochastic.StochasticSequence(
        model.transport, tm.stochastic.KernelFlow(SCALAR, tm.kernels.HMCKernel(0.3, 1))
    )
    assert sequence.started_from(wide).flows[0].prior.log_width == wide.log_width
    # A prior of another kind is not the start of this path.
    assert model.transport.started_from(STORED).prior is model.transport.prior


class Half(tm.models.AbstractModel):
    """A model of a user's own: a constant and a theory of their own making."""

    log_scale: jax.Array
    table: jax.Array
    part: dict
    manifold: tm.RealField = eqx.field(static=True)

    def frozen_fields(self):
        return ("table",)

    def sample_and_log_prob(self, key, dtype=None):
        z = jax.random.normal(key, self.manifold.shape, float if dtype is None else dtype)
        scale = jnp.exp(self.log_scale).astype(z.dtype) + self.table * self.part["theory"].m2
        return scale * z, -jnp.sum(z**2) / 2 - z.size * (jnp.log(2 * jnp.pi) / 2 + jnp.log(scale))


def _half():
    return Half(jnp.asarray(0.3), jnp.asarray(0.1), {"theory": SCALAR, "numbers": [jnp.ones(2)]}, SCALAR.manifold)


def test_a_model_of_any_class_is_trained_by_the_same_rule():
    model = _half()
    spec = tm.training.trainable(model)
    assert spec.log_scale is True
    assert spec.table is False
    assert jax.tree.leaves(spec.part["theory"]) == [False, False]
    assert spec.part["numbers"] == [True]
    trained, history = tm.fit(KEY, model, SCALAR, steps=2, chunk=2, batch_size=8, progress=False)
    assert identical((trained.table, trained.part), (model.table, model.part))
    assert trained.log_scale != model.log_scale
    assert np.isfinite(history[-1]["ess"])
    with pytest.raises(TypeError, match="has no method log_prob"):
        tm.fit(KEY, model, SCALAR, objective=tm.objectives.path_gradient, steps=1, progress=False)


SYMMETRISED = {
    "continuous": lambda: tm.ContinuousFlow(_drift(SCALAR.manifold), steps=1),
    "fourier": lambda: tm.flows.FourierFlow(SCALAR.manifold),
}


def check_symmetrised(transport, objective):
    model = tm.models.SymmetrisedModel(tm.Model(GAUSS, SYMMETRISED[transport]()))
    model = randomised(jax.random.key(1), model, 0.05)
    options = {"steps": 2, "chunk": 2, "batch_size": 8, "progress": False}
    trained, history = tm.fit(KEY, model, SCALAR, objective=OBJECTIVES[objective](SCALAR), **options)
    assert not identical(parameters(model), parameters(trained))
    assert transport != "continuous" or np.isfinite(history[-1]["halving_std"])


def test_a_symmetrised_model_is_trained():
    check_symmetrised("continuous", "reverse_kl")
    check_symmetrised("fourier", "forward_kl")


def test_path_gradients_of_a_symmetrised_model_are_those_of_the_divergence():
    """One sample: d/dtheta of log q(x) + S(x) along the path, less the explicit dependence of log q."""
    flow = tm.FlowSequence(
        tm.flows.FourierFlow(SCALAR.manifold), tm.flows.PointwiseFlow(SCALAR.manifold, tm.transforms.Affine(), odd=False)
    )
    model = randomised(jax.random.key(1), tm.models.SymmetrisedModel(tm.Model(GAUSS, flow)), 0.3)
    arrays, rest = eqx.partition(model, tm.training.trainable(model))

    def gradient(objective):
        return jax.grad(lambda a: objective(KEY, eqx.combine(a, rest), SCALAR, 1)[0])(arrays)

    x = model.sample_and_log_prob(jax.random.split(KEY, 1)[0])[0]
    explicit = jax.grad(lambda a: eqx.combine(a, rest).log_prob(x))(arrays)
    total = jax.tree.map(lambda a, b: a + b, gradient(tm.objectives.path_gradient), explicit)
    for a, b in zip(jax.tree.leaves(total), jax.tree.leaves(gradient(tm.reverse_kl)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("objective", ["craft", "continuity", "action_matching", "score", "flow_matching"])
def test_objectives_of_one_transport_say_so_for_other_models(objective):
    model = tm.models.SymmetrisedModel(tm.Model(GAUSS, tm.flows.FourierFlow(SCALAR.manifold)))
    with pytest.raises(TypeError, match="trains"):
        OBJECTIVES[objective](SCALAR)(KEY, model, SCALAR, 4)


def _annealed(theory, prior=HAAR):
    return tm.Model(prior, tm.AnnealedFlow(prior, theory, tm.kernels.HeatbathKernel(), 2))


@pytest.mark.parametrize("degree", [0, 2])
def test_conditional_models_take_the_coupling_from_their_theory(degree):
    conditional = tm.ConditionalModel(_annealed, U1, 0.5, 1.5, degree=degree)
    model = conditional.at(U1)
    assert model.transport.theory.beta == U1.beta
    start = eqx.tree_at(lambda t: t.beta, U1, jnp.asarray(0.5))
    end = eqx.tree_at(lambda t: t.beta, U1, jnp.asarray(1.5))
    options = {"steps": 2, "chunk": 2, "batch_size": 4, "progress": False}
    trained, _ = tm.fit(KEY, conditional, tm.training.CouplingRange(start, end), **options)
    assert trained.at(U1).transport.theory.beta == U1.beta
    assert not identical(parameters(trained), parameters(conditional))
    assert tm.training.parameter_count(conditional) == (degree + 1) * tm.training.parameter_count(model)


def test_conditional_models_do_not_interpolate_configurations():
    same = tm.ConditionalModel(functools.partial(_annealed, prior=STORED), U1, 0.5, 1.5, degree=2).at(U1)
    assert identical(same.prior, STORED)

    def make(theory):
        return _annealed(theory, tm.EnsemblePrior(theory, U1_DATA + theory.beta))

    with pytest.raises(ValueError, match="stored configurations"):
        tm.ConditionalModel(make, U1, 0.5, 1.5, degree=1)


def test_gauss_newton_changes_parameters_only():
    model = tm.Model(
        STORED,
        tm.stochastic.StochasticSequence(
            tm.LangevinFlow(STORED, U1, 2), tm.stochastic.KernelFlow(U1, tm.kernels.HMCKernel(0.3, 1))
        ),
    )
    # Damped so much that the step is short, and no rise of the variance takes it back.
    options = {"steps": 1, "samples": 32, "batch_size": 16, "progress": False, "damping": 10.0}
    trained, _ = tm.gauss_newton(KEY, model, U1, parameters=lambda m: m, **options)
    assert identical(physics(model), physics(trained))
    assert not identical(parameters(model), parameters(trained))
    mixed = lambda m: [m.transport.flows[0].theory.beta, m.transport.flows[0].log_step_sizes]  # noqa: E731
    trained, _ = tm.gauss_newton(KEY, model, U1, parameters=mixed, **options)
    assert identical(physics(model), physics(trained))
    with pytest.raises(ValueError, match="no number to train"):
        tm.gauss_newton(KEY, model, U1, parameters=lambda m: m.transport.flows[0].theory, **options)


def test_gradient_noise_is_that_of_the_parameters():
    model = _half()
    report = tm.training.gradient_noise(KEY, model, SCALAR, {"kl": tm.reverse_kl}, batch_size=4, repeats=2)

    def loss(log_scale, key):
        return tm.reverse_kl(key, eqx.tree_at(lambda m: m.log_scale, model, log_scale), SCALAR, 4)[0]

    slopes = [jax.grad(loss)(model.log_scale, key) for key in jax.random.split(KEY, 2)]
    assert abs(report["kl"]["norm"] - abs(float(sum(slopes)) / 2)) < 1e-12 * report["kl"]["norm"]


NOTHING = {
    "kernel": lambda: tm.Model(HAAR, tm.stochastic.KernelFlow(U1, tm.kernels.HeatbathKernel())),
    "stored": lambda: tm.Model(STORED, tm.stochastic.KernelFlow(U1, tm.kernels.OverrelaxationKernel())),
}


@pytest.mark.parametrize("name", NOTHING)
def test_a_model_without_parameters_is_refused(name):
    with pytest.raises(ValueError, match="no number to train"):
        tm.fit(KEY, NOTHING[name](), U1, steps=1, progress=False)
    with pytest.raises(ValueError, match="gradient_noise: .* no number to train"):
        tm.training.gradient_noise(KEY, NOTHING[name](), U1, {"kl": tm.reverse_kl}, repeats=2)


class Misspelt(eqx.Module):
    numbers: jax.Array
    names: object = eqx.field(static=True)

    def frozen_fields(self):
        return self.names


@pytest.mark.parametrize("names", ["numbers", ("number",)])
def test_frozen_fields_are_names_of_fields(names):
    with pytest.raises(ValueError, match="expected a collection of names of its fields"):
        tm.training.trainable(Misspelt(jnp.ones(2), names))
