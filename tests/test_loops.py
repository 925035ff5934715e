"""The loop algebra and its evaluation: single-link rules, canonical forms, and every derivative against a dense one."""

import itertools
from fractions import Fraction

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import along, dense_divergence, rows, scaled

from trivmap.gauge import (
    Loop,
    LoopAlgebra,
    LoopFamily,
    expression_values,
    solve_laplacian,
    translated,
    trivializing_series,
)
from trivmap.groups import SU, U1
from trivmap.lattice import reflect, rotate, shift, translate
from trivmap.manifolds import LinkField

PLAQUETTE = (1, 2, -1, -2)
NEIGHBOUR = (1, -2, -1, 2)
EPS = np.finfo(np.float64).eps


def _field(n, lattice):
    return LinkField(SU(n) if n > 1 else U1(), lattice)


def _matrices(links):
    """Links as nested NumPy matrices, `[mu, site..., i, j]`."""
    links = np.asarray(links)
    if not np.iscomplexobj(links):
        return np.exp(1j * links)[..., None, None]
    return np.moveaxis(links, (1, 2), (-2, -1))


def _trace(matrices, loop, origin):
    """tr of the product of links along a loop moved by `origin`, one step after the other."""
    lattice = matrices.shape[1:-2]
    site = [a + b for a, b in zip(loop.start, origin, strict=True)]
    product = np.eye(matrices.shape[-1])
    for step in loop.steps:
        mu = abs(step) - 1
        site[mu] -= step < 0
        link = matrices[(mu, *(c % extent for c, extent in zip(site, lattice, strict=True)))]
        product = product @ (link if step > 0 else link.conj().T)
        site[mu] += step > 0
    return np.trace(product)


def _value(matrices, term, origin):
    return np.prod([_trace(matrices, loop, origin) for loop in term])


def _expression_value(matrices, expression, origin):
    return sum(float(c) * _value(matrices, term, origin) for term, c in expression.items())


# --- algebra -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5])
def test_single_link_rules(n):
    algebra = LoopAlgebra(n, 2)
    casimir = Fraction(n * n - 1, 2 * n)
    plaquette = algebra.term(PLAQUETTE)
    assert algebra.laplacian(plaquette) == {plaquette: 4 * casimir}
    # tr U_p^2 and (tr U_p)^2 on four links: 2 C_F (.) + P^2 - X/N and 2 C_F (.) + X - P^2/N, with X = tr U_p^2.
    square, double = algebra.term(PLAQUETTE * 2), algebra.term(PLAQUETTE, PLAQUETTE)
    assert algebra.laplacian(square) == {square: 4 * (2 * casimir - Fraction(1, n)), double: 4}
    assert algebra.laplacian(double) == {double: 4 * (2 * casimir - Fraction(1, n)), square: 4}
    # The figure of eight passes one link twice in one sense: six links once, two letters on the seventh.
    eight = algebra.term(PLAQUETTE + NEIGHBOUR)
    pair = algebra.term(PLAQUETTE, NEIGHBOUR)
    assert algebra.laplacian(eight) == {eight: 8 * casimir - Fraction(1, n), pair: 1}
    if n > 2:
        # Opposite senses: tr P tr P'^* merges to the six-link loop, whose trace absorbs the common link.
        opposite = algebra.term(PLAQUETTE, (2, 1, -2, -1))
        modulus = algebra.laplacian(opposite)
        assert modulus[opposite] == 8 * casimir + Fraction(4, n)
        assert modulus[()] == -4 * n


def test_u1_words_are_link_charges():
    algebra = LoopAlgebra(1, 2)
    assert algebra.term(PLAQUETTE * 2) == algebra.term(PLAQUETTE, PLAQUETTE)
    assert algebra.term(PLAQUETTE, (2, 1, -2, -1)) == ()
    for loops, eigenvalue in (((PLAQUETTE,), 4), ((PLAQUETTE, PLAQUETTE), 16), ((PLAQUETTE, NEIGHBOUR), 10)):
        term = algebra.term(*loops)
        assert algebra.laplacian(term) == {term: eigenvalue}


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("dim", [2, 3])
def test_canonical_forms_do_not_depend_on_the_representative(n, dim):
    algebra = LoopAlgebra(n, dim)
    start = (1, -2) + (0,) * (dim - 2)
    for paths in ((PLAQUETTE,), (PLAQUETTE, NEIGHBOUR), (PLAQUETTE * 2, (1, 1, 2, -1, -1, -2)), (PLAQUETTE + NEIGHBOUR,)):
        term = algebra.term(*paths)
        canonical = algebra.canonical(term)
        assert algebra.canonical(canonical) == canonical
        assert algebra.canonical(algebra.conjugate(term)) == canonical
        assert algebra.canonical(translated(term, start)) == canonical
        swapped = {1: 2, 2: 1, -1: -2, -2: -1}
        rotated = algebra.term(*(tuple(swapped[s] for s in path) for path in paths))
        assert algebra.canonical(rotated) == canonical
        shifted = algebra.term(*(Loop((0,) * dim, path) for path in paths))
        assert shifted == term
        assert all(algebra.canonical(image) == canonical for image in algebra.images(term))
    # Backtracks cancel, also across the start.
    assert algebra.term((2, *PLAQUETTE, 1, -1, -2)) == translated(algebra.term(PLAQUETTE), (0, 1) + (0,) * (dim - 2))


def test_loops_of_short_lengths():
    # One plaquette; the rectangle, and from three dimensions on the chair and the loop around a corner of a cube.
    counts = {dim: [len(LoopAlgebra(3, dim).loops(length)) for length in (2, 4, 6)] for dim in (2, 3, 4)}
    assert counts == {2: [0, 1, 1], 3: [0, 1, 3], 4: [0, 1, 3]}
    algebra = LoopAlgebra(3, 2)
    assert sorted(len(algebra.images(term)) for term in algebra.loops(6)) == [2]


@pytest.mark.parametrize("paths", [((1, 2),), ((1, 3, -1, -3),), ((1, 0, -1),)])
def test_open_or_foreign_paths_are_refused(paths):
    with pytest.raises(ValueError, match="expected steps|not closed"):
        LoopAlgebra(3, 2).term(*paths)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_inner_products_of_local_loops_at_every_offset(n):
    """<d W^k_x, d W^l_{x+r}> of the algebra against tangent vectors made by differentiation, site by site."""
    algebra, lattice = LoopAlgebra(n, 2), (4, 4)
    manifold = _field(n, lattice)
    x = manifold.reference_sample(jax.random.key(n))
    matrices = _matrices(x)
    first, second = algebra.term(PLAQUETTE), algebra.term((1, 1, 2, -1, -1, -2))

    @jax.jit
    def gradients(x):
        return manifold.gradient(lambda y: _plaquette_at(n, y))(x), manifold.gradient(lambda y: _rectangles(n, y)[2, 1])(x)

    plaquette, rectangle = gradients(x)
    dense = manifold.inner(plaquette, rectangle)
    table = algebra.inner_by_offset(first, second)
    # The rectangle at (2, 1) seen from the plaquette at (1, 1).
    expected = _expression_value(matrices, table[1, 0], (1, 1)).real
    assert abs(dense - expected) < 1e-12
    offsets = sorted(table)
    values = expression_values(algebra, [table[r] for r in offsets], x)
    assert abs(values[offsets.index((1, 0)), 1, 1] - dense) < 1e-12
    for i, site in itertools.product(range(len(offsets)), [(0, 0), (3, 2)]):
        assert abs(values[i][site] - _expression_value(matrices, table[offsets[i]], site).real) < 1e-12
    # Six links of the rectangle and four of the plaquette, modulo which of them are parallel.
    assert (0, 0) in table
    assert (3, 0) not in table


def _step_product(n, links, steps):
    """Product along a path from every site, `(n, n, *lattice)` (angles: their sum)."""
    group = SU(n) if n > 1 else U1()
    total, position = group.identity(links.shape[-2:]), [0, 0]
    for step in steps:
        mu = abs(step) - 1
        position[mu] -= step < 0
        link = shift(shift(links[mu], 0, position[0], 2), 1, position[1], 2)
        total = group.multiply(total, link if step > 0 else group.adjoint(link))
        position[mu] += step > 0
    return n * group.real_trace(total)


def _plaquette_at(n, links):
    return _step_product(n, links, PLAQUETTE)[1, 1]


def _rectangles(n, links):
    return _step_product(n, links, (1, 1, 2, -1, -1, -2))


# --- evaluation ----------------------------------------------------------------------------------------------------------

# Group, lattice and order of the trivializing series whose terms are evaluated.
FAMILIES = {
    "u1_2d": (1, (3, 4), 1),
    "u1_2d_order_2": (1, (4, 5), 2),
    "su2_2d": (2, (3, 4), 1),
    "su2_2d_order_2": (2, (4, 4), 2),
    "su3_2d": (3, (3, 4), 1),
    "su4_2d": (4, (3, 3), 1),
    "su2_3d": (2, (3, 3, 3), 1),
    "su3_3d": (3, (3, 3, 3), 1),
    "u1_4d": (1, (3, 3, 3, 3), 1),
}
SLOW = {"u1_2d_order_2", "u1_4d", "su2_2d_order_2", "su4_2d", "su3_3d"}


def _family(name):
    n, lattice, order = FAMILIES[name]
    algebra, series = trivializing_series(n, len(lattice), order)
    family = LoopFamily(algebra, tuple(sorted({term for s in series for term in s})))
    manifold = _field(n, lattice)
    coefficients = jax.random.normal(jax.random.key(3), (len(family.terms),))
    return family, manifold, manifold.reference_sample(jax.random.key(4)), coefficients


@eqx.filter_jit
def _evaluate(family, coefficients, x):
    return family.values_and_gradient(coefficients, x)


def _velocity(family, coefficients, x):
    return family.values_and_gradient(coefficients, x)[1]


@pytest.mark.parametrize("name", ["u1_2d_order_2", "su3_2d", "su2_3d"])
def test_values_are_products_of_links_along_the_loops(name):
    family, manifold, x, coefficients = _family(name)
    values, _ = _evaluate(family, coefficients, x)
    matrices = _matrices(x)
    for k, term in enumerate(family.terms):
        images = family.algebra.images(term)
        sites = itertools.product(*map(range, manifold.lattice))
        expected = sum(_value(matrices, image, site).real for site in sites for image in images)
        assert abs(values[k] - expected) < 1e-11 * len(images)


@pytest.mark.parametrize("name", rows(FAMILIES, SLOW))
def test_gradients_and_laplacians_against_dense_derivatives(name):
    family, manifold, x, coefficients = _family(name)
    family.check_lattice(manifold.lattice)
    values, _ = _evaluate(family, coefficients, x)
    velocity = _velocity(family, coefficients, x)
    direction = manifold.random_tangent(jax.random.key(5))
    slope = along(lambda y: coefficients @ family.values_and_gradient(coefficients, y)[0], manifold, x, direction)
    assert abs(manifold.inner(velocity, direction) - slope) < 1e-10 * max(1, abs(slope))
    matrix, constant = family.laplacian()
    laplacian = coefficients @ (jnp.asarray(matrix) @ values + int(np.prod(manifold.lattice)) * jnp.asarray(constant))
    if manifold.dimension < 700:
        dense = jax.jit(lambda y: dense_divergence(lambda z: _velocity(family, coefficients, z), manifold, y))(x)
    else:
        dense = _divergence_of_some_links(family, manifold, coefficients, x)
    # Sums of up to 1e5 products of a dozen links.
    assert abs(laplacian - dense) < 1e-10 * max(1, abs(dense))


def _divergence_of_some_links(family, manifold, coefficients, x):
    """The dense divergence of large manifolds in compiled chunks."""
    units = jnp.eye(manifold.dimension)

    @jax.jit
    def term(unit):
        v = manifold.from_coordinates(unit)
        return jnp.sum(unit * along(lambda y: manifold.coordinates(_velocity(family, coefficients, y)), manifold, x, v))

    return sum(term(unit) for unit in units)


@pytest.mark.parametrize("name", rows(["u1_2d", "su3_2d"], slow=["su3_2d"]))
def test_reverse_mode_of_values_and_gradients(name):
    """Training differentiates the field once more: against central differences, one by one and in a batch."""
    family, manifold, x, coefficients = _family(name)

    def loss(c, y):
        return jnp.sum(jnp.sin(family.values_and_gradient(c, y)[0])) + manifold.inner(*[_velocity(family, c, y)] * 2)

    along_c = jax.random.normal(jax.random.key(6), coefficients.shape)
    along_x = manifold.random_tangent(jax.random.key(7))
    value = jax.jit(lambda s: loss(coefficients + s * along_c, manifold.exp(scaled(s, along_x), x)))
    h = 1e-5
    difference = (value(h) - value(-h)) / (2 * h)
    by_c, by_x = jax.jit(jax.grad(loss, argnums=(0, 1)))(coefficients, x)
    slope = by_c @ along_c + manifold.inner(jax.vmap(manifold.group.gradient)(x, by_x), along_x)
    # Central difference: h^2 f'''/6, with frequencies of up to 1e2 of the sines.
    assert abs(difference - slope) < 1e-5 * max(1, abs(slope))
    batch = jnp.stack([x, manifold.exp(along_x, x)])
    per_sample = jax.jit(jax.vmap(jax.grad(loss, argnums=1), in_axes=(None, 0)))(coefficients, batch)
    of_sum = jax.jit(jax.grad(lambda y: jnp.sum(jax.vmap(loss, in_axes=(None, 0))(coefficients, y))))(batch)
    assert jnp.max(jnp.abs(per_sample - of_sum)) < 1e-12
    assert jnp.max(jnp.abs(per_sample[0] - by_x)) < 1e-12 * jnp.max(jnp.abs(by_x))


@pytest.mark.parametrize("name", ["u1_2d", "su2_2d", "su3_3d"])
def test_values_are_invariant_under_the_symmetries(name):
    family, manifold, x, coefficients = _family(name)
    dim, adjoint = len(manifold.lattice), manifold.group.adjoint
    values, _ = _evaluate(family, coefficients, x)
    images = [translate(x, tuple(range(1, dim + 1))), reflect(x, 0, dim=dim, adjoint=adjoint)]
    images.append(-x if manifold.group.n == 1 else jnp.conj(x))
    if manifold.lattice[0] == manifold.lattice[1]:
        images.append(rotate(x, (0, 1), dim=dim, adjoint=adjoint))
    for image in images:
        assert jnp.max(jnp.abs(_evaluate(family, coefficients, image)[0] - values)) < 1e-11 * x.size


def test_float32_links_give_float64_sums():
    family, _, x, coefficients = _family("su3_2d")
    values, gradient = _evaluate(family, coefficients, x)
    low_values, low_gradient = _evaluate(family, coefficients.astype(jnp.float32), x.astype(jnp.complex64))
    assert low_values.dtype == jnp.float64
    assert low_gradient.dtype == jnp.complex64
    assert jnp.max(jnp.abs(low_values - values)) < 1e-4 * x.size
    assert jnp.max(jnp.abs(low_gradient.astype(x.dtype) - gradient)) < 1e-4 * jnp.max(jnp.abs(gradient))


def test_small_lattices_and_wrong_families_are_refused():
    algebra = LoopAlgebra(3, 2)
    rectangle = algebra.canonical(algebra.term((1, 1, 2, -1, -1, -2)))
    with pytest.raises(ValueError, match="coincide on the lattice"):
        LoopFamily(algebra, [rectangle]).check_lattice((2, 4))
    with pytest.raises(ValueError, match="canonical"):
        LoopFamily(algebra, [algebra.term(PLAQUETTE)[:0]])
    with pytest.raises(ValueError, match="twice"):
        LoopFamily(algebra, [rectangle, rectangle])
    with pytest.raises(ValueError, match="positive integers"):
        LoopAlgebra(0, 2)


def test_singular_blocks_leave_constants_only():
    # On SU(2) tr U^2 - (tr U)^2 = -2: no combination has it as its Laplacian, and it is a constant.
    algebra = LoopAlgebra(2, 2)
    square, double = (algebra.canonical(algebra.term(*p)) for p in ((PLAQUETTE * 2,), (PLAQUETTE, PLAQUETTE)))
    assert solve_laplacian(algebra, {square: Fraction(1), double: Fraction(-1)}) == {}
