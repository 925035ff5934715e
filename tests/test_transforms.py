"""Elementwise maps, one line each in the table: inverse, slope, identity at zero, reflection, derivatives, bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm

TRANSFORMS = {
    "affine": tm.transforms.Affine(),
    "shift": tm.transforms.Shift(),
    "spline": tm.transforms.RationalQuadraticSpline(6, (-2.0, 2.0)),
    "fixed_spline": tm.transforms.RationalQuadraticSpline(4, (-3.0, 3.0), ends="fixed"),
    "phase": tm.transforms.Phase(),
    "ncp_mixture": tm.transforms.NonCompactProjection(4),
    "moebius_mixture": tm.transforms.Moebius(4),
    "circular_spline": tm.transforms.CircularSpline(5),
    "composition": tm.transforms.Composition(
        tm.transforms.Moebius(2), tm.transforms.CircularSpline(4), tm.transforms.Phase()
    ),
}
SIZE = 2000


def _case(name, scale, dtype=jnp.float64):
    # Numbers by NumPy: no program to compile for every shape.
    transform, generator = TRANSFORMS[name], np.random.default_rng(0)
    reach = 10.0 if transform.periodic else 3.0
    x = generator.uniform(-reach, reach, SIZE)
    parameters = scale * generator.standard_normal((transform.parameters, SIZE))
    return transform, jnp.asarray(x, dtype), jnp.asarray(parameters, dtype)


@eqx.filter_jit
def forward(transform, x, parameters):
    return transform.forward(x, parameters)


@eqx.filter_jit
def inverse(transform, y, parameters):
    return transform.inverse(y, parameters)


@eqx.filter_jit
def slope(transform, x, parameters):
    return jax.jvp(lambda x: transform.forward(x, parameters)[0], (x,), (jnp.ones_like(x),))[1]


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_inverse_and_slope(name, scale):
    transform, x, parameters = _case(name, scale)
    y, log_slope = forward(transform, x, parameters)
    back, inverse_log_slope = inverse(transform, y, parameters)
    # Rounding of y, of the order of ten, comes back divided by the slope (of the last map of a composition alone, at worst
    # 1e-3 and less); log slopes change by a second derivative times the error of x.
    error = 1e-14 * jnp.exp(jnp.maximum(-log_slope, 0)) * (1e3 if name == "composition" else 1)
    assert jnp.all(jnp.abs(back - x) < 1e-13 + 10 * error), jnp.max(jnp.abs(back - x) / (1e-14 + error))
    assert jnp.max(jnp.abs(log_slope + inverse_log_slope)) < (1e-11 if scale < 1 else 1e-7)
    assert jnp.max(jnp.abs(jnp.log(slope(transform, x, parameters)) - log_slope)) < (1e-12 if scale < 1 else 1e-9)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_zero_parameters_are_the_identity(name):
    transform, x, parameters = _case(name, 0.0)
    y, log_slope = forward(transform, x, parameters)
    assert jnp.max(jnp.abs(y - x)) < 1e-14 * 10
    assert jnp.max(jnp.abs(log_slope)) < 1e-14


@pytest.mark.parametrize("name", TRANSFORMS)
def test_reflection(name):
    transform, x, parameters = _case(name, 1.0)
    reflected = eqx.filter_jit(transform.reflected)(parameters)
    assert jnp.array_equal(eqx.filter_jit(transform.reflected)(reflected), parameters)
    y, log_slope = forward(transform, -x, parameters)
    mirrored, mirrored_log_slope = forward(transform, x, reflected)
    assert jnp.max(jnp.abs(mirrored + y)) < 1e-12
    assert jnp.max(jnp.abs(mirrored_log_slope - log_slope)) < 1e-11


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if TRANSFORMS[name].periodic])
def test_maps_of_the_circle_are_smooth_across_every_angle(name):
    transform, _, parameters = _case(name, 0.4)
    parameters = jnp.broadcast_to(parameters[:, :1], (parameters.shape[0], SIZE))
    x = jnp.linspace(-4.0, 9.0, SIZE)
    y, log_slope = forward(transform, x, parameters)
    assert jnp.all(jnp.diff(y) > 0)
    turned, turned_log_slope = forward(transform, x + 2 * np.pi, parameters)
    assert jnp.max(jnp.abs(turned - y - 2 * np.pi)) < 1e-13 * 20
    assert jnp.max(jnp.abs(turned_log_slope - log_slope)) < 1e-12
    # Continuous slope: steps of 13/2000, second derivatives of order 10.
    assert jnp.max(jnp.abs(jnp.diff(log_slope))) < 0.3


@pytest.mark.parametrize("name", TRANSFORMS)
def test_derivatives_of_the_inverse(name):
    """Implicit derivatives of x and of the log slope against those of the forward map, in y and in the parameters."""
    transform, x, parameters = _case(name, 0.5)
    y, _ = forward(transform, x, parameters)
    direction = jnp.asarray(np.random.default_rng(1).standard_normal(parameters.shape))
    results = _derivatives(transform, x, y, parameters, direction)
    assert jnp.max(jnp.abs(results)) < 1e-9


@eqx.filter_jit
def _derivatives(transform, x, y, parameters, direction):
    def moved(x, s):
        return transform.forward(x, parameters + direction * s)

    def inverted(y, s):
        return transform.inverse(y, parameters + direction * s)

    zero, one = jnp.zeros(()), jnp.ones(())
    (_, log_slope), (dy, dlog) = jax.jvp(moved, (x, zero), (jnp.zeros_like(x), one))
    _, (dx, dlog_inverse) = jax.jvp(inverted, (y, zero), (jnp.zeros_like(y), one))
    _, (_, curvature) = jax.jvp(moved, (x, zero), (jnp.ones_like(x), zero))
    gradient = jax.grad(lambda p: jnp.sum(transform.inverse(y, p)[0] * x))(parameters)
    return jnp.stack(
        [dx + dy * jnp.exp(-log_slope), dlog_inverse + dlog + curvature * dx, jnp.sum(gradient * direction, 0) - x * dx]
    )


@pytest.mark.parametrize("name", TRANSFORMS)
def test_float32(name):
    transform, x, parameters = _case(name, 1.0, jnp.float32)
    y, log_slope = forward(transform, x, parameters)
    back, inverse_log_slope = inverse(transform, y, parameters)
    assert y.dtype == back.dtype == log_slope.dtype == jnp.float32
    error = 2e-6 * (1 + jnp.exp(jnp.maximum(-log_slope, 0)))
    assert jnp.all(jnp.abs(back - x) < 10 * error)
    assert jnp.mean(jnp.abs(log_slope + inverse_log_slope) > 1e-3) < 0.01


def test_bracketed_solver_needs_no_luck():
    """Extreme mixtures, and targets at the ends of the bracket."""
    transform = tm.transforms.NonCompactProjection(3, limit=12.0)
    parameters = 30 * jax.random.normal(jax.random.key(0), (9, SIZE))
    x = (
        jax.random.uniform(jax.random.key(1), (SIZE,), minval=-np.pi, maxval=np.pi)
        .at[:3]
        .set(jnp.array([-np.pi, 0.0, np.pi]))
    )
    y, log_slope = transform.forward(x, parameters)
    back, _ = transform.inverse(y, parameters)
    again, _ = transform.forward(back, parameters)
    # Slopes from e^-12 to e^12: the residual, or the distance in x where the map is too steep for it, is at rounding level.
    assert jnp.all((jnp.abs(again - y) < 1e-14) | (jnp.abs(back - x) < 1e-14))
    assert jnp.all(jnp.isnan(transform.inverse(y.at[:].set(jnp.nan), parameters)[0]))


def test_single_maps_agree_with_their_formulas():
    x, s, b = jnp.linspace(-3.0, 3.0, 7), 0.4, -0.3
    raw = 4 * np.arctanh(s / 4)
    row = jnp.ones_like(x)
    y, _ = tm.transforms.NonCompactProjection(1).forward(x, jnp.stack([raw * row, b * row, row]))
    assert jnp.max(jnp.abs(y - 2 * jnp.arctan(np.exp(s) * jnp.tan(x / 2) + b))) < 1e-13
    w = 0.95 * (0.3 - 0.2j) / np.sqrt(1 + 0.13)
    y, _ = tm.transforms.Moebius(1).forward(x, jnp.stack([0.3 * row, -0.2 * row, row]))
    z = np.exp(1j * np.asarray(x))
    image = (z - w) / (1 - np.conj(w) * z) / ((1 - w) / (1 - np.conj(w)))
    assert jnp.max(jnp.abs(jnp.exp(1j * y.astype(complex)) - image)) < 1e-13


def test_spline_outside_of_its_interval():
    spline = TRANSFORMS["fixed_spline"]
    x, parameters = jnp.array([0.0, 3.1]), jnp.zeros((spline.parameters, 2))
    with pytest.raises(ValueError, match="expected all of them in the interval"):
        spline.forward(x, parameters)
    with pytest.raises(ValueError, match="widen the interval"):
        spline.inverse(x, parameters)
    assert jnp.array_equal(jnp.isnan(jax.jit(spline.forward)(x, parameters)[0]), jnp.array([False, True]))
    ends, _ = spline.forward(jnp.array([-3.0, 3.0 + 1e-9]), parameters)
    assert jnp.max(jnp.abs(jnp.abs(ends) - 3)) < 1e-14
    tails, log_slope = TRANSFORMS["spline"].forward(x, jnp.ones((TRANSFORMS["spline"].parameters, 2)))
    assert tails[1] == 3.1
    assert log_slope[1] == 0


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: tm.transforms.RationalQuadraticSpline(1), "expected an integer of at least 2"),
        (lambda: tm.transforms.RationalQuadraticSpline(501), "below 501"),
        (lambda: tm.transforms.RationalQuadraticSpline(4, (1.0, 1.0)), "lower < upper"),
        (lambda: tm.transforms.RationalQuadraticSpline(4, ends="free"), "'identity' or 'fixed'"),
        (lambda: tm.transforms.CircularSpline(1), "at least 2"),
        (lambda: tm.transforms.Moebius(0), "a positive integer"),
        (lambda: tm.transforms.Moebius(2, 1.0), "between 0 and 1"),
        (lambda: tm.transforms.NonCompactProjection(0), "a positive integer"),
        (lambda: tm.transforms.NonCompactProjection(1, -1.0), "positive"),
        (lambda: tm.transforms.Affine(0.0), "positive"),
        (lambda: tm.transforms.Composition(), "one or more"),
        (lambda: tm.transforms.Composition(tm.transforms.Affine(), tm.transforms.Phase()), "maps of the line only"),
        (lambda: tm.transforms.Affine().forward(jnp.zeros(3), jnp.zeros((3, 3))), "2 numbers per element"),
    ],
)
def test_errors_teach(construct, message):
    with pytest.raises(ValueError, match=message):
        construct()
