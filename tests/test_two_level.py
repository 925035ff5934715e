"""Two-level estimates: the chain itself without inner steps, exact correlators, less noise, regions that do interact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm
from trivmap.kernels import HeatbathKernel, HMCKernel
from trivmap.lattice import Region, slab
from trivmap.samplers import two_level

PHI4 = tm.Phi4Action((8, 3), m2=-4.0, lam=8.0)
KERNEL = HMCKernel(1.0, steps=6)
HALVES = {"left": slab((8, 3), 0, 1, 4), "right": slab((8, 3), 0, 5, 8)}
SLICES = {"left": lambda x: jnp.mean(x[1:4], axis=1), "right": lambda x: jnp.mean(x[5:], axis=1)}


def opposite(mean):
    """The mean over pairs of slices half the lattice apart, of three sites each."""
    return {"C": 3 * jnp.mean(mean["left"] * mean["right"])}


@pytest.fixture(scope="module")
def chain():
    return tm.run_chain(jax.random.key(0), PHI4, KERNEL, 150, chains=16, thermalisation=60)


def estimate(chain, n, **options):
    given = {"regions": HALVES, "measure": SLICES, "combine": opposite} | options
    return two_level(jax.random.key(1), chain, PHI4, KERNEL, n, **given)


def test_without_steps_it_is_the_chain(chain):
    found = estimate(chain, 0, batch_size=64)
    plain = 3 * np.asarray(
        jnp.mean(jnp.mean(chain.configurations[:, :, 1:4], -1) * jnp.mean(chain.configurations[:, :, 5:], -1), -1)
    )
    assert found.shape == chain.shape
    assert np.max(np.abs(found.observables["C"] - plain)) < 1e-14


def test_correlator_of_a_scalar(chain):
    """Within errors, which fall: 15 correlated steps make the variance of pairs at least three times smaller."""
    exact = float(tm.exact.two_point(PHI4)[4])
    errors = []
    for n in (0, 15):
        found = tm.expectation(estimate(chain, n), "C")
        assert abs(found.pull(exact)) < 4, found
        errors.append(found.error)
    assert errors[1] ** 2 < errors[0] ** 2 / 3


def test_polyakov_loops():
    theory = tm.WilsonAction(tm.SU(2), (2, 8), beta=3.0)
    chain = tm.heatbath(jax.random.key(2), theory, 150, chains=16, thermalisation=30)
    column = np.indices(theory.lattice)[1]
    # Lines along axis 0 at columns 0 and 4 are frozen, the links between columns move.
    ends = {"left": (0, 4), "right": (4, 8)}
    regions = {
        side: Region(np.stack([(column > a) & (column < b), (column >= a) & (column < b)]), links=True)
        for side, (a, b) in ends.items()
    }
    measure = {
        side: (lambda x, a=a, b=b: tm.observables.polyakov_lines(x, 0)[a + 1 : b].real) for side, (a, b) in ends.items()
    }
    found = two_level(
        jax.random.key(3), chain, theory, HeatbathKernel(), 10, regions=regions, measure=measure,
        combine=lambda mean: {"near": mean["left"][-1] * mean["right"][0], "far": jnp.mean(mean["left"] * mean["right"])},
    )  # fmt: skip
    for name, distance in (("near", 2), ("far", 4)):
        assert abs(tm.expectation(found, name).pull(tm.exact.polyakov_correlator(theory, 0, distance))) < 4


def test_components_of_a_product():
    """Regions are those of the lattice, whatever fields live there."""
    theory = tm.U1HiggsAction((4, 4), beta=1.0, kappa=0.2, lam=0.5, m2=1.0)
    chain = tm.hmc(jax.random.key(0), theory, 3, chains=2, steps=3)
    halves = {"left": slab((4, 4), 0, 1, 2), "right": slab((4, 4), 0, 3, 4)}
    measure = {side: lambda x: jnp.sum(x["phi"] ** 2) for side in halves}
    found = two_level(
        jax.random.key(1), chain, theory, HMCKernel(0.5, steps=3), 2, regions=halves, measure=measure,
        combine=lambda mean: {"product": mean["left"] * mean["right"]},
    )  # fmt: skip
    assert found.shape == (2, 3)


def test_regions_that_interact_are_refused(chain):
    near = {"left": slab((8, 3), 0, 1, 5), "right": slab((8, 3), 0, 5, 8)}
    with pytest.raises(ValueError, match="'left' and 'right' interact"):
        estimate(chain, 1, regions=near)
    overlap = {"left": slab((8, 3), 0, 1, 6), "right": slab((8, 3), 0, 5, 8)}
    with pytest.raises(ValueError, match="'left' and 'right' overlap"):
        estimate(chain, 1, regions=overlap)


def test_bad_input_is_refused(chain):
    with pytest.raises(ValueError, match="expected the same names"):
        estimate(chain, 1, measure={"left": SLICES["left"]})
    measured = tm.run_chain(jax.random.key(0), PHI4, KERNEL, 4, measure={"M": tm.magnetisation})
    with pytest.raises(ValueError, match="run it without measure="):
        estimate(measured, 1)
    with pytest.raises(ValueError, match="n"):
        estimate(chain, -1)
