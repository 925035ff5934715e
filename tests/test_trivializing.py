"""Trivializing potentials: known coefficients, the defining equation on random links, the power of beta of the error."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trivmap.fields import GradientField, LoopPotential, trivializing_potential
from trivmap.flows import ContinuousFlow
from trivmap.gauge import LoopAlgebra
from trivmap.groups import SU, U1
from trivmap.manifolds import LinkField
from trivmap.theories import Phi4Action, WilsonAction

PLAQUETTE = (1, 2, -1, -2)
OPPOSITE = (2, 1, -2, -1)
# The plaquette on the other side of the first link, in the same sense along it.
NEIGHBOUR = (1, -2, -1, 2)


def _theory(n, lattice, beta=1.0):
    return WilsonAction(SU(n) if n > 1 else U1(), lattice, beta)


def _coefficient(potential, k, *paths):
    """Coefficient of t^k for the term with the given loops, of the sum over sites and distinct images of Re prod tr."""
    algebra = potential.family.algebra
    term = algebra.canonical(algebra.term(*paths))
    row = potential.terms.index(term)
    images = len(potential.family.program.images[row])
    planes = algebra.dim * (algebra.dim - 1) // 2
    return -potential.coefficients[row, k] * planes / (images * algebra.n ** len(term))


@pytest.mark.parametrize("dim", [2, 3, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("n", [3, 4, 5])
def test_next_to_leading_coefficients_of_sun(n, dim):
    beta = 1.7
    potential = trivializing_potential(_theory(n, (3,) * dim, beta))
    casimir = (n * n - 1) / (2 * n)
    k = (beta / (2 * n)) ** 2 / (4 * casimir)
    alpha, alpha_same = 8 * casimir - 1 / n, 2 * casimir - 1 / n
    a, b, d = 8 * casimir * k / (alpha**2 - 1), -(1 + alpha / n) * k / (alpha**2 - 1), k / (n * (8 * casimir + 1 / n))
    c = -(k - d) / (6 * casimir)
    a_same, b_same = 2 * casimir * k / (alpha_same**2 - 1), -(1 + alpha_same / n) * k / (alpha_same**2 - 1)
    d_same = k / (n * (2 * casimir + 1 / n))
    if n == 3:
        known = [beta**2 / 192 * x for x in (12 / 119, -5 / 119, -4 / 33, 1 / 33, 3 / 5, -2 / 5, 1 / 9)]
        np.testing.assert_allclose([a, b, c, d, a_same, b_same, d_same], known, rtol=1e-14)
    # The page sums over ordered pairs: an unordered pair has twice the coefficient.
    sides = [(PLAQUETTE, NEIGHBOUR)] if dim == 2 else [(PLAQUETTE, NEIGHBOUR), (PLAQUETTE, (1, 3, -1, -3))]
    for p, q in sides:
        reverse = tuple(-step for step in reversed(q))
        expected = {(p + q,): 2 * a, (p, q): 2 * b, (p[1:] + reverse[:-1],): 2 * c, (p, reverse): 2 * d}
        for loops, value in expected.items():
            assert abs(_coefficient(potential, 1, *loops) - value) < 1e-14 * beta**2, loops
    expected = {(PLAQUETTE * 2,): a_same, (PLAQUETTE, PLAQUETTE): b_same, (PLAQUETTE, OPPOSITE): d_same}
    for loops, value in expected.items():
        assert abs(_coefficient(potential, 1, *loops) - value) < 1e-14 * beta**2, loops
    assert len(potential.terms) == (8 if dim == 2 else 12)
    # S~^(0) = S/(4 C_F).
    assert abs(_coefficient(potential, 0, PLAQUETTE) + beta / n / (4 * casimir)) < 1e-14


def test_next_to_leading_coefficients_of_u1():
    # One link in common, charges of equal or opposite sign: L_0 cos(p + q) = 10 cos(p + q), 6 cos(p - q), 16 cos(2 p), and
    # -(dS, dS~^(0)) = (beta^2/4) sum over ordered pairs with a common link of n_p n_q <...>, worked out by hand.
    potential = trivializing_potential(_theory(1, (3, 3)))
    assert abs(_coefficient(potential, 0, PLAQUETTE) + 1 / 4) < 1e-15
    assert abs(_coefficient(potential, 1, PLAQUETTE, PLAQUETTE) - 1 / 32) < 1e-15
    assert abs(_coefficient(potential, 1, PLAQUETTE, NEIGHBOUR) - 1 / 40) < 1e-15
    assert abs(_coefficient(potential, 1, (1, 1, 2, -1, -1, -2)) + 1 / 24) < 1e-15


def test_next_to_leading_coefficients_of_su2():
    # beta = 1: k = (1/4)^2/3. tr U_p^2 = (tr U_p)^2 - 2, so that only the sum of both coefficients is defined: k/2.
    potential = trivializing_potential(_theory(2, (3, 3)))
    assert len(potential.terms) == 5
    assert abs(_coefficient(potential, 1, PLAQUETTE, PLAQUETTE) - 1 / 96) < 1e-15


# Group, lattice, order, and the constants L_0 S~^(1) + (dS, dS~^(0)) of 3x3 lattices at beta = 1.
CASES = {
    "u1": (1, (3, 3), 1, None),
    "su2": (2, (3, 3), 1, 2.25),
    "su3": (3, (3, 3), 1, 0.5),
    "su4": (4, (3, 3), 1, 0.28125),
    "su3_3d": (3, (3, 3, 3), 1, None),
    "u1_4d": (1, (3, 3, 3, 3), 1, None),
    "u1_order_2": (1, (4, 4), 2, None),
    "su2_order_2": (2, (4, 4), 2, None),
    "su3_order_2": (3, (4, 4), 2, None),
    "u1_order_3": (1, (5, 5), 3, None),
    "su2_3d_order_2": (2, (4, 4, 4), 2, None),
}
SLOW = {"su2_3d_order_2", "su2_order_2", "u1_order_3", "u1_4d"}


@eqx.filter_jit
def _residuals(potential, theory, x):
    """L_0 S~^(k) + (dS, dS~^(k-1)), and L_0 S~^(0) - S for k = 0."""
    found, before = [], None
    for k in range(potential.coefficients.shape[1]):
        part = LoopPotential(
            theory.manifold, potential.terms, coefficients=potential.coefficients[:, k : k + 1], time="constant"
        )
        gradient, laplacian = part.gradient_and_laplacian(jnp.asarray(0.0), x)
        source = -theory.action(x) if before is None else theory.manifold.inner(theory.gradient(x), before)
        found.append(source - laplacian)
        before = gradient
    return jnp.stack(found)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CASES])
def test_the_defining_equation_holds_up_to_a_constant(name):
    n, lattice, order, constant = CASES[name]
    theory = _theory(n, lattice)
    potential = trivializing_potential(theory, order)
    assert potential.coefficients.shape[1] == order + 1
    samples = [theory.manifold.reference_sample(jax.random.key(i)) for i in range(3)]
    residuals = np.array([_residuals(potential, theory, x) for x in samples])
    assert np.max(np.ptp(residuals, axis=0)) < 1e-9
    assert np.max(np.abs(residuals[:, 0])) < 1e-9
    if constant is not None:
        assert np.max(np.abs(residuals[:, 1] - constant)) < 1e-9


@pytest.mark.parametrize(("n", "lattice", "order"), [(1, (3, 3), 0), (1, (3, 3), 1), (2, (3, 3), 1), (1, (4, 4), 2)])
def test_the_spread_of_the_log_weight_falls_with_the_declared_power_of_beta(n, lattice, order):
    betas = (0.2, 0.4)
    z = jax.vmap(_theory(n, lattice).manifold.reference_sample)(jax.random.split(jax.random.key(0), 32))

    @jax.jit
    def spread(beta):
        theory = WilsonAction(SU(n) if n > 1 else U1(), lattice, beta)
        # Integration errors are of order steps^-4 and of a high power of beta themselves.
        flow = ContinuousFlow(GradientField(trivializing_potential(theory, order)), steps=6)
        x, log_det = jax.vmap(flow.forward_and_log_det)(z)
        return jnp.std(jax.vmap(theory.action)(x) - log_det)

    ratio = spread(betas[1]) / spread(betas[0])
    # The first order left out is beta^(order + 2); the next one changes the power by O(beta), here up to a fifth.
    power = np.log2(float(ratio))
    assert abs(power - (order + 2)) < 0.3


def test_model_a_and_b_start_from_the_trivializing_potential():
    theory = _theory(3, (4, 4), 1.3)
    x = theory.manifold.reference_sample(jax.random.key(1))
    first, second = trivializing_potential(theory, 1), trivializing_potential(theory, 2)
    model_a, model_b = LoopPotential.model_a(theory), LoopPotential.model_b(theory)
    assert model_a.coefficients.shape == (8, 2)
    assert model_b.coefficients.shape == (42, 10)
    assert model_b.coefficients.size == 420
    for t in (0.0, 0.37, 1.0):
        time = jnp.asarray(t)
        assert abs(model_a(time, x) - first(time, x)) < 1e-12
        # Quadratic in t, one term of the 43 left out.
        kept = [second.terms.index(term) for term in model_b.terms]
        reference = second.coefficients[jnp.asarray(kept)] @ second.time(time)
        assert jnp.max(jnp.abs(model_b.coefficients @ model_b.time(time) - reference)) < 1e-14
    assert model_b.terms[0] == LoopAlgebra(3, 2).canonical(LoopAlgebra(3, 2).term(PLAQUETTE))


def test_precision_of_the_coefficients():
    theory = _theory(2, (3, 3))
    assert trivializing_potential(theory, dtype=jnp.float32).coefficients.dtype == jnp.float32
    assert LoopPotential.model_a(theory, dtype=jnp.float32).coefficients.dtype == jnp.float32


def test_errors_teach():
    with pytest.raises(TypeError, match="Phi4Action"):
        trivializing_potential(Phi4Action((4, 4), -4.0, 8.0))
    with pytest.raises(ValueError, match="order -1"):
        trivializing_potential(_theory(3, (4, 4)), -1)
    with pytest.raises(ValueError, match="coincide on the lattice"):
        trivializing_potential(_theory(3, (3, 3)), 2)
    with pytest.raises(ValueError, match="time dependence"):
        LoopPotential(LinkField(SU(3), (4, 4)), time="quadratic")
    with pytest.raises(ValueError, match="an integer of at least 2"):
        LoopPotential(LinkField(SU(3), (4, 4)), time="spline", times=1)
    with pytest.raises(ValueError, match=r"expected \(terms, times\)"):
        LoopPotential(LinkField(SU(3), (4, 4)), coefficients=jnp.zeros((2, 4)))
