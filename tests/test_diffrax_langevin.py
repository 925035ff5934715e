"""The Langevin equation in diffrax: the same path from the same noise, strong order, adaptive steps."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm

STEPS = 3
THEORIES = {
    "phi4": lambda: tm.Phi4Action((2, 3), m2=-1.0, lam=1.0),
    "u1": lambda: tm.WilsonAction(tm.U1(), (3, 2), beta=1.0),
    "su2": lambda: tm.WilsonAction(tm.SU(2), (2, 2), beta=2.0),
    "su3": lambda: tm.WilsonAction(tm.SU(3), (2, 2), beta=2.0),
}


def _flow(name):
    theory = THEORIES[name]()
    manifold = theory.manifold
    prior = tm.GaussianPrior(manifold, 0.6) if name == "phi4" else tm.HaarPrior(manifold)
    drift = tm.GradientField(tm.LoopPotential(manifold, coefficient=0.6)) if name.startswith("su") else None
    return tm.LangevinFlow(prior, theory, STEPS, step_size=0.02, drift=drift)


class _NoiseOfTheFlow(diffrax.AbstractPath):
    """The increments that `LangevinFlow` draws from its key, one per level."""

    increments: jax.Array
    t0: float = 0.0
    t1: float = float(STEPS)

    def evaluate(self, t0, t1=None, left=True):
        return self.increments[jnp.round(t0).astype(int)]


@pytest.mark.parametrize("name", THEORIES)
def test_the_same_noise_gives_the_same_path(name):
    flow, key = _flow(name), jax.random.key(1)
    z = flow.prior.sample(jax.random.key(0))
    keys = jax.random.split(key, STEPS)
    noise = jax.vmap(lambda k: flow.manifold.coordinates(flow.manifold.random_tangent(k, jnp.real(z).dtype)))(keys)
    found = tm.stochastic.solve_langevin(flow, z, _NoiseOfTheFlow(noise)).ys[0]
    expected, _ = flow.forward_and_log_weight(key, z)
    # Three steps of numbers of order one.
    assert flow.manifold.distance(flow.manifold.project(found), expected) < 1e-12


@pytest.mark.slow
def test_additive_noise_converges_with_strong_order_one():
    flow = _flow("u1")
    keys = jax.random.split(jax.random.key(2), 32)
    shape = (flow.manifold.dimension,)

    @jax.jit
    def errors(keys):
        def one(key):
            path = diffrax.VirtualBrownianTree(0.0, float(STEPS), tol=1 / 512, shape=shape, key=key)
            z = flow.prior.sample(key)
            coarse, middle, fine = (tm.stochastic.solve_langevin(flow, z, path, substeps=n).ys[0] for n in (2, 8, 64))
            return jnp.stack([flow.manifold.distance(x, fine) for x in (coarse, middle)])

        return jax.vmap(one)(keys)

    coarse, middle = np.asarray(errors(keys)).mean(axis=0)
    # Steps a quarter as long: a factor of 4 at order one, against 2 at order one half; the reference adds an eighth.
    assert 3.3 < coarse / middle < 6


@pytest.mark.slow
def test_adaptive_steps_keep_the_tolerance():
    flow = _flow("su2")
    shape = (flow.manifold.dimension,)
    path = diffrax.VirtualBrownianTree(0.0, float(STEPS), tol=1e-4, shape=shape, key=jax.random.key(3))
    z = flow.prior.sample(jax.random.key(4))
    fine = tm.stochastic.solve_langevin(flow, z, path, substeps=512).ys[0]
    errors = []
    for tolerance in (3e-2, 3e-4):
        controller = diffrax.PIDController(rtol=0, atol=tolerance, pcoeff=0.1, icoeff=0.3)
        found = tm.stochastic.solve_langevin(flow, z, path, controller=controller).ys[0]
        errors.append(float(flow.manifold.distance(found, fine)))
    # Thirty links' entries with a few tens of steps each.
    assert errors[1] < 0.3 * errors[0]
    assert errors[1] < 0.05


@pytest.mark.parametrize("name", ["phi4", "su2"])
def test_configurations_keep_their_precision(name):
    flow = _flow(name)
    z = flow.prior.sample(jax.random.key(4), jnp.float32)
    for dtype in (jnp.float32, jnp.float64):
        shape = jax.ShapeDtypeStruct((flow.manifold.dimension,), dtype)
        path = diffrax.VirtualBrownianTree(0.0, float(STEPS), tol=0.1, shape=shape, key=jax.random.key(3))
        assert tm.stochastic.solve_langevin(flow, z, path).ys.dtype == z.dtype


def test_bad_input_of_the_diffrax_adapter():
    flow = _flow("u1")
    with pytest.raises(ValueError, match="substeps: got 0"):
        tm.stochastic.solve_langevin(
            flow, flow.prior.sample(jax.random.key(0)), _NoiseOfTheFlow(jnp.zeros((3, 12))), substeps=0
        )
