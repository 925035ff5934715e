"""Trajectories of random length reach every mode: free fields, where each mode is an oscillator of known width."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm
from trivmap.lattice import squared_momentum

LATTICE = (4, 4)
STEPS = 20


def power(x):
    """|phi_k|^2 of every mode, 1/(2 (m2 + p^2)) in the mean."""
    return jnp.abs(jnp.fft.fft2(x)) ** 2 / x.size


MEASURE = {"power": power}


def exact(m2):
    return 1 / (2 * (m2 + squared_momentum(LATTICE)))


def resonant(length):
    """The mass at which trajectories of this length are half a period of the mean field, omega = sqrt(2 m2)."""
    return (np.pi / length) ** 2 / 2


CASES = [(m2, length) for length in (0.5, 1.0, 2.0) for m2 in (0.1, 1.0, 4.0, resonant(length))]


def chain(m2, length, n=2000, **options):
    theory = tm.theories.FreeScalarAction(LATTICE, m2=m2)
    return tm.hmc(jax.random.key(3), theory, n, chains=8, steps=STEPS, trajectory_length=length, measure=MEASURE, **options)


@pytest.mark.parametrize(("m2", "length"), CASES)
def test_every_mode_of_a_free_field_has_its_width(m2, length):
    estimate = tm.expectation(chain(m2, length), "power")
    # The largest of 16 pulls, 10 of them independent, in each of 12 cases: beyond 4.5 with probability 1e-3.
    assert np.max(np.abs(estimate.pull(exact(m2)))) < 4.5
    # Each mode moves: errors below a tenth, where independent trajectories would give sqrt(2 / 16000) = 0.011.
    assert np.max(estimate.error / exact(m2)) < 0.15


def test_one_length_for_all_trajectories_leaves_a_mode_where_it_was():
    """The fault that the default mends, so that the test above can fail."""
    values = chain(resonant(1.0), 1.0, n=200, length_spread=0.0).observables["power"][:, :, 0, 0]
    # Chains differ by where they start; along a chain the mean field only changes by the error of the integrator.
    assert np.mean(np.std(values, axis=1)) < 0.1 * np.std(np.mean(values, axis=1)) + 0.1 * exact(resonant(1.0))[0, 0]


@eqx.filter_jit
def _moved(kernel, theory, keys, x, n):
    def walk(key, x):
        def once(x, key):
            x = kernel.repeated(key, theory, x)
            return x, power(x)

        return jnp.mean(jax.lax.scan(once, x, jax.random.split(key, n))[1], axis=0)

    return jax.vmap(walk)(keys, x)


@pytest.mark.parametrize(("m2", "length"), CASES)
def test_kernels_leave_the_density_invariant(m2, length):
    """Chains that start in equilibrium, which a kernel that does not preserve it would leave."""
    chains, n = 256, 100
    theory = tm.theories.FreeScalarAction(LATTICE, m2=m2)
    noise = np.fft.fft2(np.random.default_rng(1).normal(size=(chains, *LATTICE)))
    start = jnp.asarray(np.fft.ifft2(noise * np.sqrt(exact(m2))).real)
    keys = jax.random.split(jax.random.key(2), chains)
    # Few steps: the Metropolis decision matters.
    kernel = tm.kernels.HMCKernel(jnp.asarray(length), steps=6 if length < 2 else 10)
    means = np.asarray(_moved(kernel, theory, keys, start, n))
    pulls = (means.mean(axis=0) - exact(m2)) / (means.std(axis=0, ddof=1) / np.sqrt(chains))
    assert np.max(np.abs(pulls)) < 4.5


@pytest.mark.parametrize("spread", [-0.1, 1.0, float("nan")])
def test_errors_teach(spread):
    with pytest.raises(ValueError, match=r"expected a number in \[0, 1\)"):
        tm.kernels.HMCKernel(length_spread=spread)
    with pytest.raises(ValueError, match="expected a positive finite number"):
        tm.hmc(jax.random.key(0), tm.theories.FreeScalarAction(LATTICE, m2=1.0), 1, trajectory_length=-abs(spread))
