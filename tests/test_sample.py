"""Sampling models: weights, chunking, regeneration by index, interrupts."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trivmap.manifolds import LinkField, RealField
from trivmap.models import AbstractModel
from trivmap.samplers import SamplingInterrupted, sample
from trivmap.samplers import _sample as sample_module
from trivmap.statistics import ess_fraction, expectation, log_z
from trivmap.theories import AbstractTheory

LATTICE = (2, 3)


class Gaussian(AbstractModel, AbstractTheory):
    """S = sum phi^2 / (2 width^2); as a model, its normalised density."""

    width: jax.Array
    manifold: RealField = eqx.field(default=RealField(LATTICE), static=True)

    def action(self, x):
        return jnp.sum(x**2) / (2 * self.width**2)

    def sample_and_log_prob(self, key, dtype=None):
        x = self.width * jax.random.normal(key, self.manifold.shape, float if dtype is None else dtype)
        return x, -self.action(x) - x.size * jnp.log(self.width * jnp.sqrt(2 * jnp.pi))


MODEL, THEORY = Gaussian(jnp.asarray(1.0)), Gaussian(jnp.asarray(0.9))


def test_weights_are_exact(key):
    ensemble = sample(key, MODEL, THEORY, 10)
    x = ensemble.configurations
    exact = -np.sum(x**2, axis=(1, 2)) * (1 / (2 * 0.81) - 0.5) + 3 * np.log(2 * np.pi)
    np.testing.assert_allclose(ensemble.log_weights, exact, rtol=1e-13)
    assert ensemble.log_weights.dtype == np.float64
    perfect = sample(key, THEORY, THEORY, 10)
    assert ess_fraction(perfect.log_weights) == pytest.approx(1.0, abs=1e-12)


def test_exact_log_z_and_moments(key):
    ensemble = sample(key, MODEL, THEORY, 20_000, batch_size=1000)
    assert abs(log_z(ensemble).pull(6 * np.log(0.9 * np.sqrt(2 * np.pi)))) < 4
    assert abs(expectation(ensemble, lambda x: jnp.mean(x**2)).pull(0.81)) < 4


def test_samples_depend_on_key_and_index_alone(key):
    whole = sample(key, MODEL, THEORY, 23, batch_size=23)
    chunked = sample(key, MODEL, THEORY, 23, batch_size=7)
    # Same numbers up to the order of summation in differently vectorised programs.
    np.testing.assert_allclose(chunked.configurations, whole.configurations, rtol=1e-14)
    np.testing.assert_allclose(chunked.log_weights, whole.log_weights, rtol=1e-13)
    np.testing.assert_array_equal(sample(key, MODEL, THEORY, 5, batch_size=7).configurations, whole.configurations[:5])
    x, _ = MODEL.sample_and_log_prob(jax.random.fold_in(key, 17))
    np.testing.assert_allclose(whole.configurations[17], x, rtol=1e-14)


def test_one_compilation_for_any_number(key):
    traces = []

    def count(x):
        traces.append(None)
        return jnp.sum(x)

    sample(key, MODEL, THEORY, 23, batch_size=7, measure={"sum": count})
    assert len(traces) == 1


def test_measurements_replace_configurations(key):
    kept = sample(key, MODEL, THEORY, 9, batch_size=4)

    class Derived:
        primary = staticmethod(lambda x: jnp.stack([jnp.mean(x), jnp.mean(x**2)]))
        function = staticmethod(lambda m: m[1] - m[0] ** 2)

    functions = {"sum": jnp.sum, "moments": Derived()}
    measured = sample(key, MODEL, THEORY, 9, batch_size=4, measure=functions, progress=True)
    assert measured.configurations is None
    assert measured.observables["moments"].shape == (9, 2)
    np.testing.assert_allclose(measured.observables["sum"], kept.configurations.sum(axis=(1, 2)), rtol=1e-12)
    np.testing.assert_array_equal(measured.log_weights, kept.log_weights)
    direct = expectation(kept, Derived())
    named = expectation(measured, "moments", function=Derived.function)
    assert named.value == pytest.approx(direct.value, rel=1e-12)


def test_interrupt_keeps_what_was_computed(key, monkeypatch):
    original, calls = sample_module._sample_batch, []

    def interrupted(*args):
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(sample_module, "_sample_batch", interrupted)
    with pytest.raises(SamplingInterrupted, match="interrupted after 14 of 23") as caught:
        sample(key, MODEL, THEORY, 23, batch_size=7)
    monkeypatch.undo()
    np.testing.assert_array_equal(
        caught.value.partial.configurations, sample(key, MODEL, THEORY, 23, batch_size=7).configurations[:14]
    )
    assert isinstance(caught.value, KeyboardInterrupt)
    monkeypatch.setattr(sample_module, "_sample_batch", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt) as nothing:
        sample(key, MODEL, THEORY, 23)
    assert not isinstance(nothing.value, SamplingInterrupted)


def test_refusals(key):
    other = Gaussian(jnp.asarray(1.0), RealField((3, 2)))
    with pytest.raises(ValueError, match="the model samples .* but the theory lives on"):
        sample(key, other, THEORY, 3)
    with pytest.raises(ValueError, match="n: got 0, expected a positive integer"):
        sample(key, MODEL, THEORY, 0)
    with pytest.raises(TypeError, match="takes a dictionary"):
        sample(key, MODEL, THEORY, 3, measure=jnp.sum)
    with pytest.raises(TypeError, match=r"the entries \['x'\]"):
        sample(key, MODEL, THEORY, 3, measure={"x": 1})


def test_manifold_of_links_is_compared():
    from trivmap.groups import SU, U1

    assert LinkField(U1(), (2, 2)) != LinkField(SU(2), (2, 2))
    assert LinkField(SU(2), (2, 2)) == LinkField(SU(2), (2, 2))
