"""Score diffusion: heat kernels against characters, exact weights from few steps, objectives against identities."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import randomised

import trivmap as tm
from trivmap.gauge import plaquette_angle
from trivmap.stochastic import brownian_motion
from trivmap.stochastic._heat_kernel import logarithm
from trivmap.training.objectives._matching import interpolant

THEORIES = {
    "vp": tm.Phi4Action((2, 3), m2=-1.0, lam=1.0),
    "ve": tm.Phi4Action((2, 3), m2=-1.0, lam=1.0),
    "subvp": tm.Phi4Action((2, 3), m2=-1.0, lam=1.0),
    "u1": tm.WilsonAction(tm.U1(), (3, 2), beta=1.5),
    "su2": tm.WilsonAction(tm.SU(2), (2, 2), beta=2.0),
}


def _noising(name):
    manifold = THEORIES[name].manifold
    if name == "vp":
        return tm.stochastic.VariancePreserving(manifold, data_width=0.6)
    if name == "subvp":
        return tm.stochastic.SubVariancePreserving(manifold, data_width=0.6)
    if name == "ve":
        return tm.stochastic.VarianceExploding(manifold, data_width=0.6, sigma=0.6, ratio=10.0)
    return tm.stochastic.HeatKernelNoising(manifold, remainder=0.05, walk=32)


def _field(manifold):
    """A field that has nothing to do with any score."""
    if isinstance(manifold, tm.LinkField) and manifold.group.n > 1:
        return tm.GradientField(tm.LoopPotential(manifold, coefficient=0.4))
    return randomised(jax.random.key(9), tm.GatedConvolutionField(manifold, features=2, gates=1, times=2), 0.2)


def _characters(group, theta, variance):
    """sum_r d_r chi_r exp(-C_r variance/2) by Weyl's formula, eigenphases along the last axis."""
    if group.n == 1:
        return 1 + 2 * sum(np.cos(k * theta) * np.exp(-(k**2) * variance / 2) for k in range(1, 40))
    if group.n == 2:
        terms = ((j + 1, np.sin((j + 1) * theta[..., 0]) / np.sin(theta[..., 0]), j * (j + 2) / 4) for j in range(40))
        return sum(d * chi * np.exp(-casimir * variance / 2) for d, chi, casimir in terms)
    z = np.exp(1j * theta)
    determinant = lambda powers: np.linalg.det(np.stack([z**p for p in powers], axis=-1))  # noqa: E731
    total = 0.0
    for p in range(16):
        for q in range(16):
            casimir = (p * p + q * q + p * q + 3 * p + 3 * q) / 3
            chi = determinant((p + q + 2, q + 1, 0)) / determinant((2, 1, 0))
            total = total + (p + 1) * (q + 1) * (p + q + 2) / 2 * chi.real * np.exp(-casimir * variance / 2)
    return total


@pytest.mark.parametrize("group", [tm.U1(), tm.SU(2), pytest.param(tm.SU(3), marks=pytest.mark.slow)], ids=lambda g: g.name)
def test_heat_kernel(group):
    """Characters, Stein's identity of the score, the decay of the trace, the limit of small variance, logarithms."""
    u = group.haar(jax.random.key(0), (8_000,))
    some = u[..., :50]
    if group.n == 1:
        theta = np.asarray(some)
    else:
        theta = np.angle(np.linalg.eigvals(np.moveaxis(np.asarray(some), -1, 0)))
    for variance in (1.5, 3.0):
        ratio = tm.stochastic.log_heat_kernel(group, some, jnp.asarray(variance)) - np.log(
            _characters(group, theta, variance)
        )
        # The characters cancel down to densities of 1e-4 of their terms.
        assert np.ptp(ratio) < 1e-9
    # int K (s . df + Laplacian f) = 0 with f = Re tr u/N, whose Laplacian is -C_F f.
    casimir = (group.n**2 - 1) / (2 * group.n) if group.n > 1 else 1.0
    variance = jnp.asarray(2.0)
    weight = np.exp(tm.stochastic.log_heat_kernel(group, u, variance))
    slope = group.gradient(u, jax.grad(lambda v: jnp.sum(group.real_trace(v)))(u))
    terms = weight * np.asarray(
        group.inner(tm.stochastic.heat_kernel_score(group, u, variance), slope) - casimir * group.real_trace(u)
    )
    assert abs(terms.mean()) < 4 * terms.std() / np.sqrt(len(terms))
    trace = np.asarray(group.real_trace(u))
    decay = weight * (trace - np.exp(-casimir))
    assert abs(decay.mean()) < 4 * decay.std() / np.sqrt(len(decay))
    walk = np.asarray(group.real_trace(brownian_motion(jax.random.key(1), group, group.identity((8_000,)), variance, 64)))
    # The walk is short of Brownian motion by one part in 64 of the exponent.
    assert abs(walk.mean() - np.exp(-casimir)) < 4 * walk.std() / np.sqrt(len(walk)) + np.exp(-casimir) / 64
    log = logarithm(group, u)
    assert jnp.max(group.unitarity_defect(group.exp(log))) < 1e-12
    assert jnp.max(jnp.abs(group.real_trace(group.multiply(group.exp(log), group.adjoint(u))) - 1)) < 1e-12
    near = group.exp(0.01 * log)
    score = tm.stochastic.heat_kernel_score(group, near, jnp.asarray(1e-3))
    # Corrections are of relative order variance.
    assert jnp.max(jnp.abs(score * 1e-3 + 0.01 * log)) < 1e-3 * jnp.max(jnp.abs(0.01 * log))
    if group.n < 3:
        # Degenerate eigenvalues, at the centre of the group.
        assert jnp.max(jnp.abs(tm.stochastic.heat_kernel_score(group, group.identity((1,)), variance))) < 1e-3


@pytest.mark.parametrize("name", THEORIES)
def test_weights_are_exact_in_few_steps(name):
    """log Z from three steps with a wrong score and wrong variances; and by the ODE, whose field has its exact divergence."""
    theory, noising = THEORIES[name], _noising(name)
    diffusion = tm.ScoreDiffusion(noising, _field(theory.manifold), tm.stochastic.Schedule([0.0, 0.5, 0.8, 1.0]))
    factors = jnp.asarray([0.1, -0.2, -0.1])
    diffusion = eqx.tree_at(lambda d: d.log_variance_factors, diffusion, factors)
    ensemble = tm.sample(jax.random.key(0), tm.Model(noising.prior, diffusion), theory, 4000, batch_size=1000, measure={})
    assert abs(tm.log_z(ensemble).pull(tm.exact.log_z(theory))) < 4
    assert tm.ess_fraction(ensemble.log_weights) > 0.002
    z = noising.prior.sample(jax.random.key(1))
    flow = diffusion.probability_flow(steps=8)
    x, log_det = flow.forward_and_log_det(z)
    back, inverse = flow.inverse_and_log_det(x)
    assert theory.manifold.distance(z, back) < 1e-2
    assert abs(log_det + inverse) < 1e-2


def _with_corrections(name):
    """Predictor and corrector with a wrong score, then Metropolis updates of the theory."""
    theory, noising = THEORIES[name], _noising(name)
    schedule = tm.stochastic.Schedule([0.0, 0.5, 0.8, 1.0])
    diffusion = tm.ScoreDiffusion(noising, _field(theory.manifold), schedule, corrections=2, correction_size=0.01)
    return tm.stochastic.StochasticSequence(
        diffusion, tm.stochastic.KernelFlow(theory, tm.kernels.HMCKernel(0.3, steps=1), 2)
    )


@pytest.mark.parametrize("name", ["vp", "u1", "su2"])
def test_weights_are_exact_with_corrections(name):
    theory, noising = THEORIES[name], _noising(name)
    model = tm.Model(noising.prior, _with_corrections(name))
    ensemble = tm.sample(jax.random.key(5), model, theory, 20_000, batch_size=1000, measure={})
    assert abs(tm.log_z(ensemble).pull(tm.exact.log_z(theory))) < 4
    # Enough weights for an error that can be trusted.
    assert tm.ess_fraction(ensemble.log_weights) * 20_000 > 25


def test_corrections_bring_coarse_steps_closer():
    """With the exact score the corrector has the right distribution at the end of a step, whatever the step left behind."""
    noising = tm.stochastic.VariancePreserving(tm.RealField((40,)), data_width=1.2)
    field = tm.GatedConvolutionField(noising.manifold)  # zero: the score is the background, of width 1.2
    widths = []
    for corrections in (0, 60):
        diffusion = tm.ScoreDiffusion(noising, field, 1, corrections=corrections, correction_size=0.05)
        # Steps that are far too quiet: a width of e^(-1) of the right one.
        diffusion = eqx.tree_at(lambda d: d.log_variance_factors, diffusion, jnp.full(1, -2.0))
        keys = jax.random.split(jax.random.key(0), 200)
        start = jax.vmap(noising.prior.sample)(keys)
        x, _ = jax.jit(jax.vmap(diffusion.forward_and_log_weight))(keys, start)
        widths.append(float(jnp.std(x)))
    # 8000 normal numbers: the width is known to 0.8 %; the steps of size h widen it by h/4 of the precision.
    assert abs(widths[1] / 1.2 - 1) < 0.05
    assert widths[0] < 0.6 * 1.2


@pytest.mark.parametrize("corrected", [False, True])
def test_backward_paths_have_the_reciprocal_weight(corrected):
    theory, noising = THEORIES["u1"], _noising("u1")
    diffusion = _with_corrections("u1") if corrected else tm.ScoreDiffusion(noising, _field(theory.manifold), 3)
    chain = tm.heatbath(jax.random.key(1), theory, 50, chains=100, thermalisation=20)
    x = jnp.asarray(chain.configurations).reshape(-1, *theory.manifold.shape)
    keys = jax.random.split(jax.random.key(2), len(x))
    _, log_weight = jax.jit(jax.vmap(diffusion.backward_and_log_weight))(keys, x)
    factor = np.asarray(jnp.exp(jax.vmap(theory.action)(x) + log_weight + tm.exact.log_z(theory))).reshape(100, -1).mean(1)
    assert abs(factor.mean() - 1) < 4 * factor.std(ddof=1) / 10


@pytest.mark.parametrize("name", THEORIES)
def test_noise_and_its_score(name):
    r"""Times compose, and $\langle s \cdot \partial \log p(x_\tau|x_0) + \mathrm{div}\, s\rangle = 0$ for any field s.

    It is by this identity that denoising and implicit score matching have the same minimum.
    """
    theory, noising = THEORIES[name], _noising(name)
    first, second, third = (jnp.asarray(t) for t in (0.2, 0.5, 0.9))
    (a, v), (b, w), (c, u) = (noising.transition(*pair) for pair in ((first, second), (second, third), (first, third)))
    assert abs(a * b - c) < 1e-12
    assert abs(b**2 * v + w - u) < 1e-12 * u
    assert noising.marginal(jnp.zeros(()))[1] == 0
    field = _field(theory.manifold)
    x0 = jax.jit(jax.vmap(lambda k: noising.prior.sample(k)))(jax.random.split(jax.random.key(3), 3000))
    x0 = jax.vmap(theory.manifold.exp)(-0.9 * x0, x0) if isinstance(theory.manifold, tm.RealField) else x0

    def identity(key, x0):
        x, target = noising.noised(key, second, x0)
        velocity, divergence = field(jnp.asarray(0.3), x)
        return theory.manifold.inner(velocity, target) + divergence

    values = np.asarray(jax.jit(jax.vmap(identity))(jax.random.split(jax.random.key(4), len(x0)), x0))
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


class _Normal(tm.AbstractTheory):
    """Independent normal variables, whose score at all times is the background."""

    manifold: tm.RealField = eqx.field(static=True)

    def action(self, x):
        return jnp.sum(x**2) / (2 * 0.6**2)


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_exact_score_of_a_normal_distribution(name):
    """The ODE carries the prior over exactly; so do steps of the stationary process, and many of the other one nearly."""
    noising = _noising(name)
    theory = _Normal(noising.manifold)
    diffusion = tm.ScoreDiffusion(noising, tm.GatedConvolutionField(noising.manifold), 200)
    exact = 6 * np.log(0.6 * np.sqrt(2 * np.pi))

    def log_weights(transport):
        model = tm.Model(noising.prior, transport)
        return tm.sample(jax.random.key(0), model, theory, 100, measure={}).log_weights - exact

    # 40 steps of fourth order through a stiff equation.
    assert np.max(np.abs(log_weights(diffusion.probability_flow(steps=40)))) < 1e-5
    assert np.std(log_weights(diffusion)) < (1e-10 if name == "vp" else 0.5)


@pytest.mark.parametrize("beta", [2.0, 4.0])
def test_score_of_plaquettes(beta):
    r"""Against the exact score of 2x2 links, the character sum with damping $e^{-v k^T L k/2}$, at early noise times.

    Measured: 0.02 to 0.05 of its norm, most of it from the fit in t; the action at time zero within 0.11.
    """
    theory = tm.WilsonAction(tm.U1(), (2, 2), beta=beta)
    noising = tm.stochastic.HeatKernelNoising(theory.manifold)
    diffusion = tm.ScoreDiffusion(noising, tm.stochastic.plaquette_score(noising, theory, features=8, gates=4, times=12), 4)
    charges = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 4, indexing="ij"), axis=-1).reshape(-1, 2, 2)
    bessel = np.fft.fft(np.exp(beta * (np.cos(2 * np.pi * np.arange(64) / 64) - 1))).real / 64
    weights = np.prod(bessel[charges], axis=(1, 2))
    kept = weights > 1e-9 * weights.max()
    charges, weights = jnp.asarray(charges[kept], float), jnp.asarray(weights[kept])
    rough = sum(jnp.sum((charges - jnp.roll(charges, 1, axis)) ** 2, (1, 2)) for axis in (1, 2))
    chain = tm.heatbath(jax.random.key(0), theory, 1, chains=20)

    def log_density(variance, x):
        angles = plaquette_angle(x, 0, 1)
        return jnp.log(jnp.sum(weights * jnp.exp(-variance / 2 * rough) * jnp.cos(jnp.tensordot(charges, angles, 2))))

    for tau in (0.05, 0.1):
        variance = noising.marginal(jnp.asarray(tau))[1]
        x = jnp.asarray(chain.configurations[:, 0])
        x = x + jnp.sqrt(variance) * jax.random.normal(jax.random.key(1), x.shape)
        exact = jax.lax.map(jax.grad(lambda x, v=variance: log_density(v, x)), x)
        score = jax.vmap(lambda x, t=tau: diffusion.score(jnp.asarray(1 - t), x)[0])(x)
        assert jnp.linalg.norm(score - exact) < 0.1 * jnp.linalg.norm(exact)
    force = jax.vmap(lambda x: diffusion.score(jnp.ones(()), x)[0] + theory.gradient(x))(x)
    assert jnp.linalg.norm(force) < 0.2 * jnp.linalg.norm(jax.vmap(theory.gradient)(x))
    with pytest.raises(TypeError, match="two dimensions"):
        tm.stochastic.plaquette_score(noising, tm.WilsonAction(tm.SU(2), (2, 2), beta=1.0))


@pytest.mark.slow
def test_training_and_calibration():
    """Denoising, its anchor and implicit matching raise the ESS of one diffusion; calibration brings the paths closer."""
    theory, noising = THEORIES["vp"], _noising("vp")
    chain = tm.hmc(jax.random.key(0), theory, 50, chains=40, thin=2, steps=6)
    field = tm.GatedConvolutionField(theory.manifold, features=3, gates=1, times=3)
    start = tm.Model(noising.prior, tm.ScoreDiffusion(noising, field, 8))

    def log_weights(model):
        ensemble = tm.sample(jax.random.key(1), model, theory, 2000, measure={})
        assert abs(tm.log_z(ensemble).pull(tm.exact.log_z(theory))) < 4
        return ensemble.log_weights

    before = tm.ess_fraction(log_weights(start))
    options = {"steps": 150, "batch_size": 128, "progress": False}
    for objective in (tm.objectives.ScoreMatching(chain, anchor=0.01), tm.objectives.ScoreMatching(chain, "implicit")):
        model, history = tm.fit(jax.random.key(2), start, theory, objective=objective, **options)
        assert np.isnan(history[-1]["ess"])
        plain = log_weights(model)
        assert tm.ess_fraction(plain) > before
    calibrated = model.transport.calibrated(jax.random.key(3), jnp.asarray(chain.configurations[:, 0]))
    # The mean of log w, minus the divergence of the paths, sample by sample at the same noise: 0.39 +- 0.02 when written.
    gain = log_weights(tm.Model(noising.prior, calibrated)) - plain
    assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["su2"])
def test_flow_matching(name):
    theory = THEORIES[name]
    prior = _noising(name).prior
    field = tm.GradientField(tm.LoopPotential(theory.manifold))
    data = tm.heatbath(jax.random.key(0), theory, 50, chains=40)
    start = tm.Model(prior, tm.ContinuousFlow(field, steps=4))
    options = {"objective": tm.objectives.FlowMatching(data), "steps": 150, "batch_size": 128, "progress": False}
    trained, _ = tm.fit(jax.random.key(1), start, theory, **options)
    before, after = (tm.sample(jax.random.key(2), m, theory, 2000, measure={}) for m in (start, trained))
    assert tm.ess_fraction(after.log_weights) > tm.ess_fraction(before.log_weights)
    assert abs(tm.log_z(after).pull(tm.exact.log_z(theory))) < 4


@pytest.mark.parametrize("name", ["vp", "u1", "su2"])
def test_velocity_of_interpolants(name):
    """The velocity moves the configuration along the path, and its ends stay where they are."""
    manifold = THEORIES[name].manifold
    prior = tm.GaussianPrior(manifold, 0.7) if name == "vp" else tm.HaarPrior(manifold)
    z, x = (prior.sample(jax.random.key(k)) for k in (0, 1))
    at = jax.jit(lambda t: interpolant(manifold, jax.random.key(2), t, z, x, 0.4))
    h = 1e-4
    moved, velocity = at(jnp.asarray(0.3))
    ahead, behind = at(jnp.asarray(0.3 + h))[0], at(jnp.asarray(0.3 - h))[0]
    # Central differences: h^2/6 times third derivatives of order ten to a hundred.
    assert manifold.distance(manifold.exp(2 * h * velocity, behind), ahead) < 1e-9
    straight = interpolant(manifold, jax.random.key(2), jnp.asarray(0.3), z, x, 0.0)[0]
    assert manifold.distance(moved, straight) > 0.1
    assert manifold.distance(at(jnp.asarray(1.0))[0], x) < 1e-12
    assert manifold.distance(at(jnp.asarray(0.0))[0], z) < 1e-12


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tm.stochastic.HeatKernelNoising(THEORIES["vp"].manifold), TypeError, "acts on links"),
        (lambda: tm.stochastic.VariancePreserving(THEORIES["u1"].manifold), TypeError, "acts on a RealField"),
        (
            lambda: tm.stochastic.VarianceExploding(THEORIES["vp"].manifold, sigma=0.0),
            ValueError,
            "expected a positive finite number",
        ),
        (lambda: tm.stochastic.HeatKernelNoising(THEORIES["u1"].manifold, remainder=1.0), ValueError, "remainder: got 1.0"),
        (lambda: tm.ScoreDiffusion(_noising("vp"), _field(THEORIES["u1"].manifold), 4), ValueError, "lives on"),
        (lambda: tm.objectives.ScoreMatching(np.zeros((3, 2, 3)), "other"), ValueError, "denoising"),
        (lambda: tm.objectives.FlowMatching(np.zeros((3, 2, 3)), noise=-1.0), ValueError, "noise >= 0"),
        (lambda: _objective(tm.objectives.ScoreMatching(np.zeros((3, 2, 3)))), TypeError, "trains a ScoreDiffusion"),
    ],
)
def test_errors_teach(call, error, message):
    with pytest.raises(error, match=message):
        call()


def _objective(objective):
    theory = THEORIES["vp"]
    flow = tm.ContinuousFlow(_field(theory.manifold), steps=2)
    return objective(jax.random.key(0), tm.Model(tm.GaussianPrior(theory.manifold), flow), theory, 2)
