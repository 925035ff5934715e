"""From coarse to fine: free details, other volumes, steps of the coarse flow, bad input; the rest is in test_flows.py."""

import jax
import jax.numpy as jnp
import pytest
from flow_table import AFFINE, FAST, KEY, configurations
from helpers import randomised

import trivmap as tm

LATTICES = [(4, 6), (8,), (2, 4, 4)]


def level(lattice, variable="mean", mass=0.7):
    half = tm.RealField(tuple(extent // 2 for extent in lattice))
    return tm.flows.CoarseToFine(tm.RealField(lattice), tm.flows.Rescaling(half), variable=variable, mass=mass)


@pytest.mark.parametrize("variable", ["mean", "site"])
@pytest.mark.parametrize("lattice", LATTICES)
def test_details_of_the_free_field_are_exact(variable, lattice):
    """At a given coarse field the log weight towards the free theory of the same mass does not depend on the noise."""
    theory = tm.theories.FreeScalarAction(lattice, m2=0.49)
    flow, prior = level(lattice, variable), tm.GaussianPrior(theory.manifold)
    corner = tuple(slice(None, None, 2) for _ in lattice)
    z = configurations(theory.manifold, 8)
    z = z.at[(slice(None), *corner)].set(z[0][corner][None])

    def log_weight(z):
        x, log_det = flow.forward_and_log_det(z)
        return log_det - theory.action(x) - prior.log_prob(z)

    log_weights = jax.jit(jax.vmap(log_weight))(z)
    # Rounding of sums of 32 terms of order one.
    assert jnp.max(jnp.abs(log_weights - log_weights[0])) < 1e-12


@pytest.mark.parametrize("variable", ["mean", "site"])
def test_the_coarse_variable_is_the_image_of_the_coarse_flow(variable):
    flow = level((4, 6), variable)
    z = configurations(flow.manifold, 1)[0]
    x = flow.forward(z)
    mean = (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4
    # Means carry the default scale of 2^(d/2), by which the coarse field is their value.
    assert jnp.max(jnp.abs((mean if variable == "mean" else x[::2, ::2]) - z[::2, ::2])) < 1e-14


def test_another_volume():
    """A field that repeats the small lattice goes to the repeated image."""
    coarse = tm.CouplingFlow(KEY, tm.RealField((4, 4)), 3, AFFINE, **FAST)
    flow = randomised(KEY, tm.flows.CoarseToFine(tm.RealField((8, 8)), coarse), 0.2)
    large = flow.on(tm.RealField((8, 16)))
    z = configurations(flow.manifold, 1)[0]
    x, y = flow.forward(z), large.forward(jnp.tile(z, (1, 2)))
    assert jnp.max(jnp.abs(jnp.tile(x, (1, 2)) - y)) < 1e-12


def test_steps_and_errors_are_those_of_the_coarse_flow():
    half = tm.RealField((2, 2))
    coarse = tm.ContinuousFlow(tm.fields.RidgeField(KEY, half), steps=2)
    flow = randomised(KEY, tm.flows.CoarseToFine(tm.RealField((4, 4)), coarse), 0.2)
    z = configurations(flow.manifold, 1)[0]
    assert flow.refined().coarse.steps == 4
    assert flow.evaluations == flow.coarse.evaluations + 1
    assert flow.forward_with_error(z)[2] == flow.coarse.forward_with_error(z[::2, ::2])[2] > 0
    assert not level((4, 4)).refinable


def test_training_uses_all_numbers():
    """A sampled model with two levels: reverse KL falls, and the weights reproduce log Z."""
    theory = tm.theories.FreeScalarAction((4, 4), m2=0.49)
    coarse = tm.flows.FourierFlow(tm.RealField((2, 2)), mass=0.7)
    model = tm.Model(tm.GaussianPrior(theory.manifold), tm.flows.CoarseToFine(theory.manifold, coarse))
    better, records = tm.gauss_newton(KEY, model, theory, steps=3, samples=512, progress=False)
    assert records[-1]["variance"] < 0.5 * records[0]["variance"]
    estimate = tm.log_z(tm.sample(KEY, better, theory, 1000, measure={}))
    assert abs(estimate.pull(tm.exact.log_z(theory))) < 4


def test_bad_input():
    half = tm.flows.Rescaling(tm.RealField((2, 2)))
    with pytest.raises(ValueError, match="even ones"):
        tm.flows.CoarseToFine(tm.RealField((4, 5)), half)
    with pytest.raises(ValueError, match="coarse flow on"):
        tm.flows.CoarseToFine(tm.RealField((4, 8)), half)
    with pytest.raises(ValueError, match="'mean' or 'site'"):
        tm.flows.CoarseToFine(tm.RealField((4, 4)), half, variable="sum")
    with pytest.raises(ValueError, match="mass"):
        tm.flows.CoarseToFine(tm.RealField((4, 4)), half, mass=0.0)
    with pytest.raises(TypeError, match="no means"):
        tm.flows.CoarseToFine(tm.LinkField(tm.U1(), (4, 4)), half)
