"""The average over twists: what it leaves unchanged, exact values, draws, and flows of the Schwinger model weighted by it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm
from trivmap.theories import TwistAverage


def schwinger(lattice=(2, 2), kappa=0.276):
    return tm.SchwingerAction(lattice, beta=2.0, kappa=kappa)


def twisted(x, angles):
    for mu, angle in enumerate(angles):
        x = x.at[(mu, *(slice(None),) * mu, -1)].add(angle)
    return x


def test_gauge_action_is_left_alone(key):
    gauge = schwinger((3, 4)).gauge
    x = gauge.manifold.hot(key)
    # Nine sums of twelve cosines, rounded.
    assert jnp.allclose(TwistAverage(gauge).action(x), gauge.action(x), rtol=0, atol=1e-13)


def test_twists_by_a_point_are_a_symmetry(key):
    theory = schwinger()
    both = jnp.stack([x := theory.manifold.hot(key), twisted(x, 2 * np.pi / 3 * np.array([1, 2]))])
    actions = lambda points: jax.jit(jax.vmap(TwistAverage(theory, points).action))(both)  # noqa: E731
    # One point is the theory itself, which changes. A logarithm of a sum of nine terms is rounded otherwise.
    assert jnp.allclose(actions(1), jax.vmap(theory.action)(both), rtol=1e-13)
    assert abs(np.diff(actions(1))[0]) > 0.1
    assert abs(np.diff(actions(3))[0]) < 1e-12


def test_more_points_forget_the_holonomies(key):
    """What is left are loops that wind n times: each further power of a loop is smaller."""
    theory = schwinger((4, 4), kappa=0.25)
    angles = jax.random.uniform(jax.random.key(1), (32, 2), maxval=2 * np.pi)
    x = jax.vmap(lambda a: twisted(0.3 * theory.manifold.hot(key), a))(angles)
    left = [float(np.std(jax.jit(jax.vmap(TwistAverage(theory, n).action))(x))) for n in (1, 2, 4)]
    assert left[1] < 0.5 * left[0]
    assert left[2] < 0.1 * left[1]


def test_free_energy_and_means_are_those_of_the_theory():
    """log Z on 2x2, exact by quadrature, and means of a function of plaquettes and of draws by quenched samples."""
    theory = schwinger()
    average = TwistAverage(theory, points=2)
    x = jnp.asarray(tm.exact.sample(jax.random.key(0), theory.gauge, 4000))
    log_weights = jax.jit(jax.vmap(lambda y: theory.gauge.action(y) - average.action(y)))(x)
    draws = jax.jit(jax.vmap(average.draw))(jax.random.split(jax.random.key(1), len(x)), x)
    quenched = tm.Ensemble(draws, np.asarray(log_weights) + tm.exact.log_z(theory.gauge))
    condensate = tm.observables.ChiralCondensate(theory.determinant.dirac)
    # tests/reference/schwinger.json, exact.
    assert abs(tm.log_z(quenched).pull(5.607418139973195)) < 4
    assert abs(tm.expectation(quenched, tm.plaquette).pull(0.8127516480294638)) < 4
    assert abs(tm.expectation(quenched, condensate).pull(1.3452510310221326)) < 4
    # Holonomies that were not drawn anew are uniform; few of them make most of the error.
    assert abs(tm.expectation(tm.Ensemble(x, quenched.log_weights), condensate).pull(1.3452510310221326)) > 4


@pytest.mark.slow
@pytest.mark.parametrize("average", [False, True])
def test_flows_of_plaquettes_holonomies_and_charges(average):
    """log Z, the plaquette and <Q^2> on 4x4 by a flow that is not trained, against reweighted quenched samples."""
    theory = schwinger((4, 4))
    target = TwistAverage(theory) if average else theory
    manifold = theory.manifold
    charged = tm.GatedConvolutionField.trivializing(manifold, 0.3, features=2, gates=2, times=3)
    field = tm.fields.SumField(
        tm.GatedConvolutionField.trivializing(manifold, 2.0),
        tm.fields.ChargeGatedField(charged),
        random_holonomies(manifold, 0.0 if average else 0.3),
    )
    model = tm.Model(tm.HaarPrior(manifold), tm.ContinuousFlow(field, steps=10))
    measure = {"plaquette": tm.plaquette, "Q2": lambda x: tm.topological_charge(x) ** 2}
    found = tm.sample(jax.random.key(2), model, target, 2048, batch_size=64, measure=measure)
    # tests/reference/schwinger.json, from 262144 quenched samples.
    for estimate, value, error in (
        (tm.log_z(found), 16.08802621947435, 0.0024278617691006884),
        (tm.expectation(found, "plaquette"), 0.7632445887762362, 0.00025621522312343586),
        (tm.expectation(found, "Q2"), 0.05633694087238116, 0.00028810069049218444),
    ):
        assert abs(estimate.pull(value, error)) < 4, f"{estimate} against {value} +- {error}"


def random_holonomies(manifold, strength):
    """A `HolonomyField` that does not vanish; without strength one that does."""
    field = tm.fields.HolonomyField(jax.random.key(3), manifold, times=2, ridges=2, boundary=(-1, 1))
    numbers = lambda f: (f.network.single, f.network.products)  # noqa: E731
    drawn = [strength * jax.random.normal(jax.random.key(4), a.shape, a.dtype) for a in numbers(field)]
    return eqx.tree_at(numbers, field, drawn)


def test_what_it_is_not_defined_for_is_refused():
    with pytest.raises(TypeError, match="links of U1"):
        TwistAverage(tm.Phi4Action((4, 4), m2=1.0, lam=1.0))
    with pytest.raises(ValueError, match="complex action"):
        TwistAverage(tm.SchwingerAction((4, 4), beta=2.0, kappa=0.2, flavours=1))
    with pytest.raises(ValueError, match="points"):
        TwistAverage(schwinger(), points=0)


@pytest.mark.slow
def test_pretrained_flow_at_the_critical_point():
    theory = schwinger((8, 8))
    average = TwistAverage(theory)
    model = tm.load_pretrained("schwinger-8-kappa0.276")
    found = tm.sample(jax.random.key(0), model, average, 1024, batch_size=64, dtype=jnp.float32)
    # 0.65 from 10^4 samples, and rare large weights.
    assert tm.ess_fraction(found.log_weights) > 0.5
    draws = jax.jit(jax.vmap(average.draw))(jax.random.split(jax.random.key(1), 1024), found.configurations)
    drawn = tm.Ensemble(np.asarray(draws, float), found.log_weights)
    condensate = tm.observables.ChiralCondensate(theory.determinant.dirac)
    # tests/reference/schwinger.json, by HMC.
    assert abs(tm.log_z(drawn).pull(60.7486, 0.03)) < 4
    assert abs(tm.expectation(drawn, tm.plaquette).pull(0.75479, 0.00071)) < 4
    assert abs(tm.expectation(drawn, condensate, batch_size=32).pull(1.50586, 0.00147)) < 4
