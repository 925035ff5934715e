import math

import jax
import jax.numpy as jnp
import pytest
from helpers import along, close, random_configuration, scaled

from trivmap.groups import SU, U1
from trivmap.manifolds import LinkField, ProductManifold, RealField, SphereField

MANIFOLDS = {
    "real": RealField((3, 4)),
    "U1": LinkField(U1(), (3, 2)),
    "SU2": LinkField(SU(2), (2, 3)),
    "SU3": LinkField(SU(3), (2, 2, 3)),
    "S1": SphereField(2, (3, 2)),
    "S2": SphereField(3, (2, 3)),
    "S3": SphereField(4, (3, 2)),
    "S4": SphereField(5, (2, 2)),
    "real2": RealField((3, 2), components=2),
    "U1 x real2": ProductManifold(links=LinkField(U1(), (3, 2)), phi=RealField((3, 2), components=2)),
    "SU2 x S2 x real": ProductManifold(u=LinkField(SU(2), (2, 2)), s=SphereField(3, (2, 2)), a=RealField((2, 2))),
}
LINKS = ["U1", "SU2", "SU3"]
manifolds = pytest.mark.parametrize("manifold", MANIFOLDS.values(), ids=MANIFOLDS)
links = pytest.mark.parametrize("manifold", [MANIFOLDS[name] for name in LINKS], ids=LINKS)


def function(x):
    """A smooth function without symmetry, and without a sum over fields of one product."""
    total = 0.0
    for leaf in jax.tree.leaves(x):
        weights = jnp.cos(jnp.arange(leaf.size, dtype=leaf.real.dtype)).reshape(leaf.shape)
        total = jnp.cos(total) + jnp.sum(weights * leaf.real) + jnp.sum(jnp.sin(leaf.real * leaf.imag + weights * leaf.real))
    return total


def shapes(x):
    return jax.tree.map(jnp.shape, x)


@manifolds
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_shapes_and_dtypes(key, manifold, dtype):
    x, v = random_configuration(manifold, key, dtype), manifold.random_tangent(key, dtype)
    moved = manifold.exp(v, x)
    manifold.check(x)
    manifold.check(moved)
    assert shapes(moved) == shapes(x) == manifold.shape
    assert shapes(v) == shapes(manifold.still(x)) == manifold.tangent_shape
    for tree in (moved, v, x, manifold.still(x)):
        assert {jnp.real(leaf).dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype(dtype)}
    assert close(manifold.exp(manifold.still(x), x), x, rtol=0, atol=0)
    assert manifold.inner(v, v).dtype == jnp.float64
    assert manifold.coordinates(v).shape == (manifold.dimension,)


@manifolds
def test_gradient_is_the_derivative_along_tangents(key, manifold):
    x, v = random_configuration(manifold, key), manifold.random_tangent(jax.random.key(1))
    gradient = jax.jit(manifold.gradient(function))(x)
    derivative = jax.jit(lambda y: along(function, manifold, y, v))(x)
    # Sums of about a hundred terms of order one.
    assert jnp.allclose(manifold.inner(gradient, v), derivative, rtol=0, atol=1e-12)


@manifolds
def test_coordinates_are_orthonormal(key, manifold):
    v, w = (manifold.random_tangent(k) for k in jax.random.split(key))
    c, d = manifold.coordinates(v), manifold.coordinates(w)
    assert jnp.allclose(jnp.sum(c * d), manifold.inner(v, w), rtol=0, atol=1e-12)
    assert close(manifold.from_coordinates(c), v, rtol=0, atol=1e-15)


@manifolds
def test_exponential_moves_along_a_one_parameter_group(key, manifold):
    x, v = random_configuration(manifold, key), manifold.random_tangent(jax.random.key(1))
    move = jax.jit(lambda w, y: manifold.exp(w, y))
    assert manifold.distance(move(v, x), move(scaled(0.5, v), move(scaled(0.5, v), x))) < 1e-13
    assert manifold.distance(move(scaled(-1, v), move(v, x)), x) < 1e-13
    assert manifold.distance(move(v, x), x) > 0.1
    assert manifold.distance(x, x) == 0


@manifolds
def test_bracket_closes_the_square_of_flows(key, manifold):
    """exp(-w) exp(-v) exp(w) exp(v) = 1 - s^2 [v, w] + O(s^3), which halves eight times per halved step."""
    v, w = (manifold.random_tangent(k) for k in jax.random.split(key))
    x = random_configuration(manifold, key)

    @jax.jit
    def defect(s):
        y = x
        for step in (v, w, scaled(-1, v), scaled(-1, w)):
            y = manifold.exp(scaled(s, step), y)
        return manifold.distance(y, manifold.exp(scaled(-(s**2), manifold.bracket(v, w)), x))

    coarse, fine = defect(2e-2), defect(1e-2)
    assert fine < 1e-10 or 7 < coarse / fine < 9


@links
def test_reference_sample_is_on_the_group_and_independent(key, manifold):
    x = manifold.reference_sample(key)
    assert jax.vmap(manifold.group.unitarity_defect)(x).max() < 1e-13
    assert manifold.distance(x[..., ::-1], x) > 1
    noisy = x + 1e-8
    assert jax.vmap(manifold.group.unitarity_defect)(manifold.project(noisy)).max() < 1e-13
    assert manifold.distance(manifold.project(noisy), x) < 1e-6


@manifolds
def test_motion_is_the_derivative_of_the_exponential(key, manifold):
    x, v = random_configuration(manifold, key), manifold.random_tangent(jax.random.key(1))
    derivative = jax.jvp(lambda w: manifold.exp(w, x), (manifold.still(x),), (v,))[1]
    assert close(manifold.motion(v, x), derivative, rtol=0, atol=1e-14)


@manifolds
def test_effective_part_moves_all_the_same(key, manifold):
    """It is the orthogonal projection on what is left of the algebra by the generators that leave x where it is."""
    x = random_configuration(manifold, key)
    v, w = (manifold.random_tangent(k) for k in jax.random.split(jax.random.key(1)))
    part = manifold.effective(v, x)
    assert close(manifold.motion(part, x), manifold.motion(v, x), rtol=0, atol=1e-14)
    assert close(manifold.effective(part, x), part, rtol=0, atol=1e-14)
    rest = manifold.inner(jax.tree.map(jnp.subtract, v, part), manifold.effective(w, x))
    assert abs(rest) < 1e-13


@manifolds
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_starts_are_configurations(key, manifold, dtype):
    for x in (manifold.cold(dtype), manifold.hot(key, dtype)):
        manifold.check(x)
        assert {jnp.real(leaf).dtype for leaf in jax.tree.leaves(x)} == {jnp.dtype(dtype)}
        assert float(manifold.defect(x)) < 10 * float(jnp.finfo(dtype).eps)
        assert float(manifold.distance(manifold.project(x), x)) < 100 * float(jnp.finfo(dtype).eps)


def test_lebesgue_measure_cannot_be_sampled(key):
    with pytest.raises(TypeError, match="GaussianPrior"):
        RealField((4, 4)).reference_sample(key)


def test_manifolds_are_values():
    assert LinkField(SU(3), (4, 4)) == LinkField(SU(3), [4, 4])
    assert hash(LinkField(SU(3), (4, 4))) == hash(LinkField(SU(3), (4, 4)))
    assert LinkField(SU(3), (4, 4)) != LinkField(SU(2), (4, 4))
    assert RealField((4, 4)) != RealField((4, 5))
    inner = jax.jit(lambda m, v: m.inner(v, v), static_argnums=0)
    assert inner(RealField((2, 2)), jnp.ones((2, 2))) == 4


@pytest.mark.parametrize(
    ("manifold", "shape", "dtype", "error", "message"),
    [
        (RealField((3, 4)), (3, 5), float, ValueError, r"got shape \(3, 5\), expected \(3, 4\)"),
        (RealField((3, 4)), (2, 3, 4), float, ValueError, "jax.vmap"),
        (RealField((3, 4)), (3, 4), int, TypeError, "got dtype int64"),
        (RealField((3, 4)), (3, 4), complex, TypeError, "belong to a LinkField"),
        (SphereField(3, (3, 4)), (3, 4), float, ValueError, r"expected \(3, 3, 4\)"),
        (SphereField(3, (3, 4)), (2, 3, 4), float, ValueError, r"got shape \(2, 3, 4\)"),
        (SphereField(3, (3, 4)), (3, 3, 4), complex, TypeError, "expected a real floating type"),
        (LinkField(U1(), (3, 4)), (2, 3, 4), complex, TypeError, "expected real angles"),
        (LinkField(U1(), (3, 4)), (2, 3, 4), int, TypeError, "got dtype int64"),
        (LinkField(U1(), (3, 4)), (3, 3, 4), float, ValueError, "3 directions instead of 2"),
        (LinkField(SU(3), (3, 4)), (2, 2, 2, 3, 4), complex, ValueError, "matrices"),
        (LinkField(SU(3), (3, 4)), (2, 3, 3, 4, 3), complex, ValueError, r"extents \(4, 3\) instead of \(3, 4\)"),
        (LinkField(SU(3), (3, 4)), (3, 3, 3, 3, 4, 4), complex, ValueError, "6 axes instead of 5"),
        (LinkField(SU(3), (3, 4)), (2, 3, 4, 3, 3), complex, ValueError, "colours leading and sites trailing"),
        (LinkField(SU(3), (3, 4)), (2, 3, 3, 3, 4), float, TypeError, "expected complex matrices"),
    ],
)
def test_wrong_configurations_are_refused(manifold, shape, dtype, error, message):
    with pytest.raises(error, match=message):
        manifold.check(jnp.zeros(shape, dtype))
    with pytest.raises(error, match=message):  # at trace time, from static shapes
        jax.eval_shape(manifold.check, jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)))


MAKERS = [lambda shape: RealField(shape), lambda shape: LinkField(SU(2), shape), lambda shape: SphereField(2, shape)]


@pytest.mark.parametrize("make", MAKERS)
def test_wrong_extents_are_refused(make):
    with pytest.raises(ValueError, match="expected at least one, each >= 1"):
        make((4, -4))
    with pytest.raises(TypeError, match="expected integer extents"):
        make((4, 4.5))


@pytest.mark.parametrize(("n", "error"), [(1, ValueError), (0, ValueError), (True, TypeError)])
def test_spheres_need_two_components(n, error):
    with pytest.raises(error, match="SphereField: n: got"):
        SphereField(n, (4, 4))


PRODUCT = MANIFOLDS["U1 x real2"]


def test_products_are_values_whatever_the_order():
    links, phi = PRODUCT["links"], PRODUCT["phi"]
    swapped = ProductManifold(phi=phi, links=links)
    assert swapped == PRODUCT
    assert hash(swapped) == hash(PRODUCT)
    assert PRODUCT.components == {"links": links, "phi": phi}
    assert ProductManifold(phi=phi, u=links) != PRODUCT
    assert PRODUCT.dimension == links.dimension + phi.dimension


@manifolds
def test_variables_and_generators_make_up_the_coordinates(key, manifold):
    """A mask of one variable on one site, spread over a tangent vector, holds its generators and nothing else."""
    volume, count = math.prod(manifold.lattice), len(manifold.generators)
    assert sum(manifold.generators) * volume == manifold.dimension
    v = manifold.random_tangent(key)
    for variable, generators in enumerate(manifold.generators):
        mask = jnp.zeros((count, *manifold.lattice), bool).at[(variable, *(0 for _ in manifold.lattice))].set(True)
        part = jax.tree.map(lambda m, a: jnp.where(m, a, 0), manifold.spread(mask, v), v)
        assert int(jnp.sum(manifold.coordinates(part) != 0)) == generators
        assert jnp.array_equal(manifold.largest(part) > 0, mask)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (jnp.zeros((2, 3, 2)), TypeError, r"expected a dictionary with the keys \['links', 'phi'\]"),
        ({"links": jnp.zeros((2, 3, 2))}, ValueError, r"got a configuration with the keys \['links'\]"),
        ({"links": jnp.zeros((2, 3, 2)), "phi": jnp.zeros((3, 2))}, ValueError, r"component 'phi': .*got shape \(3, 2\)"),
        (
            {"links": jnp.zeros((2, 3, 2), complex), "phi": jnp.zeros((2, 3, 2))},
            TypeError,
            "component 'links': .*angles",
        ),
    ],
)
def test_wrong_configurations_of_products_are_refused(x, error, message):
    with pytest.raises(error, match=message):
        PRODUCT.check(x)


@pytest.mark.parametrize(
    ("components", "error", "message"),
    [
        ({}, ValueError, "got no components"),
        ({"a": RealField((4,)), "b": RealField((5,))}, ValueError, "expected one lattice"),
        ({"a": (4,)}, TypeError, "expected manifolds"),
    ],
)
def test_wrong_products_are_refused(components, error, message):
    with pytest.raises(error, match=message):
        ProductManifold(**components)


def test_components_are_a_positive_number():
    with pytest.raises(ValueError, match="RealField: components: got 0"):
        RealField((4,), components=0)
