"""Continuous flows: order of the solvers, step halving, memory of gradients, models, errors; the rest is in test_flows.py."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_table import convolution, gated, loops
from helpers import randomised, rows

import trivmap as tm

TIGHT = diffrax.Dopri8(scan_kind="lax")


ROWS = {
    "gated_scalar": lambda **options: gated(tm.RealField((2, 3)), **options),
    "gated_u1": lambda **options: gated(tm.LinkField(tm.U1(), (3, 2)), **options),
    "convolution": lambda **options: convolution((2, 3), **options),
    "loops_u1": lambda **options: loops(tm.U1(), (2, 3), **options),
    "loops_su2": lambda **options: loops(tm.SU(2), (2, 2), **options),
    "loops_su3": lambda **options: loops(tm.SU(3), (2, 2), **options),
}


def _case(name, **options):
    flow = randomised(jax.random.key(1), ROWS[name](**options), 0.1)
    return flow, flow.manifold.generic_sample(jax.random.key(2))


@eqx.filter_jit
def forward(flow, z):
    return flow.forward_and_log_det(z)


@pytest.mark.parametrize("name", rows(ROWS, slow=["loops_su3"]))
def test_default_solver_converges_at_fourth_order(name):
    flow, z = _case(name, steps=4)
    exact_x, exact = eqx.tree_at(lambda f: f.solver, _case(name, solver=TIGHT, steps=12)[0], TIGHT).forward_and_log_det(z)
    errors = []
    for factor in (2, 4, 8):
        _, log_det = forward(flow.refined(factor), z)
        errors.append(float(jnp.abs(log_det - exact)))
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    # Fourth order asymptotically; half an order of slack where the next order still counts, or rounding already does.
    assert slopes[-1] > 3.5 or errors[-1] < 1e-11, (errors, slopes)


def test_step_halving_reports_the_change_of_the_solution():
    flow, z = _case("loops_su2", steps=3)
    change = eqx.filter_jit(lambda f, z: f.step_halving(z))(flow, z)
    x, log_det = forward(flow, z)
    refined, refined_log_det = forward(flow.refined(), z)
    assert flow.refined().steps == 6
    assert abs(change.log_det_change - (refined_log_det - log_det)) < 1e-13
    assert abs(change.distance - flow.manifold.distance(x, refined)) < 1e-13
    assert 0 < change.distance < 0.1


def test_checkpointing_does_not_change_gradients():
    flow, z = _case("gated_u1", steps=3)

    def gradient(checkpoint):
        chosen = randomised(jax.random.key(1), gated(flow.manifold, steps=3, checkpoint=checkpoint), 0.1)
        return jax.tree.leaves(eqx.filter_jit(eqx.filter_grad(lambda f: f.forward_and_log_det(z)[1]))(chosen))

    for a, b in zip(gradient(True), gradient(False), strict=True):
        assert jnp.max(jnp.abs(a - b)) < 1e-12 * max(1.0, jnp.max(jnp.abs(a)))


def _gradient_memory(checkpoint, steps):
    flow = gated(tm.LinkField(tm.U1(), (8, 8)), steps=steps, checkpoint=checkpoint)
    z = flow.manifold.reference_sample(jax.random.key(0))
    gradient = eqx.filter_jit(eqx.filter_grad(lambda f, z: f.forward_and_log_det(z)[1]))
    return gradient.lower(flow, z).compile().compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_checkpointing_bounds_the_memory_of_a_gradient():
    per_step = (_gradient_memory(True, 40) - _gradient_memory(True, 20)) / 20
    stored = (_gradient_memory(False, 40) - _gradient_memory(False, 20)) / 20
    # Five stages of a step keep two configurations each (2x8x8 doubles = 1 kB); the field's intermediates are recomputed.
    assert per_step < 20 * 1024
    assert stored > 3 * per_step


def test_adaptive_flow_reaches_its_tolerance():
    tight, z = _case("loops_su3", solver=TIGHT, steps=12)
    controller = diffrax.PIDController(rtol=0.0, atol=1e-8)
    flow, _ = _case("loops_su3", solver=diffrax.Tsit5(), controller=controller)
    x, log_det = forward(flow, z)
    exact_x, exact = forward(tight, z)
    # The controller bounds the error per step; a handful of steps add up.
    assert jnp.max(jnp.abs(x - exact_x)) < 1e-6
    assert jnp.abs(log_det - exact) < 1e-6
    with pytest.raises(ValueError, match="no number of steps"):
        flow.refined()


def test_model_sampling_and_density_agree():
    flow, _ = _case("gated_scalar", solver=TIGHT, steps=12)
    model = tm.Model(tm.GaussianPrior(flow.manifold, 0.7), flow)
    x, log_q = eqx.filter_jit(model.sample_and_log_prob)(jax.random.key(0))
    assert jnp.abs(eqx.filter_jit(model.log_prob)(x) - log_q) < 1e-9


def test_gaussian_prior_is_normalised_and_has_its_width():
    manifold = tm.RealField((3,))
    prior = tm.GaussianPrior(manifold, 0.7)
    z = jax.vmap(prior.sample)(jax.random.split(jax.random.key(0), 20000))
    # Variance of the sample variance of 60000 normal numbers: 2 sigma^4 / 60000.
    assert jnp.abs(jnp.mean(z**2) - 0.49) < 4 * 0.49 * np.sqrt(2 / 60000)
    grid = jnp.linspace(-7, 7, 401)
    density = jnp.exp(jax.vmap(lambda v: prior.log_prob(jnp.full(3, 0.0).at[0].set(v)))(grid))
    normal = 1 / np.sqrt(2 * np.pi * 0.49)
    assert jnp.abs(jnp.sum(density) * (grid[1] - grid[0]) - normal**2) < 1e-12


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda: gated(tm.RealField((2, 2))), ValueError, "either steps or controller"),
        (lambda: gated(tm.RealField((2, 2)), steps=0), ValueError, "steps: got 0"),
        (lambda: tm.GaussianPrior(tm.RealField((2, 2)), -1.0), ValueError, "positive"),
        (lambda: tm.GaussianPrior(tm.LinkField(tm.U1(), (2, 2))), TypeError, "HaarPrior"),
        (lambda: tm.HaarPrior(tm.RealField((2, 2))), TypeError, "GaussianPrior"),
        (
            lambda: tm.Model(tm.GaussianPrior(tm.RealField((2, 2))), gated(tm.RealField((4, 4)), steps=2)),
            ValueError,
            "theory.manifold",
        ),
        (lambda: gated(tm.RealField((2, 2)), steps=2).forward(jnp.zeros((3, 3))), ValueError, "shape"),
        (lambda: gated(tm.RealField((2, 2)), steps=2).forward(jnp.zeros((2, 2), complex)), TypeError, "dtype"),
    ],
)
def test_errors_teach(construct, error, message):
    with pytest.raises(error, match=message):
        construct()
