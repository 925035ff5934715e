import itertools

import jax
import jax.numpy as jnp
import pytest
from helpers import along, close, gauge_transform, random_configuration, random_gauge_transformation

from trivmap.groups import SU, U1
from trivmap.lattice import reflect, rotate, shift, translate
from trivmap.manifolds import RealField
from trivmap.theories import (
    AbstractTheory,
    FreeScalarAction,
    NonlinearSigmaModel,
    Phi4Action,
    ScalarYukawaAction,
    SchwingerAction,
    U1HiggsAction,
    WeightedWilsonAction,
    WilsonAction,
)

THEORIES = {
    "phi4-1d": lambda: Phi4Action((5,), -1.0, 0.7),
    "phi4-2d": lambda: Phi4Action((3, 4), m2=-4.0, lam=8.0),
    "phi4-hopping": lambda: Phi4Action.from_kappa((2, 3, 2), 0.22, 0.4),
    "free-2d": lambda: FreeScalarAction((3, 4), 0.5),
    "XY-2d": lambda: NonlinearSigmaModel(2, (3, 4), beta=0.9),
    "O3-1d": lambda: NonlinearSigmaModel(3, (5,), beta=1.1),
    "O4-3d": lambda: NonlinearSigmaModel(4, (2, 3, 2), beta=-0.7),
    "U1-2d": lambda: WilsonAction(U1(), (3, 4), beta=1.3),
    "U1-4d": lambda: WilsonAction(U1(), (2, 3, 2, 3), beta=1.3),
    "SU2-2d": lambda: WilsonAction(SU(2), (3, 4), beta=2.2),
    "SU2-3d": lambda: WilsonAction(SU(2), (2, 3, 2), beta=2.2),
    "SU3-2d": lambda: WilsonAction(SU(3), (3, 4), beta=4.0),
    "SU3-4d": lambda: WilsonAction(SU(3), (2, 3, 2, 3), beta=5.7),
    "SU4-2d": lambda: WilsonAction(SU(4), (2, 3), beta=9.0),
    "higgs-2d": lambda: U1HiggsAction((3, 4), beta=1.2, kappa=0.4, lam=0.3, m2=0.8),
    "higgs-3d": lambda: U1HiggsAction((2, 3, 2), beta=0.9, kappa=-0.3, lam=0.2, m2=1.1),
    "schwinger-2d": lambda: SchwingerAction((3, 4), beta=1.2, kappa=0.23),
    "weighted-2d": lambda: WeightedWilsonAction(SU(2), (3, 4), 2.2, jnp.full((1, 3, 4), 0.7)),
    "yukawa-2d": lambda: ScalarYukawaAction((3, 4), m2_phi=-0.5, lam_phi=0.7, m2_chi=1.0, lam_chi=0.3, g=0.8),
}
GAUGE = {name: make for name, make in THEORIES.items() if name.startswith(("U1", "SU"))}
theories = pytest.mark.parametrize("name", THEORIES)
gauge_theories = pytest.mark.parametrize("name", GAUGE)


def plain_wilson(theory, links):
    """The action as the product of four links per plaquette, with nothing shared."""
    group, dim = theory.group, len(theory.lattice)
    total = 0.0
    for mu, nu in itertools.combinations(range(dim), 2):
        roll = lambda y, axis: jnp.roll(y, -1, axis=y.ndim - dim + axis)  # noqa: E731
        lower = group.multiply(links[mu], roll(links[nu], mu))
        upper = group.multiply(links[nu], roll(links[mu], nu))
        total = total + jnp.sum(group.real_trace(group.multiply(lower, group.adjoint(upper))))
    return -theory.beta * total


def on_lattice(symmetry, manifold, x, *arguments):
    """A symmetry of the lattice on links and on fields of the sites."""
    if hasattr(manifold, "components") and isinstance(x, dict):
        return {name: on_lattice(symmetry, manifold[name], x[name], *arguments) for name in x}
    adjoint = getattr(manifold, "group", None) and manifold.group.adjoint
    return symmetry(x, *arguments, dim=len(manifold.lattice), adjoint=adjoint)


@theories
def test_gradient_is_the_derivative_of_the_action(key, name):
    theory = THEORIES[name]()
    x, v = random_configuration(theory.manifold, key), theory.manifold.random_tangent(jax.random.key(1))
    gradient = jax.jit(theory.manifold.gradient(theory.action))(x)
    assert close(jax.jit(lambda y: theory.gradient(y))(x), gradient, rtol=0, atol=0)
    derivative = jax.jit(lambda y: along(theory.action, theory.manifold, y, v))(x)
    # Relative rounding of a sum of some hundred terms, allowing for cancellation among them.
    assert jnp.allclose(theory.manifold.inner(gradient, v), derivative, rtol=1e-12, atol=1e-11)


@theories
def test_symmetries_of_the_lattice(key, name):
    theory = THEORIES[name]()
    x = random_configuration(theory.manifold, key)
    dim = len(theory.lattice)
    action = theory.action(x)
    same = lambda y: jnp.allclose(y, action, rtol=1e-13, atol=1e-12)  # noqa: E731
    assert same(theory.action(jax.tree.map(lambda a: translate(a, tuple(range(1, dim + 1))), x)))
    assert same(theory.action(on_lattice(reflect, theory.manifold, x, dim - 1)))
    if dim > 1:
        turned = on_lattice(rotate, theory.manifold, x, (0, 1))
        extents = (theory.lattice[1], theory.lattice[0], *theory.lattice[2:])
        assert same(elsewhere(theory, extents).action(turned))


def elsewhere(theory, extents):
    """The theory with the same couplings on other extents."""
    if isinstance(theory, WilsonAction):
        return WilsonAction(theory.group, extents, theory.beta)
    if isinstance(theory, NonlinearSigmaModel):
        return NonlinearSigmaModel(theory.n, extents, theory.beta)
    if isinstance(theory, Phi4Action):
        return Phi4Action(extents, theory.m2, theory.lam)
    if isinstance(theory, U1HiggsAction):
        return U1HiggsAction(extents, theory.beta, theory.kappa, theory.lam, theory.m2)
    if isinstance(theory, WeightedWilsonAction):
        return WeightedWilsonAction(theory.group, extents, theory.beta, jnp.swapaxes(theory.weights, 1, 2))
    if isinstance(theory, SchwingerAction):
        return SchwingerAction(extents, theory.beta, theory.kappa, boundary=theory.determinant.dirac.boundary[::-1])
    if isinstance(theory, ScalarYukawaAction):
        return ScalarYukawaAction(extents, theory.m2_phi, theory.lam_phi, theory.m2_chi, theory.lam_chi, theory.g)
    return FreeScalarAction(extents, theory.m2)


@theories
def test_internal_reflection(key, name):
    """Z2 for scalars and spins, charge conjugation for links and a complex scalar; chi stays, as it occurs once."""
    theory = THEORIES[name]()
    x = random_configuration(theory.manifold, key)
    conjugate = jax.tree.map(lambda a: a.conj() if jnp.iscomplexobj(a) else -a, x)
    if isinstance(theory, U1HiggsAction):
        conjugate["phi"] = jnp.stack([x["phi"][0], -x["phi"][1]])
    if isinstance(theory, ScalarYukawaAction):
        conjugate["chi"] = x["chi"]
    assert jnp.allclose(theory.action(conjugate), theory.action(x), rtol=1e-14)


@gauge_theories
def test_gauge_invariance(key, name):
    theory = GAUGE[name]()
    group = theory.group
    x = theory.manifold.reference_sample(key)
    omega = random_gauge_transformation(jax.random.key(1), group, theory.lattice)
    moved = gauge_transform(group, omega, x)
    assert jnp.allclose(theory.action(moved), theory.action(x), rtol=1e-12, atol=1e-12)
    gradient, expected = jax.jit(jax.vmap(lambda y: theory.gradient(y)))(jnp.stack([moved, x]))
    if group.complex_elements:
        expected = jax.vmap(lambda g: group.multiply(group.multiply(omega, g), group.adjoint(omega)))(expected)
    assert jnp.allclose(gradient, expected, rtol=0, atol=1e-12)


@gauge_theories
def test_staples_against_differentiation_of_the_plain_action(key, name):
    """Value and cotangent of the closed form agree with those of the plain product."""
    theory = GAUGE[name]()
    x = theory.manifold.reference_sample(key)
    action, (value, cotangent) = jax.jit(lambda y: (theory.action(y), jax.value_and_grad(theory.action)(y)))(x)
    plain, expected = jax.jit(jax.value_and_grad(lambda y: plain_wilson(theory, y)))(x)
    for ours, reference in ((action, plain), (value, plain), (cotangent, expected)):
        assert jnp.allclose(ours, reference, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("name", ["U1-4d", "SU2-3d", "SU3-2d", "SU4-2d"])
def test_repeated_derivatives_of_the_closed_form(key, name):
    """Forward over reverse, reverse over reverse and forward over forward, against those of the plain product."""
    theory = GAUGE[name]()
    manifold = theory.manifold
    x, v, w = manifold.reference_sample(key), *(manifold.random_tangent(k) for k in jax.random.split(key))

    def derivatives(action):
        gradient = manifold.gradient(action)

        def all_of(y):
            forward = jax.jvp(gradient, (y,), (w,))[1]
            reverse = jax.grad(lambda z: manifold.inner(gradient(z), v))(y)
            curvature = jax.jvp(lambda z: jax.jvp(action, (z,), (v,))[1], (y,), (w,))[1]
            return forward, reverse, curvature

        return jax.jit(all_of)(x)

    for ours, plain in zip(derivatives(theory.action), derivatives(lambda y: plain_wilson(theory, y)), strict=True):
        assert jnp.allclose(ours, plain, rtol=1e-13, atol=1e-11)


@gauge_theories
def test_derivative_in_beta(key, name):
    theory = GAUGE[name]()
    x = theory.manifold.reference_sample(key)
    action = lambda beta: WilsonAction(theory.group, theory.lattice, beta).action(x)  # noqa: E731
    # The action is linear in beta.
    assert jnp.allclose(jax.grad(action)(2.0), theory.action(x) / theory.beta, rtol=1e-13)
    force = lambda beta: WilsonAction(theory.group, theory.lattice, beta).gradient(x)  # noqa: E731
    value, slope = jax.jit(lambda beta: jax.jvp(force, (beta,), (1.0,)))(2.0)
    assert jnp.allclose(slope, value / 2, atol=1e-13)
    assert jnp.allclose(jax.vmap(action)(jnp.asarray([0.0, 1.0])), jnp.stack([0.0, action(1.0)]), rtol=1e-14)


@pytest.mark.parametrize("group", [SU(2), SU(3), SU(4)], ids=lambda g: g.name)
def test_laplacian_of_a_plaquette(key, group):
    """-sum_a d_a d_a tr U_p = 4 C_F tr U_p over its four links: norm, side of multiplication and the factor four."""
    theory = WilsonAction(group, (3, 3), beta=1.0)
    manifold = theory.manifold
    x = manifold.reference_sample(key)

    def trace(y):
        lower = group.multiply(y[0], shift(y[1], 0, 1, 2))
        upper = group.multiply(y[1], shift(y[0], 1, 1, 2))
        return group.real_trace(group.multiply(lower, group.adjoint(upper)))[1, 2]

    def second(unit):
        v = manifold.from_coordinates(unit)
        f = lambda s: trace(manifold.exp(v * jnp.asarray(s, v.dtype), x))  # noqa: E731
        return jax.jvp(lambda s: jax.jvp(f, (s,), (1.0,))[1], (0.0,), (1.0,))[1]

    laplacian = jnp.sum(jax.jit(jax.vmap(second))(jnp.eye(manifold.dimension)))
    casimir = (group.n**2 - 1) / (2 * group.n)
    assert jnp.allclose(-laplacian, 4 * casimir * trace(x), rtol=1e-11)


@theories
def test_single_precision_fields_are_summed_in_double(key, name):
    theory = THEORIES[name]()
    x = random_configuration(theory.manifold, key)
    low = jax.tree.map(lambda a: a.astype(jnp.complex64 if jnp.iscomplexobj(a) else jnp.float32), x)
    as_low = lambda v: jax.tree.map(lambda a, b: a.astype(b.dtype), v, low)  # noqa: E731
    action, gradient = theory.action(low), jax.jit(lambda y: theory.gradient(y))(low)
    assert action.dtype == jnp.float64
    assert jax.tree.map(lambda a: a.dtype, gradient) == jax.tree.map(lambda a: a.dtype, low)
    # Rounding 6e-8 of every entry, products of a few, couplings up to ten.
    assert jnp.allclose(action, theory.action(x), rtol=1e-5, atol=1e-4)
    assert close(gradient, as_low(jax.jit(lambda y: theory.gradient(y))(x)), rtol=1e-4, atol=1e-4)


@theories
def test_jit_and_vmap_agree_with_eager(key, name):
    """Canary: a CPU release of JAX computed wrong numbers under jit."""
    theory = THEORIES[name]()
    x = jax.vmap(lambda k: random_configuration(theory.manifold, k))(jax.random.split(key, 3))
    batched = jax.jit(jax.vmap(lambda y: theory.action(y)))(x)
    with jax.disable_jit():
        eager = jnp.stack([theory.action(jax.tree.map(lambda a, i=i: a[i], x)) for i in range(3)])
    assert jnp.allclose(batched, eager, rtol=1e-13, atol=1e-12)


def test_hopping_form(key):
    """S = S_h - V lam_h for phi = sqrt(kappa) varphi."""
    kappa, lam_h = 0.21, 0.6
    theory = Phi4Action.from_kappa((3, 4), kappa, lam_h)
    varphi = jax.random.normal(key, (3, 4))
    hopping = sum(jnp.sum(varphi * jnp.roll(varphi, -1, axis)) for axis in range(2))
    expected = -2 * kappa * hopping + jnp.sum(varphi**2 + lam_h * (varphi**2 - 1) ** 2) - 12 * lam_h
    assert jnp.allclose(theory.action(kappa**0.5 * varphi), expected, rtol=1e-13)
    # The worked example: (m2, lam) = (-4, 8) in two dimensions is kappa = 1/4, lam_h = 1/2.
    example = Phi4Action.from_kappa((4, 4), 0.25, 0.5)
    assert (float(example.m2), float(example.lam)) == (-4.0, 8.0)


def test_free_theory_is_phi4_without_interaction(key):
    phi = jax.random.normal(key, (3, 4))
    assert FreeScalarAction((3, 4), 0.3).action(phi) == Phi4Action((3, 4), 0.3, 0.0).action(phi)


def test_a_user_theory_needs_manifold_and_action(key):
    class Double(AbstractTheory):
        manifold: RealField

        def action(self, x):
            return jnp.sum((x**2 - 1) ** 2)

    theory = Double(RealField((3,)))
    phi = jax.random.normal(key, (3,))
    assert theory.lattice == (3,)
    assert jnp.allclose(theory.gradient(phi), 4 * phi * (phi**2 - 1), rtol=1e-13)


@pytest.mark.parametrize(
    "make",
    [
        lambda c: WilsonAction(SU(3), (4, 4), c),
        lambda c: Phi4Action((4, 4), c, 1.0),
        lambda c: Phi4Action((4, 4), 1.0, c),
        lambda c: Phi4Action.from_kappa((4, 4), c, c),
        lambda c: FreeScalarAction((4, 4), c),
        lambda c: NonlinearSigmaModel(3, (4, 4), c),
        lambda c: U1HiggsAction((4, 4), c, 0.1, 1.0, 1.0),
        lambda c: U1HiggsAction((4, 4), 1.0, c, c, c),
        lambda c: ScalarYukawaAction((4, 4), c, c, c, c, c),
    ],
)
def test_couplings_are_real_scalars(make):
    with pytest.raises(ValueError, match=r"got an array of shape \(3,\), expected a scalar"):
        make(jnp.ones(3))
    with pytest.raises(TypeError, match="expected a real number"):
        make(1j)
    jax.vmap(lambda c: jax.tree.leaves(make(c)))(jnp.ones(3))
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(make(2)))
    assert any(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(make(jnp.ones((), jnp.float32))))


def test_wilson_action_needs_a_plane():
    with pytest.raises(ValueError, match="expected at least two"):
        WilsonAction(U1(), (8,), 1.0)


@theories
def test_wrong_configurations_are_refused(key, name):
    theory = THEORIES[name]()
    x = random_configuration(theory.manifold, key)
    each = lambda change: jax.tree.map(change, x)  # noqa: E731
    with pytest.raises(ValueError, match="without batch axis"):
        theory.action(each(lambda a: a[None]))
    with pytest.raises(ValueError, match="got shape"):
        theory.action(each(lambda a: a[..., :-1]))
    with pytest.raises(TypeError, match="got dtype"):
        theory.action(each(lambda a: jnp.zeros(a.shape, int)))
    with pytest.raises(TypeError, match="got dtype"):
        jax.eval_shape(theory.action, each(lambda a: a.real if jnp.iscomplexobj(a) else a.astype(complex)))
    with pytest.raises(ValueError, match="got shape"):
        jax.eval_shape(theory.gradient, each(lambda a: a[:-1]))
