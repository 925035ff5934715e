"""Couplings per plaquette: the plain action as a special case, exact results, samplers, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import gauge_transform, random_gauge_transformation

import trivmap as tm
from trivmap.theories import WeightedWilsonAction

GROUPS = pytest.mark.parametrize("group", [tm.U1(), tm.SU(2), tm.SU(3)], ids=str)


@GROUPS
@pytest.mark.parametrize("lattice", [(3, 4), (2, 3, 2)])
def test_weights_of_one_are_the_plain_action(key, group, lattice):
    plain = tm.WilsonAction(group, lattice, 1.7)
    planes = len(lattice) * (len(lattice) - 1) // 2
    weighted = WeightedWilsonAction(group, lattice, 1.7, np.ones((planes, *lattice)))
    x = plain.manifold.hot(key)
    # Sums of at most 36 terms of order one.
    assert jnp.allclose(weighted.action(x), plain.action(x), rtol=1e-13, atol=1e-13)
    assert jnp.allclose(weighted.gradient(x), plain.gradient(x), rtol=1e-12, atol=1e-13)


@GROUPS
def test_each_weight_belongs_to_its_plaquette(key, group):
    """The derivative by a weight is -beta Re tr U_P / N of the plaquette whose lowest corner is its site."""
    lattice = (2, 3, 2)
    x = tm.LinkField(group, lattice).hot(key)
    value = lambda w: WeightedWilsonAction(group, lattice, 2.0, w).action(x)  # noqa: E731
    weights = np.zeros((3, *lattice))
    weights[1, 1, 2, 0] = 1.0  # plane (0, 2), x = (1, 2, 0)
    dim = 3
    u = [jnp.asarray(x[mu]) for mu in range(dim)]
    at = lambda mu, *site: u[mu][..., *site]  # noqa: E731
    lower = group.multiply(at(0, 1, 2, 0)[..., None], at(2, 0, 2, 0)[..., None])
    upper = group.multiply(at(2, 1, 2, 0)[..., None], at(0, 1, 2, 1)[..., None])
    trace = group.real_trace(group.multiply(lower, group.adjoint(upper)))[0]
    assert jnp.allclose(value(weights), -2.0 * trace, rtol=1e-13)


@GROUPS
def test_gauge_invariance(key, group):
    weights = np.random.default_rng(1).uniform(-1, 1, (1, 3, 4))
    theory = WeightedWilsonAction(group, (3, 4), 2.0, weights)
    x = theory.manifold.hot(key)
    moved = gauge_transform(group, random_gauge_transformation(jax.random.key(1), group, (3, 4)), x)
    assert jnp.allclose(theory.action(moved), theory.action(x), rtol=1e-12, atol=1e-12)


@GROUPS
def test_exact_results_of_equal_weights_are_those_of_the_plain_action(group):
    plain = tm.WilsonAction(group, (4, 4), 1.4)
    weighted = WeightedWilsonAction(group, (4, 4), 2.0, np.full((1, 4, 4), 0.7))
    assert tm.exact.log_z(weighted) == pytest.approx(tm.exact.log_z(plain), rel=1e-13)
    assert tm.exact.plaquette(weighted) == pytest.approx(tm.exact.plaquette(plain), rel=1e-13)
    assert tm.exact.mean_action(weighted) == pytest.approx(tm.exact.mean_action(plain), rel=1e-13)
    # Of the derivative by beta: of 0.7 times the sum of plaquettes. A difference of two numbers of order 100.
    assert tm.exact.action_variance(weighted) == pytest.approx(0.49 * tm.exact.action_variance(plain), rel=1e-11)


@GROUPS
def test_mean_and_variance_are_derivatives_of_log_z(group):
    weights = np.random.default_rng(2).choice([0.0, 0.5, 1.0], (1, 3, 3))
    log_z = lambda beta: tm.exact.log_z(WeightedWilsonAction(group, (3, 3), beta, weights))  # noqa: E731
    theory, h = WeightedWilsonAction(group, (3, 3), 2.0, weights), 1e-3
    # Central differences: an error of h^2 times third and fourth derivatives of order one, rounding 1e-15/h^2.
    assert -tm.exact.mean_action(theory) / 2.0 == pytest.approx((log_z(2 + h) - log_z(2 - h)) / (2 * h), abs=2e-5)
    second = (log_z(2 + h) - 2 * log_z(2.0) + log_z(2 - h)) / h**2
    assert tm.exact.action_variance(theory) == pytest.approx(second, abs=2e-5)


# Sums over charges in double precision, computed apart from this library; beta = 7, one plaquette of another coupling.
@pytest.mark.parametrize(
    ("extent", "defect", "value"), [(16, 0.0, 1.085816371), (16, 3.0, 1.013543674), (8, 0.0, 0.3227123218)]
)
def test_charge_with_a_defect(extent, defect, value):
    theory = WeightedWilsonAction.with_defect(tm.U1(), (extent, extent), 7.0, defect)
    assert tm.exact.charge_squared(theory) == pytest.approx(value, rel=2e-9)


def test_perfect_samples_of_a_defect(key):
    theory = WeightedWilsonAction.with_defect(tm.U1(), (4, 4), 3.0, 0.0, size=(1, 2))
    x = tm.exact.sample(key, theory, 4000)
    action = np.asarray(jax.vmap(theory.action)(x))
    z = (action.mean() - tm.exact.mean_action(theory)) / (action.std() / np.sqrt(len(action)))
    assert abs(z) < 4, z
    charge = np.asarray(jax.vmap(tm.topological_charge)(x)) ** 2
    z = (charge.mean() - tm.exact.charge_squared(theory)) / (charge.std() / np.sqrt(len(charge)))
    assert abs(z) < 4, z


@pytest.mark.slow
def test_heatbath_and_hmc_agree_in_three_dimensions(key):
    """All planes and directions of the staples: an anisotropic action, and one whose weights are all different."""
    weights = np.random.default_rng(3).uniform(0, 1.5, (3, 2, 3, 2))
    theory = WeightedWilsonAction(tm.SU(2), (2, 3, 2), 2.0, weights)
    options = {"chains": 16, "thermalisation": 50, "measure": {"action": theory.action}}
    one = tm.expectation(tm.heatbath(key, theory, 300, **options), "action")
    other = tm.expectation(tm.hmc(key, theory, 300, steps=8, **options), "action")
    assert abs(one.value - other.value) < 4 * np.hypot(one.error, other.error), (one, other)


@pytest.mark.parametrize(
    ("act", "error", "match"),
    [
        (lambda: WeightedWilsonAction(tm.U1(), (4,), 1.0, np.ones((0, 4))), ValueError, "at least two"),
        (lambda: WeightedWilsonAction(tm.U1(), (4, 4), 1.0, np.ones((4, 4))), ValueError, r"expected \(1, 4, 4\)"),
        (lambda: WeightedWilsonAction(tm.U1(), (4, 4), 1.0, np.full((1, 4, 4), np.nan)), ValueError, "finite"),
        (lambda: WeightedWilsonAction.with_defect(tm.U1(), (4, 4), 0.0, 1.0), ValueError, "ratios to it"),
    ],
)
def test_errors_teach(act, error, match):
    with pytest.raises(error, match=match):
        act()
