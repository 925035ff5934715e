"""Independence Metropolis: exact detailed probabilities, acceptance relations, bookkeeping."""

import math

import jax
import numpy as np
import pytest

from trivmap.samplers import independence_metropolis
from trivmap.statistics import (
    Ensemble,
    acceptance_rate,
    ess_fraction,
    expectation,
    expected_acceptance,
    log_z,
    lognormal_acceptance,
    longest_rejection,
)


def test_bookkeeping_follows_the_decisions():
    lw = np.array([0.0, 50.0, -50.0, 60.0, 0.0])  # every decision is certain
    x = np.arange(10.0).reshape(5, 2)
    chain = independence_metropolis(jax.random.key(0), Ensemble(x, lw, {"sum": x.sum(axis=1)}))
    np.testing.assert_array_equal(chain.indices, [[0, 1, 1, 3, 3]])
    np.testing.assert_array_equal(chain.accepted, [[True, True, False, True, False]])
    np.testing.assert_array_equal(chain.configurations[0], x[[0, 1, 1, 3, 3]])
    np.testing.assert_array_equal(chain.observables["sum"][0], x.sum(axis=1)[[0, 1, 1, 3, 3]])
    assert acceptance_rate(chain) == 3 / 5
    assert longest_rejection(chain) == 1


def test_samples_of_weight_zero_are_never_held():
    lw = np.array([-np.inf, -np.inf, 0.0, -np.inf, 0.0])
    chain = independence_metropolis(jax.random.key(0), Ensemble(None, lw, {"i": np.arange(5.0)}))
    np.testing.assert_array_equal(chain.indices, [[2, 2, 2, 2, 4]])


def test_initial_state_continues_a_chain():
    ensemble = Ensemble(np.arange(3.0)[:, None], np.array([-50.0, 50.0, -50.0]), {"i": np.arange(3.0)})
    first = Ensemble(np.array([[9.0]]), np.array([0.0]), {"i": np.array([9.0])})
    chain = independence_metropolis(jax.random.key(0), ensemble, first)
    np.testing.assert_array_equal(chain.indices, [[-1, 1, 1]])
    np.testing.assert_array_equal(chain.observables["i"], [[9.0, 1.0, 1.0]])
    np.testing.assert_array_equal(chain.configurations[0, :, 0], [9.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="one sample"):
        independence_metropolis(jax.random.key(0), ensemble, ensemble)
    with pytest.raises(ValueError, match="must bring its own"):
        independence_metropolis(jax.random.key(0), ensemble, Ensemble(None, np.zeros(1), {"i": np.zeros(1)}))


def test_discrete_target_exact():
    """Proposals uniform over four states, target 1:2:3:4: occupation, mean, acceptance and tau_int in closed form."""
    p = np.arange(1, 5) / 10
    states = np.random.default_rng(0).integers(0, 4, 100_000)
    ensemble = Ensemble(states, np.log(p[states]), {"state": states.astype(float)})
    chain = independence_metropolis(jax.random.key(1), ensemble)
    held = states[chain.indices[0]]
    transitions = np.minimum(1.0, p[None, :] / p[:, None]) / 4  # off the diagonal
    np.fill_diagonal(transitions, 0.0)
    np.fill_diagonal(transitions, 1 - transitions.sum(axis=1))
    np.testing.assert_allclose(p @ transitions, p, rtol=1e-14)
    # Observed transition frequencies, each with the error of a multinomial count.
    for i in range(4):
        here = np.flatnonzero(held[:-1] == i)
        counts = np.bincount(held[here + 1], minlength=4) / len(here)
        sigma = np.sqrt(transitions[i] * (1 - transitions[i]) / len(here))
        assert np.all(np.abs(counts - transitions[i]) <= 4 * sigma + 1e-15)
    estimate = expectation(chain, "state")
    mean = np.dot(p, np.arange(4))
    assert abs(estimate.pull(mean)) < 4
    assert estimate.error < 0.01
    # tau_int = 1/2 + sum_t rho(t) from the resolvent of the transition matrix.
    f = np.arange(4) - mean
    resolvent = np.linalg.solve(np.eye(4) - transitions + p[None, :], f)
    tau = (p * f) @ resolvent / ((p * f) @ f) - 0.5
    assert abs(estimate.tau_int - tau) < 4 * estimate.dtau_int + 0.01


@pytest.mark.parametrize("s", [0.3, 1.0])
def test_lognormal_acceptance(s):
    lw = s * np.random.default_rng(2).normal(size=50_000)
    chain = independence_metropolis(jax.random.key(3), Ensemble(None, lw, {"lw": lw}))
    # Decisions of one chain are nearly independent: binomial error, doubled for their correlation.
    sigma = 2 * math.sqrt(0.25 / len(lw))
    assert abs(acceptance_rate(chain) - math.erfc(s / 2)) < 4 * sigma
    assert abs(acceptance_rate(chain) - expected_acceptance(lw)) < 4 * sigma
    assert abs(acceptance_rate(chain) - lognormal_acceptance(ess_fraction(lw))) < 4 * sigma + 0.01
    # Under the target log w has mean s^2 (that is, + s^2 relative to the proposals) and unchanged width.
    assert abs(expectation(chain, "lw").pull(s * s)) < 4
    assert abs(log_z(lw).pull(s * s / 2)) < 4


def test_chain_depends_on_the_key_alone():
    lw = np.random.default_rng(4).normal(size=100)
    ensemble = Ensemble(None, lw, {"lw": lw})
    first = independence_metropolis(jax.random.key(5), ensemble)
    again = independence_metropolis(jax.random.key(5), ensemble)
    other = independence_metropolis(jax.random.key(6), ensemble)
    np.testing.assert_array_equal(first.indices, again.indices)
    assert np.any(first.indices != other.indices)
    with jax.enable_x64(False):
        single = independence_metropolis(jax.random.key(5), ensemble)
    np.testing.assert_array_equal(first.indices, single.indices)
