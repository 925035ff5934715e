"""Determinants of Dirac operators by every method, solves, and what is computed from propagators."""

import json
import math
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import rows

from trivmap.fermions import EvenOddDirac, NotConvergedError, WilsonDirac, log_det, solve
from trivmap.groups import SU, U1
from trivmap.observables import (
    ChiralCondensate,
    MesonCorrelators,
    pcac_mass,
    spectral_index,
    stochastic_condensate,
    topological_charge,
)
from trivmap.theories import FermionDeterminant, WilsonAction

ROWS = json.loads((Path(__file__).parent / "reference" / "schwinger.json").read_text())["rows"]


def identify(row):
    p = row["params"]
    return f"{p['kind']}-{p['shape']}-{p['kappa']}-{p['bc']}"


FIXED = {identify(row): row for row in ROWS if row["params"]["kind"] in ("fixed_field", "free_field")}


def field_of(row):
    p = row["params"]
    mu, x0, x1 = np.indices((2, *p["shape"]))
    return jnp.asarray(p.get("amplitude", 0.0) * np.sin(1 + 2 * x0 + 3 * x1 + 5 * mu))


def dirac_of(row):
    p = row["params"]
    return WilsonDirac(U1(), tuple(p["shape"]), p["kappa"], tuple(p["bc"]))


def uniform_field(lattice, charge):
    """Constant plaquettes of a total of 2 pi times the charge."""
    plaquettes = np.full(lattice, 2 * np.pi * charge / math.prod(lattice))
    links = np.zeros((2, *lattice))
    links[1, 1:] = np.cumsum(plaquettes[:-1], axis=0)
    links[0, -1, 1:] = -np.cumsum(plaquettes.sum(axis=0)[:-1])
    return jnp.asarray(links)


# The light quarks of every shape and boundary in `make test`; one compilation each.
@pytest.mark.parametrize("name", rows(FIXED, slow=[name for name in FIXED if "-0.1-" in name or "-0.2-" in name]))
def test_reference_fields(name):
    """Log det, sign, condensate and force by slabs; spectrum, norms and an element of the inverse by the operator itself."""
    row = FIXED[name]
    values, dirac, x = dict(row["values"]), dirac_of(row), field_of(row)
    determinant = FermionDeterminant(dirac, flavours=1)
    assert determinant.method == "slab"

    def all_of(x):
        return determinant.log_det(x), determinant.sign(x), ChiralCondensate(dirac)(x), jax.grad(determinant.log_det)(x)

    logarithm, sign, condensate, gradient = jax.jit(all_of)(x)
    close = lambda value, name: np.allclose(value, values.pop(name), rtol=1e-10, atol=1e-10)  # noqa: E731
    assert close(logarithm, "log_abs_det")
    assert close(condensate, "trace_inverse_per_site")
    assert sign == values.pop("sign_det", 1.0)
    for place, expected in values.pop("grad_log_abs_det", {}).items():
        assert abs(gradient[tuple(map(int, place.split(",")))] - expected) < 1e-10
    if "norm2_D_source" in values:
        matrix, (x0, x1) = dirac.dense(x), np.indices(dirac.lattice)
        spectrum = np.linalg.eigvalsh(matrix.conj().T @ matrix)
        assert close(spectrum[0], "lambda_min_DdagD")
        assert close(spectrum[-1], "lambda_max_DdagD")
        b = np.stack([np.sin(1 + 2 * x0 + 3 * x1 + 5 * spin) for spin in (0, 1)])[:, None].astype(complex)
        inverse = np.linalg.solve(matrix, b.reshape(-1))
        assert close(np.linalg.norm(matrix @ b.reshape(-1)) ** 2, "norm2_D_source")
        assert close(np.linalg.norm(inverse) ** 2, "norm2_Dinv_source")
        element = b.reshape(-1) @ inverse
        assert close([element.real, element.imag], "source_Dinv_source")
    elsewhere = {"gauge_action_beta1": lambda: WilsonAction(U1(), dirac.lattice, 1.0).action(x)}
    elsewhere |= {"topological_charge": lambda: topological_charge(x)}
    for name in set(values) & set(elsewhere):
        assert close(elsewhere[name](), name)
    assert not values, f"nothing checks {set(values)}"


@pytest.mark.parametrize(
    ("lattice", "boundary", "kappa"), [((3, 5), (1, -1), -0.276), ((4, 1), (-1, 1), 0.3), ((24, 4), (-1, 1), 0.26)]
)
def test_slabs_against_the_dense_matrix(lattice, boundary, kappa):
    """Values, forces, derivatives in kappa, on rough fields of any shape; long lattices lose no digits."""
    make = lambda kappa: WilsonDirac(U1(), lattice, kappa, boundary)  # noqa: E731
    x = make(kappa).manifold.reference_sample(jax.random.key(3))
    both = {
        method: jax.jit(jax.value_and_grad(lambda y, k, method=method: log_det(make(k), y, method)[1], argnums=(0, 1)))(
            x, kappa
        )
        for method in ("slab", "dense")
    }
    # The condition number of D (below 1000 here) times eps, for each of up to 200 factors.
    for ours, dense in zip(jax.tree.leaves(both["slab"]), jax.tree.leaves(both["dense"]), strict=True):
        assert jnp.allclose(ours, dense, rtol=0, atol=1e-11)
    phases = [jax.jit(lambda y, method=method: log_det(make(kappa), y, method)[0])(x) for method in ("slab", "dense")]
    assert phases[0] == phases[1]


@pytest.mark.parametrize("kappa", [0.24, 0.45])
def test_sign_of_the_determinant(kappa):
    """One real mode of a field of charge one crosses zero between the two kappas: one flavour has weights of that sign."""
    lattice = (6, 6)
    x = uniform_field(lattice, 1)
    dirac = WilsonDirac(U1(), lattice, kappa)
    expected = 1.0 if kappa < 0.25 else -1.0
    for method in ("slab", "even-odd", "dense"):
        one, two = FermionDeterminant(dirac, 1, method), FermionDeterminant(dirac, 2, method)
        assert one.complex_action
        assert not two.complex_action
        quenched = one.phase_quenched
        sign, weight, logarithm, magnitude, pair = jax.jit(
            lambda x: (one.sign(x), jnp.exp(-one.action(x)), one.log_det(x), quenched.action(x), two.action(x))  # noqa: B023
        )(x)
        assert sign == expected
        assert jnp.allclose(weight.real, expected * jnp.exp(logarithm), rtol=1e-12)
        assert abs(weight.imag) < 1e-14 * abs(weight.real)
        assert magnitude == -logarithm
        assert pair == -2 * logarithm


def test_twisted_mass_and_other_groups(key):
    """Pairs of opposite twisted mass have det(D^dagger D + mu^2); the method is the cheapest that fits."""
    dirac = WilsonDirac(SU(2), (2, 4), 0.2, twisted_mass=0.3)
    pair = FermionDeterminant(dirac)
    x = dirac.manifold.reference_sample(key)
    plain = WilsonDirac(SU(2), (2, 4), 0.2).dense(x)
    squared = jnp.linalg.slogdet(plain.conj().T @ plain + 0.09 * jnp.eye(dirac.size, dtype=plain.dtype)).logabsdet
    assert pair.method == "even-odd"
    assert jnp.allclose(-pair.action(x), squared, rtol=0, atol=1e-12)
    assert pair.sign(x) == 1
    gradient = jax.jit(lambda y: pair.gradient(y))(x)
    dense = jax.jit(lambda y: FermionDeterminant(dirac, method="dense").gradient(y))(x)
    assert jnp.allclose(gradient, dense, rtol=0, atol=1e-12)
    assert FermionDeterminant(WilsonDirac(SU(2), (3, 3), 0.1)).method == "dense"


def test_single_precision_fields_have_exact_determinants(key):
    dirac = WilsonDirac(U1(), (4, 4), 0.24)
    x = dirac.manifold.reference_sample(key, jnp.float32)
    logarithm, gradient = jax.jit(jax.value_and_grad(lambda y: log_det(dirac, y)[1]))(x)
    assert logarithm == jax.jit(jax.value_and_grad(lambda y: log_det(dirac, y)[1]))(x.astype(float))[0]
    assert gradient.dtype == jnp.float32


SOLVES = {
    "U1": lambda: WilsonDirac(U1(), (4, 4), 0.24),
    "odd": lambda: WilsonDirac(U1(), (3, 5), 0.22),
    "SU2": lambda: WilsonDirac(SU(2), (2, 4), 0.2, twisted_mass=0.1),
}


@pytest.mark.parametrize("name", SOLVES)
def test_solve(key, name):
    """The true residual is what is asked for, of D and its adjoint, in either precision, of several sources, also of zero."""
    dirac = SOLVES[name]()
    x = dirac.manifold.reference_sample(key)
    sources = jnp.stack(
        [dirac.random_spinor(jax.random.key(1)), dirac.point_source((1, 2), 1), jnp.zeros(dirac.spinor_shape, complex)]
    )
    for dagger, mixed in ((False, False), (True, False), (False, True)):
        found = jax.jit(jax.vmap(lambda b: solve(dirac, x, b, dagger=dagger, mixed=mixed, tolerance=1e-11)))(sources)  # noqa: B023
        apply = dirac.adjoint if dagger else dirac.apply
        missed = jnp.sqrt(jnp.sum(jnp.abs(jax.vmap(lambda p: apply(x, p))(found.spinor) - sources) ** 2, axis=(1, 2, 3, 4)))  # noqa: B023
        size = jnp.sqrt(jnp.sum(jnp.abs(sources) ** 2, axis=(1, 2, 3, 4)))
        assert jnp.all(missed <= 1e-11 * size)
        assert jnp.all(found.residual <= 1e-11)
        assert found.iterations[2] == 0
        assert jnp.all(found.iterations[:2] <= 2 * dirac.size)


def test_gradients_of_a_solve(key):
    """By links, kappa and source, against differentiation of a dense solve."""
    make = lambda kappa: WilsonDirac(U1(), (2, 4), kappa)  # noqa: E731
    dirac = make(0.24)
    x, b, c = (
        dirac.manifold.reference_sample(key),
        dirac.random_spinor(jax.random.key(1)),
        dirac.random_spinor(jax.random.key(2)),
    )
    iterative = lambda x, k, b: jnp.vdot(c, solve(make(k), x, b, tolerance=1e-13).spinor).real  # noqa: E731
    dense = lambda x, k, b: jnp.vdot(c.reshape(-1), jnp.linalg.solve(make(k).dense(x), b.reshape(-1))).real  # noqa: E731
    ours, expected = (jax.jit(jax.grad(f, argnums=(0, 1, 2)))(x, 0.24, b) for f in (iterative, dense))
    for a, e in zip(ours, expected, strict=True):
        # Two solves to 1e-13 with a condition number below 100.
        assert jnp.allclose(a, e, rtol=0, atol=1e-10)


def test_unconverged_solves_are_refused(key):
    dirac = WilsonDirac(U1(), (4, 4), 0.24)
    x, b = dirac.manifold.reference_sample(key), dirac.random_spinor(jax.random.key(1))
    wanted = r"relative residual of .* after 3 iterations at kappa = 0.24, expected 1e-10"
    with pytest.raises(NotConvergedError, match=wanted):
        solve(dirac, x, b, max_iterations=3)
    with pytest.raises(jax.errors.JaxRuntimeError, match=wanted):
        jax.block_until_ready(jax.jit(lambda b: solve(dirac, x, b, max_iterations=3).spinor)(b))
    with pytest.raises(ValueError, match="at least 1e-6"):
        solve(dirac, x.astype(jnp.float32), b.astype(jnp.complex64))
    with pytest.raises(ValueError, match="spinor: got shape"):
        solve(dirac, x, b[:, :, :2])


def test_bad_methods():
    twisted = WilsonDirac(U1(), (4, 4), 0.2, twisted_mass=0.1)
    for dirac, method, reason in (
        (WilsonDirac(SU(2), (4, 4), 0.2), "slab", r"needs U\(1\) in two dimensions, got SU\(2\)"),
        (WilsonDirac(U1(), (2, 2, 2, 2), 0.1), "slab", "in two dimensions"),
        (WilsonDirac(U1(), (4, 4), 0.5), "slab", r"\|kappa\| < 1/2, got 0.5"),
        (twisted, "slab", "without twisted mass"),
        (WilsonDirac(U1(), (4, 3), 0.2), "even-odd", "even extents"),
        (twisted, "fast", "expected 'auto' or one of 'slab', 'even-odd', 'dense'"),
    ):
        with pytest.raises(ValueError, match=reason):
            FermionDeterminant(dirac, method=method)
    with pytest.raises(ValueError, match="expected an even number"):
        FermionDeterminant(twisted, flavours=1)
    with pytest.raises(ValueError, match="flavours"):
        FermionDeterminant(WilsonDirac(U1(), (4, 4), 0.2), flavours=0)
    for observable in (ChiralCondensate, MesonCorrelators):
        with pytest.raises(ValueError, match="twisted mass"):
            observable(twisted)
    with pytest.raises(ValueError, match="expected 'point' or 'wall'"):
        MesonCorrelators(WilsonDirac(U1(), (4, 4), 0.2), source="box")


def test_condensate(key):
    """Exact and stochastic against the trace of the inverse, four errors of the estimate allowed."""
    dirac = WilsonDirac(SU(2), (2, 4), 0.2)
    x = dirac.manifold.reference_sample(key)
    expected = jnp.trace(jnp.linalg.inv(dirac.dense(x))).real / 8
    assert jnp.allclose(eqx.filter_jit(ChiralCondensate(dirac))(x), expected, rtol=1e-12)
    value, error = jax.jit(lambda k: stochastic_condensate(k, dirac, x, sources=64))(jax.random.key(5))
    assert 0 < error < 0.1
    assert abs(value - expected) < 4 * error


@pytest.mark.parametrize("source", ["point", "wall"])
def test_free_quark_mass(source):
    """One spatial site leaves zero momentum, whose pole is at m = log(1 + m_0): the PCAC mass is sinh(2 m)/2 at every t."""
    dirac = WilsonDirac(U1(), (8, 1), 0.2)
    correlators = MesonCorrelators(dirac, source=source)
    values = eqx.filter_jit(correlators)(dirac.manifold.cold())
    mass = math.log(1 + 1 / (2 * 0.2) - 2)
    for t in (2, 3, 5):
        # Solves to 1e-10, and the correlator has fallen by a factor of 100.
        assert abs(pcac_mass(correlators, t).function(values) - math.sinh(2 * mass) / 2) < 1e-7
    assert jnp.allclose(values[0, 1:], values[0, :0:-1], rtol=1e-7)


def test_meson_correlators_against_the_dense_inverse(key):
    """With gamma_5 S(0, x) gamma_5 taken from the inverse itself instead of S(x, 0)^dagger, along space."""
    dirac = WilsonDirac(U1(), (2, 4), 0.22)
    x = dirac.manifold.reference_sample(key)
    inverse = jnp.linalg.inv(dirac.dense(x)).reshape(2, 2, 4, 2, 2, 4)
    five = jnp.asarray([1.0, -1.0], complex)
    there, back = inverse[:, :, :, :, 0, 0], inverse[:, 0, 0]  # S(x, 0): s x0 x1 s', S(0, x): s s' x0 x1
    pion = jnp.einsum("s,sxyt,t,tsxy->y", five, there, five, back).real
    found = eqx.filter_jit(MesonCorrelators(dirac, axis=1))(x)
    assert jnp.allclose(found[0], pion, rtol=0, atol=1e-8)


@pytest.mark.parametrize("charge", [-2, 0, 1])
def test_index_is_the_charge_of_smooth_fields(charge):
    x = uniform_field((6, 6), charge)
    assert topological_charge(x) == charge
    assert spectral_index(WilsonDirac(U1(), (6, 6), 0.5), x) == charge


def test_derivative_of_a_vmapped_coupling():
    """One operator per kappa, by vmap over the constructor: method and warning do not look at traced numbers."""
    x = uniform_field((4, 4), 1)
    kappas = jnp.asarray([0.1, 0.2])
    together = eqx.filter_vmap(lambda k: FermionDeterminant(WilsonDirac(U1(), (4, 4), k)).action(x))(kappas)
    alone = [FermionDeterminant(WilsonDirac(U1(), (4, 4), float(k))).action(x) for k in kappas]
    assert jnp.allclose(together, jnp.stack(alone), rtol=1e-13)
    assert jnp.allclose(EvenOddDirac(WilsonDirac(U1(), (4, 4), 0.1)).even_log_det(), 0)
