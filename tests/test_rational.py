"""Rational functions of D D^dagger: approximations, shifted solves, one flavour by pseudofermions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trivmap import _linalg as linalg
from trivmap.fermions import EvenOddDirac, NotConvergedError, RationalPower, WilsonDirac, multi_shift, spectral_interval
from trivmap.groups import SU, U1
from trivmap.theories import FermionDeterminant, RationalPseudofermionAction


# Zolotarev's errors by an independent evaluation of elliptic functions; rounding of twenty terms.
@pytest.mark.parametrize(("poles", "lower", "error"), [(6, 1e-3, 7.007e-6), (8, 1e-4, 3.320e-6), (12, 1e-5, 1.262e-7)])
def test_zolotarev(poles, lower, error):
    power = RationalPower(-0.5, (2 * lower, 2.0), poles)
    assert abs(power.error / error - 1) < 1e-3
    x = np.geomspace(2 * lower, 2.0, 7919)
    relative = np.asarray(power(x)) * np.sqrt(x) - 1
    assert np.max(np.abs(relative)) <= power.error * (1 + 1e-6)
    # Best possible: the error takes its largest modulus 2 n + 2 times with alternating signs.
    signs = np.sign(relative[np.abs(relative) > 0.99 * power.error])
    assert np.count_nonzero(np.diff(signs)) == 2 * poles + 1
    assert min(power.residues) > 0
    assert min(power.shifts) > 0


# Residues of both signs lose more digits the closer the function is to a polynomial.
@pytest.mark.parametrize(("exponent", "least"), [(0.25, 1e-8), (-0.25, 1e-8), (-0.125, 1e-8), (1 / 16, 1e-8), (0.5, 1e-6)])
def test_other_powers(exponent, least):
    power = RationalPower(exponent, (1e-4, 3.0), 10)
    x = np.geomspace(1e-4, 3.0, 7919)
    assert np.max(np.abs(np.asarray(power(x)) / x**exponent - 1)) <= power.error * (1 + 1e-3)
    assert power.error < 1e-4
    assert min(power.shifts) > 0
    best = RationalPower(exponent, (1e-4, 3.0))
    assert best.error < least
    assert best.error <= power.error


def test_number_of_poles_by_the_target():
    found = [RationalPower(-0.5, (1e-3, 4.0), target=target) for target in (1e-4, 1e-8, 1e-12)]
    assert [power.poles for power in found] == sorted(power.poles for power in found)
    assert all(power.error <= target for power, target in zip(found, (1e-4, 1e-8, 1e-12), strict=True))
    assert RationalPower(-0.5, (1e-3, 4.0), found[1].poles - 1).error > 1e-8


def test_refused_powers():
    for exponent, interval, message in (
        (-0.5, (0.0, 1.0), "lower end"),
        (-0.5, (2.0, 1.0), "lower < upper"),
        (1.0, (0.1, 1.0), "between -1 and 1"),
        (0.0, (0.1, 1.0), "between -1 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            RationalPower(exponent, interval)


@pytest.mark.parametrize("group", [U1(), pytest.param(SU(2), marks=pytest.mark.slow)])
def test_shifted_solves(key, group):
    """All residuals, from one Krylov space; the smallest shift may stand anywhere."""
    dirac = EvenOddDirac(WilsonDirac(group, (4, 4), 0.24))
    u = dirac.transporters(dirac.dirac.manifold.reference_sample(key))
    apply = lambda psi: dirac.apply_with(u, dirac.apply_with(u, psi, dagger=True))  # noqa: E731
    b, shifts = dirac.random_spinor(jax.random.key(1)), jnp.array([0.3, 0.0, 5.0, 1e-3])
    x, residual, iterations = jax.jit(lambda b: multi_shift(apply, b, shifts, 1e-10, 500))(b)
    for solution, shift in zip(x, shifts, strict=True):
        left = b - apply(solution) - shift.astype(complex) * solution
        assert jnp.linalg.norm(left) < 1e-10 * jnp.linalg.norm(b)
    assert residual < 1e-10
    # The space of one solve: no more iterations than rows of the matrix, and a bit for rounding.
    assert 5 < int(iterations) < dirac.size + 10


def test_spectral_interval(key):
    """Holds all eigenvalues, and not much more."""
    for dirac in (WilsonDirac(U1(), (4, 4), 0.24), EvenOddDirac(WilsonDirac(SU(2), (2, 4), 0.2))):
        x = (dirac.dirac if isinstance(dirac, EvenOddDirac) else dirac).manifold.reference_sample(key)
        eigenvalues = np.linalg.svd(np.asarray(dirac.dense(x)), compute_uv=False) ** 2
        lower, upper = spectral_interval(jax.random.key(1), dirac, x)
        # Ritz values of a whole space, with rounding.
        assert 0.99 * eigenvalues.min() < lower <= eigenvalues.min() * (1 + 1e-8)
        assert eigenvalues.max() * (1 - 1e-8) <= upper < 1.01 * eigenvalues.max()
        few = spectral_interval(jax.random.key(1), dirac, x, steps=6)
        assert few[0] <= eigenvalues.min() * 1.5
    free = WilsonDirac(U1(), (4, 4), 0.2)
    lower, upper = spectral_interval(key, free, free.manifold.cold())  # few different eigenvalues
    assert 0.0 < lower < upper <= (1 + 4 * 0.2) ** 2 + 1e-8


def make(poles=None, lattice=(2, 4)):
    return RationalPseudofermionAction(WilsonDirac(U1(), lattice, 0.24), (1e-3, 4.0), poles)


def equilibrium(theory):
    draw = jax.jit(lambda k, y: theory.refresh(k, y))
    return draw(jax.random.key(3), theory.manifold.generic_sample(jax.random.key(4)))


@pytest.mark.parametrize("poles", [3, pytest.param(None, marks=pytest.mark.slow)])
def test_action_gradient_and_draw(key, poles):
    """R by eigenvectors of the dense matrix; |C phi|^2 = S of a draw is |eta|^2."""
    theory = make(poles)
    x = equilibrium(theory)

    def dense(y):
        d = theory.operator.dense(y["links"])
        matrix = d @ d.conj().T
        phi = theory.operator.to_spinor(y["phi"]).reshape(-1)
        total = theory.power.constant * jnp.sum(jnp.abs(phi) ** 2)
        for r, s in zip(theory.power.residues, theory.power.shifts, strict=True):
            total += r * jnp.sum(phi.conj() * (linalg.inverse(matrix + s * jnp.eye(len(d), dtype=complex)) @ phi)).real
        return total

    gradient = theory.manifold.gradient
    both = lambda y: (theory.action(y), theory.gradient(y), dense(y), gradient(dense)(y))  # noqa: E731
    value, force, exact, by_dense = jax.jit(both)(x)
    # As for two flavours: residuals of 1e-10 and 1e-7 times condition numbers below 1e3.
    assert abs(value / exact - 1) < 1e-11
    for a, b in zip(jax.tree.leaves(force), jax.tree.leaves(by_dense), strict=True):
        assert jnp.allclose(a, b, rtol=0, atol=1e-5)
    actions = jax.jit(jax.vmap(lambda k: theory.action(theory.refresh(k, x))))(jax.random.split(key, 20))
    norms = jax.vmap(lambda k: jnp.sum(jnp.abs(theory.operator.random_spinor(k)) ** 2))(jax.random.split(key, 20))
    assert jnp.allclose(actions, norms, rtol=1e-8)


def test_error_of_the_approximation():
    """log |det D| + log det R, bounded by rows times the error of R, and far below 1e-8 by default."""
    x = make().manifold.generic_sample(jax.random.key(4))
    for poles in (2, 4, None):
        theory = make(poles)
        exact = FermionDeterminant(theory.dirac, 1).log_det(x["links"])
        d = theory.operator.dense(x["links"])
        eigenvalues = jnp.linalg.eigvalsh(d @ d.conj().T)
        correction = theory.log_correction(x)
        assert abs(correction - exact - jnp.sum(jnp.log(theory.power(eigenvalues)))) < 1e-11
        assert abs(correction) <= theory.error * 1.01 + 1e-12
    assert make().error < 1e-9
    assert make(2).error > 1e-2


def test_refused_theories(key):
    with pytest.raises(ValueError, match="twisted mass"):
        RationalPseudofermionAction(WilsonDirac(U1(), (4, 4), 0.2, twisted_mass=0.1), (0.1, 4.0))
    narrow = RationalPseudofermionAction(WilsonDirac(U1(), (4, 4), 0.24), (0.5, 1.0))
    x = narrow.manifold.generic_sample(key)
    with pytest.raises(ValueError, match="holds the spectrum"):
        narrow.check_spectrum(key, x)
    RationalPseudofermionAction(WilsonDirac(U1(), (4, 4), 0.24), (1e-6, 4.0)).check_spectrum(key, x)
    short = RationalPseudofermionAction(WilsonDirac(U1(), (4, 4), 0.24), (1e-3, 4.0), max_iterations=2)
    with pytest.raises(NotConvergedError, match="kappa"):
        short.action(x)
