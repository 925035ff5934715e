"""Linear algebra of stacks: values, derivatives, what is lowered where, and independent calls on two threads."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import trivmap._linalg as linalg

SOURCE = Path(linalg.__file__).parent

# Four calls that do not depend on each other, on stacks that LAPACK would divide, with a pool of two threads. With the
# functions of jax.numpy this stops within the first hundred repetitions (eigh, svd, cholesky, triangular solves).
INDEPENDENT = """
import os
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
import jax, jax.numpy as jnp
from trivmap import _linalg as linalg
jax.config.update("jax_enable_x64", True)
size = 4096

def all_of(name, a):
    made = a + jnp.swapaxes(a, -1, -2).conj() + 20 * jnp.eye(4)
    return getattr(linalg, name)(made)

@jax.jit
def run(a):
    rows = [[all_of(name, jnp.sin(a * (1 + i))) for i in range(4)] for name in NAMES]
    return sum(jnp.sum(jnp.abs(x)) for x in jax.tree.leaves(rows))

a = jax.random.normal(jax.random.key(0), (size, 4, 4)) + 0j
for _ in range(20):
    assert jnp.isfinite(run(a))
"""


def stacks(shape=(3, 5), n=4, real=False, dtype=float):
    parts = np.random.default_rng(n).normal(size=(2, *shape, n, n)).astype(dtype)
    m = parts[0] + 4 * np.eye(n, dtype=dtype)
    return jnp.asarray(m if real else m + 1j * parts[1])


@pytest.mark.parametrize("real", [True, False])
def test_inverses_and_determinants(real):
    m = stacks(real=real)
    inverse, value, phase = linalg.inverse_and_log_det(m)
    # Rounding times the condition number, below 20 here.
    np.testing.assert_allclose(inverse @ m, jnp.broadcast_to(jnp.eye(4), m.shape), atol=1e-13)
    np.testing.assert_allclose(phase * jnp.exp(value).astype(phase.dtype), np.linalg.det(m), rtol=1e-13)
    np.testing.assert_allclose(linalg.log_det(m)[0], value, atol=1e-14)
    np.testing.assert_allclose(linalg.log_det(m)[1], phase, atol=1e-14)


def test_the_determinant_of_a_singular_matrix_is_zero():
    value, phase = linalg.log_det(jnp.zeros((2, 3, 3)))
    np.testing.assert_array_equal(jnp.exp(value) * phase, np.zeros(2))


@pytest.mark.parametrize("function", [linalg.inverse, linalg.log_det])
@pytest.mark.parametrize("real", [True, False])
def test_derivatives_of_inverses(function, real):
    """Also of second order, as of a force that a flow integrates."""
    check_grads(jax.jit(function), (stacks((2,), 3, real),), order=2, rtol=1e-6)


def test_cholesky():
    a = stacks((3,), real=True)
    m = a @ jnp.swapaxes(a, -1, -2)
    factor = linalg.cholesky(m)
    np.testing.assert_allclose(factor @ jnp.swapaxes(factor, -1, -2), m, atol=1e-12)
    np.testing.assert_array_equal(jnp.triu(factor, 1), 0)
    # As jnp's, the symmetric part of a change counts.
    check_grads(jax.jit(lambda m: linalg.cholesky((m + jnp.swapaxes(m, -1, -2)) / 2)), (m,), order=2, rtol=1e-6)


def test_spectra():
    m = stacks()
    h = m + jnp.swapaxes(m, -1, -2).conj()
    values, vectors = linalg.eigh(h)
    np.testing.assert_allclose(h @ vectors, np.asarray(vectors) * np.asarray(values)[..., None, :], atol=1e-12)
    assert jnp.all(jnp.diff(values) >= 0)
    u, s, v = linalg.svd(m)
    np.testing.assert_allclose((np.asarray(u) * np.asarray(s)[..., None, :]) @ v, m, atol=1e-12)


def test_derivatives_of_spectra():
    """Of functions of matrices that do not depend on the phases of vectors, against those of jax.numpy."""

    def of_spectra(eigh, svd):
        def function(m):
            values, vectors = eigh(m + m.conj().swapaxes(-1, -2))
            u, s, v = svd(m)
            polar = (u * jnp.sqrt(s)[:, None, :].astype(u.dtype)) @ v
            power = (vectors * jnp.sin(values)[:, None, :].astype(u.dtype)) @ vectors.conj().swapaxes(-1, -2)
            return jnp.sum(jnp.sin(polar @ power).real) + jnp.sum(values**2) + jnp.sum(s**3)

        return function

    m = stacks((2,), 3)
    ours, theirs = of_spectra(linalg.eigh, linalg.svd), of_spectra(jnp.linalg.eigh, jnp.linalg.svd)
    np.testing.assert_allclose(jax.jit(jax.grad(ours))(m), jax.grad(theirs)(m), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("function", [linalg.inverse, linalg.log_det, linalg.eigh, linalg.svd])
def test_stacks_and_vmap_agree(function):
    m = stacks(dtype=np.float32)
    for a, b in zip(jax.tree.leaves(function(m)), jax.tree.leaves(jax.vmap(jax.vmap(function))(m)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype in (jnp.float32, jnp.complex64)


@pytest.mark.parametrize(
    ("platform", "target", "one"), [("cpu", "lapack_zgetrf_ffi", True), ("cuda", "cusolver_getrf_ffi", False)]
)
def test_accelerators_take_the_stack_in_one_call(platform, target, one):
    """On CPU no call has a stack, whose division among threads may never end."""
    text = jax.jit(jax.vmap(linalg.log_det)).trace(stacks()).lower(lowering_platforms=(platform,)).as_text()
    lines = [line for line in text.splitlines() if f"@{target}" in line]
    assert lines
    assert all(("tensor<4x4xcomplex<f64>>" in line) == one for line in lines)


@pytest.mark.skipif(not hasattr(__import__("os"), "sched_setaffinity"), reason="threads cannot be bound to cores here")
def test_independent_calls_on_two_threads():
    names = ("inverse_and_log_det", "log_det", "eigh", "svd", "cholesky")
    code = INDEPENDENT.replace("NAMES", repr(names))
    # Takes 10 s; what hangs does so for ever.
    assert subprocess.run([sys.executable, "-c", code], timeout=300, check=False).returncode == 0


def test_nothing_else_calls_lapack():
    """Stacks that are given to `jnp.linalg` may stop for ever on two cores."""
    words = ("jnp.linalg", "jax.scipy.linalg", "lax.linalg", "jsp.linalg")
    files = [path for path in SOURCE.rglob("*.py") if path.name != "_linalg.py"]
    assert len(files) > 100
    assert [str(path) for path in files if any(word in path.read_text() for word in words)] == []
