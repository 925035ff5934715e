"""Strict numerics for every test. The package itself never touches these settings."""

import os

# Before JAX is imported: tests are about CPU numbers, and two test workers must not fight for the cores.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key():
    return jax.random.key(0)
