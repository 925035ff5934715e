"""Theories in the variables of a flow: the same averages by any kernel, whatever the flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import along, close, randomised

import trivmap as tm
from trivmap.models import PulledBackTheory

KEY = jax.random.key(0)
PHI4 = tm.Phi4Action((2, 4), m2=-4.0, lam=8.0)
U1 = tm.WilsonAction(tm.U1(), (2, 3), beta=2.0)


def loops(group, coefficient):
    potential = tm.LoopPotential(tm.LinkField(group, (2, 3)), coefficient=coefficient)
    return tm.ContinuousFlow(tm.GradientField(potential), steps=8, checkpoint=False)


def couplings():
    flow = tm.CouplingFlow(KEY, PHI4.manifold, 2, tm.transforms.Affine(), hidden=(6,), reach=1)
    return tm.FlowSequence(tm.flows.FourierFlow(PHI4.manifold, mass=1.5), randomised(KEY, flow, 0.1))


# Name: theory, flow, an observable and its exact value.
ROWS = {
    "fourier": (
        PHI4,
        lambda: tm.flows.FourierFlow(PHI4.manifold, mass=1.5),
        lambda x: jnp.mean(x**2),
        tm.exact.phi_squared(PHI4),
    ),
    "couplings": (PHI4, couplings, lambda x: jnp.mean(x**2), tm.exact.phi_squared(PHI4)),
    "loops_u1": (U1, lambda: loops(tm.U1(), 0.3), tm.plaquette, tm.exact.plaquette(U1)),
}


@pytest.mark.parametrize("name", ROWS)
def test_action_and_gradient(name, key):
    theory, make, _, _ = ROWS[name]
    flow = make()
    pulled = PulledBackTheory(theory, flow)
    z, v = theory.manifold.generic_sample(key), theory.manifold.random_tangent(jax.random.key(1))
    x, log_det = flow.forward_and_log_det(z)
    assert close(pulled.action(z), theory.action(x) - log_det, rtol=1e-14, atol=1e-14)
    derivative = along(pulled.action, pulled.manifold, z, v)
    assert jnp.allclose(pulled.manifold.inner(pulled.gradient(z), v), derivative, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_hmc_samples_the_theory(name):
    theory, make, observable, exact = ROWS[name]
    pulled = PulledBackTheory(theory, make())
    options = {"chains": 16, "thermalisation": 100, "steps": 6, "trajectory_length": 1.0}
    chain = tm.hmc(jax.random.key(2), pulled, 200, **options)
    estimate = tm.expectation(pulled.carried(chain), observable)
    assert abs(estimate.pull(exact)) < 4, estimate
    assert tm.acceptance_rate(chain) > 0.5
    measured = tm.hmc(jax.random.key(2), pulled, 200, measure=pulled.measured({"O": observable}), **options)
    # The same chain, measured on the way.
    np.testing.assert_allclose(float(tm.expectation(measured, "O").value), float(estimate.value), rtol=1e-9)


def test_errors_teach():
    with pytest.raises(ValueError, match="expected .*that of the theory"):
        PulledBackTheory(PHI4, tm.flows.FourierFlow(tm.RealField((4, 4))))
    pulled = PulledBackTheory(PHI4, tm.flows.FourierFlow(PHI4.manifold))
    with pytest.raises(ValueError, match="measured"):
        pulled.carried(tm.Chain(None, {"M": np.zeros((1, 4))}))
