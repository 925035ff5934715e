import jax
import jax.numpy as jnp
import pytest
from helpers import along

from trivmap.groups import SU, U1
from trivmap.manifolds import LinkField, RealField, SphereField

MANIFOLDS = {
    "real": RealField((3, 4)),
    "U1": LinkField(U1(), (3, 2)),
    "SU2": LinkField(SU(2), (2, 3)),
    "SU3": LinkField(SU(3), (2, 2, 3)),
    "S1": SphereField(2, (3, 2)),
    "S2": SphereField(3, (2, 3)),
    "S3": SphereField(4, (3, 2)),
    "S4": SphereField(5, (2, 2)),
}
LINKS = ["U1", "SU2", "SU3"]
manifolds = pytest.mark.parametrize("manifold", MANIFOLDS.values(), ids=MANIFOLDS)
links = pytest.mark.parametrize("manifold", [MANIFOLDS[name] for name in LINKS], ids=LINKS)


def configuration(manifold, key, dtype=None):
    if isinstance(manifold, RealField):
        return manifold.random_tangent(key, dtype)
    return manifold.reference_sample(key, dtype)


def function(manifold, x):
    """A smooth function without symmetry."""
    weights = jnp.cos(jnp.arange(x.size, dtype=x.real.dtype)).reshape(x.shape)
    return jnp.sum(weights * x.real) + jnp.sum(jnp.sin(x.real * x.imag + weights * x.real))


@manifolds
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_shapes_and_dtypes(key, manifold, dtype):
    x, v = configuration(manifold, key, dtype), manifold.random_tangent(key, dtype)
    moved = manifold.exp(v, x)
    manifold.check(x)
    manifold.check(moved)
    assert moved.shape == x.shape == manifold.shape
    assert v.shape == manifold.tangent_shape
    assert moved.dtype == v.dtype == x.dtype
    assert manifold.inner(v, v).dtype == jnp.float64
    assert manifold.coordinates(v).shape == (manifold.dimension,)


@manifolds
def test_gradient_is_the_derivative_along_tangents(key, manifold):
    x, v = configuration(manifold, key), manifold.random_tangent(jax.random.key(1))
    f = lambda y: function(manifold, y)  # noqa: E731
    gradient = jax.jit(manifold.gradient(f))(x)
    derivative = jax.jit(lambda y: along(f, manifold, y, v))(x)
    # Sums of about a hundred terms of order one.
    assert jnp.allclose(manifold.inner(gradient, v), derivative, rtol=0, atol=1e-12)


@manifolds
def test_coordinates_are_orthonormal(key, manifold):
    v, w = (manifold.random_tangent(k) for k in jax.random.split(key))
    c, d = manifold.coordinates(v), manifold.coordinates(w)
    assert jnp.allclose(jnp.sum(c * d), manifold.inner(v, w), rtol=0, atol=1e-12)
    assert jnp.allclose(manifold.from_coordinates(c), v, rtol=0, atol=1e-15)


@manifolds
def test_exponential_moves_along_a_one_parameter_group(key, manifold):
    x, v = configuration(manifold, key), manifold.random_tangent(jax.random.key(1))
    move = jax.jit(lambda w, y: manifold.exp(w, y))
    assert manifold.distance(move(v, x), move(v * 0.5, move(v * 0.5, x))) < 1e-13
    assert manifold.distance(move(-v, move(v, x)), x) < 1e-13
    assert manifold.distance(move(v, x), x) > 0.1
    assert manifold.distance(x, x) == 0


@manifolds
def test_bracket_closes_the_square_of_flows(key, manifold):
    """exp(-w) exp(-v) exp(w) exp(v) = 1 - s^2 [v, w] + O(s^3), which halves eight times per halved step."""
    v, w = (manifold.random_tangent(k) for k in jax.random.split(key))
    x = configuration(manifold, key)

    @jax.jit
    def defect(s):
        y = x
        s = jnp.asarray(s, x.dtype)
        for step in (v, w, -v, -w):
            y = manifold.exp(step * s, y)
        return manifold.distance(y, manifold.exp(-manifold.bracket(v, w) * s**2, x))

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
    x, v = configuration(manifold, key), manifold.random_tangent(jax.random.key(1))
    derivative = jax.jvp(lambda w: manifold.exp(w, x), (jnp.zeros_like(v),), (v,))[1]
    assert jnp.allclose(manifold.motion(v, x), derivative, rtol=0, atol=1e-14)


@manifolds
def test_effective_part_moves_all_the_same(key, manifold):
    """It is the orthogonal projection on what is left of the algebra by the generators that leave x where it is."""
    x = configuration(manifold, key)
    v, w = (manifold.random_tangent(k) for k in jax.random.split(jax.random.key(1)))
    part = manifold.effective(v, x)
    assert jnp.allclose(manifold.motion(part, x), manifold.motion(v, x), rtol=0, atol=1e-14)
    assert jnp.allclose(manifold.effective(part, x), part, rtol=0, atol=1e-14)
    rest = manifold.inner(v - part, manifold.effective(w, x))
    assert abs(rest) < 1e-13


@manifolds
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_starts_are_configurations(key, manifold, dtype):
    for x in (manifold.cold(dtype), manifold.hot(key, dtype)):
        manifold.check(x)
        assert jnp.real(x).dtype == dtype
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
