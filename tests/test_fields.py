"""Every vector field, one line each in the table: exact divergence, symmetries, precisions, transformations."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dense_divergence, gauge_transform, random_gauge_transformation, randomised, rows
from local_velocities import GatedForce, SiteNetwork

from trivmap.fields import (
    ChargeGatedField,
    ConvolutionField,
    CovariantConvolutionField,
    CovariantUNet,
    GatedConvolutionField,
    GradientField,
    HolonomyField,
    LadderField,
    LocalField,
    LoopPotential,
    NeuralPotential,
    RidgeField,
    RidgePotential,
    SumField,
    WindowField,
)
from trivmap.fields._trivializing import trivializing_potential
from trivmap.gauge import plaquette_angle
from trivmap.groups import SU, U1
from trivmap.lattice import (
    convolve,
    displacements,
    hartley,
    hartley_reversed,
    hypercubic_orbits,
    reflect,
    rotate,
    symbol,
    translate,
)
from trivmap.manifolds import LinkField, RealField
from trivmap.theories import WilsonAction

EPS = np.finfo(np.float64).eps
TIME = jnp.asarray(0.3)


def _loops(group, lattice):
    return GradientField(LoopPotential(LinkField(group, lattice), coefficient=0.7))


def _local(group, lattice):
    manifold = LinkField(group, lattice)
    return LocalField(GatedForce(jnp.zeros(3), manifold), manifold, 1, check=False)


def _model_a(group, lattice):
    return GradientField(LoopPotential.model_a(WilsonAction(group, lattice, 1.5)))


PLAQUETTE, RECTANGLE = (1, 2, -1, -2), (1, 1, 2, -1, -1, -2)


def _covariant(group, lattice, **options):
    return CovariantConvolutionField(LinkField(group, lattice), features=2, times=2, **options)


def _network(group, lattice, **options):
    return GradientField(NeuralPotential(jax.random.key(5), LinkField(group, lattice), times=2, **options))


def _unet(group, lattice, channels=2, levels=1):
    manifold = LinkField(group, lattice)
    network = CovariantUNet(jax.random.key(5), manifold, channels=channels, levels=levels, times=2)
    return LocalField(network, manifold, network.reach, check=False)


def _holonomy(lattice, **options):
    return HolonomyField(jax.random.key(5), LinkField(U1(), lattice), times=2, ridges=2, **options)


def _charge_gated(lattice):
    gated = GatedConvolutionField(LinkField(U1(), lattice), features=2, times=2)
    return SumField(ChargeGatedField(gated, order=2), _holonomy(lattice))


# Extents are unequal, so that a mix-up of axes shows; rotations are tested on the square lattices.
FIELDS = {
    "gated_scalar_1d": lambda: GatedConvolutionField(RealField((5,)), features=3),
    "gated_scalar_2d": lambda: GatedConvolutionField(RealField((3, 4))),
    "gated_scalar_square": lambda: GatedConvolutionField(RealField((4, 4)), features=3, gates=3),
    "gated_scalar_3d": lambda: GatedConvolutionField(RealField((2, 3, 2)), gates=1),
    "gated_u1_2d": lambda: GatedConvolutionField(LinkField(U1(), (3, 4))),
    "gated_u1_square": lambda: GatedConvolutionField(LinkField(U1(), (4, 4)), features=3, gates=3),
    "gated_u1_extent_2": lambda: GatedConvolutionField(LinkField(U1(), (2, 2)), features=2),
    "gated_u1_3d": lambda: GatedConvolutionField(LinkField(U1(), (2, 3, 2)), features=2, gates=1),
    "ridge_scalar_1d": lambda: RidgeField(jax.random.key(5), RealField((5,)), times=2),
    "ridge_scalar_2d": lambda: RidgeField(jax.random.key(5), RealField((3, 4)), times=2),
    "ridge_scalar_square": lambda: GradientField(RidgePotential(jax.random.key(5), RealField((4, 4)), times=2)),
    "ridge_scalar_3d": lambda: RidgeField(jax.random.key(5), RealField((2, 3, 2)), times=2),
    "convolution_2d": lambda: ConvolutionField(jax.random.key(5), RealField((3, 4)), sines=5, site_features=3),
    "convolution_square": lambda: ConvolutionField(jax.random.key(5), RealField((4, 4)), sines=5, site_features=3),
    "holonomy_u1_2d": lambda: _holonomy((3, 4), boundary=(-1, 1)),
    "holonomy_u1_square": lambda: _holonomy((4, 4)),
    "holonomy_u1_3d": lambda: _holonomy((2, 3, 2)),
    "charge_gated_u1_2d": lambda: _charge_gated((3, 4)),
    "charge_gated_u1_square": lambda: _charge_gated((3, 3)),
    "charge_gated_su2_4d": lambda: ChargeGatedField(_covariant(SU(2), (2, 2, 2, 2), gates=1, mass=1.0), width=0.2),
    "window_u1": lambda: WindowField(GatedConvolutionField(LinkField(U1(), (3, 4))), 0.4),
    "ladder_su2": lambda: LadderField(LinkField(SU(2), (3, 4)), 1.3),
    "ladder_su3": lambda: LadderField(LinkField(SU(3), (2, 2)), 1.3, gates=1),
    "ladder_su2_3d": lambda: LadderField(LinkField(SU(2), (2, 2, 2)), 1.3, gates=0),
    "local_scalar_2d": lambda: LocalField(SiteNetwork(jnp.zeros(3)), RealField((3, 4)), 1),
    "local_u1_2d": lambda: _local(U1(), (3, 4)),
    "local_su2_square": lambda: _local(SU(2), (3, 3)),
    "covariant_su2_2d": lambda: _covariant(SU(2), (3, 4), gates=2, mass=0.7),
    "covariant_su2_linear": lambda: _covariant(SU(2), (3, 3), gates=0, radius=1),
    "covariant_su3_rectangles": lambda: _covariant(SU(3), (3, 3), gates=1, loops=(PLAQUETTE, RECTANGLE), mass=1.0),
    "covariant_su2_3d": lambda: _covariant(SU(2), (2, 3, 2), gates=1, mass=1.0),
    "covariant_su2_4d": lambda: _covariant(SU(2), (2, 2, 2, 2), gates=1, mass=1.0),
    "covariant_u1_2d": lambda: _covariant(U1(), (3, 4), gates=1),
    "unet_u1_2d": lambda: _unet(U1(), (2, 3)),
    "unet_su2_square": lambda: _unet(SU(2), (3, 3), levels=2),
    "unet_su2_3d": lambda: _unet(SU(2), (2, 2, 2), channels=1),
    "unet_su3_2d": lambda: _unet(SU(3), (2, 3)),
    "network_su2_2d": lambda: _network(SU(2), (3, 4), hidden=(3,)),
    "network_su3_square": lambda: _network(SU(3), (3, 3), hidden=(2, 2)),
    "network_su2_3d": lambda: _network(SU(2), (2, 3, 2), hidden=(2,)),
    "network_su2_4d": lambda: _network(SU(2), (2, 2, 2, 2), hidden=(2,)),
    "network_u1_square": lambda: _network(U1(), (3, 3), hidden=(3,), loops=(PLAQUETTE, RECTANGLE)),
    "loops_u1": lambda: _loops(U1(), (3, 3)),
    "loops_su2": lambda: _loops(SU(2), (3, 2)),
    "loops_su3": lambda: _loops(SU(3), (2, 2)),
    "loops_su4": lambda: _loops(SU(4), (2, 2)),
    "loops_su2_3d": lambda: _loops(SU(2), (2, 2, 2)),
    "loops_model_a_u1": lambda: _model_a(U1(), (3, 4)),
    "loops_model_a_su2_square": lambda: _model_a(SU(2), (3, 3)),
    "loops_model_a_su3": lambda: _model_a(SU(3), (3, 4)),
    "loops_second_order_u1": lambda: GradientField(trivializing_potential(WilsonAction(U1(), (4, 4), 1.5), 2)),
    "loops_splines_su4": lambda: GradientField(
        LoopPotential(LinkField(SU(4), (3, 3)), [(1, 2, -1, -2), (1, 1, 2, -1, -1, -2)], time="spline", times=5)
    ),
}


# Each takes more than five seconds of an idle core over all its tests, and has a smaller relative that stays.
SLOW = {
    "charge_gated_su2_4d",
    "covariant_su2_3d",
    "covariant_su2_4d",
    "covariant_su3_rectangles",
    "holonomy_u1_3d",
    "ladder_su2_3d",
    "ladder_su3",
    "loops_splines_su4",
    "network_su2_3d",
    "network_su2_4d",
    "network_su3_square",
    "unet_su2_3d",
    "unet_su2_square",
    "unet_su3_2d",
}


@eqx.filter_jit
def evaluate(field, t, x):
    """One compilation per field serves all its tests."""
    return field(t, x)


def _case(name, dtype=None):
    field = randomised(jax.random.key(1), FIELDS[name](), 0.3)
    manifold = field.manifold
    if isinstance(manifold, RealField):
        x = jax.random.normal(jax.random.key(2), manifold.shape, dtype=float if dtype is None else dtype)
    else:
        x = manifold.reference_sample(jax.random.key(2), dtype)
    return field, x


def _adjoint(manifold):
    return None if isinstance(manifold, RealField) else manifold.group.adjoint


@eqx.filter_jit
def _dense_divergence(field, x):
    return dense_divergence(lambda y: field(TIME, y)[0], field.manifold, x)


@pytest.mark.parametrize("name", rows(FIELDS, SLOW))
def test_divergence_is_the_trace_of_the_dense_jacobian(name):
    field, x = _case(name)
    _, divergence = evaluate(field, TIME, x)
    expected = _dense_divergence(field, x)
    # Sums of at most a few thousand terms of order one, rounded once each; 1e-10 leaves three digits of slack.
    assert jnp.abs(divergence - expected) < 1e-10 * max(1.0, jnp.abs(expected))


@pytest.mark.parametrize("name", rows(FIELDS, SLOW))
def test_a_new_field_is_the_identity_and_its_parameters_matter(name):
    field, x = _case(name)
    if not name.startswith(("loops", "ladder")):
        velocity, divergence = evaluate(FIELDS[name](), TIME, x)
        assert jnp.all(velocity == 0)
        assert divergence == 0
    assert jnp.linalg.norm(evaluate(field, TIME, x)[0].ravel()) > 1e-3


def _symmetries(manifold):
    dim, adjoint = len(manifold.lattice), _adjoint(manifold)
    yield "translation", lambda y: translate(y, tuple(range(1, dim + 1)))
    for axis in range(dim):
        yield f"reflection {axis}", lambda y, axis=axis: reflect(y, axis, dim=dim, adjoint=adjoint)
    for mu in range(dim):
        for nu in range(mu + 1, dim):
            if manifold.lattice[mu] == manifold.lattice[nu]:
                yield f"rotation {mu}{nu}", lambda y, plane=(mu, nu): rotate(y, plane, dim=dim, adjoint=adjoint)


@pytest.mark.parametrize("name", rows(FIELDS, SLOW))
def test_the_field_commutes_with_the_symmetries_of_the_lattice(name):
    field, x = _case(name)
    manifold = field.manifold
    velocity, divergence = evaluate(field, TIME, x)
    for label, transform in _symmetries(manifold):
        moved, moved_divergence = evaluate(field, TIME, transform(x))
        # d/ds transform(exp(s v) x) at s = 0, against d/ds exp(s v') transform(x): both as motions of the configuration.
        # Reversed links make the velocity itself transform by more than a permutation.
        expected = transform(_motion(manifold, velocity, x))
        actual = _motion(manifold, moved, transform(x))
        scale = jnp.max(jnp.abs(expected))
        assert jnp.max(jnp.abs(actual - expected)) < 1e-12 * scale, label
        assert jnp.abs(moved_divergence - divergence) < 1e-12 * max(1.0, jnp.abs(divergence)) * x.size, label


@eqx.filter_jit
def _motion(manifold, velocity, x):
    """d/ds exp(s v) x at s = 0. The symmetries are (real) linear in the configuration, and act on it as on x."""
    return jax.jvp(lambda s: manifold.exp(_times(s, velocity), x), (0.0,), (1.0,))[1]


def _times(s, v):
    return v * jnp.asarray(s, v.dtype)


@pytest.mark.parametrize("name", [name for name in FIELDS if "scalar" in name or "convolution" in name])
def test_scalar_fields_commute_with_the_sign_flip(name):
    field, x = _case(name)
    velocity, divergence = evaluate(field, TIME, x)
    flipped, flipped_divergence = evaluate(field, TIME, -x)
    assert jnp.max(jnp.abs(flipped + velocity)) < 1e-12 * jnp.max(jnp.abs(velocity))
    assert jnp.abs(flipped_divergence - divergence) < 1e-12 * x.size


@pytest.mark.parametrize("name", rows([name for name in FIELDS if "u1" in name or "su" in name], SLOW))
def test_gauge_fields_commute_with_charge_conjugation_and_gauge_transformations(name):
    field, x = _case(name)
    group = field.manifold.group
    velocity, divergence = evaluate(field, TIME, x)
    conjugate = (lambda y: -y) if group.n == 1 else jnp.conj
    conjugated, conjugated_divergence = evaluate(field, TIME, conjugate(x))
    assert jnp.max(jnp.abs(conjugated - conjugate(velocity))) < 1e-12 * jnp.max(jnp.abs(velocity))
    assert jnp.abs(conjugated_divergence - divergence) < 1e-12 * x.size
    omega = random_gauge_transformation(jax.random.key(3), group, field.manifold.lattice)
    transformed, transformed_divergence = evaluate(field, TIME, gauge_transform(group, omega, x))
    # v_mu(x) -> Omega(x) v_mu(x) Omega(x)^dagger; on U(1) the velocity is invariant.
    expected = velocity if group.n == 1 else jnp.einsum("ij...,mjk...,lk...->mil...", omega, velocity, jnp.conj(omega))
    assert jnp.max(jnp.abs(transformed - expected)) < 1e-12 * jnp.max(jnp.abs(velocity))
    assert jnp.abs(transformed_divergence - divergence) < 1e-12 * max(1.0, jnp.abs(divergence)) * x.size


@pytest.mark.parametrize("name", rows(FIELDS, SLOW))
def test_float32_configurations_give_float32_velocities_and_float64_divergences(name):
    field, x = _case(name)
    velocity, divergence = evaluate(field, TIME, x)
    low = x.astype(jnp.complex64 if jnp.iscomplexobj(x) else jnp.float32)
    low_velocity, low_divergence = evaluate(field, TIME.astype(jnp.float32), low)
    assert low_velocity.dtype == low.dtype
    assert low_divergence.dtype == jnp.float64
    # Chains of about a hundred rounded operations per entry, amplified by at most ten: 1e3 eps(float32) = 1e-4.
    assert jnp.max(jnp.abs(low_velocity.astype(velocity.dtype) - velocity)) < 1e-4 * max(1.0, jnp.max(jnp.abs(velocity)))
    assert jnp.abs(low_divergence - divergence) < 1e-4 * max(1.0, jnp.abs(divergence)) * x.size


def test_rounding_of_kernels_does_not_add_up_over_the_lattice():
    """An error of the kernel at zero displacement is the same at all sites of all configurations: it would shift log Z."""
    manifold = LinkField(U1(), (32, 32))
    field = GatedConvolutionField.trivializing(manifold, 2.0)
    x = (0.2 * jax.random.normal(jax.random.key(0), (8, *manifold.shape))).astype(jnp.float32)
    evaluate_all = jax.jit(jax.vmap(lambda x: field(TIME, x)[1]))
    exact = evaluate_all(x.astype(jnp.float64))
    # One rounding of each of the terms, whose sum is of the order of the divergence, 1e3.
    assert jnp.abs(jnp.mean(evaluate_all(x) - exact)) < 1.2e-7 * jnp.max(jnp.abs(exact))


@pytest.mark.parametrize("name", rows(FIELDS, SLOW))
def test_jit_vmap_and_gradients(name):
    field, x = _case(name)
    batch = jnp.stack([x, field.manifold.exp(evaluate(field, TIME, x)[0], x)])
    velocity, divergence = eqx.filter_jit(eqx.filter_vmap(lambda f, y: f(TIME, y), in_axes=(None, 0)))(field, batch)
    for i in range(2):
        one_velocity, one_divergence = evaluate(field, TIME, batch[i])
        assert jnp.max(jnp.abs(velocity[i] - one_velocity)) < 1e-12 * max(1.0, jnp.max(jnp.abs(one_velocity)))
        assert jnp.abs(divergence[i] - one_divergence) < 1e-12 * max(1.0, jnp.abs(one_divergence)) * x.size
    gradient = eqx.filter_jit(eqx.filter_grad(lambda f: f(TIME, x)[1]))(field)
    direction = randomised(jax.random.key(7), jax.tree.map(jnp.zeros_like, eqx.filter(field, eqx.is_inexact_array)), 1.0)

    def along(s):
        return evaluate(eqx.apply_updates(field, jax.tree.map(lambda d: s * d, direction)), TIME, x)[1]

    h = 1e-5
    difference = (along(h) - along(-h)) / (2 * h)
    slope = sum(jnp.sum(g * d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
    # Central difference: h^2 f''' / 6 = 1e-10 relative, plus eps/h = 2e-11 of the size of f.
    assert jnp.abs(difference - slope) < 1e-6 * max(1.0, jnp.abs(slope), jnp.abs(divergence[0]))


@pytest.mark.parametrize("lattice", [(5,), (3, 4), (2, 3, 4), (98, 3)])
def test_hartley_transform_diagonalises_even_kernels(lattice):
    x = jax.random.normal(jax.random.key(0), lattice)
    dim = len(lattice)
    # One rounding per term of a sum over the extents.
    tolerance = 20 * EPS * sum(lattice)
    assert jnp.max(jnp.abs(hartley(hartley(x, dim), dim) - x)) < tolerance
    channels = jnp.stack([x, 2 * x])
    backwards = hartley_reversed(channels, dim)
    assert jnp.max(jnp.abs(backwards - jnp.stack([hartley(c, dim).T for c in channels]))) < tolerance
    assert jnp.max(jnp.abs(hartley_reversed(backwards, dim) - channels)) < 2 * tolerance
    orbits = hypercubic_orbits(lattice)
    kernel = jax.random.normal(jax.random.key(1), (int(orbits.max()) + 1,))[orbits]
    direct = jnp.fft.ifftn(jnp.fft.fftn(kernel) * jnp.fft.fftn(x)).real
    convolved = convolve(symbol(kernel, dim)[None], x[None])
    assert jnp.max(jnp.abs(convolved - direct)) < tolerance * jnp.max(jnp.abs(direct)) * x.size
    assert jnp.max(jnp.abs(displacements(symbol(kernel, dim), dim) - kernel)) < tolerance * x.size


def test_convolution_field_has_the_parameters_of_the_paper():
    # 49 frequencies, 20x50 and 20x21 mixing matrices, 20x20 kernels on the 15 orbits of 8x8 (10 of 6x6): arXiv:2207.00283.
    for extent, parameters in ((8, 7469), (6, 5469)):
        field = ConvolutionField(jax.random.key(0), RealField((extent, extent)))
        assert sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(field, eqx.is_inexact_array))) == parameters


def test_loop_potential_matches_its_closed_form_laplacian_and_the_leading_order():
    manifold = LinkField(SU(3), (3, 3))
    potential = LoopPotential(manifold, coefficient=2.0, times=1)
    x = manifold.reference_sample(jax.random.key(0))
    gradient, laplacian = potential.gradient_and_laplacian(TIME, x)
    # L_0 tr U_p = 4 C_F tr U_p with C_F = 4/3.
    assert jnp.abs(laplacian + 16 / 3 * potential(TIME, x)) < 1e-12
    direction = manifold.random_tangent(jax.random.key(1))
    _, slope = jax.jvp(lambda s: potential(TIME, manifold.exp(_times(s, direction), x)), (0.0,), (1.0,))
    assert jnp.abs(manifold.inner(gradient, direction) - slope) < 1e-12 * jnp.abs(slope)


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda: GatedConvolutionField(LinkField(SU(2), (4, 4))), TypeError, "U\\(1\\) links.*LadderField"),
        (lambda: ConvolutionField(jax.random.key(0), LinkField(U1(), (4, 4))), TypeError, "RealField"),
        (lambda: LoopPotential(RealField((4, 4))), TypeError, "gauge links"),
        (lambda: LoopPotential(LinkField(SU(2), (4, 1))), ValueError, "extents of two or more"),
        (lambda: LoopPotential(LinkField(SU(2), (2, 2)), [(1, 1, 2, -1, -1, -2)]), ValueError, "coincide on the lattice"),
        (lambda: GatedConvolutionField(RealField((4, 4)), features=0), ValueError, "features"),
        (lambda: GatedConvolutionField(LinkField(U1(), (4,))), ValueError, "two dimensions or more"),
        (lambda: HolonomyField(jax.random.key(0), LinkField(SU(2), (4, 4))), TypeError, "potential of Polyakov loops"),
        (lambda: HolonomyField(jax.random.key(0), LinkField(U1(), (4,))), ValueError, "two dimensions or more"),
        (lambda: _holonomy((4, 4), boundary=(1, 0)), ValueError, "boundary=\\(1, 0\\); expected 2 signs"),
        (lambda: ChargeGatedField(_covariant(SU(2), (3, 3))), ValueError, "no topological charge.*charge="),
        (lambda: SumField(), ValueError, "no field"),
        (lambda: SumField(_holonomy((4, 4)), _holonomy((3, 3))), ValueError, "same manifold"),
    ],
)
def test_errors_teach(construct, error, message):
    with pytest.raises(error, match=message):
        construct()


def test_holonomy_shifts_move_no_plaquette_and_take_any_network():
    """A network of one's own, c_mu = Im (mean line of mu) times |Polyakov|^2 of the others."""

    def network(t, own, others):
        return own.single[1, 0] * sum(loops.single[0, 0] ** 2 + loops.single[1, 0] ** 2 for loops in others)

    field = HolonomyField(jax.random.key(0), LinkField(U1(), (3, 4)), network=network)
    x = field.manifold.reference_sample(jax.random.key(2))
    velocity, divergence = field(TIME, x)
    assert jnp.max(jnp.abs(plaquette_angle(x + velocity, 0, 1) - plaquette_angle(x, 0, 1))) < 10 * EPS
    lines = [np.mean(np.exp(1j * np.sum(np.asarray(x[mu]), axis=mu))) for mu in (0, 1)]
    expected = [lines[mu].imag * abs(lines[1 - mu]) ** 2 / field.manifold.lattice[mu] for mu in (0, 1)]
    assert jnp.max(jnp.abs(velocity - jnp.asarray(expected)[:, None, None])) < 10 * EPS
    assert jnp.abs(divergence - _dense_divergence(field, x)) < 1e-12


@pytest.mark.parametrize("kind", [RidgeField, RidgePotential])
def test_ridges_of_several_components(kind):
    """Divergence of a field that mixes two components; a potential and its gradient."""
    manifold = RealField((2, 3), components=2)
    made = randomised(jax.random.key(1), kind(jax.random.key(5), manifold, times=2), 0.3)
    x = jax.random.normal(jax.random.key(2), manifold.shape)
    if kind is RidgePotential:
        gradient, _ = made.gradient_and_laplacian(TIME, x)
        assert jnp.max(jnp.abs(gradient - jax.grad(lambda y: made(TIME, y))(x))) < 1e-12 * jnp.max(jnp.abs(gradient))
        hessian = jax.hessian(lambda y: made(TIME, y))(x).reshape(x.size, x.size)
        assert made.curvature_bound(TIME) >= jnp.max(jnp.abs(jnp.diag(hessian)))
        made = GradientField(made)
    velocity, divergence = evaluate(made, TIME, x)
    assert velocity.shape == x.shape
    assert jnp.abs(divergence - _dense_divergence(made, x)) < 1e-10 * max(1.0, jnp.abs(divergence))


@pytest.mark.parametrize("kind", [RidgeField, RidgePotential])
def test_ridges_on_a_larger_lattice(kind):
    """Without the zero mode, which becomes a mean over blocks there, a periodic configuration moves as on the small one."""
    manifold = RealField((4, 4))
    small = randomised(jax.random.key(1), kind(jax.random.key(5), manifold, times=2), 0.3)
    without = lambda a: a.at[..., -1].set(0.0)  # noqa: E731
    small = eqx.tree_at(
        lambda f: (f.kernels.coefficients, f.linear), small, (without(small.kernels.coefficients), without(small.linear))
    )
    if kind is RidgeField:
        small = eqx.tree_at(lambda f: f.amplitudes, small, without(small.amplitudes))
    large = small.on(RealField((8, 8)))
    as_field = lambda f: f if kind is RidgeField else GradientField(f)  # noqa: E731
    x = jax.random.normal(jax.random.key(2), manifold.shape)
    velocity, divergence = as_field(small)(TIME, x)
    larger, larger_divergence = as_field(large)(TIME, jnp.tile(x, (2, 2)))
    scale = jnp.max(jnp.abs(velocity))
    assert jnp.max(jnp.abs(larger - jnp.tile(velocity, (2, 2)))) < 1e-12 * scale
    # The sums over displacements differ by images around the small lattice, nothing else: not compared. A move back is exact.
    assert jnp.isfinite(larger_divergence)
    assert large.linear.shape[1] == small.linear.shape[1] + 1
    assert jnp.all(large.linear[:, -1] == 0)
