import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from trivmap.groups import SU, U1
from trivmap.groups._matrix import determinant

GROUPS = {"U1": U1(), "SU2": SU(2), "SU3": SU(3), "SU4": SU(4)}
MATRIX_GROUPS = {name: group for name, group in GROUPS.items() if group.complex_elements}
SITES = (3, 2)
# A handful of products of matrices with entries of order one.
ROUNDING = {jnp.float64: 1e-14, jnp.float32: 5e-6}

groups = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
matrix_groups = pytest.mark.parametrize("group", MATRIX_GROUPS.values(), ids=MATRIX_GROUPS)
dtypes = pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])


@groups
@dtypes
def test_group_axioms(key, group, dtype):
    a, b, c = (group.haar(k, SITES, dtype) for k in jax.random.split(key, 3))
    unit, tolerance = group.identity(SITES, dtype), ROUNDING[dtype]
    assert a.dtype == unit.dtype
    assert a.shape == unit.shape == (*group.element_shape, *SITES)
    close = lambda x, y: jnp.allclose(x, y, rtol=0, atol=tolerance)  # noqa: E731
    assert close(group.multiply(a, group.multiply(b, c)), group.multiply(group.multiply(a, b), c))
    assert close(group.multiply(a, group.adjoint(a)), unit)
    assert close(group.multiply(unit, a), a)
    assert close(group.multiply(a, unit), a)
    assert group.unitarity_defect(group.multiply(a, b)) < tolerance


@groups
@dtypes
def test_exponential_is_a_one_parameter_group(key, group, dtype):
    v = group.random_algebra(key, SITES, dtype)
    tolerance = ROUNDING[dtype]
    product = group.multiply(group.exp(v * 0.25), group.exp(v * 0.75))
    assert jnp.allclose(product, group.exp(v), rtol=0, atol=tolerance)
    assert group.unitarity_defect(group.exp(v)) < tolerance
    assert jnp.array_equal(group.exp(jnp.zeros_like(v)), group.identity(SITES, dtype))


@matrix_groups
@pytest.mark.parametrize("size", [1e-9, 1e-3, 0.9, 1.1, 6.0])
def test_exponential_against_scipy(key, group, size):
    v = group.random_algebra(key, SITES)
    v = v * (size / jnp.sqrt(jnp.max(group.inner(v, v)) / 2)).astype(v.dtype)
    # Now the largest Frobenius norm is `size`, the spectral norm lies below it.
    ours, matrices = np.asarray(group.exp(v)), np.asarray(v)
    for site in np.ndindex(*SITES):
        index = (slice(None), slice(None), *site)
        # The last factor allows for the two or three squarings of the series.
        assert np.max(np.abs(ours[index] - scipy.linalg.expm(matrices[index]))) < 1e-15 * 8 * (1 + size)


@pytest.mark.parametrize("group", [SU(3), SU(4)], ids=["SU3", "SU4"])
def test_exponential_outside_its_range_is_nan_not_wrong(key, group):
    v = group.random_algebra(key, SITES)
    assert jnp.isnan(group.exp(100 * v)).all()


@matrix_groups
@dtypes
def test_exponential_is_smooth_at_zero(key, group, dtype):
    """First and second derivatives at zero: exp(v) = 1 + v + v^2/2, in either mode and under vmap."""
    v, w = (group.random_algebra(k, SITES, dtype) for k in jax.random.split(key))
    zero = jnp.zeros_like(v)
    tolerance = ROUNDING[dtype]
    first = lambda x: jax.jvp(group.exp, (x,), (v,))[1]  # noqa: E731
    real_part = lambda x: jnp.sum((group.exp(x) * w.conj()).real)  # noqa: E731

    @jax.jit
    def derivatives(x):
        return first(x), jax.jvp(first, (x,), (w,))[1], jax.vmap(jax.grad(real_part))(x[None])[0]

    along, second, reverse = derivatives(zero)
    assert jnp.allclose(along, v, atol=tolerance)
    assert jnp.allclose(second, (group.multiply(v, w) + group.multiply(w, v)) / 2, atol=10 * tolerance)
    assert jnp.allclose(reverse, w.conj(), atol=tolerance)


@matrix_groups
def test_exponential_reverse_matches_forward(key, group):
    v, w, c = (group.random_algebra(k, SITES) for k in jax.random.split(key, 3))
    f = lambda x: jnp.sum((group.exp(x) * c).real)  # noqa: E731
    forward = jax.jit(lambda x: jax.jvp(f, (x,), (w,))[1])(v)
    gradient = jax.jit(jax.grad(f))(v)
    assert jnp.allclose(jnp.sum((gradient * w).real), forward, rtol=1e-13)
    step = 1e-4
    # Central difference of a smooth function: error step^2 |w|^3 |c| ~ 1e-6.
    assert jnp.allclose((f(v + step * w) - f(v - step * w)) / (2 * step), forward, atol=1e-5)


@groups
def test_generators_are_orthonormal(key, group):
    basis = group.from_coordinates(jnp.eye(group.dimension))
    gram = group.inner(basis[..., :, None], basis[..., None, :])
    assert jnp.allclose(gram, jnp.eye(group.dimension), atol=1e-15)
    c = jax.random.normal(key, (group.dimension, *SITES))
    v = group.from_coordinates(c)
    assert jnp.allclose(group.coordinates(v), c, atol=1e-15)
    assert jnp.allclose(group.project_algebra(v), v, atol=1e-15)


@matrix_groups
def test_completeness_and_casimir(key, group):
    """sum_a T_a M T_a = -(tr M - M/N)/2, which fixes norm and Casimir."""
    generators = np.moveaxis(np.asarray(group.from_coordinates(jnp.eye(group.dimension))), -1, 0)
    m = np.asarray(jax.random.normal(key, (group.n, group.n)))
    total = sum(t @ m @ t for t in generators)
    assert np.allclose(total, -(np.trace(m) * np.eye(group.n) - m / group.n) / 2, atol=1e-14)


@matrix_groups
def test_bracket_is_the_commutator_in_the_algebra(key, group):
    u, v, w = (group.random_algebra(k, SITES) for k in jax.random.split(key, 3))
    bracket = group.bracket(v, w)
    assert jnp.allclose(bracket, group.multiply(v, w) - group.multiply(w, v), atol=1e-14)
    assert jnp.allclose(group.project_algebra(bracket), bracket, atol=1e-14)
    # Invariance of the scalar product: <u, [v, w]> is cyclic.
    assert jnp.allclose(group.inner(u, bracket), group.inner(v, group.bracket(w, u)), atol=1e-12)


@groups
def test_gradient_is_right_trivialised(key, group):
    keys = jax.random.split(key, 3)
    u, v, c = group.haar(keys[0], SITES), group.random_algebra(keys[1], SITES), group.random_algebra(keys[2], SITES)
    f = lambda x: jnp.sum((group.trace(x) ** 2).real) + jnp.sum((x * c).real)  # noqa: E731
    gradient = group.gradient(u, jax.grad(f)(u))
    along = jax.jvp(lambda s: f(group.multiply(group.exp(v * jnp.asarray(s, v.dtype)), u)), (0.0,), (1.0,))[1]
    assert jnp.allclose(jnp.sum(group.inner(gradient, v)), along, rtol=1e-12)
    assert jnp.allclose(group.project_algebra(gradient), gradient, atol=1e-15)


@groups
@dtypes
def test_projection_restores_the_group(key, group, dtype):
    u = group.haar(key, SITES, dtype)
    assert jnp.allclose(group.project(u), u, atol=ROUNDING[dtype])
    noise = 1e-3 * jax.random.normal(key, u.shape, dtype).astype(u.dtype)
    assert group.unitarity_defect(group.project(u + noise)) < ROUNDING[dtype]
    # Tangent to the group the projection is the identity to first order, so gradients pass.
    v = group.random_algebra(key, SITES, dtype)
    motion = group.multiply(v, u) if group.complex_elements else v
    assert jnp.allclose(jax.jvp(group.project, (u,), (motion,))[1], motion, atol=20 * ROUNDING[dtype])


def test_angles_wrap_to_the_circle():
    theta = jnp.asarray([0.0, 3.2, -3.2, 100.0, -jnp.pi + 1e-12])
    wrapped = U1().project(theta)
    assert jnp.all(jnp.abs(wrapped) <= jnp.pi)
    assert jnp.allclose(U1().trace(wrapped), U1().trace(theta), atol=1e-13)
    assert jax.vmap(jax.grad(U1().project))(theta).tolist() == [1.0] * 5


def test_traces_of_the_reference_matrices():
    rows = json.loads((Path(__file__).parent / "reference" / "sun_matrix.json").read_text())["rows"]
    checked = 0
    for row in rows:
        if "tr_test_matrix" not in row["values"]:
            continue
        n = row["params"]["N"]
        j, k = np.indices((n, n))
        m = np.sin(1 + 7 * j + 11 * k) + 1j * np.cos(2 + 5 * j + 2 * k)
        h = (m + m.conj().T) / 2
        v = jnp.asarray(1j * (h - np.trace(h) / n * np.eye(n)))
        trace = n * SU(n).trace(SU(n).exp(v))
        assert abs(trace - complex(*row["values"]["tr_test_matrix"])) < 1e-10
        assert abs(SU(n).real_trace(SU(n).exp(v)) * n - row["values"]["tr_test_matrix"][0]) < 1e-10
        checked += 1
    assert checked >= 9


@matrix_groups
def test_haar_moments(key, group):
    """<|tr U|^2> = 1, <tr U> = 0, <(tr U)^n> = 1 for SU(n), and left invariance of a generic first moment."""
    samples = 40000
    u = group.haar(key, (samples,))
    trace = group.n * group.trace(u)
    shifted = group.n * group.trace(group.multiply(group.haar(jax.random.key(5), (1,)), u))
    for values, exact in (
        (jnp.abs(trace) ** 2, 1.0),
        (trace.real, 0.0),
        ((trace**group.n).real, 1.0),
        (jnp.abs(u[0, -1]) ** 2, 1 / group.n),
        (u[-1, -1].real, 0.0),
        (jnp.abs(shifted) ** 2, 1.0),
    ):
        z = (jnp.mean(values) - exact) / (jnp.std(values) / samples**0.5)
        assert abs(z) < 4
    assert group.unitarity_defect(u) < 1e-13


def test_haar_angles_are_uniform(key):
    theta = U1().haar(key, (40000,))
    for k in (1, 2):
        # <cos(k theta)> = 0 with variance 1/2 per sample.
        assert abs(jnp.mean(jnp.cos(k * theta))) < 4 * (0.5 / 40000) ** 0.5


@groups
def test_random_algebra_has_unit_normal_coordinates(key, group):
    v = group.random_algebra(key, (20000,))
    c = group.coordinates(v)
    covariance = c @ c.T / 20000
    # Errors: sqrt(2/M) on the diagonal, sqrt(1/M) elsewhere; 4.5 sigma for up to 120 entries.
    assert jnp.max(jnp.abs(covariance - jnp.eye(group.dimension))) < 4.5 * (2 / 20000) ** 0.5


@groups
def test_jit_agrees_with_eager(key, group):
    """Canary: a CPU release of JAX computed wrong numbers under jit."""
    v = group.random_algebra(key, (5, 7))
    f = lambda x: group.real_trace(group.multiply(group.exp(x), group.exp(x * 0.5)))  # noqa: E731
    with jax.disable_jit():
        eager = f(v)
    assert jnp.allclose(jax.jit(f)(v), eager, rtol=0, atol=1e-14)
    assert jnp.allclose(jax.vmap(f, in_axes=-1, out_axes=-1)(v), eager, rtol=0, atol=1e-14)


def test_groups_are_values():
    assert SU(3) == SU(3)
    assert hash(SU(3)) == hash(SU(3))
    assert SU(2) != SU(3)
    assert SU(2) != U1()
    assert (SU(3).dimension, U1().dimension, SU(3).name, U1().name) == (8, 1, "SU(3)", "U(1)")


def test_errors_teach():
    with pytest.raises(ValueError, match="use U1"):
        SU(1)
    with pytest.raises(TypeError, match="give float32 or float64"):
        SU(2).haar(jax.random.key(0), (2,), jnp.complex128)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_determinants(n):
    """By Laplace up to 4x4, by LU beyond; with derivatives, whose phase turns."""
    parts = np.random.default_rng(n).normal(size=(2, n, n, 3))
    m = jnp.asarray(parts[0] + 1j * parts[1])
    found, slope = jax.jvp(jax.jit(determinant), (m,), (1j * m,))
    expected = np.linalg.det(np.moveaxis(np.asarray(m), -1, 0))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # det((1 + i e) m) = (1 + i e)^n det m.
    np.testing.assert_allclose(slope, 1j * n * expected, rtol=1e-11)
    assert jnp.all(determinant(m.at[0].set(0)) == 0)
