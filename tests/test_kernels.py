"""All kernels: exact values, detailed balance, states that go on, a step alone and in chains; and what only some do."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import rows
from jaxtyping import Array

import trivmap as tm
from trivmap.kernels import (
    BoxHeatbath,
    ClusterKernel,
    ExchangeKernel,
    HeatbathKernel,
    HMCKernel,
    HolonomyRotation,
    KernelSequence,
    NestedIntegrator,
    OnComponent,
    OnRegion,
    OverrelaxationKernel,
    RandomMixture,
    RegionMetropolis,
    SymmetricSequence,
    WindingHit,
    leapfrog,
    omf2,
)
from trivmap.kernels._cluster import cluster_labels
from trivmap.lattice import Region, checkerboard, slab
from trivmap.statistics import gamma_method

LATTICE = (2, 3)


class Quartic(tm.AbstractTheory):
    """m2 phi^2 + lam phi^4 without neighbours: with the free scalar the other term of phi^4."""

    manifold: tm.RealField = eqx.field(static=True)
    m2: Array
    lam: Array

    def action(self, x):
        return jnp.sum(self.m2 * x**2 + self.lam * x**4)


class Pair(tm.AbstractTheory):
    """a^2 + b^2 + a b at every site: <a^2> = 2/3, <a b> = -1/3."""

    manifold: tm.ProductManifold = eqx.field(static=True)

    def action(self, x):
        return jnp.sum(x["a"] ** 2 + x["b"] ** 2 + x["a"] * x["b"])


class Metropolis(tm.kernels.AbstractMove):
    """A kernel of a user: the whole field moves at random."""

    width: float = eqx.field(static=True)

    def move(self, key, theory, x):
        step, accept = jax.random.split(key)
        y = x + self.width * jax.random.normal(step, x.shape, x.dtype)
        return jnp.where(jnp.log(jax.random.uniform(accept)) < theory.action(x) - theory.action(y), y, x)


PHI4 = tm.Phi4Action(LATTICE, m2=-4.0, lam=8.0)
SUM = tm.theories.SumTheory(
    tm.theories.FreeScalarAction(LATTICE, m2=1.0), Quartic(PHI4.manifold, jnp.asarray(-5.0), jnp.asarray(8.0))
)
U1 = tm.WilsonAction(tm.U1(), (2, 3), beta=1.5)
SU2 = tm.WilsonAction(tm.SU(2), (2, 3), beta=2.2)
LADDER = tm.theories.Replicas([tm.WilsonAction(tm.U1(), (2, 3), beta) for beta in (1.5, 2.0, 2.5)])
PAIR = Pair(tm.ProductManifold(a=tm.RealField((4,)), b=tm.RealField((4,))))
HMC = HMCKernel(1.0, steps=4)
EVEN, ODD = checkerboard(LATTICE)
FRONT, BACK = slab(LATTICE, 0, 0, 1), slab(LATTICE, 0, 1, 2)

WIDE = tm.Phi4Action((3, 6), m2=-4.0, lam=8.0)
MIDDLE = tm.priors.GaussianRegionPrior(slab((3, 3), 0, 1, 2) & slab((3, 3), 1, 1, 2), np.zeros((1, 3, 3)))
WINDOWS = RegionMetropolis(
    tm.Model(MIDDLE, tm.ContinuousFlow(tm.GatedConvolutionField(MIDDLE.manifold, features=2), steps=2)),
    tm.Phi4Action((3, 3), m2=-4.0, lam=8.0),
)

# Name: theory, kernel, whether it is reversible.
KERNELS = {
    "hmc": (PHI4, HMC, True),
    "hmc_links": (SU2, HMCKernel(1.0, 3, "omf2"), True),
    "hmc_adaptive": (PHI4, HMCKernel(1.0, 4, target_acceptance=0.7), True),
    "hmc_nested": (SUM, HMCKernel(1.0, 3, NestedIntegrator(leapfrog, omf2, 2)), True),
    "heatbath": (U1, HeatbathKernel(), True),
    "heatbath_su2": (SU2, HeatbathKernel(), True),
    "boxes": (U1, BoxHeatbath(2, attempts=6), True),
    "sequence": (U1, KernelSequence(HeatbathKernel(), OverrelaxationKernel(), HMC), False),
    "symmetric": (SU2, SymmetricSequence(OverrelaxationKernel(), HeatbathKernel()), True),
    "symmetric_hmc": (PHI4, SymmetricSequence(HMCKernel(0.5, 2), Metropolis(0.1)), True),
    "mixture": (U1, RandomMixture([HeatbathKernel(), HMC], [0.6, 0.4]), True),
    "clusters": (PHI4, RandomMixture([ClusterKernel(), HMC], [0.3, 0.7]), True),
    "topology": (U1, RandomMixture([HMC, WindingHit(), HolonomyRotation()]), True),
    "regions": (PHI4, KernelSequence(OnRegion(EVEN, HMC), OnRegion(ODD, HMC)), False),
    "regions_nested": (
        SUM,
        RandomMixture([OnRegion(FRONT, HMCKernel(1.0, 3, NestedIntegrator(omf2, leapfrog, 2))), HMC]),
        True,
    ),
    "regions_of_links": (U1, RandomMixture([OnRegion(FRONT, HeatbathKernel()), OnRegion(BACK, HeatbathKernel())]), True),
    "components": (PAIR, KernelSequence(OnComponent("a", HMC), OnComponent("b", HMC)), False),
    "component_mixture": (PAIR, RandomMixture([OnComponent("a", HMC), OnComponent("b", Metropolis(0.5))]), True),
    "exchange": (LADDER, ExchangeKernel(HeatbathKernel(), translate=(0,)), False),
    "exchange_at_random": (LADDER, ExchangeKernel(HeatbathKernel(), schedule="seo", updates=2), False),
    "of_a_user": (PHI4, Metropolis(0.15), True),
    "windows": (WIDE, RandomMixture([WINDOWS, HMC]), True),
}


# A chain of three rungs is compiled anew; the other schedule stays.
SLOW = {"exchange_at_random"}


def observables(theory):
    """Two functions that a symmetry of the theory does not relate, and the exact value of the first where it is known."""
    if theory is PAIR:
        return lambda x: jnp.mean(x["a"] ** 2), lambda x: jnp.mean(x["a"] * x["b"]), 2 / 3
    if theory is LADDER:
        return (
            lambda x: tm.plaquette(x["rung0"]),
            lambda x: tm.plaquette(x["rung1"]),
            tm.exact.plaquette(LADDER[0]),
        )
    if theory in (PHI4, SUM, WIDE):
        known = tm.exact.phi_squared(WIDE if theory is WIDE else PHI4)
        return lambda x: jnp.mean(x**2), lambda x: x[0, 0] * x[0, 1], known
    return tm.plaquette, lambda x: tm.wilson_loop(x, 1, 2), tm.exact.plaquette(theory)


@functools.cache
def equilibrium(name):
    """64 chains after thermalisation, the measured values of both functions, and the end of every chain."""
    theory, kernel, _ = KERNELS[name]
    f, g, _ = observables(theory)
    options = {"chains": 64, "thermalisation": 150, "measure": {"f": f, "g": g}}
    return tm.run_chain(jax.random.key(1), theory, kernel, 200, **options)


@pytest.mark.parametrize("name", rows(KERNELS, SLOW))
def test_exact_values(name):
    exact = observables(KERNELS[name][0])[2]
    estimate = gamma_method(equilibrium(name).observables["f"])
    assert abs(estimate.pull(exact)) < 4
    # Seen: at most 0.02 of the value. Without errors that small the pull would say little.
    assert estimate.error < 0.04 * exact


@pytest.mark.parametrize("name", [name for name, row in KERNELS.items() if row[2]])
def test_detailed_balance(name):
    """<f(x) g(x')> = <g(x) f(x')> for one step from equilibrium, from a fresh state as in an annealed flow."""
    theory, kernel, reversible = KERNELS[name]
    assert kernel.reversible is reversible
    f, g, _ = observables(theory)
    count = 100

    @jax.jit
    @jax.vmap
    def pairs(key, x):
        def once(x, key):
            y = kernel.repeated(key, theory, x)
            return y, f(x) * g(y) - g(x) * f(y)

        return jnp.mean(jax.lax.scan(once, x, jax.random.split(key, count))[1])

    start = equilibrium(name).state.configuration
    difference = np.asarray(pairs(jax.random.split(jax.random.key(2), 64), start))
    # The sum over a chain is not a mere difference of its ends, and chains are independent.
    assert abs(difference.mean()) < 4 * difference.std(ddof=1) / 8


@pytest.mark.parametrize("name", rows(KERNELS, SLOW))
def test_states_go_on_bit_for_bit(name):
    theory, kernel, _ = KERNELS[name]
    f, _, _ = observables(theory)
    options = {"chains": 2, "chunk": 2, "measure": {"f": f, "action": theory.action}}
    whole = tm.run_chain(jax.random.key(3), theory, kernel, 4, thermalisation=3, **options)
    first = tm.run_chain(jax.random.key(3), theory, kernel, 2, thermalisation=3, **options)
    rest = tm.run_chain(jax.random.key(3), theory, kernel, 2, initial=first.state, **options)
    for field in ("f", "action"):
        joined = np.concatenate([first.observables[field], rest.observables[field]], axis=1)
        np.testing.assert_array_equal(joined, whole.observables[field])
    for a, b in zip(jax.tree.leaves(rest.state), jax.tree.leaves(whole.state), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", rows(KERNELS, SLOW))
def test_one_step_alone_and_in_many_chains(name):
    theory, kernel, _ = KERNELS[name]
    f, _, _ = observables(theory)
    many = tm.run_chain(jax.random.key(4), theory, kernel, 1, chains=3, thermalisation=2, measure={"f": f}, chunk=1)
    again = tm.run_chain(jax.random.key(4), theory, kernel, 1, chains=3, initial=many.state, measure={"f": f}, chunk=1)
    # The keys of `run_chain`: one for each chain, folded with the number of steps.
    key = jax.random.fold_in(jax.random.fold_in(jax.random.split(jax.random.key(4))[1], 2), 3)
    state = jax.tree.map(lambda a: a[2], many.state.kernel)
    moved, info = jax.jit(lambda key, state: kernel.step(key, theory, state))(key, state)
    # Compiled apart: rounding, which a trajectory enlarges by less than a hundred.
    for a, b in zip(jax.tree.leaves(moved.configuration), jax.tree.leaves(again.state.configuration), strict=True):
        np.testing.assert_allclose(a, b[2], rtol=1e-11, atol=1e-12)
    if again.accepted is not None:
        assert bool(info["accepted"]) == again.accepted[2, 0]


# Composition


def test_info_of_compositions():
    chain = tm.run_chain(
        jax.random.key(0), U1, KernelSequence(HMC, HMC, HeatbathKernel()), 5, thin=2, chains=3, thermalisation=1
    )
    assert chain.accepted is None
    assert chain.info["accepted_0"].shape == chain.info["delta_h_1"].shape == (3, 10)
    assert chain[1:3].info["accepted_0"].shape == (3, 4)
    assert chain.force_evaluations == 8
    mixture = equilibrium("mixture")
    chosen = mixture.info["chosen"]
    # 12800 decisions, 5120 of them for the second kernel: binomial error 55.
    assert abs(np.mean(chosen) - 0.4) < 4 * np.sqrt(0.24 / chosen.size)
    assert np.all(mixture.accepted[chosen == 0])
    assert not np.all(mixture.accepted[chosen == 1])
    assert np.all((mixture.delta_h != 0) == (chosen == 1))


def test_a_sequence_of_one_is_that_kernel():
    options = {"chains": 2, "thermalisation": 3}
    alone = tm.run_chain(jax.random.key(0), PHI4, RandomMixture([HMC]), 3, **options)
    assert np.all(alone.info["chosen"] == 0)
    one = tm.run_chain(jax.random.key(0), U1, KernelSequence(HeatbathKernel()), 3, **options)
    np.testing.assert_array_equal(one.configurations, tm.heatbath(jax.random.key(0), U1, 3, **options).configurations)


@pytest.mark.parametrize(
    ("theory", "kernel"), [(SU2, HMCKernel(1.0, 3)), (SU2, HeatbathKernel()), (U1, OverrelaxationKernel())]
)
@pytest.mark.parametrize("links", [False, True])
def test_what_is_outside_of_a_region_stays(theory, kernel, links):
    mask = np.zeros((2, *LATTICE), bool)
    mask[0, 1], mask[1, :, 2] = True, True
    region = Region(mask, links=True) if links else BACK
    moves = region.of_links()
    x = theory.manifold.reference_sample(jax.random.key(0))
    moved = OnRegion(region, kernel).repeated(jax.random.key(1), theory, x, 4)
    changed = np.asarray(x != moved)
    changed = changed.any(axis=tuple(range(1, changed.ndim - 2))) if changed.ndim > 3 else changed
    assert not np.any(changed & ~moves)
    assert np.all(changed[moves])


def test_regions():
    even, odd = checkerboard((4, 4))
    assert ~even == odd
    assert len(even | odd) == 16
    assert len(even & odd) == 0
    assert hash(even) == hash(Region(even.mask))
    assert even != Region(np.ones((4, 4), bool))
    np.testing.assert_array_equal(slab((3, 2), 0, 1, 3).indices, [2, 3, 4, 5])
    assert len({even, odd, ~odd}) == 2
    links = Region(np.ones((2, 4, 4), bool), links=True)
    assert links.restricted(jnp.ones((2, 3, 4, 4))).sum() == 96
    for act, message in (
        (lambda: Region(np.zeros((2, 2))), "expected booleans"),
        (lambda: Region(np.zeros((3, 2, 2), bool), links=True), r"expected \(dim, \*lattice\)"),
        (lambda: even & links, "expected regions of one lattice"),
        (lambda: even.restricted(jnp.ones((4, 2))), "for sites of the lattice"),
        (lambda: slab((4, 4), 2, 0, 1), "expected layers of this lattice"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            act()


# Clusters


@pytest.mark.parametrize("lattice", [(7,), (2, 3), (4, 5), (3, 2, 4), (1, 6), (24, 24)])
@pytest.mark.parametrize("density", [0.0, 0.3, 0.55, 1.0])
def test_cluster_labels(lattice, density):
    bonds = jax.random.bernoulli(jax.random.key(0), density, (len(lattice), *lattice))
    sites = np.arange(bonds[0].size).reshape(lattice)
    expected, before = sites, None
    # The lowest site by passing labels along bonds one at a time.
    while before is None or np.any(expected != before):
        before, expected = expected, expected.copy()
        for mu in range(len(lattice)):
            lowest = np.minimum(expected, np.roll(expected, -1, mu))
            expected = np.where(bonds[mu], lowest, expected)
            expected = np.where(np.roll(bonds[mu], 1, mu), np.minimum(expected, np.roll(lowest, 1, mu)), expected)
    np.testing.assert_array_equal(jax.jit(cluster_labels)(bonds), expected)


def test_clusters_sample_the_embedded_ising_model():
    """At fixed moduli products of signs have the averages of an enumeration of all signs."""
    theory = tm.Phi4Action((2, 3), m2=-1.0, lam=1.0)
    moduli = 0.2 + 0.5 * jax.random.uniform(jax.random.key(0), (2, 3))
    signs = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 6, indexing="ij"), -1).reshape(-1, 2, 3)
    weights = jax.nn.softmax(-jax.vmap(theory.action)(signs * moduli[None]))
    pairs = lambda s: jnp.outer(s.reshape(-1), s.reshape(-1))[np.triu_indices(6, 1)]  # noqa: E731
    exact = weights @ jax.vmap(pairs)(jnp.asarray(signs))
    chain = tm.run_chain(
        jax.random.key(1),
        theory,
        ClusterKernel(),
        500,
        chains=64,
        thermalisation=20,
        initial=jnp.broadcast_to(moduli, (64, 2, 3)),
        measure={"pairs": lambda x: pairs(jnp.sign(x)), "modulus": lambda x: jnp.max(jnp.abs(jnp.abs(x) - moduli))},
    )
    means = np.asarray(chain.observables["pairs"]).mean(axis=1)
    error = means.std(axis=0, ddof=1) / 8
    # Fifteen correlated pulls from 64 chains.
    assert np.max(np.abs(means.mean(axis=0) - exact) / error) < 4
    assert np.max(error) < 0.01
    assert np.all(chain.observables["modulus"] == 0)


@pytest.mark.parametrize("theory", [SUM, U1, tm.theories.SumTheory(U1, U1)], ids=lambda t: type(t).__name__)
def test_clusters_refuse_other_theories(theory):
    with pytest.raises(TypeError, match="not known to be an Ising model"):
        ClusterKernel().move(jax.random.key(0), theory, theory.manifold.cold())


# Nested integrators


DEEP = tm.theories.SumTheory(
    tm.theories.FreeScalarAction((2, 2), m2=1.0),
    Quartic(tm.RealField((2, 2)), jnp.asarray(0.5), jnp.asarray(1.0)),
    Quartic(tm.RealField((2, 2)), jnp.asarray(-1.0), jnp.asarray(2.0)),
)
GAUGE = tm.theories.SumTheory(tm.WilsonAction(tm.SU(2), (2, 2), 0.7), tm.WilsonAction(tm.SU(2), (2, 2), 1.5))
NESTED = {
    "two": (SUM, NestedIntegrator(leapfrog, leapfrog, 2), 2),
    "three": (DEEP, NestedIntegrator(leapfrog, NestedIntegrator(omf2, leapfrog, 2), 2), 2),
    "fourth": (DEEP, NestedIntegrator(tm.kernels.omf4, tm.kernels.omf4, 1, terms=((1,), (0, 2))), 4),
    "links": (GAUGE, NestedIntegrator(omf2, leapfrog, 3), 2),
}


def moved(theory, integrator, x, p, length, steps):
    return integrator.integrate(theory, x, p, integrator.gradient(theory, x), length, steps)


def beginning(theory, key):
    start = theory.manifold.random_tangent(key)
    x = 0.5 * start if isinstance(theory.manifold, tm.RealField) else theory.manifold.reference_sample(key)
    return x, theory.manifold.random_tangent(jax.random.fold_in(key, 1))


@pytest.mark.parametrize("name", NESTED)
def test_nested_trajectories_are_reversible_and_of_their_order(name, key):
    theory, integrator, order = NESTED[name]
    assert integrator.order == order
    length = 0.25 if order == 2 else 0.125

    @jax.jit
    @jax.vmap
    def ends(x, p):
        energies = []
        for steps in (8, 16):
            y, q, gradient = moved(theory, integrator, x, p, length, steps)
            energies.append(theory.action(y) + theory.manifold.inner(q, q) / 2)
        back, minus, _ = integrator.integrate(theory, y, -q, gradient, length, 16)
        start = theory.action(x) + theory.manifold.inner(p, p) / 2
        return energies[0] - start, energies[1] - start, jnp.max(jnp.abs(back - x)), jnp.max(jnp.abs(minus + p))

    x, p = jax.vmap(lambda k: beginning(theory, k))(jax.random.split(key, 16))
    coarse, fine, x_error, p_error = ends(x, p)
    # Rounding of 2e-16 in some hundred operations per site, enlarged by less than ten.
    assert jnp.max(x_error) < 1e-12
    assert jnp.max(p_error) < 1e-12
    # Next order: relative h^2, (1/32)^2 and (1/64)^2, times the squared frequencies of the quartic term, some ten to hundred.
    assert jnp.linalg.norm(coarse) / jnp.linalg.norm(fine) == pytest.approx(2**order, rel=0.12)


@pytest.mark.parametrize("name", ["three", "fourth"])
def test_nested_trajectories_preserve_volume(name, key):
    theory, integrator, _ = NESTED[name]
    x, p = beginning(theory, key)

    def flat(z):
        y, q, _ = moved(theory, integrator, z[:4].reshape(2, 2), z[4:].reshape(2, 2), 0.5, 2)
        return jnp.concatenate([y.reshape(-1), q.reshape(-1)])

    jacobian = jax.jit(jax.jacfwd(flat))(jnp.concatenate([x.reshape(-1), p.reshape(-1)]))
    # The matrix is far from one, of determinant one up to rounding.
    assert jnp.linalg.norm(jacobian - jnp.eye(8)) > 0.5
    assert abs(jnp.linalg.det(jacobian) - 1) < 1e-12


def test_nested_with_one_term_is_the_plain_integrator(key):
    """Without inner forces the drift is free motion, in one piece or three; without outer ones there are only more steps."""
    x, p = beginning(PHI4, key)
    plain = moved(PHI4, omf2, x, p, 0.7, 3)
    outer = moved(PHI4, NestedIntegrator(omf2, leapfrog, 3, terms=((0,), ())), x, p, 0.7, 3)
    np.testing.assert_allclose(outer[0], plain[0], atol=1e-14)
    np.testing.assert_allclose(outer[1], plain[1], atol=1e-13)
    inner = moved(PHI4, NestedIntegrator(leapfrog, omf2, 3, terms=((), (0,))), x, p, 0.7, 1)
    np.testing.assert_allclose(inner[0], plain[0], atol=1e-14)
    np.testing.assert_allclose(inner[1], plain[1], atol=1e-13)
    np.testing.assert_allclose(inner[2][1], plain[2], atol=1e-13)


def test_terms():
    assert PHI4.terms == (PHI4,)
    assert len(SUM.terms) == 2
    x = 0.5 * SUM.manifold.random_tangent(jax.random.key(0))
    # Sums of six terms of order one.
    assert abs(SUM.action(x) - PHI4.action(x)) < 1e-13
    np.testing.assert_allclose(SUM.gradient(x), PHI4.gradient(x), atol=1e-13)
    assert NestedIntegrator(leapfrog, NestedIntegrator(omf2, leapfrog, 2), 3).force_evaluations == 1 * (
        1 + 3 * 2 * (1 + 2 * 1)
    )


# Adaptation


@pytest.mark.parametrize(
    ("theory", "steps", "target"), [(PHI4, 4, 0.7), (tm.Phi4Action((4, 4), 1.0, 0.5), 6, 0.9), (SU2, 4, 0.8)], ids=str
)
@pytest.mark.parametrize("length", [0.05, 4.0])
def test_adaptation_reaches_its_target(theory, steps, target, length):
    f, _, exact = (
        (tm.plaquette, None, tm.exact.plaquette(theory))
        if theory is SU2
        else (lambda x: jnp.mean(x**2), None, tm.exact.phi_squared(theory))
    )
    options = {"steps": steps, "trajectory_length": length, "thermalisation": 300, "chains": 32, "measure": {"f": f}}
    chain = tm.hmc(jax.random.key(5), theory, 300, target_acceptance=target, **options)
    adaptation = chain.state.kernel.adaptation
    assert np.all(adaptation.frozen)
    assert np.all(adaptation.count == 300)
    # The error from the spread between chains, and the bias of an average over steps instead of acceptances.
    rates = chain.accepted.mean(axis=1)
    assert abs(rates.mean() - target) < 4 * rates.std(ddof=1) / np.sqrt(32) + 0.03
    assert abs(tm.expectation(chain, "f").pull(exact)) < 4


def test_adaptation_ends_before_the_first_measurement():
    kernel = HMCKernel(0.3, 3, target_acceptance=0.8)
    first = tm.run_chain(jax.random.key(0), PHI4, kernel, 5, chains=2, thermalisation=20)
    rest = tm.run_chain(jax.random.key(0), PHI4, kernel, 5, chains=2, initial=first.state, thermalisation=10)
    lengths = [np.asarray(jax.vmap(kernel.trajectory_length)(chain.state.kernel)) for chain in (first, rest)]
    np.testing.assert_array_equal(*lengths)
    assert np.all(lengths[0] != 0.3)
    without = tm.run_chain(jax.random.key(0), PHI4, kernel, 5, chains=2, thermalisation=0)
    plain = tm.run_chain(jax.random.key(0), PHI4, HMCKernel(0.3, 3), 5, chains=2, thermalisation=0)
    np.testing.assert_allclose(without.configurations, plain.configurations, rtol=1e-12)


@pytest.mark.parametrize(
    ("act", "kind", "message"),
    [
        (lambda: KernelSequence(), ValueError, "got no kernel"),
        (lambda: KernelSequence(PHI4), TypeError, "expected kernels"),
        (lambda: RandomMixture([HMC], [0.5]), ValueError, "whose sum is one"),
        (lambda: RandomMixture([HMC, HMC], [-1.0, 2.0]), ValueError, "probabilities"),
        (lambda: HMCKernel(target_acceptance=1.0), ValueError, "target_acceptance"),
        (lambda: NestedIntegrator(leapfrog, leapfrog, 0), ValueError, "inner_steps"),
        (lambda: NestedIntegrator(leapfrog, leapfrog, 2, terms=((0,),)), ValueError, "expected 2"),
        (
            lambda: NestedIntegrator(leapfrog, NestedIntegrator(leapfrog, leapfrog, 2, ((0,), (1,))), 2),
            ValueError,
            "outermost",
        ),
        (
            lambda: tm.hmc(jax.random.key(0), PHI4, 1, integrator=NestedIntegrator(leapfrog, leapfrog, 2)),
            ValueError,
            "each term once",
        ),
        (lambda: tm.theories.SumTheory(PHI4), ValueError, "two or more"),
        (lambda: tm.theories.SumTheory(PHI4, U1), ValueError, "one manifold"),
        (lambda: tm.run_chain(jax.random.key(0), PHI4, omf2, 1), TypeError, "as kernel"),
        (lambda: tm.run_chain(jax.random.key(0), PHI4, OnComponent("a", HMC), 1), ValueError, "component 'a'"),
        (lambda: tm.run_chain(jax.random.key(0), PHI4, OnRegion(EVEN, HeatbathKernel()), 1), TypeError, "WilsonAction only"),
        (lambda: tm.AnnealedFlow(tm.HaarPrior(U1.manifold), U1, KERNELS["sequence"][1], 2), ValueError, "not reversible"),
        (lambda: _of_another_kernel(), ValueError, "another kernel"),
    ],
)
def test_errors_teach(act, kind, message):
    with pytest.raises(kind, match=message):
        act()


def _of_another_kernel():
    state = tm.heatbath(jax.random.key(0), U1, 1, thermalisation=0).state
    return tm.hmc(jax.random.key(0), U1, 1, initial=state)


@pytest.mark.parametrize("lattice", [(3, 4), (1, 2)])
def test_proposals_of_topology(key, lattice):
    """A winding hit changes every plaquette by 2 pi q/V, a rotation of holonomies none; both are refused elsewhere."""
    theory = tm.WilsonAction(tm.U1(), lattice, beta=1.0)
    x = jnp.zeros(theory.manifold.shape)
    hit = WindingHit(charge=1).propose(key, theory, x)
    assert jnp.allclose(tm.plaquette(hit), jnp.cos(2 * jnp.pi / np.prod(lattice)), rtol=0, atol=1e-14)
    turned = HolonomyRotation().propose(key, theory, x)
    assert jnp.allclose(tm.plaquette(turned), 1, rtol=0, atol=1e-14)
    assert jnp.max(jnp.abs(turned)) > 1e-3
    for kernel in (WindingHit(), HolonomyRotation()):
        with pytest.raises(TypeError, match=r"expected one of the links of U1\(\)"):
            kernel.propose(key, SU2, SU2.manifold.cold())
    with pytest.raises(TypeError, match="expected two dimensions"):
        WindingHit().propose(key, tm.WilsonAction(tm.U1(), (2, 2, 2), 1.0), jnp.zeros((3, 2, 2, 2)))
    with pytest.raises(ValueError, match="charge"):
        WindingHit(charge=0)
