"""More layers behind those of a trained model."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import randomised

import trivmap as tm

REAL, ANGLES, LINKS = tm.RealField((4, 4)), tm.LinkField(tm.U1(), (4, 4)), tm.LinkField(tm.SU(2), (4, 4))

FLOWS = {
    "affine": lambda key: tm.CouplingFlow(key, REAL, 3, hidden=(4,)),
    "spline": lambda key: tm.CouplingFlow(key, REAL, 2, tm.transforms.RationalQuadraticSpline(4, (-2.0, 2.0)), hidden=(4,)),
    "U(1)": lambda key: tm.GaugeCouplingFlow(key, ANGLES, 3, hidden=(4,)),
    "SU(2)": lambda key: tm.SpectralCouplingFlow(key, LINKS, 1, hidden=(4,), reach=0),
}


def stacks(flow):
    return flow.alcove_map.networks if isinstance(flow, tm.SpectralCouplingFlow) else (flow.conditioners.network,)


def depth(flow):
    return stacks(flow)[0].biases[0].shape[0]


@pytest.fixture(params=FLOWS)
def flow(request):
    return randomised(jax.random.key(3), FLOWS[request.param](jax.random.key(0)), 0.3)


@eqx.filter_jit
def forward(flow, z):
    return flow.forward_and_log_det(z)


def model_of(flow):
    prior = tm.GaussianPrior(flow.manifold) if flow.manifold == REAL else tm.HaarPrior(flow.manifold)
    return tm.Model(prior, flow)


def test_new_layers_come_behind_the_old_ones_and_change_little(flow):
    model, before = model_of(flow), depth(flow)
    deeper = tm.training.deepen(jax.random.key(1), model, 2).transport
    # The spectral flow has one sweep of several masks, and gets two more.
    assert depth(deeper) == (3 * before if isinstance(flow, tm.SpectralCouplingFlow) else before + 2)

    def silent(stack):
        return stack.weights[-1].at[before:].set(0.0)

    exact = eqx.tree_at(lambda f: [s.weights[-1] for s in stacks(f)], deeper, [silent(s) for s in stacks(deeper)])
    z = model.prior.sample(jax.random.key(2))
    x, log_det = forward(flow, z)
    # Without the last weights of the new networks their transforms are the identity, to rounding of 32 numbers.
    same, same_log_det = forward(exact, z)
    np.testing.assert_allclose(same, x, atol=1e-11)
    np.testing.assert_allclose(same_log_det, log_det, atol=1e-11)
    # With them, parameters of 0.01 times inputs of order one on 32 numbers.
    near, near_log_det = forward(deeper, z)
    assert 0 < jnp.max(jnp.abs(near - x)) < 0.3
    assert jnp.abs(near_log_det - log_det) < 1
    back, back_log_det = eqx.filter_jit(lambda f, x: f.inverse_and_log_det(x))(deeper, near)
    np.testing.assert_allclose(back, z, atol=1e-9)
    np.testing.assert_allclose(back_log_det, -near_log_det, atol=1e-8)


def test_the_last_couplings_of_a_sequence_grow_and_training_goes_on():
    theory = tm.Phi4Action((4, 4), m2=-4.0, lam=8.0)
    couplings = tm.CouplingFlow(jax.random.key(0), theory.manifold, 2, hidden=(8,))
    model = tm.Model(tm.GaussianPrior(theory.manifold), tm.FlowSequence(tm.flows.FourierFlow(theory.manifold), couplings))
    model, _ = tm.fit(jax.random.key(1), model, theory, steps=60, batch_size=64, progress=False)
    deeper = tm.training.deepen(jax.random.key(2), model, 2)
    assert depth(deeper.transport.flows[1]) == 4

    def ess(model):
        return float(tm.ess_fraction(tm.sample(jax.random.key(4), model, theory, 2000, measure={}).log_weights))

    # The same prior samples: what differs are layers that move sites by a hundredth.
    assert abs(ess(deeper) - ess(model)) < 0.1
    further, _ = tm.fit(jax.random.key(3), deeper, theory, steps=60, batch_size=64, progress=False)
    assert ess(further) > ess(model)


def test_models_without_couplings_and_too_few_layers_are_refused():
    theory = tm.WilsonAction(tm.U1(), (4, 4), beta=1.0)
    flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=2)
    with pytest.raises(TypeError, match="ContinuousFlow more steps"):
        tm.training.deepen(jax.random.key(0), tm.Model(tm.HaarPrior(theory.manifold), flow), 2)
    couplings = tm.GaugeCouplingFlow(jax.random.key(0), ANGLES, 1, hidden=(4,))
    with pytest.raises(ValueError, match="layers: got 0"):
        tm.training.deepen(jax.random.key(0), model_of(couplings), 0)


class Steps(tm.flows.AbstractFlow):
    """phi -> phi + sum of its steps, a layer of a user's own that can be deepened."""

    steps: jax.Array
    manifold: tm.RealField = eqx.field(static=True)

    def forward_and_log_det(self, z):
        return z + jnp.sum(self.steps).astype(z.dtype), jnp.zeros(())

    def inverse_and_log_det(self, x):
        return x - jnp.sum(self.steps).astype(x.dtype), jnp.zeros(())

    @property
    def deepenable(self):
        return True

    def deeper(self, key, layers):
        return Steps(jnp.concatenate([self.steps, jnp.zeros(layers)]), self.manifold)


def test_a_flow_of_a_users_own_grows_where_it_is_the_last_that_can():
    own, couplings = Steps(jnp.ones(2), REAL), tm.CouplingFlow(jax.random.key(0), REAL, 2, hidden=(4,))
    rescaling = tm.flows.Rescaling(REAL)
    for flows, position in (((own,), 0), ((couplings, own, rescaling), 1), ((own, couplings), 1)):
        deeper = tm.training.deepen(jax.random.key(0), model_of(tm.FlowSequence(*flows)), 3).transport.flows
        grown = [after.evaluations != before.evaluations for after, before in zip(deeper, flows, strict=True)]
        assert [isinstance(flow, Steps) and flow.steps.size == 5 for flow in deeper] == [
            flow is own and index == position for index, flow in enumerate(flows)
        ]
        assert grown.index(True) == position if couplings is flows[position] else not any(grown)
    with pytest.raises(TypeError, match="None of Rescaling has layers"):
        tm.training.deepen(jax.random.key(0), model_of(tm.FlowSequence(rescaling)), 1)
