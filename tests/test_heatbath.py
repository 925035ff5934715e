"""Heatbath and overrelaxation: distributions of single links, exact plaquettes, conserved actions, reversibility."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import rows
from scipy import special, stats

import trivmap as tm
from trivmap.kernels._conditional import quaternion, von_mises

THEORIES = {
    "u1": tm.WilsonAction(tm.U1(), (4, 4), beta=2.0),
    "su2_odd": tm.WilsonAction(tm.SU(2), (3, 4), beta=2.2),
    "su3": tm.WilsonAction(tm.SU(3), (2, 4), beta=4.0),
    "u1_defect": tm.theories.WeightedWilsonAction.with_defect(tm.U1(), (4, 4), 3.0, defect=0.0, size=(1, 2)),
    "su2_defect": tm.theories.WeightedWilsonAction.with_defect(tm.SU(2), (3, 4), 2.2, defect=0.8, size=(2, 2)),
    # Odd extents: no change of variables turns these into positive couplings.
    "u1_negative": tm.WilsonAction(tm.U1(), (3, 3), beta=-2.0),
    "su2_negative": tm.WilsonAction(tm.SU(2), (3, 3), beta=-1.5),
    "su3_negative": tm.WilsonAction(tm.SU(3), (2, 3), beta=-6.0),
}


@pytest.mark.parametrize("w", [0.0, 1e-35, 0.4, 1.6, 1.8, 30.0, 1e5])
def test_draws_of_single_links(w):
    """Kolmogorov-Smirnov tests of the angle and of a_0, whose distribution functions are integrals of the densities."""
    n = 20_000
    concentration = jnp.full(n, w)
    theta, valid = (np.asarray(a) for a in von_mises(jax.random.key(1), concentration, 2))
    assert valid.mean() > 0.88  # 1 - 0.34^2
    reference = stats.vonmises(kappa=w).cdf if w > 0 else stats.uniform(-np.pi, 2 * np.pi).cdf
    assert stats.kstest(theta[valid], reference).pvalue > 1e-4
    q, valid = (np.asarray(a) for a in quaternion(jax.random.key(2), concentration, 2))
    assert valid.mean() > 0.9  # 1 - 0.3^2
    assert np.max(np.abs(np.sum(q**2, axis=0) - 1)[valid]) < 1e-12
    # Dense near one, where the density of large concentrations is.
    grid = 1 - np.linspace(0, 2, 20_001) if w < 100 else 1 - np.linspace(0, 40 / w, 20_001)
    grid = grid[::-1]
    density = np.sqrt(1 - grid**2) * np.exp(w * (grid - 1))
    cumulative = np.cumsum(density) / density.sum()
    assert stats.kstest(q[0][valid], lambda a: np.interp(a, grid, cumulative)).pvalue > 1e-4
    mean = special.ive(2, w) / special.ive(1, w) if w > 0 else 0.0
    assert abs(q[0][valid].mean() - mean) < 4 * q[0][valid].std() / np.sqrt(valid.sum())
    # Directions are uniform on the sphere.
    for component in q[1:]:
        direction = component[valid] / np.sqrt(1 - q[0][valid] ** 2)
        assert stats.kstest(direction, stats.uniform(-1, 2).cdf).pvalue > 1e-4


@pytest.mark.parametrize("name", THEORIES)
def test_sampler_against_exact_results(name):
    theory = THEORIES[name]
    measure = {"plaquette": tm.plaquette, "action": theory.action}
    if theory.group.n == 1:
        measure["Q2"] = lambda x: tm.topological_charge(x) ** 2
    chain = tm.heatbath(jax.random.key(3), theory, 200, overrelaxation=1, chains=20, thermalisation=30, measure=measure)
    assert abs(tm.expectation(chain, "plaquette").pull(tm.exact.plaquette(theory))) < 4
    # A mean that is right with a distribution that is wrong shows in the fluctuations of the action.
    action = np.asarray(chain.observables["action"])
    square = tm.statistics.gamma_method((action - float(tm.exact.mean_action(theory))) ** 2)
    # The exact variance is that of the sum of plaquettes.
    assert abs(square.pull(tm.exact.action_variance(theory) * float(theory.beta) ** 2)) < 4
    if "Q2" in measure:
        assert abs(tm.expectation(chain, "Q2").pull(tm.exact.charge_squared(theory))) < 4
    # Eight sweeps on fewer than 20 x 200 steps: the chain decorrelates fast.
    assert tm.n_eff(chain, "plaquette") > 800


def test_what_is_no_concentration_gives_no_number():
    for w in (-1.0, np.nan):
        angle, valid = von_mises(jax.random.key(1), jnp.full(4, w), 3)
        q, usable = quaternion(jax.random.key(1), jnp.full(4, w), 3)
        assert jnp.all(jnp.isnan(angle) & valid)
        assert jnp.all(jnp.isnan(q) & usable[None])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("group", [tm.U1(), tm.SU(2)], ids=str)
def test_extreme_couplings(group, dtype):
    """Couplings so small that squares underflow are uniform; at +-1e4 the plaquette differs from +-1 by the exact amount."""
    for beta in (0.0, -1e-25, 1e4, -1e4):
        theory = tm.WilsonAction(group, (4, 4), beta)
        chain = tm.heatbath(
            jax.random.key(1), theory, 20, chains=20, overrelaxation=1, thermalisation=60, dtype=dtype,
            initial="cold", measure={"plaquette": tm.plaquette},
        )  # fmt: skip
        assert abs(tm.expectation(chain, "plaquette").pull(tm.exact.plaquette(theory))) < 4.5


def test_overrelaxation_without_staples():
    """Staples that cancel exactly have no direction to reflect at: links of SU(2) stay, angles are reflected at zero."""
    theory = tm.WilsonAction(tm.SU(2), (2, 2), beta=1.0)
    one = jnp.broadcast_to(theory.group.identity((2, 2))[None], theory.manifold.shape)
    # With one link of a plaquette turned to -1 the staples of others cancel in pairs.
    x = one.at[0, :, :, 0, 0].multiply(-1)
    for kernel in (tm.kernels.OverrelaxationKernel(3), tm.kernels.HeatbathKernel()):
        moved = kernel.move(jax.random.key(0), theory, x)
        assert theory.group.unitarity_defect(moved[0]) < 1e-14
    moved = tm.kernels.OverrelaxationKernel(3).move(jax.random.key(0), theory, x)
    assert abs(theory.action(moved) - theory.action(x)) < 1e-13


def test_three_dimensions_and_more_colours():
    """Twelve sites of SU(4) at weak coupling: the plaquette of HMC, 0.20329(23) by `tm.hmc` with 40 000 trajectories."""
    theory = tm.WilsonAction(tm.SU(4), (2, 2, 3), beta=6.0)
    chain = tm.heatbath(jax.random.key(2), theory, 50, chains=20, thermalisation=30, measure={"plaquette": tm.plaquette})
    estimate = tm.expectation(chain, "plaquette")
    assert abs(estimate.value - 0.20329) < 4 * np.hypot(estimate.error, 0.00023)


@pytest.mark.parametrize("name", THEORIES)
def test_overrelaxation_conserves_the_action(name):
    theory = THEORIES[name]
    x = theory.manifold.reference_sample(jax.random.key(0))
    moved = tm.kernels.OverrelaxationKernel().move(jax.random.key(1), theory, x)
    assert theory.manifold.distance(x, moved) > 1
    assert abs(theory.action(moved) - theory.action(x)) < 1e-13 * theory.manifold.dimension


def test_sweeps_are_reversible():
    r"""$\langle f(x) g(x')\rangle = \langle g(x) f(x')\rangle$ in equilibrium, for loops lying and standing.

    With half sweeps in fixed order the difference is ten standard errors from zero.
    """
    theory = tm.WilsonAction(tm.U1(), (2, 2), beta=2.0)
    chain = tm.heatbath(jax.random.key(5), theory, 100, chains=400, thermalisation=30)
    x = jnp.asarray(chain.configurations).reshape(-1, *theory.manifold.shape)
    kernel = tm.kernels.HeatbathKernel()
    moved = jax.jit(jax.vmap(lambda k, x: kernel.move(k, theory, x)))(jax.random.split(jax.random.key(6), len(x)), x)

    def pair(x, axis):
        flux = x[:, 0] + jnp.roll(x[:, 1], -1, axis=1) - jnp.roll(x[:, 0], -1, axis=2) - x[:, 1]
        return jnp.mean(jnp.cos(flux + jnp.roll(flux, -1, axis=axis)), axis=(1, 2))

    difference = np.asarray(pair(x, 1) * pair(moved, 2) - pair(x, 2) * pair(moved, 1)).reshape(400, -1).mean(axis=1)
    assert abs(difference.mean()) < 4 * difference.std(ddof=1) / 20


@pytest.mark.parametrize("name", rows(["su2_odd", "su2_negative"], slow=["su2_odd"]))
def test_annealing_is_exact_both_ways(name):
    """log Z from paths of few levels, and from backward paths that start in the theory: only reversible kernels pass."""
    theory = THEORIES[name]
    prior = tm.HaarPrior(theory.manifold)
    kernel = tm.kernels.SymmetricSequence(tm.kernels.OverrelaxationKernel(), tm.kernels.HeatbathKernel())
    flow = tm.AnnealedFlow(prior, theory, kernel, 6)
    ensemble = tm.sample(jax.random.key(0), tm.Model(prior, flow), theory, 2000, batch_size=500, measure={})
    exact = tm.exact.log_z(theory)
    assert abs(tm.log_z(ensemble).pull(exact)) < 4
    chain = tm.heatbath(jax.random.key(1), theory, 20, chains=100, thermalisation=30)
    x = jnp.asarray(chain.configurations).reshape(-1, *theory.manifold.shape)

    @jax.jit
    def inverse_weights(keys, x):
        z, log_weight = jax.vmap(flow.backward_and_log_weight)(keys, x)
        return jnp.exp(jax.vmap(theory.action)(x) + log_weight + exact)

    factor = np.asarray(inverse_weights(jax.random.split(jax.random.key(2), len(x)), x)).reshape(100, -1).mean(axis=1)
    assert abs(factor.mean() - 1) < 4 * factor.std(ddof=1) / 10


def test_continuation_and_float32():
    theory = THEORIES["u1"]
    whole = tm.heatbath(jax.random.key(0), theory, 6, chains=2, thermalisation=4, dtype=jnp.float32)
    first = tm.heatbath(jax.random.key(0), theory, 2, chains=2, thermalisation=4, dtype=jnp.float32)
    rest = tm.heatbath(jax.random.key(0), theory, 4, chains=2, initial=first.state)
    assert whole.configurations.dtype == np.float32
    assert np.array_equal(whole.configurations[:, 2:], rest.configurations)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tm.kernels.HeatbathKernel(attempts=0), ValueError, "attempts: got 0"),
        (lambda: tm.kernels.OverrelaxationKernel(sweeps=0), ValueError, "sweeps: got 0"),
        (lambda: tm.heatbath(jax.random.key(0), THEORIES["u1"], 0), ValueError, "positive integer"),
        (lambda: _moved(tm.Phi4Action((2, 2), 1.0, 1.0)), TypeError, "WilsonAction only"),
        (lambda: _moved(tm.WilsonAction(tm.U1(), (1, 4), beta=1.0)), ValueError, "extents of 2 or more"),
    ],
)
def test_errors_teach(call, error, message):
    with pytest.raises(error, match=message):
        call()


def _moved(theory):
    return tm.kernels.HeatbathKernel().move(jax.random.key(0), theory, jnp.zeros(theory.manifold.shape))
