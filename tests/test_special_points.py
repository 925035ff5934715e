"""Derivatives at special points (cut loci, equal eigenvalues, knots, ends of intervals, ties) and float32 at the ends."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import randomised

import trivmap as tm
from trivmap.stochastic._heat_kernel import heat_kernel_score, log_heat_kernel, logarithm

REALS = {"float32": jnp.float32, "float64": jnp.float64}


def _rotation(angle, dtype):
    phases = np.array([np.exp(1j * angle), np.exp(-1j * angle)])
    return jnp.asarray(np.diag(phases), jnp.complex64 if dtype == jnp.float32 else jnp.complex128)


def _score_of_su2(distance, variance):
    """Third component of the score at the angle pi - distance, from its two images next to the cut locus:

    K ~ exp(-2 y^2/v) (2 pi sinh(4 pi y/v) - 2 y cosh(4 pi y/v))/sin(y); others are smaller by exp(-16 pi^2/v) and less.
    """
    y, rate = distance, 4 * np.pi / variance
    numerator = 2 * np.pi * np.sinh(rate * y) - 2 * y * np.cosh(rate * y)
    slope = (2 * np.pi * rate - 2) * np.cosh(rate * y) - 2 * y * rate * np.sinh(rate * y)
    return -0.5 * (slope / numerator - 1 / np.tan(y) - 4 * y / variance)


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("variance", [0.3, 3.0])
def test_score_of_the_heat_kernel_at_the_cut_locus(real, variance):
    """Cancellation and the next order of the expansion leave sqrt(eps) of the rate at which images vary, 4 pi/variance."""
    dtype, group = REALS[real], tm.SU(2)
    score = jax.jit(lambda u, v: group.coordinates(heat_kernel_score(group, u, v))[2])
    tolerance = 8 * np.sqrt(np.finfo(dtype).eps) * 4 * np.pi / variance
    for distance in (1e-3, 0.003, 0.01, 0.02, 0.05, 0.3):
        found = float(score(_rotation(np.pi - distance, dtype), dtype(variance)))
        # An angle of size pi has a rounding of its own, times the curvature at the wall.
        angle = 8 * np.finfo(dtype).eps * (4 * np.pi / variance) ** 2
        assert abs(found - _score_of_su2(distance, variance)) < tolerance + angle, distance
    assert jnp.isfinite(log_heat_kernel(group, _rotation(np.pi, dtype), dtype(variance)))
    assert jnp.abs(score(_rotation(np.pi, dtype), dtype(variance))) < tolerance + angle


def test_score_of_su3_where_two_images_meet():
    """Float32 at a wall of the cut locus against float64 away from it by more than what float64 smooths."""
    group = tm.SU(3)
    theta = np.array([np.pi - 2e-3, -np.pi + 1e-3, 1e-3])
    frame = group.haar(jax.random.key(0), ())
    u = frame @ jnp.asarray(np.diag(np.exp(1j * theta))) @ frame.conj().T
    score = jax.jit(lambda u, v: group.coordinates(heat_kernel_score(group, u, v)))
    expected = np.asarray(score(u, jnp.float64(2.0)))
    found = np.asarray(score(u.astype(jnp.complex64), jnp.float32(2.0)))
    assert np.max(np.abs(found - expected)) < 8 * np.sqrt(np.finfo(np.float32).eps) * np.pi


@pytest.mark.parametrize("n", [2, 3])
def test_logarithm_of_equal_eigenvalues(n):
    """d log(exp(s w) u) at the identity is w itself; next to it, too."""
    group, w = tm.SU(n), tm.SU(n).random_algebra(jax.random.key(0), ())
    v = group.random_algebra(jax.random.key(1), ())
    for size in (0.0, 1e-12, 1e-6):
        u = group.exp(size * v)
        derivative = jax.jvp(lambda u: logarithm(group, u), (u,), (group.multiply(w, u),))[1]
        assert jnp.max(jnp.abs(derivative - w)) < 1e-13 + 10 * size


def _along(flow, u, w, h):
    """Automatic derivative of the image and the log-det along exp(s w) u, and central differences."""
    group = flow.manifold.group

    def moved(s):
        image, log_det = flow.forward_and_log_det(group.multiply(group.exp(w * s.astype(w.dtype)), u)[None])
        return jnp.append(jnp.stack([image.real, image.imag]).ravel(), log_det)

    moved = eqx.filter_jit(moved)
    automatic = jax.jvp(moved, (jnp.zeros(()),), (jnp.ones(()),))[1]
    return automatic, (moved(jnp.asarray(h)) - moved(jnp.asarray(-h))) / (2 * h)


def _spectral(n):
    flow = tm.flows.SpectralFlow(jax.random.key(0), tm.LinkField(tm.SU(n), (1,)), bins=4, hidden=(8,))
    return randomised(jax.random.key(1), flow, 0.3)


@pytest.mark.parametrize("phase", [0.0, np.pi, np.pi / 2])
def test_spectral_flow_of_su2_at_equal_phases(phase):
    """+1 and -1, where both eigenvalues agree, and +-i, where both ends of the spline are equally far."""
    flow = _spectral(2)
    group = flow.manifold.group
    u = _rotation(phase, jnp.float64)[..., None]
    w = group.random_algebra(jax.random.key(3), (1,))
    automatic, differences = _along(flow, u, w, 1e-6)
    # Central differences: h^2 times third derivatives (splines of four bins: 1e4), kinks of first order in h.
    assert jnp.max(jnp.abs(automatic - differences)) < 1e-4


@pytest.mark.slow
def test_spectral_flow_of_su3_refuses_derivatives_at_kinks():
    """Three equal phases, and two: NaN. Away from them the derivative is that of differences."""
    flow = _spectral(3)
    group = flow.manifold.group
    v, w = (group.random_algebra(jax.random.key(k), (1,)) for k in (2, 3))
    one = group.identity((1,))
    pair = jnp.asarray(np.diag(np.exp(1j * np.array([0.4, 0.4, -0.8]))))[..., None]
    for u in (one, group.exp(1e-9 * v), pair):
        automatic, _ = _along(flow, u, w, 1e-6)
        assert jnp.all(jnp.isnan(automatic))
        assert jnp.all(jnp.isfinite(flow.forward(u[None])))
    automatic, differences = _along(flow, group.exp(0.3 * v), w, 1e-5)
    assert jnp.max(jnp.abs(automatic - differences)) < 1e-5


TRANSFORMS = {
    "identity_ends": tm.transforms.RationalQuadraticSpline(5, (-2.0, 2.0)),
    "fixed_ends": tm.transforms.RationalQuadraticSpline(5, (-np.pi, np.pi), ends="fixed"),
    "circular": tm.transforms.CircularSpline(5),
    "ncp": tm.transforms.NonCompactProjection(3),
    "moebius": tm.transforms.Moebius(3),
}


def _points(name):
    """Ends, the middle, wrap-around: each with its neighbours among the numbers of float32."""
    spline = TRANSFORMS[name]
    ends = [-2.0, 2.0] if name == "identity_ends" else [-np.pi, np.pi]
    exact = np.array([*ends, 0.0, *([3 * np.pi, -3 * np.pi, 2 * np.pi] if spline.periodic else [])], np.float32)
    around = [exact, np.nextafter(exact, np.float32(99)), np.nextafter(exact, np.float32(-99))]
    points = np.tile(np.concatenate(around), 40)
    return points[np.abs(points) <= np.float32(np.pi)] if name == "fixed_ends" else points


@eqx.filter_jit
def _both_ways(transform, x, parameters):
    """Value, log slope and derivative of the map and of its inverse at the same points."""
    results = []
    for f in (transform.forward, transform.inverse):
        _, slope = jax.jvp(lambda x, f=f: f(x, parameters)[0], (x,), (jnp.ones_like(x),))
        results += [*f(x, parameters), jnp.log(slope)]
    return results


@pytest.mark.parametrize("name", TRANSFORMS)
def test_ends_of_intervals(name):
    """Finite in float32, close to float64; the derivative is the slope, also where rounding leaves the interval."""
    transform, x = TRANSFORMS[name], _points(name)
    parameters = np.random.default_rng(0).standard_normal((transform.parameters, x.size)).astype(np.float32)
    low, high = (_both_ways(transform, jnp.asarray(x, d), jnp.asarray(parameters, d)) for d in (jnp.float32, jnp.float64))
    # A thousand roundings of the numbers themselves. In double precision points that lie 2e-7 inside an end, one rounding in
    # single precision, lose digits of their distance from it: 3e-12 is seen, depending on the order of operations.
    for results, tolerance in ((low, 1e3 * np.finfo(np.float32).eps), (high, 1e5 * np.finfo(float).eps)):
        for _, log_slope, log_derivative in (results[:3], results[3:]):
            assert jnp.max(jnp.abs(log_slope - log_derivative)) < tolerance
    for a, b in zip(low, high, strict=True):
        # Slopes and curvatures of up to 100 times a rounding of x of 2e-7.
        assert jnp.max(jnp.abs(a.astype(float) - b)) < 2e-3


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("name", ["identity_ends", "fixed_ends", "circular"])
def test_knots(name, real):
    """At every knot of splines of zero parameters, where the map is the identity, also in the derivative by parameters."""
    dtype, transform = REALS[real], TRANSFORMS[name]
    lower, upper = (-2.0, 2.0) if name == "identity_ends" else (-np.pi, np.pi)
    x = jnp.asarray(np.linspace(lower, upper, transform.bins + 1), dtype)[1:-1]
    zero = jnp.zeros((transform.parameters, x.size), dtype)
    direction = jnp.asarray(np.random.default_rng(0).standard_normal(zero.shape), dtype)
    _, of_forward = jax.jvp(lambda p: transform.forward(x, p)[0], (zero,), (direction,))
    (_, log_slope), (of_inverse, _) = jax.jvp(lambda p: transform.inverse(x, p), (zero,), (direction,))
    _, slope = jax.jvp(lambda x: transform.inverse(x, zero)[0], (x,), (jnp.ones_like(x),))
    tolerance = 100 * np.finfo(dtype).eps
    assert jnp.max(jnp.abs(slope - 1)) < tolerance
    assert jnp.max(jnp.abs(log_slope)) < tolerance
    # At the identity the inverse moves against the map.
    assert jnp.max(jnp.abs(of_forward + of_inverse)) < tolerance


def test_bins_whose_shares_do_not_add_up_to_one():
    """Float32 sums of many shares miss 1: no fraction of a bin beyond 1, no logarithm of a negative number."""
    for bins in (2, 8, 64, 400):
        transform = tm.transforms.CircularSpline(bins)
        x = np.tile(np.array([np.pi, -np.pi, np.nextafter(np.float32(np.pi), np.float32(0))], np.float32), 100)
        raw = 4 * np.random.default_rng(bins).standard_normal((transform.parameters, x.size))
        raw = jnp.asarray(raw, jnp.float32)
        for y, log_slope in (transform.forward(jnp.asarray(x), raw), transform.inverse(jnp.asarray(x), raw)):
            assert jnp.all(jnp.isfinite(log_slope))
            # One rounding of x, 2.4e-7, times a slope at the end of 1e3 at most.
            assert jnp.max(jnp.abs(jnp.abs(y) - np.pi)) < 1e-3


def test_gauge_coupling_with_a_link_at_pi():
    manifold = tm.LinkField(tm.U1(), (4, 4))
    x = jnp.zeros(manifold.shape, jnp.float32).at[0, 0, 0].set(np.pi)
    log_det = eqx.filter_jit(lambda flow, x: flow.forward_and_log_det(x)[1])
    flow = tm.GaugeCouplingFlow(jax.random.key(0), manifold, 8)
    for seed in range(20):
        assert jnp.isfinite(log_det(randomised(jax.random.key(seed), flow, 2.0), x))
