"""Transports on products of manifolds: exact divergences, solvers, weights against exact log Z, training."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import close, dense_divergence, dense_jacobian, random_configuration
from test_products import HIGGS, YUKAWA, agrees, equal, higgs_log_z, yukawa_log_z

import trivmap as tm
from trivmap.gauge import plaquette_sum
from trivmap.lattice import shift, site_sum
from trivmap.theories import ScalarYukawaAction, U1HiggsAction

TIME = jnp.asarray(0.3)


class HiggsTerms(eqx.Module):
    """Gauge invariant local terms with coefficients: plaquettes, hopping, |phi|^2, |phi|^4/(1 + |phi|^2)."""

    coefficients: jax.Array

    def __call__(self, t, x):
        a, b, c, d = self.coefficients * (1 + t.astype(float))
        phi = jax.lax.complex(*x["phi"])
        hop = sum(
            phi.conj() * jnp.exp(jax.lax.complex(jnp.zeros_like(u), u)) * shift(phi, mu, 1, 2)
            for mu, u in enumerate(x["links"])
        )
        square = jnp.sum(x["phi"] ** 2, axis=0)
        terms = a * plaquette_sum(tm.U1(), x["links"]) + b * site_sum(hop.real)
        return -terms + c * site_sum(square) + d * site_sum(square**2 / (1 + square))


class YukawaTerms(eqx.Module):
    """A velocity of two fields that is no gradient."""

    coefficients: jax.Array

    def __call__(self, t, x):
        a, b, c = self.coefficients.astype(x["phi"].dtype)
        phi, chi = x["phi"], x["chi"]
        around = sum(shift(chi, mu, step, chi.ndim) for mu in range(chi.ndim) for step in (1, -1))
        return {"phi": a * jnp.tanh(phi) * around + t * phi, "chi": b * jnp.tanh(phi**2) + c * chi}


def higgs_potential(lattice, coefficients=(0.2, 0.15, 0.1, -0.05)):
    manifold = U1HiggsAction(lattice, **HIGGS).manifold
    return tm.fields.LocalPotential(HiggsTerms(jnp.asarray(coefficients)), manifold, reach=1, check=False)


FIELDS = {
    "higgs-3x4": lambda: tm.GradientField(higgs_potential((3, 4))),
    "higgs-2x1": lambda: tm.GradientField(higgs_potential((2, 1))),
    "yukawa-4x3": lambda: tm.fields.LocalField(
        YukawaTerms(jnp.asarray([0.3, -0.4, 0.2])), ScalarYukawaAction((4, 3), **YUKAWA).manifold, reach=1
    ),
}


@eqx.filter_jit
def evaluated(field, x):
    velocity = lambda y: field(TIME, y)[0]  # noqa: E731
    return *field(TIME, x), dense_divergence(velocity, field.manifold, x)


@pytest.mark.parametrize("name", FIELDS)
def test_divergence_is_the_trace_of_the_dense_jacobian(key, name):
    field = FIELDS[name]()
    _, divergence, dense = evaluated(field, random_configuration(field.manifold, key))
    # Sums of about a hundred terms of order one.
    assert jnp.allclose(divergence, dense, rtol=1e-12, atol=1e-12)


def test_colours_of_products_do_not_grow_with_the_volume():
    """Of reach 1 in two dimensions four colours for each of two directions of links, and four for the scalar, which has two
    generators."""
    for extent in (4, 8):
        manifold = U1HiggsAction((extent, extent), **HIGGS).manifold
        field = tm.fields.LocalField(lambda t, x: x, manifold, reach=1, check=False)
        assert (field.colours, field.derivatives) == (12, 16)


def test_reach_of_products():
    """The gradient of plaquettes and hopping looks one site far; a reach of zero is refused with what is wrong."""
    function = HiggsTerms(jnp.asarray([0.2, 0.15, 0.1, -0.05]))
    manifold = U1HiggsAction((4, 4), **HIGGS).manifold
    gradient = eqx.filter_jit(lambda t, x: manifold.gradient(lambda y: function(t, y))(x))
    pattern = tm.fields.dependence(gradient, manifold)
    assert pattern.shape == (3, 3, 4, 4)  # two directions of links, then phi
    assert set(zip(*np.nonzero(pattern[2, 2]), strict=True)) == {(0, 0), (0, 1), (0, 3), (1, 0), (3, 0)}
    assert tm.fields.LocalField(gradient, manifold, reach=pattern).colours <= 12
    with pytest.raises(ValueError, match="only links"):
        tm.fields.LocalField(gradient, manifold, reach=0)
    with pytest.raises(ValueError, match="expected a tangent vector"):
        tm.fields.LocalField(lambda t, x: x["phi"], manifold, reach=1)


SOLVERS = {
    "low storage": (lambda m: None, 4),
    "commutator free": (lambda m: tm.solvers.CF4(), 4),
    "RKMK": (lambda m: tm.solvers.RKMK(diffrax.Heun(), m, scan_kind="lax"), 2),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_log_det_of_a_flow_is_that_of_its_jacobian(key, name):
    """Integration errors fall with the order of the scheme: by its power of two per halved step, within a factor of two."""
    make, order = SOLVERS[name]
    field = FIELDS["higgs-2x1"]()
    manifold = field.manifold
    x = random_configuration(manifold, key)

    def defect(steps):
        flow = tm.ContinuousFlow(field, steps=steps, solver=make(manifold))
        log_det = flow.forward_and_log_det(x)[1]
        return abs(float(log_det - jnp.linalg.slogdet(jax.jit(lambda y: dense_jacobian(flow.forward, manifold, y))(x))[1]))

    coarse, fine = defect(4), defect(8)
    assert 2**order / 2 < coarse / fine < 2**order * 2 or fine < 1e-12


@pytest.mark.parametrize("name", ["higgs", "adaptive", "float32"])
def test_flows_go_back(key, name):
    field = FIELDS["higgs-3x4"]()
    dtype = jnp.float32 if name == "float32" else jnp.float64
    x = random_configuration(field.manifold, key, dtype)
    options = {"steps": 8}
    if name == "adaptive":
        options = {
            "controller": diffrax.PIDController(rtol=0, atol=1e-7),
            "solver": tm.solvers.RKMK(diffrax.Tsit5(), field.manifold),
        }
    flow = tm.ContinuousFlow(field, **options)
    y, log_det = eqx.filter_jit(flow.forward_and_log_det)(x)
    z, back = eqx.filter_jit(flow.inverse_and_log_det)(y)
    assert {a.dtype for a in jax.tree.leaves(y)} == {jnp.dtype(dtype)}
    assert log_det.dtype == jnp.float64
    tolerance = 1e-4 if name == "float32" else 1e-5  # of the integrator, of rounding
    assert close(z, x, rtol=0, atol=tolerance)
    assert abs(float(log_det + back)) < 30 * tolerance
    assert field.manifold.distance(x, y) > 0.1


def prior_of(theory, width=0.8):
    make = {"links": lambda m: tm.HaarPrior(m)}
    parts = {name: make.get(name, lambda m: tm.GaussianPrior(m, width))(m) for name, m in theory.manifold.components.items()}
    return tm.ProductPrior(**parts)


def test_product_prior(key):
    theory = U1HiggsAction((2, 3), **HIGGS)
    prior = prior_of(theory)
    x = prior.sample(key, jnp.float32)
    theory.manifold.check(x)
    assert {a.dtype for a in jax.tree.leaves(x)} == {jnp.dtype(jnp.float32)}
    phi = prior.components["phi"]
    assert prior.log_prob(x) == phi.log_prob(x["phi"])  # the density of the links is one
    assert not prior.uniform
    larger = U1HiggsAction((4, 4), **HIGGS).manifold
    assert prior.on(larger).manifold == larger
    with pytest.raises(TypeError, match="expected priors"):
        tm.ProductPrior(phi=theory.manifold["phi"])
    with pytest.raises(ValueError, match="one lattice"):
        tm.ProductPrior(a=phi, b=phi.on(tm.RealField((4, 4), components=2)))


def test_flow_of_two_fields_is_trained_and_has_the_exact_log_z(key):
    """On one site; the loss after training is below that of the prior alone, and log Z is that of a quadrature."""
    theory = ScalarYukawaAction((1,), **YUKAWA)
    field = tm.fields.LocalField(YukawaTerms(jnp.asarray([0.0, 0.0, 0.0])), theory.manifold, reach=0)
    model = tm.Model(prior_of(theory), tm.ContinuousFlow(field, steps=4))
    options = {"steps": 60, "batch_size": 64, "progress": False, "optimiser": optax.adam(2e-2)}
    trained, history = tm.fit(key, model, theory, **options)
    before, after = (tm.sample(jax.random.key(1), m, theory, 4000) for m in (model, trained))
    assert tm.ess_fraction(after.log_weights) > tm.ess_fraction(before.log_weights) + 0.05
    for ensemble in (before, after):
        agrees(tm.log_z(ensemble), yukawa_log_z(**YUKAWA))
    assert tm.training.parameter_count(model) == 3 + 2  # coefficients, and the widths of both priors
    equal(theory, ScalarYukawaAction((1,), **YUKAWA))
    report = tm.step_halving(jax.random.key(1), trained, theory, 500)
    assert report.std < 1e-2
    path, _ = tm.fit(key, model, theory, objective=tm.objectives.path_gradient, **{**options, "steps": 2})
    assert tm.training.parameter_count(path) == 5
    with pytest.raises(TypeError, match="FlowMatching: got a ProductManifold"):
        tm.fit(key, model, theory, objective=tm.objectives.FlowMatching(before), **options)


def test_forward_kl_draws_stored_configurations(key):
    theory = ScalarYukawaAction((1,), **YUKAWA)
    chain = tm.hmc(key, theory, 200, chains=8, steps=6)
    field = tm.fields.LocalField(YukawaTerms(jnp.asarray([0.0, 0.0, 0.0])), theory.manifold, reach=0)
    model = tm.Model(prior_of(theory), tm.ContinuousFlow(field, steps=2))
    trained, history = tm.fit(
        key, model, theory, objective=tm.objectives.ForwardKL(chain), steps=40, batch_size=64, progress=False
    )
    means = [tm.sample(key, m, theory, 2000).log_weights for m in (model, trained)]
    assert tm.ess_fraction(means[1]) > tm.ess_fraction(means[0])


def stochastic(name, theory):
    prior = prior_of(theory)
    if name == "langevin":
        drift = FIELDS["higgs-2x1"]()
        return tm.Model(prior, tm.LangevinFlow(prior, theory, 24, step_size=0.02, drift=drift))
    return tm.Model(prior, tm.AnnealedFlow(prior, theory, tm.kernels.HMCKernel(1.0, steps=4), 8))


@pytest.mark.parametrize("name", ["langevin", "annealed"])
def test_paths_of_products_have_the_exact_log_z(key, name):
    theory = U1HiggsAction((2, 1), **HIGGS)
    ensemble = tm.sample(key, stochastic(name, theory), theory, 4000)
    agrees(tm.log_z(ensemble), higgs_log_z(**HIGGS))
    assert tm.ess_fraction(ensemble.log_weights) > 0.2


def test_populations_of_products_have_the_exact_log_z(key):
    theory = U1HiggsAction((2, 1), **HIGGS)
    ensemble = tm.smc(key, stochastic("annealed", theory), theory, 32, particles=64, resample_below=0.9)
    agrees(tm.log_z(ensemble), higgs_log_z(**HIGGS))
    assert ensemble.configurations["phi"].shape == (32, 2, 2, 1)
    assert ensemble.observables["resampled"].any()


def test_prior_of_stored_products(key):
    """From one coupling to another by annealing: log (Z / Z_0)."""
    start = U1HiggsAction((2, 1), **{**HIGGS, "kappa": 0.1})
    chain = tm.hmc(key, start, 1000, chains=16, steps=6)
    prior = tm.EnsemblePrior(start, chain, log_z=higgs_log_z(**{**HIGGS, "kappa": 0.1}))
    theory = U1HiggsAction((2, 1), **HIGGS)
    model = tm.Model(prior, tm.AnnealedFlow(prior, theory, tm.kernels.HMCKernel(1.0, steps=4), 4))
    agrees(tm.log_z(tm.sample(key, model, theory, 3000)), higgs_log_z(**HIGGS))


def noising_of(theory):
    make = {"links": lambda m: tm.stochastic.HeatKernelNoising(m)}
    parts = theory.manifold.components.items()
    default = lambda m: tm.stochastic.VariancePreserving(m, data_width=0.6)  # noqa: E731
    return tm.stochastic.ProductNoising(**{name: make.get(name, default)(m) for name, m in parts})


@pytest.mark.parametrize("corrections", [0, 1])
def test_diffusion_of_products_has_the_exact_log_z(key, corrections):
    """For any score: here one that is not trained."""
    theory = U1HiggsAction((2, 1), **HIGGS)
    noising, field = noising_of(theory), tm.GradientField(higgs_potential((2, 1)))
    diffusion = tm.ScoreDiffusion(noising, field, 10, corrections=corrections)
    ensemble = tm.sample(key, tm.Model(noising.prior, diffusion), theory, 4000)
    agrees(tm.log_z(ensemble), higgs_log_z(**HIGGS))
    assert tm.ess_fraction(ensemble.log_weights) > 0.05


def test_score_matching_of_products(key):
    """The score of two fields learned from a chain; calibration and training raise the ESS."""
    theory = ScalarYukawaAction((1,), **YUKAWA)
    chain = tm.hmc(key, theory, 200, chains=8, steps=6)
    noising = noising_of(theory)
    field = tm.fields.LocalField(YukawaTerms(jnp.asarray([0.0, 0.0, 0.0])), theory.manifold, reach=0)
    model = tm.Model(noising.prior, tm.ScoreDiffusion(noising, field, 8))
    matching = tm.objectives.ScoreMatching(chain)
    trained, history = tm.fit(key, model, theory, objective=matching, steps=100, batch_size=64, progress=False)
    configurations = jax.tree.map(lambda a: jnp.asarray(a.reshape(-1, *a.shape[2:])), chain.configurations)
    calibrated = eqx.tree_at(lambda m: m.transport, trained, trained.transport.calibrated(key, configurations))
    before, after = (tm.sample(jax.random.key(1), m, theory, 3000) for m in (model, calibrated))
    assert tm.ess_fraction(after.log_weights) > tm.ess_fraction(before.log_weights) + 0.02
    agrees(tm.log_z(after), yukawa_log_z(**YUKAWA))
    with pytest.raises(TypeError, match="use kind='denoising'"):
        tm.fit(
            key,
            model,
            theory,
            objective=tm.objectives.ScoreMatching(chain, "implicit"),
            steps=1,
            batch_size=2,
            progress=False,
        )
    with pytest.raises(TypeError, match="sample by the diffusion itself"):
        trained.transport.probability_flow(steps=2).forward(theory.manifold.cold())


def test_models_of_products_are_saved(tmp_path, key):
    theory = U1HiggsAction((2, 1), **HIGGS)
    model = stochastic("annealed", theory)
    tm.save(tmp_path / "model.tm", model)
    loaded = tm.load(tmp_path / "model.tm")
    assert loaded.manifold == theory.manifold
    ensembles = [tm.sample(key, m, theory, 3) for m in (model, loaded)]
    equal(ensembles[0].configurations, ensembles[1].configurations)


@pytest.mark.parametrize("objective", ["continuity_residual", "action_matching"])
def test_drifts_of_products_are_trained(key, objective):
    """The drift of a Langevin flow, by the continuity equation: the variance of the log weights falls."""
    theory = U1HiggsAction((2, 1), **HIGGS)
    prior = prior_of(theory)
    drift = tm.GradientField(higgs_potential((2, 1), (0.0, 0.0, 0.0, 0.0)))
    model = tm.Model(prior, tm.LangevinFlow(prior, theory, 6, step_size=0.02, drift=drift))
    loss = getattr(tm.objectives, objective)
    trained, _ = tm.fit(key, model, theory, objective=loss, steps=60, batch_size=64, progress=False)
    before, after = (tm.sample(jax.random.key(1), m, theory, 2000).log_weights for m in (model, trained))
    assert np.var(after) < 0.8 * np.var(before)


def test_langevin_equation_of_products_in_diffrax(key):
    """With one substep it is the Euler scheme on the same noise, written out here."""
    theory, steps = U1HiggsAction((2, 1), **HIGGS), 4
    manifold, prior = theory.manifold, prior_of(theory)
    flow = tm.LangevinFlow(prior, theory, steps, step_size=0.02)
    path = diffrax.VirtualBrownianTree(0.0, float(steps), tol=1e-3, shape=(manifold.dimension,), key=key)
    x = prior.sample(key)

    @jax.jit
    def euler(x):
        for k, (weight, h) in enumerate(zip(flow.schedule()[1:], jnp.exp(flow.log_step_sizes), strict=True)):
            potential = lambda y, w=weight: w * theory.action(y) - (1 - w) * prior.log_prob(y)  # noqa: E731
            noise = manifold.from_coordinates(path.evaluate(float(k), float(k + 1)))
            step = lambda g, n, h=h: -h * g + jnp.sqrt(2 * h) * n  # noqa: E731
            x = manifold.exp(jax.tree.map(step, manifold.gradient(potential)(x), noise), x)
        return x

    end = jax.tree.map(lambda a: a[-1], tm.stochastic.solve_langevin(flow, x, path).ys)
    assert close(end, euler(x), rtol=0, atol=1e-12)
    assert manifold.distance(end, x) > 0.1


def test_dense_output_of_products(key):
    field = FIELDS["higgs-2x1"]()
    x = random_configuration(field.manifold, key)
    solver = tm.solvers.RKMK(diffrax.Tsit5(), field.manifold)
    path = tm.solvers.integrate_dense(field, field.manifold, x, solver=solver, steps=4)
    end = tm.solvers.integrate(field, field.manifold, x, solver=solver, steps=4)
    y, log_det = path(1.0)
    assert close(y, end.x, rtol=0, atol=1e-13)
    assert jnp.allclose(log_det, end.log_det, rtol=0, atol=1e-13)
    assert end.error_x > 0


def test_adaptive_flow_of_spins_and_links(key):
    """Tangent vectors of the spins have another shape than they, links are complex: errors are compared leaf by leaf."""
    manifold = tm.ProductManifold(s=tm.SphereField(3, (2,)), u=tm.LinkField(tm.SU(2), (2,)))
    function = lambda t, x: site_sum(x["s"][0] * jnp.real(x["u"][0, 0, 0])) + 0.3 * site_sum(x["s"][1] ** 2)  # noqa: E731
    field = tm.GradientField(tm.fields.LocalPotential(function, manifold, reach=0))
    controller = diffrax.PIDController(rtol=0, atol=1e-8)
    flow = tm.ContinuousFlow(field, controller=controller, solver=tm.solvers.CF4())
    x = tm.HaarPrior(manifold).sample(key)
    y, log_det = flow.forward_and_log_det(x)
    z, back = flow.inverse_and_log_det(y)
    assert manifold.distance(x, y) > 0.1
    assert manifold.distance(x, z) < 1e-6  # about a hundred steps of the tolerance
    assert abs(float(log_det + back)) < 1e-6
    assert manifold.defect(y) < 1e-12
