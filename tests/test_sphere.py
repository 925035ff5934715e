"""O(n) models: trajectories on spheres, exact chains, continuous and stochastic transports with their weights."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dense_divergence
from scipy import special

import trivmap as tm
from trivmap import exact
from trivmap.kernels import molecular_dynamics

# Trajectories


def frame(x):
    """Orthonormal tangent vectors at x, `(V (n - 1), n, V)`: per site the right singular vectors orthogonal to x."""
    n, volume = x.shape
    vectors = np.zeros((volume, n - 1, n, volume))
    for site in range(volume):
        vectors[site, :, :, site] = np.linalg.svd(x[:, site][None])[2][1:]
    return jnp.asarray(vectors.reshape(-1, n, volume))


def lifted(x, v, e):
    """Orthonormal vectors of the tangent bundle at (x, v): x along a geodesic with v transported, and v alone."""
    parallel = -jnp.sum(v[None] * e, axis=1, keepdims=True) * x[None]
    return jnp.concatenate([e, jnp.zeros_like(e)]), jnp.concatenate([parallel, e])


# Compilation grows with the number of components.
SIZES = [2, 3, pytest.param(4, marks=pytest.mark.slow)]


@pytest.mark.parametrize("n", SIZES)
def test_trajectories_preserve_volume(n, key):
    """Jacobian of positions and velocities in orthonormal frames of the tangent bundle at both ends."""
    theory = tm.NonlinearSigmaModel(n, (3,), beta=1.3)
    manifold = theory.manifold
    x = manifold.reference_sample(key)
    v = manifold.motion(manifold.random_tangent(jax.random.key(1)), x)

    def trajectory(x, v):
        p = manifold.rotation(x, v)
        x, p, _ = molecular_dynamics(theory, tm.kernels.leapfrog, x, p, theory.gradient(x), 0.8, 2)
        return x, manifold.motion(p, x)

    end, columns = jax.jit(
        lambda x, v, e: (trajectory(x, v), jax.vmap(lambda *d: jax.jvp(trajectory, (x, v), d)[1])(*lifted(x, v, e)))
    )(x, v, frame(x))
    # The parts along the second kind of basis vectors do not see the parallel term: it is orthogonal to the tangent space.
    e = frame(end[0])
    rows = [jnp.tensordot(part, e, axes=((1, 2), (1, 2))) for part in columns]
    jacobian = jnp.concatenate(rows, axis=1)
    assert jacobian.shape == (6 * (n - 1), 6 * (n - 1))
    assert abs(jnp.linalg.slogdet(jacobian)[1]) < 1e-12
    assert jnp.max(jnp.abs(jacobian - jnp.eye(len(jacobian)))) > 0.1


@pytest.mark.parametrize("n", SIZES)
def test_free_motion_follows_great_circles(n, key):
    manifold = tm.SphereField(n, (5,))
    x = manifold.reference_sample(key)
    p = manifold.effective(manifold.random_tangent(jax.random.key(1)), x)
    v = manifold.motion(p, x)
    speed = jnp.sqrt(jnp.sum(v**2, axis=0, keepdims=True))
    moved = manifold.exp(1.7 * p, x)
    assert jnp.allclose(moved, jnp.cos(1.7 * speed) * x + jnp.sin(1.7 * speed) / speed * v, rtol=0, atol=1e-13)
    # The same rotation is the momentum there: nothing is left over, and the speed is that of the start.
    assert jnp.allclose(manifold.effective(p, moved), p, rtol=0, atol=1e-13)
    assert jnp.allclose(manifold.inner(p, p), jnp.sum(v**2), rtol=1e-13)


class Angles(tm.AbstractTheory):
    """The XY chain on angles: links of U(1) in one dimension."""

    manifold: tm.LinkField
    beta: float

    def action(self, x):
        return -self.beta * jnp.sum(jnp.cos(jnp.roll(x, -1, axis=1) - x))


def spins(angles):
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])


def test_two_components_are_angles(key):
    """Action, gradient and a whole trajectory agree; the chain rule of (cos, sin) is the only generator."""
    of_spins = tm.NonlinearSigmaModel(2, (7,), beta=0.9)
    of_angles = Angles(tm.LinkField(tm.U1(), (7,)), 0.9)
    angles, p = of_angles.manifold.reference_sample(key), of_angles.manifold.random_tangent(jax.random.key(1))
    assert jnp.allclose(of_spins.action(spins(angles)), of_angles.action(angles), rtol=1e-14)
    assert jnp.allclose(of_spins.gradient(spins(angles)), of_angles.gradient(angles), rtol=0, atol=1e-14)
    ends = []
    for theory, x in ((of_spins, spins(angles)), (of_angles, angles)):
        ends.append(molecular_dynamics(theory, tm.kernels.omf2, x, p, theory.gradient(x), 1.0, 5))
    (x, p_spins, _), (y, p_angles, _) = ends
    assert jnp.allclose(x, spins(y), rtol=0, atol=1e-13)
    assert jnp.allclose(p_spins, p_angles, rtol=0, atol=1e-13)


# Exact values


@pytest.mark.parametrize("n", [2, 3, 4, 7])
@pytest.mark.parametrize("beta", [0.3, 2.0, -1.5])
def test_chain_against_quadrature_of_its_harmonics(n, beta):
    """lambda_l by integration over s . s' with zonal harmonics (Gegenbauer polynomials, of Chebyshev for n = 2)."""
    points, weights = special.roots_jacobi(60, (n - 3) / 2, (n - 3) / 2)
    weights = weights / weights.sum()

    def zonal(degree):
        if n == 2:
            return special.eval_chebyt(degree, points)
        return special.eval_gegenbauer(degree, n / 2 - 1, points) / special.eval_gegenbauer(degree, n / 2 - 1, 1.0)

    eigenvalues = np.array([weights @ (np.exp(beta * points) * zonal(degree)) for degree in range(40)])
    # Degeneracies from the trace of the projector: 1 / <zonal^2>.
    degeneracies = np.array([1 / (weights @ zonal(degree) ** 2) for degree in range(40)])
    for length in (1, 2, 4, 6):
        theory = tm.NonlinearSigmaModel(n, (length,), beta)
        expected = np.log(degeneracies @ eigenvalues**length)
        # Rounding of the quadrature, relative to e^|beta| per site.
        assert exact.log_z(theory) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("beta", [0.7, -0.8, 3.0])
def test_ring_of_three_angles_by_summation(beta):
    """The trapezoidal rule on all angles of an XY ring of three sites: exact to rounding for analytic functions."""
    theory = tm.NonlinearSigmaModel(2, (3,), beta)
    a = 2 * np.pi * np.arange(48) / 48
    one, two = np.meshgrid(a, a, indexing="ij")  # the first angle is zero, by symmetry
    bonds = np.cos(one) + np.cos(two - one) + np.cos(two)
    weight = np.exp(beta * bonds)
    mean = lambda f: np.mean(f * weight) / np.mean(weight)  # noqa: E731
    assert exact.log_z(theory) == pytest.approx(np.log(np.mean(weight)), abs=1e-13)
    assert exact.mean_action(theory) == pytest.approx(-beta * mean(bonds), abs=1e-13)
    assert exact.action_variance(theory) == pytest.approx(mean(bonds**2) - mean(bonds) ** 2, abs=1e-12)
    np.testing.assert_allclose(exact.two_point(theory), [1, mean(np.cos(one)), mean(np.cos(two))], atol=1e-13)
    assert exact.ising_energy(theory) == pytest.approx(mean(bonds) / 3, abs=1e-13)
    assert exact.susceptibility(theory) == pytest.approx(1 + 2 * mean(np.cos(one)), abs=1e-13)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize(("lattice", "beta"), [((1,), 0.8), ((2,), 0.8), ((6,), 2.5), ((5, 1), 1.2), ((1, 4), -0.9)])
def test_cumulants_of_the_chain(n, lattice, beta):
    h = 1e-3
    stencil = np.array([1, -8, 8, -1]) / (12 * h)
    around = [tm.NonlinearSigmaModel(n, lattice, beta + k * h) for k in (-2, -1, 1, 2)]
    theory = tm.NonlinearSigmaModel(n, lattice, beta)
    # Central differences: h^4 / 30 times fifth derivatives of order ten, and rounding 1e-15 / h.
    slope = stencil @ [exact.log_z(t) for t in around]
    assert exact.mean_action(theory) == pytest.approx(-beta * slope, abs=1e-10)
    curvature = stencil @ [-exact.mean_action(t) / float(t.beta) for t in around]
    assert exact.action_variance(theory) == pytest.approx(curvature, abs=1e-10)
    assert exact.action_variance(tm.NonlinearSigmaModel(n, lattice, 0.0)) == pytest.approx(
        exact.action_variance(tm.NonlinearSigmaModel(n, lattice, 1e-7)), abs=1e-6
    )
    correlator = exact.two_point(theory, int(np.argmax(lattice)))
    assert correlator[0] == pytest.approx(1, abs=1e-13)
    assert exact.susceptibility(theory) == pytest.approx(correlator.sum(), abs=1e-13)


def test_known_limits_of_chains():
    spin = tm.NonlinearSigmaModel(3, (9,), 2.0)
    assert exact.pole_mass(spin) == pytest.approx(-np.log(1 / np.tanh(2.0) - 0.5), abs=1e-14)  # the Langevin function
    assert exact.log_z(tm.NonlinearSigmaModel(3, (9,), 0.0)) == 0
    # Spin waves: (n - 1) / 2 beta per bond is lost of a long chain, to first order.
    cold = tm.NonlinearSigmaModel(3, (64,), 1e6)
    assert exact.ising_energy(cold) == pytest.approx(1 - 63 / 64 / 1e6, abs=1e-11)
    assert exact.log_z(tm.NonlinearSigmaModel(300, (4,), 50.0)) == pytest.approx(4 * 50.0**2 / 600, rel=0.02)
    with pytest.raises(exact.NoExactResultError, match="chains only"):
        exact.log_z(tm.NonlinearSigmaModel(3, (4, 4), 1.0))
    with pytest.raises(exact.NoExactResultError, match="frustrated"):
        exact.log_z(tm.NonlinearSigmaModel(3, (3,), -40.0))
    with pytest.raises(exact.NoExactResultError, match="beyond"):
        exact.log_z(tm.NonlinearSigmaModel(3, (3,), 1e12))
    with pytest.raises(exact.NoExactResultError, match="plaquette"):
        exact.plaquette(spin)


def energy(s):
    return jax.vmap(tm.observables.ising_energy)(s).sum()


def susceptibility(s):
    return jax.vmap(tm.observables.susceptibility)(s).sum()


@pytest.mark.parametrize("n", SIZES)
def test_hmc_against_the_chain(n):
    theory = tm.NonlinearSigmaModel(n, (8,), beta=1.5)
    measure = {"energy": energy, "susceptibility": susceptibility}
    chain = tm.hmc(jax.random.key(n), theory, 400, chains=16, steps=5, measure=measure)
    assert abs(tm.statistics.creutz(chain).pull(1.0)) < 4
    for name, expected in (("energy", exact.ising_energy(theory)), ("susceptibility", exact.susceptibility(theory))):
        estimate = tm.expectation(chain, name)
        assert abs(estimate.pull(expected)) < 4, name
        assert estimate.error < 0.02 * expected
    assert chain.unitarity_defect < 1e-13


def test_square_of_four_spins():
    """Of a 2x2 lattice every bond counts twice: it is the ring of four at twice the coupling."""
    theory = tm.NonlinearSigmaModel(3, (2, 2), beta=0.6)
    chain = tm.hmc(jax.random.key(0), theory, 400, chains=16, steps=5, measure={"energy": energy})
    estimate = tm.expectation(chain, "energy")
    assert abs(estimate.pull(exact.ising_energy(tm.NonlinearSigmaModel(3, (4,), beta=1.2)))) < 4
    assert estimate.error < 0.01


def test_single_precision_and_files(tmp_path):
    theory = tm.NonlinearSigmaModel(3, (6,), beta=1.0)
    chain = tm.hmc(jax.random.key(0), theory, 50, chains=4, dtype=jnp.float32)
    assert chain.configurations.dtype == np.float32
    assert chain.delta_h.dtype == np.float64
    assert chain.unitarity_defect < 1e-5
    tm.write_chain(tmp_path / "chain.h5", chain, tm.io.ensemble_attributes(theory, chain))
    again, attributes = tm.read_chain(tmp_path / "chain.h5")
    np.testing.assert_array_equal(again.configurations, chain.configurations)
    assert attributes["theory"] == {"name": "NonlinearSigmaModel", "lattice": [6], "components": 3, "beta": 1.0}


# Transports


class Drive(eqx.Module):
    """A multiple of the action that grows with time, and terms without any symmetry unless `symmetric`."""

    theory: tm.NonlinearSigmaModel
    symmetric: bool = eqx.field(static=True, default=False)

    def __call__(self, t, x):
        bonds = self.theory.action(x).astype(x.dtype)
        if self.symmetric:
            return bonds / (2 * self.theory.n - 2)  # trivializing to first order: the bonds are eigenfunctions
        weights = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
        return (0.3 + t) * bonds + jnp.sum(weights * x) + 0.4 * jnp.sum(x[0] ** 2 * jnp.roll(x[1], 1, axis=-1))


def field_on(n, lattice, beta=1.0, symmetric=False):
    theory = tm.NonlinearSigmaModel(n, lattice, beta)
    return theory, tm.GradientField(tm.fields.LocalPotential(Drive(theory, symmetric), theory.manifold, reach=1))


@pytest.mark.parametrize(("n", "lattice"), [(2, (5,)), (3, (6,)), (3, (3, 4)), (4, (4,))])
def test_divergence_by_colouring(n, lattice, key):
    """Sum over all generators of all sites: rotations have no divergence of their own, so that nothing else contributes."""
    theory, field = field_on(n, lattice)
    x, t = theory.manifold.reference_sample(key), jnp.asarray(0.3)
    velocity, divergence = jax.jit(lambda x: field(t, x))(x)
    assert velocity.shape == theory.manifold.tangent_shape
    dense = jax.jit(lambda x: dense_divergence(lambda y: field(t, y)[0], theory.manifold, x))(x)
    assert jnp.allclose(divergence, dense, rtol=0, atol=1e-11)


def test_laplacian_is_that_of_the_sphere(key):
    """Harmonics of degree one and two: -l (l + n - 2), whatever the number of generators."""
    for n in (2, 3, 5):
        manifold = tm.SphereField(n, (2,))
        x = manifold.reference_sample(key)
        for degree, function in ((1, lambda t, x: jnp.sum(x[0])), (2, lambda t, x: jnp.sum(x[0] * x[1]))):
            _, laplacian = tm.fields.LocalPotential(function, manifold, reach=0).gradient_and_laplacian(jnp.asarray(0.0), x)
            assert jnp.allclose(laplacian, -degree * (degree + n - 2) * function(0.0, x), rtol=1e-12)


SOLVERS = {
    "LSCFRK4": (lambda m: tm.solvers.LSCFRK4(m), 4),
    "LuescherW3": (lambda m: tm.solvers.LuescherW3(m), 3),
    "CF4": (lambda m: tm.solvers.CF4(m), 4),
    "RKMK(Bosh3)": (lambda m: tm.solvers.RKMK(diffrax.Bosh3(), m), 3),
    "RKMK(Tsit5)": (lambda m: tm.solvers.RKMK(diffrax.Tsit5(), m), 5),
}


@pytest.mark.parametrize("n", SIZES)
def test_flow_has_the_log_det_of_its_jacobian(n, key):
    """Against the dense Jacobian in orthonormal frames of the spheres, which have fewer directions than generators."""
    theory, field = field_on(n, (3,))
    manifold = theory.manifold
    x = manifold.reference_sample(key)
    solve = jax.jit(lambda x: tm.solvers.integrate(field, manifold, x, steps=24))
    out = solve(x)
    assert manifold.defect(out.x) < 1e-13
    columns = jax.vmap(lambda e: jax.jvp(lambda y: solve(y).x, (x,), (e,))[1])(frame(x))
    jacobian = jnp.tensordot(columns, frame(out.x), axes=((1, 2), (1, 2)))
    # Fourth order at h = 1/24: errors of about 1e-6 for rates of order three.
    assert out.log_det == pytest.approx(float(jnp.linalg.slogdet(jacobian)[1]), abs=1e-4)
    assert abs(out.log_det) > 0.1
    back = jax.jit(lambda y: tm.solvers.integrate(field, manifold, y, t0=1.0, t1=0.0, steps=24))(out.x)
    assert manifold.distance(back.x, x) < 1e-4
    assert abs(back.log_det + out.log_det) < 1e-4


@pytest.mark.parametrize("name", SOLVERS)
def test_orders_of_solvers(name, key):
    theory, field = field_on(3, (4,))
    make, order = SOLVERS[name]
    manifold = theory.manifold
    x = manifold.reference_sample(key)
    solve = jax.jit(
        lambda steps: tm.solvers.integrate(field, manifold, x, solver=make(manifold), steps=steps), static_argnums=0
    )
    coarse, fine, reference = solve(8), solve(16), solve(128)
    for error in (
        lambda r: float(manifold.distance(r.x, reference.x)),
        lambda r: float(abs(r.log_det - reference.log_det)),
    ):
        assert order - 0.5 < np.log2(error(coarse) / error(fine)) < order + 1.2
    assert float(coarse.error_x) > float(fine.error_x) > 0


@pytest.mark.parametrize("n", SIZES[::2])
def test_adaptive_steps_and_dense_output(n, key):
    """Tangent vectors are shorter or longer than configurations here; the controller sees the motion."""
    theory, field = field_on(n, (3,))
    manifold = theory.manifold
    x = manifold.reference_sample(key)
    expected = jax.jit(lambda x: tm.solvers.integrate(field, manifold, x, steps=64))(x)
    controller = diffrax.PIDController(rtol=0.0, atol=1e-7)
    for solver in (tm.solvers.RKMK(diffrax.Tsit5(), manifold), tm.solvers.CF4(manifold)):
        out = jax.jit(lambda x, s=solver: tm.solvers.integrate(field, manifold, x, solver=s, controller=controller))(x)
        assert manifold.distance(out.x, expected.x) < 1e-5
        assert abs(out.log_det - expected.log_det) < 1e-5
    y, log_det = jax.jit(lambda x: tm.solvers.integrate_dense(field, manifold, x, steps=32)(1.0))(x)
    assert manifold.distance(y, expected.x) < 1e-6
    assert abs(log_det - expected.log_det) < 1e-6


class Still(tm.fields.AbstractVectorField):
    manifold: tm.SphereField = eqx.field(static=True)

    def __call__(self, t, x):
        return jnp.zeros(self.manifold.tangent_shape, x.dtype), jnp.zeros(())


def transports(theory):
    prior = tm.HaarPrior(theory.manifold)
    _, field = field_on(theory.n, theory.lattice, theory.beta, symmetric=True)
    yield "identity", tm.ContinuousFlow(Still(theory.manifold), steps=1)
    yield "gradient flow", tm.ContinuousFlow(field, steps=6)
    yield "Langevin", tm.LangevinFlow(prior, theory, 8, step_size=0.05)
    yield "annealed", tm.AnnealedFlow(prior, theory, tm.kernels.HMCKernel(1.0, 3), 6)


@pytest.mark.parametrize("n", SIZES)
def test_weights_of_all_kinds_of_transports(n):
    """log Z and energy of the chain; the trivializing flow of first order is better than none."""
    theory = tm.NonlinearSigmaModel(n, (6,), beta=0.8)
    ess = {}
    for name, transport in transports(theory):
        model = tm.Model(tm.HaarPrior(theory.manifold), transport)
        ensemble = tm.sample(jax.random.key(7), model, theory, 2000)
        ess[name] = tm.ess_fraction(ensemble.log_weights)
        log_z = tm.log_z(ensemble)
        assert abs(log_z.pull(exact.log_z(theory))) < 4, name
        assert log_z.error < 0.1, name
        assert abs(tm.expectation(ensemble, energy).pull(exact.ising_energy(theory))) < 4, name
    assert ess["gradient flow"] > 2 * ess["identity"]


def test_what_does_not_apply_is_refused():
    manifold = tm.SphereField(3, (4,))
    with pytest.raises(TypeError, match="HaarPrior"):
        tm.GaussianPrior(manifold, width=1.0)
    with pytest.raises(TypeError, match="GaussianPrior"):
        tm.HaarPrior(tm.RealField((4,)))
    with pytest.raises(TypeError, match="no local_group, as RealField and LinkField"):
        tm.ResidualFlow(tm.fields.LocalPotential(lambda t, x: jnp.sum(x[0]), manifold, reach=0), 2, curvature=1.0, reach=0)
    with pytest.raises(ValueError, match="expected a tangent vector"):
        tm.fields.LocalField(lambda t, x: x, tm.SphereField(4, (4,)), reach=0)
    ambient = lambda t, x: (x, jnp.zeros(()))  # noqa: E731
    with pytest.raises(ValueError, match=r"tangent vectors have \(6, 4\)"):
        tm.solvers.integrate(ambient, tm.SphereField(4, (4,)), tm.SphereField(4, (4,)).cold(), steps=1)
