"""Regions redrawn by a flow that knows their surroundings: densities, divergences, exactness, independence of the volume."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dense_divergence, randomised

import trivmap as tm
from trivmap.kernels import RegionMetropolis
from trivmap.kernels._tiles import cut, paste
from trivmap.lattice import Region, slab
from trivmap.priors import GaussianRegionPrior
from trivmap.theories import FreeScalarAction, RegionTheory

WINDOW = tm.Phi4Action((6, 6), m2=-4.0, lam=8.0)
BOX = slab((6, 6), 0, 2, 4) & slab((6, 6), 1, 2, 4)


def prior(region=BOX, **options):
    fields = jax.random.normal(jax.random.key(0), (50, *region.lattice)) / 2
    return GaussianRegionPrior(region, fields, **options)


def untrained(window=WINDOW, region=BOX):
    start = prior(region)
    return tm.Model(start, tm.ContinuousFlow(tm.GatedConvolutionField(start.manifold, features=3, times=2), steps=2))


# --- the Gaussian -----------------------------------------------------------------------------------------------------


def test_density_is_that_of_the_free_field_given_the_boundary():
    """Differences of log r within the region are those of the action; the normalisation by an integral over one site."""
    free = FreeScalarAction((6, 6), m2=0.7)
    given = prior(stiffness=1.0, mass2=0.7)
    x, y = (given.sample(jax.random.key(seed)) for seed in (1, 2))
    y = BOX.where(y, x)
    difference = (given.log_prob(x) - given.log_prob(y)) + (free.action(x) - free.action(y))
    assert abs(difference) < 1e-11 * (abs(free.action(x)) + abs(free.action(y)))
    one = prior(Region(np.indices((4, 4)).sum(axis=0) == 0), stiffness=0.8, mass2=0.3)
    values = jnp.linspace(-12, 12, 4001)
    density = jax.vmap(lambda v: jnp.exp(one.log_prob(one.data.configurations[0].at[0, 0].set(v))))(values)
    # The sum over an equidistant grid of a Gaussian of width 0.4 is exact to rounding.
    assert abs(jnp.sum(density) * (values[1] - values[0]) - 1) < 1e-12


def test_draws_have_this_density():
    """<(x - mean) K (x - mean)> over the region is the number of its sites, and nothing outside moves."""
    given, count = prior(), 4000
    x = given.data.configurations[0]
    drawn = jax.vmap(lambda key: given.redrawn(key, x))(jax.random.split(jax.random.key(3), count))
    assert jnp.all(jnp.where(BOX.mask[None], x[None], drawn) == x[None])
    log_r = jax.vmap(given.log_prob)(drawn)
    # The entropy of a Gaussian of k = 4 sites: -<log r> = max - k/2 with a variance of k/2.
    factor, mean = given._conditional(x)
    largest = given.log_prob(x.reshape(-1).at[BOX.indices].set(mean).reshape(x.shape))
    assert abs(jnp.mean(log_r) - largest + 2) < 4 * np.sqrt(2 / count)
    centre = drawn.reshape(count, -1)[:, BOX.indices] - mean[None]
    pulls = jnp.mean(centre, axis=0) / (jnp.std(centre, axis=0) / np.sqrt(count))
    assert jnp.max(jnp.abs(pulls)) < 4.5
    assert factor.shape == (4, 4)


# --- the field --------------------------------------------------------------------------------------------------------


def test_divergence_is_the_trace_over_the_region():
    manifold = tm.manifolds.RegionField(tm.RealField((5, 6)), slab((5, 6), 0, 1, 3))
    field = randomised(jax.random.key(1), tm.GatedConvolutionField(manifold, features=3, times=2), 0.3)
    x, t = jax.random.normal(jax.random.key(2), (5, 6)), jnp.asarray(0.3)
    velocity, divergence = field(t, x)
    expected = dense_divergence(lambda y: field(t, y)[0], manifold.manifold, x)
    assert abs(divergence - expected) < 1e-10 * max(1.0, abs(expected))
    assert jnp.all(jnp.where(manifold.region.mask, 0.0, velocity) == 0)
    assert jnp.max(jnp.abs(velocity)) > 1e-3
    # The field knows where it moves: frozen sites enter with kernels of their own.
    elsewhere = tm.manifolds.RegionField(tm.RealField((5, 6)), slab((5, 6), 0, 1, 4))
    moved = randomised(jax.random.key(1), tm.GatedConvolutionField(elsewhere, features=3, times=2), 0.3)
    assert jnp.max(jnp.abs((moved(t, x)[0] - velocity)[1:3])) > 1e-3


def test_regions_of_links_are_refused():
    links = tm.LinkField(tm.U1(), (4, 4))
    with pytest.raises(TypeError, match="a region of it"):
        tm.GatedConvolutionField(tm.manifolds.RegionField(links, slab((4, 4), 0, 1, 3)))


# --- the kernel -------------------------------------------------------------------------------------------------------


def test_tiles():
    x = jnp.arange(7 * 9.0).reshape(7, 9)
    windows = cut(x, (3, 4))
    assert windows.shape == (4, 3, 4)
    np.testing.assert_array_equal(windows[1], x[0:3, 4:8])
    np.testing.assert_array_equal(windows[2], x[3:6, 0:4])
    np.testing.assert_array_equal(paste(x, windows, (3, 4)), x)
    doubled = paste(x, 2 * windows, (3, 4))
    assert jnp.sum(doubled != x) == 47  # all but the zero among 48


def test_acceptance_does_not_depend_on_the_volume():
    kernel, rates = RegionMetropolis(untrained(), WINDOW), []
    for extent in (6, 18):
        theory = tm.Phi4Action((extent, extent), m2=-4.0, lam=8.0)
        start = tm.hmc(jax.random.key(1), theory, 1, chains=32, steps=6 + extent // 6, thermalisation=60).state
        chain = tm.run_chain(jax.random.key(2), theory, kernel, 20, chains=32, initial=start.configuration)
        rates.append(np.asarray(chain.info["windows_accepted"]).mean(axis=1))
    error = np.hypot(*(rate.std(ddof=1) / np.sqrt(32) for rate in rates))
    assert abs(rates[0].mean() - rates[1].mean()) < 4 * error
    assert 0.2 < rates[1].mean() < 0.99


@pytest.mark.slow
def test_training_raises_the_acceptance():
    theory = tm.Phi4Action((12, 12), m2=-4.0, lam=6.0)
    window = tm.Phi4Action((6, 6), m2=-4.0, lam=6.0)
    chain = tm.hmc(jax.random.key(0), theory, 50, chains=8, steps=8, thermalisation=100, thin=4)
    patches = np.asarray(chain.configurations).reshape(-1, 12, 12)[:, :6, :6]
    start = GaussianRegionPrior(BOX, patches)
    model = tm.Model(start, tm.ContinuousFlow(tm.GatedConvolutionField(start.manifold, times=2), steps=3))
    trained, _ = tm.fit(jax.random.key(1), model, RegionTheory(window, BOX), steps=100, batch_size=64, progress=False)
    rates = []
    for m in (model, trained):
        run = tm.run_chain(
            jax.random.key(2), theory, RegionMetropolis(m, window), 40, initial=chain.state.configuration, chains=8
        )
        rates.append(np.mean(run.info["windows_accepted"]))
    assert rates[1] > rates[0] + 0.1


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="leave out the edge"):
        RegionMetropolis(untrained(region=slab((6, 6), 0, 2, 4)), WINDOW)
    with pytest.raises(ValueError, match="expected one lattice"):
        RegionMetropolis(untrained(), tm.Phi4Action((8, 8), m2=-4.0, lam=8.0))
    kernel = RegionMetropolis(untrained(), WINDOW)
    x = jnp.zeros((12, 12))
    with pytest.raises(ValueError, match="other couplings"):
        kernel.init(jax.random.key(0), tm.Phi4Action((12, 12), m2=-4.0, lam=7.0), x)
    with pytest.raises(ValueError, match="at least those of the window"):
        kernel.init(jax.random.key(0), tm.Phi4Action((12, 4), m2=-4.0, lam=8.0), x)
    with pytest.raises(ValueError, match="one theory on two lattices"):
        kernel.init(jax.random.key(0), FreeScalarAction((12, 12), m2=1.0), x)
    with pytest.raises(ValueError, match="region of links"):
        GaussianRegionPrior(Region(np.ones((2, 4, 4), bool), links=True), x[None])
    with pytest.raises(ValueError, match="mass2"):
        prior(mass2=-1.0)


# --- boxes of links ---------------------------------------------------------------------------------------------------


def test_box_heatbath_moves_the_inside_of_boxes_and_the_charge():
    """Wilson loops around boxes stay, whatever is drawn inside; one step is nearly independent of the one before in Q."""
    theory, kernel = tm.WilsonAction(tm.U1(), (8, 10), beta=4.0), tm.kernels.BoxHeatbath(4)
    x = tm.exact.sample(jax.random.key(0), theory, 1)[0]
    y = kernel.move(jax.random.key(1), theory, x)
    change = tm.manifolds.LinkField(tm.U1(), (8, 10)).project(y - x)
    moved = np.asarray(jnp.abs(change) > 1e-9)
    # Of each of 2 x 2 boxes 12 + 12 links inside can move; along axis 0 only those of the last row and of the gauge do.
    assert 0 < moved.sum() <= 2 * 2 * 24
    theory = tm.WilsonAction(tm.U1(), (8, 8), beta=6.0)
    measure = {"Q2": lambda x: tm.topological_charge(x) ** 2}
    chain = tm.run_chain(
        jax.random.key(2), theory, tm.kernels.BoxHeatbath(6), 300, chains=16, measure=measure, thermalisation=20
    )
    charge = tm.expectation(chain, "Q2")
    assert abs(charge.pull(tm.exact.charge_squared(theory))) < 4
    # Heatbath alone has a tau_int of some hundred sweeps here.
    assert charge.tau_int < 5


def test_box_heatbath_refuses_what_it_does_not_know():
    x = jnp.zeros((2, 4, 4))
    with pytest.raises(TypeError, match="expected a WilsonAction of U1"):
        tm.kernels.BoxHeatbath(2).move(jax.random.key(0), tm.WilsonAction(tm.SU(2), (4, 4), 1.0), x)
    with pytest.raises(ValueError, match="at most the smaller extent"):
        tm.kernels.BoxHeatbath(5).move(jax.random.key(0), tm.WilsonAction(tm.U1(), (4, 8), 1.0), x)
