import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import gauge_transform, random_gauge_transformation

from trivmap.groups import SU, U1
from trivmap.lattice import reflect, rotate, translate
from trivmap.manifolds import LinkField
from trivmap.observables import (
    DerivedObservable,
    binder_cumulant,
    clover_charge,
    connected_susceptibility,
    ising_energy,
    link_group,
    magnetisation,
    moment,
    plaquette,
    pole_mass,
    polyakov_correlator,
    polyakov_lines,
    polyakov_loop,
    second_moment_mass,
    susceptibility,
    topological_charge,
    two_point,
    wilson_loop,
)
from trivmap.theories import FreeScalarAction, Phi4Action, WilsonAction

LINKS = {
    "U1-2d": LinkField(U1(), (3, 4)),
    "SU2-3d": LinkField(SU(2), (3, 2, 2)),
    "SU3-2d": LinkField(SU(3), (3, 4)),
    "SU2-4d": LinkField(SU(2), (2, 3, 2, 3)),
}
links = pytest.mark.parametrize("name", LINKS)


def all_observables(x):
    """Everything that is defined for a link field and invariant under translations and gauge transformations."""
    values = {
        "plaquette": plaquette(x),
        "loop 1x2": wilson_loop(x, 1, 2),
        "loop 1x2 in a plane": wilson_loop(x, 1, 2, (1, 0)),
        "loop 2x2": wilson_loop(x, 2, 2),
        "polyakov": polyakov_loop(x),
        "polyakov, other axis": polyakov_loop(x, 1),
        "correlator": polyakov_correlator(x, 1),
    }
    if x.shape[0] == 4:
        values["clover"] = clover_charge(x)
    if not jnp.iscomplexobj(x):
        values["charge"] = topological_charge(x)
    return values


def assert_close(actual, expected):
    for name in expected:
        assert jnp.allclose(actual[name], expected[name], rtol=0, atol=1e-12), name


@links
def test_gauge_and_translation_invariance(key, name):
    manifold = LINKS[name]
    group, measure = manifold.group, jax.jit(all_observables)
    x = manifold.reference_sample(key)
    expected = measure(x)
    omega = random_gauge_transformation(jax.random.key(1), group, manifold.lattice)
    assert_close(measure(gauge_transform(group, omega, x)), expected)
    assert_close(measure(translate(x, (1, 2, 0, 1)[: len(manifold.lattice)])), expected)


@links
def test_reflection_and_charge_conjugation(key, name):
    manifold = LINKS[name]
    measure = jax.jit(all_observables)
    x = manifold.reference_sample(key)
    expected = dict(measure(x))
    conjugate = x.conj() if jnp.iscomplexobj(x) else -x
    reflected = reflect(x, 1, dim=x.shape[0], adjoint=manifold.group.adjoint)
    charges = {k: v for k, v in expected.items() if k in ("clover", "charge")}
    # Charges are odd under parity; the U(1) charge is odd under charge conjugation too, the clover charge even.
    assert_close(measure(reflected), {k: -v for k, v in charges.items()})
    flipped = {k: (-v if k == "charge" else jnp.conj(v)) for k, v in expected.items()}
    assert_close(measure(conjugate), flipped)
    even = {k: v for k, v in expected.items() if k.startswith(("plaq", "loop"))}
    assert_close(measure(reflected), even)
    if charges:
        assert all(abs(v) > 1e-3 for v in charges.values()) or name == "U1-2d"


@links
def test_rotation_exchanges_axes(key, name):
    manifold = LINKS[name]
    x = manifold.reference_sample(key)
    turned = rotate(x, (0, 1), dim=x.shape[0], adjoint=manifold.group.adjoint)
    assert jnp.allclose(wilson_loop(turned, 1, 2, (0, 1)), wilson_loop(x, 1, 2, (1, 0)), atol=1e-13)
    assert jnp.allclose(wilson_loop(turned, 1, 2), wilson_loop(x, 1, 2), atol=1e-13)
    assert jnp.allclose(jnp.abs(polyakov_loop(turned, 1)), jnp.abs(polyakov_loop(x, 0)), atol=1e-13)


@links
def test_plaquette_is_the_action_density(key, name):
    manifold = LINKS[name]
    theory = WilsonAction(manifold.group, manifold.lattice, beta=1.0)
    x = manifold.reference_sample(key)
    dim, volume = len(manifold.lattice), math.prod(manifold.lattice)
    planes = dim * (dim - 1) // 2
    assert jnp.allclose(-theory.action(x) / (planes * volume), plaquette(x), atol=1e-14)
    by_plane = [plaquette(x, (mu, nu)) for mu in range(dim) for nu in range(mu + 1, dim)]
    assert jnp.allclose(sum(by_plane) / planes, plaquette(x), atol=1e-14)


@links
def test_loops_of_pure_gauge_are_one(name):
    manifold = LINKS[name]
    omega = random_gauge_transformation(jax.random.key(3), manifold.group, manifold.lattice)
    unit = jax.vmap(lambda _: manifold.group.identity(manifold.lattice))(jnp.arange(len(manifold.lattice)))
    values = all_observables(gauge_transform(manifold.group, omega, unit))
    assert_close(values, {k: 0.0 if k in ("clover", "charge") else 1.0 for k in values})


def test_polyakov_lines_transform_under_the_centre(key):
    """One time slice multiplied by z: lines along time pick up z, everything else is unchanged."""
    z = np.exp(2j * np.pi / 3)
    x = LinkField(SU(3), (5, 3)).reference_sample(key)
    moved = x.at[0, :, :, 2].multiply(z)
    assert jnp.allclose(polyakov_loop(moved), z * polyakov_loop(x), atol=1e-14)
    assert jnp.allclose(polyakov_loop(moved, 1), polyakov_loop(x, 1), atol=1e-14)
    assert jnp.allclose(plaquette(moved), plaquette(x), atol=1e-14)


def test_polyakov_lines_are_ordered_products(key):
    x = LinkField(SU(2), (5, 3, 2)).reference_sample(key)
    product = np.eye(2)
    for t in range(5):
        product = product @ np.asarray(x[0, :, :, t, 2, 1])
    lines = polyakov_lines(x)
    assert lines.shape == (3, 2)
    assert jnp.allclose(lines[2, 1], np.trace(product) / 2, atol=1e-14)
    # Distance 0 is the modulus squared; the default averages both transverse directions.
    assert jnp.allclose(polyakov_correlator(x, 0), jnp.mean(jnp.abs(lines) ** 2), atol=1e-14)
    both = (polyakov_correlator(x, 1, direction=1) + polyakov_correlator(x, 1, direction=2)) / 2
    assert jnp.allclose(polyakov_correlator(x, 1), both, atol=1e-14)


def test_geometric_charge_is_an_integer(key):
    x = jax.vmap(LinkField(U1(), (8, 8)).reference_sample)(jax.random.split(key, 50))
    charges = jax.vmap(topological_charge)(10 * x)
    assert jnp.allclose(charges, jnp.round(charges), atol=1e-13)
    assert len(set(jnp.round(charges).tolist())) > 3


@pytest.mark.parametrize("flux", [1, -2])
def test_geometric_charge_of_a_constant_field(flux):
    angles = constant_flux((6, 5), (0, 1), flux)
    assert jnp.allclose(topological_charge(angles), flux, atol=1e-13)
    assert jnp.allclose(plaquette(angles), np.cos(2 * np.pi * flux / 30), atol=1e-14)


def constant_flux(lattice, plane, flux):
    """U(1) angles with the same plaquette angle 2 pi flux / (L_mu L_nu) everywhere in one plane."""
    mu, nu = plane
    angles = np.zeros((len(lattice), *lattice))
    x = np.indices(lattice)
    angles[nu] = 2 * np.pi * flux * x[mu] / (lattice[mu] * lattice[nu])
    angles[mu] = np.where(x[mu] == lattice[mu] - 1, -2 * np.pi * flux * x[nu] / lattice[nu], 0.0)
    return jnp.asarray(angles)


def abelian_su2(angles):
    """diag(exp(i a), exp(-i a))."""
    phase = np.exp(1j * np.asarray(angles))
    links = np.zeros((angles.shape[0], 2, 2, *angles.shape[1:]), complex)
    links[:, 0, 0], links[:, 1, 1] = phase, phase.conj()
    return jnp.asarray(links)


@pytest.mark.parametrize(("plane", "dual", "sign"), [((0, 1), (2, 3), 1), ((0, 2), (1, 3), -1), ((0, 3), (1, 2), 1)])
def test_clover_charge_of_constant_flux(plane, dual, sign):
    """Flux 1 in two dual planes: Q = 2 (sin f / f)^2 exactly, so the defect from 2 falls as a^4 = L^-4."""
    extents = (3, 4, 5, 4)
    angles = constant_flux(extents, plane, 1) + constant_flux(extents, dual, 1)
    f, g = (2 * np.pi / (extents[p[0]] * extents[p[1]]) for p in (plane, dual))
    exact = sign * 2 * np.sin(f) / f * np.sin(g) / g
    assert jnp.allclose(clover_charge(abelian_su2(angles)), exact, atol=1e-12)


def test_clover_charge_approaches_an_integer():
    def defect(extent):
        lattice = (extent,) * 4
        angles = constant_flux(lattice, (0, 1), 1) + constant_flux(lattice, (2, 3), 1)
        return 2 - clover_charge(abelian_su2(angles))

    # 2 f^2 / 3 with f = 2 pi / L^2: a factor 2^4 per doubling, up to f^2/10 = 2 % at L = 4.
    assert abs(defect(4) / defect(8) / 16 - 1) < 0.02


def test_scalar_observables_by_definition(key):
    phi = jax.random.normal(key, (4, 3))
    volume = phi.size
    assert jnp.allclose(magnetisation(phi), jnp.mean(phi))
    assert jnp.allclose(susceptibility(phi), volume * jnp.mean(phi) ** 2)
    assert jnp.allclose(moment(phi, 4), jnp.mean(phi**4))
    c = two_point(phi, 0)
    direct = [sum(jnp.mean(phi * jnp.roll(phi, (-t, -y), (0, 1))) for y in range(3)) for t in range(4)]
    assert jnp.allclose(c, jnp.stack(direct), atol=1e-14)
    for axis in range(2):
        assert jnp.allclose(jnp.sum(two_point(phi, axis)), susceptibility(phi), atol=1e-14)
    # The action in terms of moments.
    action = Phi4Action((4, 3), -1.0, 0.5).action(phi)
    expected = volume * ((4 - 1) * moment(phi, 2) - 4 * ising_energy(phi) + 0.5 * moment(phi, 4))
    assert jnp.allclose(action, expected, rtol=1e-13)


def test_scalar_observables_under_symmetries(key):
    phi = jax.random.normal(key, (4, 4))
    for image in (translate(phi, (1, 3)), reflect(phi, 0, dim=2), rotate(phi, (0, 1), dim=2), -phi):
        for observable in (susceptibility, ising_energy, lambda x: moment(x, 2), lambda x: jnp.abs(magnetisation(x))):
            assert jnp.allclose(observable(image), observable(phi), atol=1e-14)
    assert jnp.allclose(two_point(rotate(phi, (0, 1), dim=2), 1), two_point(phi, 0), atol=1e-14)


def free_correlator(lattice, m2):
    """C(t) of the free theory along axis 0, from the inverse of the action's Hessian: <phi phi> = (2 A)^-1."""
    theory = FreeScalarAction(lattice, m2)
    size = int(np.prod(lattice))
    hessian = jax.hessian(lambda x: theory.action(x.reshape(lattice)))(jnp.zeros(size))
    covariance = np.linalg.inv(np.asarray(hessian))
    return jnp.asarray(covariance[0].reshape(lattice).sum(axis=tuple(range(1, len(lattice)))))


@pytest.mark.parametrize("m2", [0.3, 1.0])
def test_masses_of_the_free_field(m2):
    c = free_correlator((6, 4), m2)
    for t in (1, 2, 3, None):
        # cosh m = 1 + m2/2 at every separation.
        assert jnp.allclose(pole_mass(t=t).function(c), np.arccosh(1 + m2 / 2), rtol=1e-10)
    assert jnp.allclose(second_moment_mass().function(c), m2**0.5, rtol=1e-12)
    # Subtracting a constant that was added changes nothing.
    shifted = jnp.concatenate([c + 0.7, jnp.full((1,), 0.7**0.5)])
    assert jnp.allclose(pole_mass(connected=True).function(shifted), pole_mass().function(c), rtol=1e-10)
    assert jnp.allclose(second_moment_mass(connected=True).function(shifted), m2**0.5, rtol=1e-12)


def test_derived_observables(key):
    phi = jax.random.normal(key, (2000, 4, 4))
    mean = lambda o: jnp.mean(jax.vmap(o.primary)(phi), axis=0)  # noqa: E731
    # Independent sites: M is Gaussian, so U4 = 0 with variance 8/(3 samples) for large samples.
    assert abs(binder_cumulant.function(mean(binder_cumulant))) < 4 * (8 / 3 / 2000) ** 0.5
    # V (<M^2> - <|M|>^2) = 1 - 2/pi; errors of both terms of order sqrt(2 / samples).
    assert abs(connected_susceptibility.function(mean(connected_susceptibility)) - (1 - 2 / np.pi)) < 4 * (2 / 2000) ** 0.5
    connected = pole_mass(connected=True)
    assert connected.primary(phi[0]).shape == (5,)
    assert jnp.allclose(connected.primary(phi[0])[-1] ** 2, 4 * jnp.mean(phi[0]) ** 2)
    assert pole_mass(t=2) is pole_mass(t=2)
    assert isinstance(pole_mass(), DerivedObservable)


@pytest.mark.parametrize("observable", [plaquette, polyakov_loop, lambda x: wilson_loop(x, 1, 2)])
def test_single_precision_is_accumulated_in_double(key, observable):
    x = LinkField(SU(3), (3, 4)).reference_sample(key)
    low = observable(x.astype(jnp.complex64))
    assert low.dtype in (jnp.float64, jnp.complex128)
    # Products of up to six matrices with entries rounded at 6e-8.
    assert jnp.allclose(low, observable(x), atol=3e-6)


def test_groups_are_recognised():
    assert link_group(jnp.zeros((2, 4, 4))) == U1()
    assert link_group(jnp.zeros((3, 2, 2, 4, 4, 4), complex)) == SU(2)


@pytest.mark.parametrize(
    ("observable", "shape", "dtype", "error", "message"),
    [
        (plaquette, (3, 4, 4), float, ValueError, "expected U"),
        (plaquette, (2, 4, 5, 3, 3), complex, ValueError, "move colours to the front"),
        (plaquette, (5, 2, 3, 3, 4, 4), complex, ValueError, "jax.vmap"),
        (plaquette, (2, 4, 4), int, TypeError, "expected real angles"),
        (plaquette, (1, 4), float, ValueError, "at least two dimensions"),
        (lambda x: plaquette(x, (0, 0)), (2, 4, 4), float, ValueError, "two different directions"),
        (lambda x: plaquette(x, (0, 2)), (2, 4, 4), float, ValueError, "two different directions"),
        (lambda x: wilson_loop(x, 0, 1), (2, 4, 4), float, ValueError, "r: got 0, expected a positive integer"),
        (lambda x: wilson_loop(x, 1, True), (2, 4, 4), float, TypeError, "t: got True"),
        (lambda x: wilson_loop(x, 5, 5), (2, 4, 4), float, ValueError, "got a loop of extent 5"),
        (lambda x: wilson_loop(x, 3, 1), (2, 2, 4), float, ValueError, "name it by plane"),
        (lambda x: wilson_loop(x, 3, 1, (0, 1)), (2, 2, 4), float, ValueError, "at most the extents 2 and 4"),
        (lambda x: polyakov_correlator(x, 5), (2, 4, 4), float, ValueError, "got distance 5"),
        (lambda x: polyakov_correlator(x, -1), (2, 4, 4), float, ValueError, "zero or more"),
        (lambda x: polyakov_correlator(x, 3, 0, 2), (3, 4, 4, 2), float, ValueError, r"along the directions \[2\]"),
        (lambda x: moment(x, -1), (4, 4), float, ValueError, "power: got -1"),
        (lambda x: pole_mass(t=4).function(two_point(x)), (4, 4), float, ValueError, "in 1..3"),
        (lambda x: pole_mass(t=0), (4, 4), float, ValueError, "t: got 0"),
        (lambda x: second_moment_mass(0).function(two_point(x)), (1, 4), float, ValueError, "at least 2"),
        (lambda x: polyakov_loop(x, 2), (2, 4, 4), float, ValueError, "got axis 2"),
        (lambda x: polyakov_correlator(x, 1, 0, 0), (2, 4, 4), float, ValueError, "got direction 0"),
        (topological_charge, (2, 2, 2, 4, 4), complex, ValueError, "use clover_charge"),
        (topological_charge, (3, 4, 4, 4), float, ValueError, "expected two-dimensional"),
        (clover_charge, (2, 4, 4), float, ValueError, "use topological_charge"),
        (magnetisation, (2, 2), complex, TypeError, "links have their own observables"),
        (lambda x: two_point(x, 2), (4, 4), float, ValueError, "got axis 2"),
        (lambda x: pole_mass().function(two_point(x)), (2, 4), float, ValueError, "at least 3"),
    ],
)
def test_wrong_input_is_refused(observable, shape, dtype, error, message):
    with pytest.raises(error, match=message):
        observable(jnp.zeros(shape, dtype))
