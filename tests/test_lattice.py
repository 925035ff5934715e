import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trivmap.groups import SU, U1
from trivmap.lattice import (
    accumulator_dtype,
    check_lattice,
    hypercubic_orbits,
    reflect,
    rotate,
    shift,
    site_sum,
    translate,
)
from trivmap.manifolds import LinkField

LINKS = {"U1": LinkField(U1(), (3, 3)), "SU2": LinkField(SU(2), (3, 3, 3)), "SU3": LinkField(SU(3), (3, 3))}


@pytest.mark.parametrize("shape", [(-4, 4), (0,), (), (4, -1, 2)])
def test_lattice_extents_must_be_positive(shape):
    with pytest.raises(ValueError, match="expected at least one, each >= 1"):
        check_lattice(shape)


@pytest.mark.parametrize("shape", [(4.0, 4), 8, "88", (None,)])
def test_lattice_must_be_integers(shape):
    with pytest.raises(TypeError, match="give a tuple of positive integers"):
        check_lattice(shape)


def test_lattice_accepts_any_integer_sequence():
    assert check_lattice([np.int64(3), 4]) == (3, 4)


@pytest.mark.parametrize(("mu", "steps"), [(0, 1), (1, -2), (2, 5), (-1, 1)])
def test_shift_is_a_roll(key, mu, steps):
    x = jax.random.normal(key, (2, 3, 4, 5))
    expected = jnp.roll(x, -steps, axis=1 + mu % 3)
    assert jnp.array_equal(shift(x, mu, steps, 3), expected)
    assert jnp.array_equal(jax.jit(shift, static_argnums=(1, 2, 3))(x, mu, steps, 3), expected)
    batched = jax.vmap(lambda y: shift(y, mu, steps, 3), in_axes=3, out_axes=3)(jnp.stack([x, 2 * x], axis=3))
    assert jnp.array_equal(batched[:, :, :, 0], expected)


def test_shift_has_all_derivatives(key):
    x = jax.random.normal(key, (3, 4))
    ours = lambda y: jnp.sum(shift(y, 1, 1, 2) * y**2)  # noqa: E731
    plain = lambda y: jnp.sum(jnp.roll(y, -1, axis=1) * y**2)  # noqa: E731
    for derivative in (jax.grad, jax.jacfwd, jax.hessian, lambda f: jax.jacrev(jax.jacrev(f))):
        # Products of three normal numbers of order one, in double precision.
        assert jnp.allclose(jax.jit(derivative(ours))(x), jax.jit(derivative(plain))(x), atol=1e-14)
    assert jnp.allclose(jax.grad(jax.checkpoint(ours))(x), jax.grad(plain)(x), atol=1e-14)


def test_shift_refuses_a_missing_axis(key):
    with pytest.raises(ValueError, match="expected 0 <= mu < dim"):
        shift(jnp.ones((3, 4)), 2, 1, 2)


def test_sums_are_accumulated_in_double_precision():
    # A float32 sum of 2^24 + 1 ones stops at 2^24.
    x = jnp.ones((2**8 + 1, 2**8), jnp.float32) * 2.0**24
    assert site_sum(x).dtype == accumulator_dtype() == jnp.float64
    assert site_sum(x) == 2.0**24 * (2**8 + 1) * 2**8
    assert site_sum(x.astype(jnp.complex64)).dtype == jnp.complex128


@pytest.mark.parametrize("name", LINKS)
def test_rotations_and_reflections_generate_the_hypercubic_group(key, name):
    manifold = LINKS[name]
    dim = len(manifold.lattice)
    x = manifold.reference_sample(key)
    options = {"dim": dim, "adjoint": manifold.group.adjoint}
    for mu in range(dim):
        assert jnp.array_equal(reflect(reflect(x, mu, **options), mu, **options), x)
    turned = x
    for _ in range(4):
        turned = rotate(turned, (0, 1), **options)
    assert jnp.array_equal(turned, x)
    there = rotate(x, (0, 1), **options)
    assert jnp.array_equal(rotate(there, (1, 0), **options), x)
    assert not jnp.allclose(there, x)


def test_rotation_and_reflection_move_a_site():
    phi = jnp.zeros((4, 5)).at[1, 2].set(1.0)
    assert reflect(phi, 1, dim=2)[1, 3] == 1
    # (x_0, x_1) = (1, 2) -> (-2, 1) on the turned 5 x 4 lattice.
    assert rotate(phi, (0, 1), dim=2)[3, 1] == 1
    assert translate(phi, (2, 4))[3, 1] == 1


def test_orbits_of_equal_extents_are_those_of_the_hypercubic_group():
    table = hypercubic_orbits((4, 4))
    # (0,0) (0,1) (0,2) (1,1) (1,2) (2,2) up to order and sign.
    assert table.max() == 5
    assert table[0, 0] == 0
    for mu in range(2):
        assert np.array_equal(reflect(jnp.asarray(table), mu, dim=2), table)
    assert np.array_equal(table, table.T)


def test_orbits_of_unequal_extents_exchange_equal_axes_only():
    table = hypercubic_orbits((3, 4, 3))
    assert np.array_equal(table, table.transpose(2, 1, 0))
    assert table[1, 0, 0] != table[0, 1, 0]
    # 3 coordinates up to sign along the axis of 4, and 3 unordered pairs of {0, 1} for the two axes of 3.
    assert table.max() + 1 == 3 * 3
