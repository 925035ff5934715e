"""Dirac operators: algebra, adjoints, gauge covariance, even-odd form, the free spectrum, and what is refused."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import gauge_transform, random_gauge_transformation

from trivmap.fermions import (
    CriticalKappaWarning,
    EvenOddDirac,
    WilsonDirac,
    apply_gamma_five,
    gamma_five,
    gamma_matrices,
)
from trivmap.gauge import link_matrices
from trivmap.groups import SU, U1
from trivmap.lattice import shift

DIRACS = {
    "U1-2d": lambda: WilsonDirac(U1(), (4, 6), 0.22),
    "U1-2d-odd": lambda: WilsonDirac(U1(), (3, 5), 0.22, boundary=(1, -1)),
    "U1-2d-two": lambda: WilsonDirac(U1(), (2, 2), 0.276, boundary=(-1, -1)),
    "U1-2d-twisted": lambda: WilsonDirac(U1(), (4, 4), 0.276, twisted_mass=0.3),
    "SU2-2d": lambda: WilsonDirac(SU(2), (2, 4), 0.2),
    "SU3-2d": lambda: WilsonDirac(SU(3), (4, 2), 0.2),
    "U1-4d": lambda: WilsonDirac(U1(), (2, 2, 2, 2), 0.11),
    "SU3-4d": lambda: WilsonDirac(SU(3), (2, 2, 2, 2), 0.11, twisted_mass=-0.2),
}
EVEN = {name: make for name, make in DIRACS.items() if name != "U1-2d-odd"}
diracs = pytest.mark.parametrize("name", DIRACS)
# A row has some ten to fifty terms of order one: rounding of a few eps, times the entries of a spinor.
CLOSE = {"rtol": 0, "atol": 1e-13}


def links_of(dirac, seed=1):
    return dirac.manifold.reference_sample(jax.random.key(seed))


def plain_apply(dirac, x, psi):
    """The definition with full gamma matrices, and boundary signs on the shifted spinors instead of the links."""
    u, gammas, dim = link_matrices(x), jnp.asarray(gamma_matrices(len(dirac.lattice)), psi.dtype), len(dirac.lattice)
    one = jnp.eye(dirac.spins, dtype=psi.dtype)
    kappa, twist = (complex(0.0 if number is None else number) for number in (dirac.kappa, dirac.twisted_mass))
    total = jnp.zeros_like(psi)
    for mu, (gamma, sign) in enumerate(zip(gammas, dirac.boundary, strict=True)):
        last, first = np.ones(dirac.lattice), np.ones(dirac.lattice)
        np.moveaxis(last, mu, 0)[-1], np.moveaxis(first, mu, 0)[0] = sign, sign
        roll = lambda field, steps, mu=mu: jnp.roll(field, steps, axis=field.ndim - dim + mu)  # noqa: E731
        ahead = jnp.einsum("ij...,sj...->si...", u[mu], roll(psi, -1)) * last.astype(complex)[None, None]
        behind = roll(jnp.einsum("ji...,sj...->si...", u[mu].conj(), psi), 1) * first.astype(complex)[None, None]
        total = total + jnp.einsum("st,t...->s...", one - gamma, ahead) + jnp.einsum("st,t...->s...", one + gamma, behind)
    return psi - kappa * total + 1j * twist * apply_gamma_five(psi)


@pytest.mark.parametrize("dim", [2, 4, 6])
def test_gamma_matrices(dim):
    gammas, five = gamma_matrices(dim), gamma_five(dim)
    one = np.eye(2 ** (dim // 2))
    for (mu, a), (nu, b) in itertools.product(enumerate(gammas), repeat=2):
        assert np.array_equal(a @ b + b @ a, 2 * (mu == nu) * one)
    for gamma in gammas:
        assert np.array_equal(gamma, gamma.conj().T)
        assert np.array_equal(five @ gamma, -gamma @ five)
    # gamma_5 is the product of all, up to a phase: a basis of the right handedness is not what is used anywhere.
    product = np.linalg.multi_dot([*gammas, five])
    assert np.allclose(product, product[0, 0] * one, rtol=0, atol=1e-15)
    assert set(np.unique(np.round(gammas[gammas != 0], 12))) <= {1, -1, 1j, -1j}


@diracs
def test_operator_against_its_definition(key, name):
    dirac = DIRACS[name]()
    x, psi = links_of(dirac), dirac.random_spinor(key)
    assert jnp.allclose(dirac.apply(x, psi), plain_apply(dirac, x, psi), **CLOSE)


@diracs
def test_adjoint_and_gamma_five_hermiticity(key, name):
    dirac = DIRACS[name]()
    x, psi, chi = links_of(dirac), dirac.random_spinor(key), dirac.random_spinor(jax.random.key(7))
    u = dirac.transporters(x)
    # A sum over all components, each of order one.
    assert jnp.allclose(jnp.vdot(chi, dirac.apply(x, psi)), jnp.vdot(dirac.adjoint(x, chi), psi), rtol=0, atol=1e-12)
    assert jnp.allclose(dirac.normal(x, psi), dirac.adjoint(x, dirac.apply(x, psi)), **CLOSE)
    turned = apply_gamma_five(dirac.apply_with(u, apply_gamma_five(psi)))
    if dirac.twisted_mass is None:
        assert jnp.allclose(turned, dirac.adjoint(x, psi), **CLOSE)
    else:
        opposite = WilsonDirac(dirac.group, dirac.lattice, dirac.kappa, dirac.boundary, -dirac.twisted_mass)
        assert jnp.allclose(turned, opposite.adjoint(x, psi), **CLOSE)
        squared = WilsonDirac(dirac.group, dirac.lattice, dirac.kappa, dirac.boundary).normal(x, psi)
        assert jnp.allclose(dirac.normal(x, psi), squared + complex(dirac.twisted_mass) ** 2 * psi, **CLOSE)


@diracs
def test_gauge_covariance(key, name):
    """D[U^Omega] Omega psi = Omega D[U] psi."""
    dirac = DIRACS[name]()
    x, psi = links_of(dirac), dirac.random_spinor(key)
    omega = random_gauge_transformation(jax.random.key(2), dirac.group, dirac.lattice)
    matrices = link_matrices(omega[None])[0]
    rotated = lambda chi: jnp.einsum("ij...,sj...->si...", matrices, chi)  # noqa: E731
    moved = dirac.apply(gauge_transform(dirac.group, omega, x), rotated(psi))
    assert jnp.allclose(moved, rotated(dirac.apply(x, psi)), **CLOSE)


@pytest.mark.parametrize("name", EVEN)
def test_even_odd_form(key, name):
    """Splitting is undone by joining; the two halves of H make up H; the Schur complement has the determinant of D."""
    dirac = EVEN[name]()
    schur = EvenOddDirac(dirac)
    x, psi = links_of(dirac), dirac.random_spinor(key)
    even, odd = schur.split(psi)
    assert jnp.array_equal(schur.join(even, odd), psi)
    parity = jnp.asarray(np.indices(dirac.lattice).sum(axis=0) % 2)
    assert jnp.array_equal(schur.join(even, jnp.zeros_like(odd)), jnp.where((parity == 0)[None, None], psi, 0))

    @functools.partial(jax.jit, static_argnums=2)
    def hops(x, psi, dagger):
        u, (even, odd) = schur.transporters(x), schur.split(psi)
        whole = (dirac.diagonal(psi, dagger) - dirac.apply_with(dirac.transporters(x), psi, dagger)) / complex(dirac.kappa)
        joined = schur.join(schur.hop_to(0, u, odd, dagger), schur.hop_to(1, u, even, dagger))
        return whole, joined, schur.apply_with(u, even if dagger else odd, dagger)

    (whole, joined, a), (whole_dagger, joined_dagger, b) = hops(x, psi, False), hops(x, psi, True)
    # Division by kappa of order 0.2 of what is exact to eps.
    assert jnp.allclose(joined, whole, rtol=0, atol=1e-12)
    assert jnp.allclose(joined_dagger, whole_dagger, rtol=0, atol=1e-12)
    assert jnp.allclose(jnp.vdot(even, a), jnp.vdot(b, odd), rtol=0, atol=1e-12)
    (sign, full), (half_sign, half) = jax.jit(lambda x: tuple(map(jnp.linalg.slogdet, (dirac.dense(x), schur.dense(x)))))(x)
    # log det of some hundred factors, each exact to the condition number (below 100) times eps.
    assert jnp.allclose(half + schur.even_log_det(), full, rtol=0, atol=1e-12)
    assert jnp.allclose(half_sign, sign, rtol=0, atol=1e-11)


@diracs
def test_spinors_as_real_fields(key, name):
    """Both ways, with the norm: sum of squares of the real field, |psi|^2 of the spinor."""
    dirac = DIRACS[name]()
    for operator in (dirac, EvenOddDirac(dirac)) if name in EVEN else (dirac,):
        field = operator.spinor_field
        phi = field.random_tangent(key)
        psi = operator.to_spinor(phi)
        assert field.dimension == 2 * operator.size == 2 * psi.size
        assert jnp.array_equal(operator.from_spinor(psi), phi)
        assert jnp.allclose(jnp.sum(jnp.abs(psi) ** 2), jnp.sum(phi**2), rtol=1e-13)


@pytest.mark.parametrize("lattice", [(4, 6), (3, 4), (2, 4, 2, 4)])
@pytest.mark.parametrize("time", [-1, 1])
def test_free_determinant(lattice, time):
    """det D = prod_p [(1 - 2 kappa sum cos p)^2 + 4 kappa^2 sum sin^2 p]^(spins/2)."""
    dim, kappa = len(lattice), 0.1
    dirac = WilsonDirac(U1(), lattice, kappa, (time, *(1,) * (dim - 1)))
    shifts = [0.5 if sign < 0 else 0.0 for sign in dirac.boundary]
    axes = [2 * np.pi * (np.arange(n) + s) / n for n, s in zip(lattice, shifts, strict=True)]
    p = np.stack(np.meshgrid(*axes, indexing="ij"))
    factors = (1 - 2 * kappa * np.cos(p).sum(0)) ** 2 + 4 * kappa**2 * (np.sin(p) ** 2).sum(0)
    sign, log_det = jnp.linalg.slogdet(dirac.dense(dirac.manifold.cold()))
    assert jnp.allclose(log_det, dirac.spins / 2 * np.log(factors).sum(), rtol=1e-12, atol=1e-13)
    assert jnp.allclose(sign, 1, rtol=0, atol=1e-12)


def test_translations_move_boundary_signs_only(key):
    """The determinant of a translated field is the same although the antiperiodic links stay: a change of variables."""
    dirac = DIRACS["U1-2d-odd"]()
    x = links_of(dirac)
    moved = shift(shift(x, 0, 1, 2), 1, 2, 2)
    before, after = (jnp.linalg.slogdet(dirac.dense(y)).logabsdet for y in (x, moved))
    assert jnp.allclose(before, after, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["U1-2d", "SU3-4d"])
def test_jit_vmap_gradient_and_single_precision(key, name):
    dirac = DIRACS[name]()
    x, psi = links_of(dirac), dirac.random_spinor(key)
    batch = jnp.stack([psi, 2 * psi])
    together = jax.jit(jax.vmap(dirac.apply, in_axes=(None, 0)))(x, batch)
    assert jnp.allclose(together[1], 2 * dirac.apply(x, psi), **CLOSE)
    single = dirac.apply(dirac.manifold.reference_sample(jax.random.key(1), jnp.float32), psi.astype(jnp.complex64))
    assert single.dtype == jnp.complex64
    # |D psi|^2 is linear in kappa of second order: its derivative in kappa at 0 is -2 Re psi^dagger H psi.
    norm = lambda k: jnp.sum(jnp.abs(WilsonDirac(dirac.group, dirac.lattice, k).apply(x, psi)) ** 2)  # noqa: E731
    plain = WilsonDirac(dirac.group, dirac.lattice, 0.1)
    hop = (psi - plain.apply(x, psi)) / 0.1
    assert jnp.allclose(jax.grad(norm)(0.0), -2 * jnp.vdot(psi, hop).real, rtol=1e-11)


def test_bad_input(key):
    with pytest.raises(ValueError, match="expected an even one"):
        WilsonDirac(U1(), (4, 4, 4), 0.1)
    for boundary in ((-1,), (0, 1), (-1, 1, 1), (1j, 1)):
        with pytest.raises(ValueError, match="expected one sign for each of the 2 directions"):
            WilsonDirac(U1(), (4, 4), 0.1, boundary=boundary)
    for kappa in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="kappa"):
            WilsonDirac(U1(), (4, 4), kappa)
    with pytest.raises(TypeError, match="kappa"):
        WilsonDirac(U1(), (4, 4), 0.1 + 0.1j)
    with pytest.raises(ValueError, match="expected even ones"):
        EvenOddDirac(WilsonDirac(U1(), (4, 3), 0.1))
    with pytest.warns(CriticalKappaWarning, match="0.25"):
        WilsonDirac(U1(), (4, 4), 0.25)
    with pytest.warns(CriticalKappaWarning, match="0.125"):
        WilsonDirac(SU(3), (2, 2, 2, 2), -0.13)
    dirac = WilsonDirac(U1(), (4, 4), 0.2)
    x, other = links_of(dirac), WilsonDirac(U1(), (4, 6), 0.2)
    with pytest.raises(ValueError, match="spinor: got shape"):
        dirac.apply(x, other.random_spinor(key))
    with pytest.raises(TypeError, match="expected a complex one"):
        dirac.apply(x, dirac.random_spinor(key).real)
    with pytest.raises(ValueError, match="extents"):
        other.apply(x, other.random_spinor(key))
