"""The vectorised sine and cosine of the fields."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trivmap.fields._sincos import sincos


@pytest.mark.parametrize(("dtype", "largest"), [(jnp.float32, 1e4), (jnp.float64, 1e8)])
def test_sincos_is_accurate_to_one_machine_epsilon(dtype, largest):
    for scale in (1.0, 100.0, largest):
        # Rounded to the precision first, so that the reference sees the same argument.
        x = jnp.linspace(-scale, scale, 10_001).astype(dtype)
        exact = np.asarray(x, np.longdouble)
        sine, cosine = jax.jit(sincos)(x)
        assert sine.dtype == cosine.dtype == dtype
        assert np.max(np.abs(np.asarray(sine) - np.sin(exact))) < jnp.finfo(dtype).eps
        assert np.max(np.abs(np.asarray(cosine) - np.cos(exact))) < jnp.finfo(dtype).eps


def test_sincos_stays_bounded_and_keeps_what_is_not_finite():
    # Beyond the reduction: |r| <= 0.8 bounds both polynomials by one.
    huge = jnp.asarray([1e30, -1e38], jnp.float32)
    assert all(jnp.all(jnp.abs(part) <= 1) for part in sincos(huge))
    assert all(jnp.all(jnp.isnan(part)) for part in sincos(jnp.asarray([jnp.inf, jnp.nan])))


def test_sincos_derivatives_of_first_and_second_order():
    def f(x):
        sine, cosine = sincos(x)
        return sine * cosine

    x = jnp.asarray(0.7)
    # d/dx (sin 2x)/2 = cos 2x, then -2 sin 2x; products of a few factors of order one.
    assert jnp.abs(jax.grad(f)(x) - jnp.cos(2 * x)) < 1e-15
    assert jnp.abs(jax.jvp(jax.grad(f), (x,), (jnp.ones(()),))[1] + 2 * jnp.sin(2 * x)) < 1e-14
