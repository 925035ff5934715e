"""Tableaus of the commutator-free schemes: order conditions, embedded errors, checks at construction."""

import numpy as np
import pytest
from solver_problems import SOLVERS, TABLEAUS, problem

from trivmap.solvers import CF4, CommutatorFreeTableau, LowStorageTableau

# Coefficients are published with 13 to 16 digits.
PUBLISHED = 1e-12


def tableau(name):
    return SOLVERS[name].make(problem("scalar").manifold).tableau


@pytest.mark.parametrize("name", TABLEAUS)
def test_euclidean_order_conditions(name):
    """All rooted trees up to the declared order (EES are of order 2 and satisfy b.c^2 = 1/3 as well)."""
    scheme = tableau(name)
    (a, b), c = scheme.butcher, np.array(scheme.c)
    conditions = {
        1: [(b.sum(), 1)],
        2: [(b @ c, 1 / 2)],
        3: [(b @ c**2, 1 / 3), (b @ a @ c, 1 / 6)],
        4: [(b @ c**3, 1 / 4), ((b * c) @ a @ c, 1 / 8), (b @ a @ c**2, 1 / 12), (b @ a @ a @ c, 1 / 24)],
    }
    assert scheme.order == SOLVERS[name].order
    for order in range(1, scheme.order + 1):
        for value, expected in conditions[order]:
            assert abs(value - expected) < PUBLISHED
    np.testing.assert_allclose(a.sum(axis=1), c, rtol=0, atol=PUBLISHED)
    if name.startswith("EES"):
        assert abs(b @ c**2 - 1 / 3) < PUBLISHED
        assert abs(b @ a @ c - 1 / 6) > 0.01


@pytest.mark.parametrize("name", TABLEAUS)
def test_error_weights(name):
    """The embedded error vanishes for polynomials of degree 1 (h^3), with the size of RK4's h/6 (k1 - k2 - k3 + k4)."""
    scheme = tableau(name)
    (a, _), c, d = scheme.butcher, np.array(scheme.c), scheme.error_weights
    assert abs(d.sum()) < 1e-13
    if scheme.stages == 2:
        assert scheme.error_order == 2
        assert abs(d @ c - 1 / 4) < 1e-13
        return
    assert scheme.error_order == 3
    assert abs(d @ c) < 1e-13
    assert abs(d @ c**2 - 1 / 12) < 1e-13
    # Four stages or more leave room for RK4's second elementary weight; EES27's last condition depends on the others.
    if scheme.stages > 3 and name != "EES27":
        assert abs(d @ a @ c - 1 / 24) < 1e-13
    dense = scheme.dense_weights
    assert abs(dense.sum()) < 1e-13
    assert abs(dense @ c - 1 / 2) < 1e-13


def test_cf4_error_is_the_published_embedded_method():
    """CF4 minus its embedded second-order method exp(h (k2 + k3) / 2)."""
    np.testing.assert_allclose(
        CF4().tableau.error_weights, CF4().tableau.butcher[1] - np.array([0, 0.5, 0.5, 0]), rtol=0, atol=1e-14
    )


def test_expanded_forms():
    """Luscher's published exponents, those of EES(2,5), and the closed-form nodes of EES(2,7)."""
    expected = [(1 / 4,), (-17 / 36, 8 / 9), (17 / 36, -8 / 9, 3 / 4)]
    for rows, row in zip(tableau("LuescherW3").exponents, expected, strict=True):
        np.testing.assert_allclose(rows[0], row, rtol=0, atol=1e-14)
    expected = [(1 / 3,), (-7 / 16, 15 / 16), (49 / 240, -7 / 16, 2 / 5)]
    for rows, row in zip(tableau("EES25").exponents, expected, strict=True):
        np.testing.assert_allclose(rows[0], row, rtol=0, atol=1e-14)
    r = np.sqrt(2)
    np.testing.assert_allclose(tableau("EES27").c, [0, (2 - r) / 3, (2 + r) / 6, (4 + r) / 6], rtol=0, atol=1e-14)
    nodes = [0, 0.14965902, 0.37040096, 0.62225576, 0.95828213]
    np.testing.assert_allclose(tableau("LSCFRK4").c, nodes, rtol=0, atol=1e-8)


def test_wrong_tableaus_are_refused():
    with pytest.raises(ValueError, match="nodes and the total"):
        CommutatorFreeTableau("typo", 2, bases=(0, 0), exponents=(((0.5,),), ((0.0, 0.9),)), c=(0.0, 0.5))
    with pytest.raises(ValueError, match="not been computed yet"):
        CommutatorFreeTableau("implicit", 2, bases=(0, 0), exponents=(((0.25, 0.25),), ((0.0, 1.0),)), c=(0.0, 0.5))
    with pytest.raises(ValueError, match="bases"):
        CommutatorFreeTableau("short", 2, bases=(0,), exponents=(((0.5,),),), c=(0.0, 0.5))
    with pytest.raises(ValueError, match="A_1 = 0"):
        LowStorageTableau("start", 1, a=(0.1,), b=(1.0,))
    with pytest.raises(ValueError, match="total"):
        LowStorageTableau("sum", 1, a=(0.0,), b=(0.9,))
