"""Pseudofermions: actions and derivatives against dense matrices, exact draws, marginals, chains against determinants."""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import gauge_transform, random_gauge_transformation

import trivmap as tm
from trivmap import _linalg as linalg
from trivmap.fermions import NotConvergedError, WilsonDirac
from trivmap.groups import SU, U1
from trivmap.kernels import NestedIntegrator, leapfrog, molecular_dynamics
from trivmap.theories import (
    ComponentTheory,
    FermionDeterminant,
    PseudofermionAction,
    RationalPseudofermionAction,
    SumTheory,
    WilsonAction,
)

ROWS = json.loads((Path(__file__).parent / "reference" / "schwinger.json").read_text())["rows"]

ACTIONS = {
    "U1": lambda: PseudofermionAction(WilsonDirac(U1(), (4, 2), 0.22)),
    "U1-whole": lambda: PseudofermionAction(WilsonDirac(U1(), (4, 2), 0.22), even_odd=False),
    "U1-odd": lambda: PseudofermionAction(WilsonDirac(U1(), (3, 2), 0.22, boundary=(1, -1))),
    "U1-kappas": lambda: PseudofermionAction(WilsonDirac(U1(), (2, 4), 0.24), hasenbusch=(0.2, 0.1)),
    "U1-twisted": lambda: PseudofermionAction(
        WilsonDirac(U1(), (2, 4), 0.24, twisted_mass=0.1), (WilsonDirac(U1(), (2, 4), 0.24, twisted_mass=0.4),)
    ),
    "SU2": lambda: PseudofermionAction(WilsonDirac(SU(2), (2, 2), 0.2), (0.1,)),
    "SU3-4d": lambda: PseudofermionAction(WilsonDirac(SU(3), (2, 1, 2, 1), 0.1)),
}


def actions(*fast):
    marked = [pytest.param(name, marks=() if name in fast else pytest.mark.slow) for name in ACTIONS]
    return pytest.mark.parametrize("name", marked)


@eqx.filter_jit
def start(theory):
    """Disordered links, and pseudofermions of their equilibrium."""
    return theory.refresh(jax.random.key(3), theory.manifold.generic_sample(jax.random.key(4)))


def dense_action(theory, x):
    """The definition, with LU decompositions of dense matrices; differentiable."""
    total = jnp.zeros(())
    for factor in theory.factors:
        operator = factor.operator
        b = operator.to_spinor(x[factor.name]).reshape(-1)
        if factor.heavier is not None:
            heavier = eqx.tree_at(lambda f: f.dirac, factor, factor.heavier).operator
            b = heavier.dense(x["links"]) @ b
            total = total + 2 * (FermionDeterminant(factor.heavier).log_det(x["links"]) - log_det(heavier, x["links"]))
        y = linalg.inverse(operator.dense(x["links"])) @ b
        total = total + jnp.sum(jnp.abs(y) ** 2)
        total = total - 2 * (FermionDeterminant(factor.dirac).log_det(x["links"]) - log_det(operator, x["links"]))
    return total


def log_det(operator, links):
    return linalg.log_det(operator.dense(links))[0]


@actions("U1")
def test_action_and_gradient_against_dense_matrices(name):
    theory = ACTIONS[name]()
    x = start(theory)
    value, gradient = jax.jit(lambda y: (theory.action(y), theory.gradient(y)))(x)
    exact, by_dense = jax.jit(
        lambda y: (dense_action(theory, y), theory.manifold.gradient(lambda z: dense_action(theory, z))(y))
    )(x)
    # Residuals of 1e-10: their square for the action, which is left with rounding of some hundred terms times the
    # condition number (below 1e3); residuals of 1e-7 times that for forces.
    assert abs(value - exact) < 1e-11 * max(abs(exact), 1)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(by_dense), strict=True):
        assert jnp.allclose(a, b, rtol=0, atol=1e-5)


@actions()
def test_mean_action_counts_components(key, name):
    """Of the draw S is |eta|^2 (and a constant without links for twisted masses): Gamma distributed, mean and variance n."""
    theory = ACTIONS[name]()
    x = start(theory)
    n = sum(factor.operator.size for factor in theory.factors)
    values = np.asarray(jax.jit(jax.vmap(lambda k: theory.action(theory.refresh(k, x))))(jax.random.split(key, 400)))
    dirac = theory.factors[0].dirac
    constant = 2 * (FermionDeterminant(dirac).log_det(x["links"]) - log_det(theory.operator, x["links"]))
    assert abs(values.mean() + constant - n) < 4 * np.sqrt(n / len(values))
    # The variance of a variance of Gamma variables: (2 + 6/n) n^2 / N.
    assert abs(values.var() - n) < 4 * n * np.sqrt((2 + 6 / n) / len(values))


@pytest.mark.parametrize(
    "name", ["U1", *(pytest.param(name, marks=pytest.mark.slow) for name in ("U1-kappas", "U1-twisted"))]
)
def test_marginal_is_the_determinant(key, name):
    """Pseudofermions of one set of links weigh another one by exp(-dS), whose mean is the ratio of the determinants."""
    theory = ACTIONS[name]()
    x = start(theory)
    moved = theory.factors[0].dirac.manifold.exp(0.1 * theory.factors[0].dirac.manifold.random_tangent(key), x["links"])
    determinant = FermionDeterminant(theory.factors[0].dirac)
    exact = float(jnp.exp(determinant.action(x["links"]) - determinant.action(moved)))

    def weight(k):
        y = theory.refresh(k, x)
        return jnp.exp(theory.action(y) - theory.action(y | {"links": moved}))

    weights = np.asarray(jax.jit(jax.vmap(weight))(jax.random.split(key, 3000)))
    assert abs(weights.mean() - exact) < 4 * weights.std() / np.sqrt(len(weights))
    assert abs(exact - 1) > 8 * weights.std() / np.sqrt(len(weights))  # so that the determinant is seen at all


@pytest.mark.slow
@pytest.mark.parametrize("even_odd", [False, True])
def test_gauge_invariance(key, even_odd):
    """Links and pseudofermions transformed together leave the action as it is; links alone do not."""
    dirac = WilsonDirac(SU(2), (2, 4), 0.2)
    theory = PseudofermionAction(dirac, even_odd=even_odd)
    x, operator = start(theory), theory.operator
    omega = random_gauge_transformation(key, dirac.group, dirac.lattice)
    psi = operator.to_spinor(x["phi"])
    whole = operator.join(jnp.zeros_like(psi), psi) if even_odd else psi
    turned = jnp.einsum("ij...,sj...->si...", omega, whole)
    turned = operator.split(turned)[1] if even_odd else turned
    moved = {"links": gauge_transform(dirac.group, omega, x["links"]), "phi": operator.from_spinor(turned)}
    before, after, links = jax.jit(jax.vmap(lambda y: theory.action(y)))(
        jax.tree.map(lambda *a: jnp.stack(a), x, moved, x | {"links": moved["links"]})
    )
    # Twice the square of the residual, and rounding of a few hundred terms.
    assert abs(after / before - 1) < 1e-12
    assert abs(links / before - 1) > 1e-3


@pytest.mark.slow
def test_single_precision(key):
    """Actions in float64 of float32 fields; forces in float32."""
    theory = PseudofermionAction(WilsonDirac(SU(2), (2, 4), 0.2), (0.1,))
    x = start(theory)
    small = jax.tree.map(lambda a: a.astype(jnp.complex64 if jnp.iscomplexobj(a) else jnp.float32), x)
    rounded = jax.tree.map(lambda a: a.astype(jnp.complex128 if jnp.iscomplexobj(a) else jnp.float64), small)
    evaluate = jax.jit(lambda y: (theory.action(y), theory.gradient(y), theory.refresh(key, y)))
    (value, gradient, fresh), (same, exact, _) = evaluate(small), evaluate(rounded)
    assert value.dtype == jnp.float64
    assert jnp.allclose(value, same, rtol=1e-14)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} <= {jnp.dtype("float32"), jnp.dtype("complex64")}
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(exact), strict=True):
        # A residual of 1e-6 times the condition number of some tens, and entries of order one to ten.
        assert jnp.allclose(a.astype(b.dtype), b, rtol=0, atol=1e-3)
    assert fresh["phi_0"].dtype == jnp.float32


@pytest.mark.slow
def test_parameters_move_the_action_as_differences_say(key):
    """The derivative by kappa and twisted mass of a chain of ratios, by one solve each."""
    theory = ACTIONS["U1-twisted"]()
    x = start(theory)

    def action(kappa, mu):
        dirac = WilsonDirac(U1(), (2, 4), kappa, twisted_mass=mu)
        return PseudofermionAction(dirac, (WilsonDirac(U1(), (2, 4), kappa, twisted_mass=0.4),), tolerance=1e-13).action(x)

    exact = jax.jit(jax.grad(action, argnums=(0, 1)))(0.24, 0.1)
    h = 1e-5  # error h^2 of third derivatives of some 1e2, and 1e-13 of rounding over h
    value = jax.jit(action)
    assert abs((value(0.24 + h, 0.1) - value(0.24 - h, 0.1)) / (2 * h) - exact[0]) < 1e-6
    assert abs((value(0.24, 0.1 + h) - value(0.24, 0.1 - h)) / (2 * h) - exact[1]) < 1e-6


@pytest.mark.slow
def test_sums_of_fields_and_terms(key):
    """A gauge action beside pseudofermions: one term per time scale, and the gradient is that of the sum."""
    dirac, gauge = WilsonDirac(U1(), (2, 4), 0.24), WilsonAction(U1(), (2, 4), 2.0)
    pseudofermions = PseudofermionAction(dirac, (0.1,))
    theory = SumTheory(pseudofermions, gauge)
    x = start(theory)
    assert theory.pseudofermions == ("phi_0", "phi_1")
    assert len(theory.terms) == 3
    both = lambda y, *theories: [(t.action(y), t.gradient(y)) for t in theories]  # noqa: E731
    (action, gradient), (alone, _), *terms = jax.jit(lambda y: both(y, theory, pseudofermions, *theory.terms))(x)
    assert jnp.allclose(action, alone + gauge.action(x["links"]), rtol=1e-13)
    assert jnp.allclose(sum(value for value, _ in terms), action, rtol=1e-13)
    parts = [part for _, part in terms]
    for name in x:
        assert jnp.allclose(sum(part[name] for part in parts), gradient[name], rtol=0, atol=1e-12)
    assert jnp.allclose(parts[2]["links"], gauge.gradient(x["links"]), rtol=0, atol=1e-14)
    assert not jnp.any(parts[2]["phi_0"])


def test_bad_input():
    dirac = WilsonDirac(U1(), (4, 4), 0.2)
    with pytest.raises(ValueError, match="even ones"):
        PseudofermionAction(WilsonDirac(U1(), (3, 4), 0.2), even_odd=True)
    with pytest.raises(ValueError, match="Hasenbusch operator"):
        PseudofermionAction(dirac, (WilsonDirac(U1(), (4, 4), 0.1, boundary=(1, 1)),))
    with pytest.raises(ValueError, match="tolerance"):
        PseudofermionAction(dirac, tolerance=0.0)
    with pytest.raises(ValueError, match="different ones"):
        SumTheory(PseudofermionAction(dirac), PseudofermionAction(dirac))
    with pytest.raises(ValueError, match="expected one manifold"):
        SumTheory(PseudofermionAction(dirac), PseudofermionAction(dirac, even_odd=False, name="phi"))
    with pytest.raises(ValueError, match="expected exactly one"):
        SumTheory(PseudofermionAction(dirac), WilsonAction(U1(), (4, 6), 1.0))
    short = PseudofermionAction(dirac, max_iterations=2)
    x = start(PseudofermionAction(dirac))
    with pytest.raises(NotConvergedError, match="kappa = 0.2"):
        short.action(x)
    with pytest.raises(Exception, match="kappa = 0.2"):
        jax.block_until_ready(jax.jit(lambda y: short.gradient(y))(x))


def links_only(observables):
    return {name: lambda x, f=f: f(x["links"]) for name, f in observables.items()}


def trajectory(theory, x, p, steps, integrator=leapfrog):
    """Links and momenta after a trajectory of length one in the presence of the pseudofermions."""
    given = ComponentTheory(theory, "links", x)
    links, p, _ = molecular_dynamics(given, integrator, x["links"], p, integrator.gradient(given, x["links"]), 1.0, steps)
    return x | {"links": links}, p


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [1e-10, 1e-3])
def test_trajectories_are_reversible(key, tolerance):
    """Forces of solves that start from zero are functions of the links: trajectories return to rounding at any tolerance,
    as long as rounding does not change a number of iterations. Then a force changes by the tolerance."""
    dirac = WilsonDirac(U1(), (4, 4), 0.2)
    theory = SumTheory(PseudofermionAction(dirac, force_tolerance=tolerance), WilsonAction(U1(), (4, 4), 2.0))
    x, p = start(theory), theory.manifold["links"].random_tangent(key)
    run = jax.jit(lambda x, p: trajectory(theory, x, p, 12))
    there, momenta = run(x, p)
    back, returned = run(there, -momenta)
    assert theory.manifold.distance(there, x) > 0.5
    # 24 forces, rounding of each 1e-14, grown by the motion by an order or two.
    assert theory.manifold.distance(back, x) < 1e-11
    assert jnp.max(jnp.abs(returned + p)) < 1e-11


@pytest.mark.slow
def test_energy_violation_is_of_second_order(key):
    """Halving the step divides dH by four, with gauge and pseudofermion forces on two time scales."""
    dirac = WilsonDirac(U1(), (4, 4), 0.2)
    theory = SumTheory(PseudofermionAction(dirac, force_tolerance=1e-11), WilsonAction(U1(), (4, 4), 2.0))
    integrator = NestedIntegrator(leapfrog, leapfrog, 2)
    x, p = start(theory), theory.manifold["links"].random_tangent(key)

    def violation(steps):
        moved, momenta = trajectory(theory, x, p, steps, integrator)
        inner = theory.manifold["links"].inner
        return theory.action(moved) - theory.action(x) + 0.5 * (inner(momenta, momenta) - inner(p, p))

    dh = [float(jax.jit(violation, static_argnums=0)(steps)) for steps in (16, 32)]
    assert 3.5 < dh[0] / dh[1] < 4.5


def exact_row(**wanted):
    wanted = {"shape": [2, 2], "beta": 1.0} | wanted
    (row,) = [row for row in ROWS if row["grade"] == "E" and row["params"] | wanted == row["params"]]
    return row


KAPPA = 0.2
TWO_BY_TWO = {
    "two flavours": (2, lambda d: PseudofermionAction(d), "leapfrog"),
    "hasenbusch": (
        2,
        lambda d: PseudofermionAction(d, (0.1,)),
        NestedIntegrator(leapfrog, NestedIntegrator(leapfrog, leapfrog, 2), 2),
    ),
    "one flavour": (1, lambda d: RationalPseudofermionAction(d, (1e-3, 4.0)), NestedIntegrator(leapfrog, leapfrog, 2)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "two flavours" else [pytest.mark.slow]) for n in TWO_BY_TWO]
)
def test_chains_against_exact_values(key, name):
    """2x2 at beta = 1: plaquette and tr D^-1 of quadratures, <exp(-dH)> = 1; det D > 0 there."""
    flavours, build, integrator = TWO_BY_TWO[name]
    row = exact_row(kappa=KAPPA, nf=flavours)
    dirac = WilsonDirac(U1(), (2, 2), KAPPA, tuple(row["params"]["bc"]))
    theory = SumTheory(build(dirac), WilsonAction(U1(), (2, 2), 1.0))
    observables = {"plaquette": tm.plaquette, "trace_inverse_per_site": tm.observables.ChiralCondensate(dirac)}
    kernel = tm.kernels.pseudofermion_hmc(1.5, 3, integrator)
    chain = tm.run_chain(key, theory, kernel, 200, chains=16, thermalisation=20, measure=links_only(observables))
    assert 0.6 < float(np.mean(chain.accepted)) < 0.995
    for observable in observables:
        found = tm.expectation(chain, observable)
        assert abs(found.pull(row["values"][observable])) < 4, (observable, found)
    assert abs(tm.statistics.creutz(chain).pull(1.0)) < 4


def test_heatbath_needs_pseudofermions(key):
    gauge = WilsonAction(U1(), (2, 2), 1.0)
    with pytest.raises(TypeError, match="without pseudofermions"):
        tm.kernels.PseudofermionHeatbath().move(key, gauge, gauge.manifold.cold())


@pytest.mark.slow
def test_one_flavour_against_reweighted_samples(key):
    """RHMC on 4x4 at beta = 1, kappa = 0.2 against independent quenched configurations with the weight det D."""
    (row,) = [r for r in ROWS if r["params"] | {"shape": [4, 4], "beta": 1.0, "kappa": 0.2, "nf": 1} == r["params"]]
    dirac = WilsonDirac(U1(), (4, 4), 0.2, tuple(row["params"]["bc"]))
    theory = SumTheory(RationalPseudofermionAction(dirac, (1e-3, 4.0)), WilsonAction(U1(), (4, 4), 1.0))
    observables = {
        "plaquette": tm.plaquette,
        "Q2": lambda y: tm.topological_charge(y) ** 2,
        "trace_inverse_per_site": tm.observables.ChiralCondensate(dirac),
    }
    kernel = tm.kernels.pseudofermion_hmc(1.2, 4, NestedIntegrator(leapfrog, leapfrog, 2))
    chain = tm.run_chain(key, theory, kernel, 150, chains=8, thermalisation=20, measure=links_only(observables))
    for name in observables:
        found = tm.expectation(chain, name)
        assert abs(found.pull(row["values"][name], row["error"][name])) < 4, (name, found)
    assert abs(tm.statistics.creutz(chain).pull(1.0)) < 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "lattice", "beta", "kappa"),
    [(SU(2), (4, 4), 2.0, 0.22), (SU(3), (4, 2), 4.0, 0.2), (SU(3), (2, 2, 2, 2), 1.0, 0.12)],
)
def test_chains_against_the_exact_determinant(key, group, lattice, beta, kappa):
    """Two flavours on SU(N) links, by pseudofermions and by LU of the dense matrix."""
    dirac, gauge = WilsonDirac(group, lattice, kappa), WilsonAction(group, lattice, beta)
    options = {"chains": 4, "thermalisation": 20, "initial": "cold"}
    scheme = 1.0, 4, NestedIntegrator(leapfrog, leapfrog, 2)
    observables = {"plaquette": tm.plaquette, "wilson": lambda y: tm.wilson_loop(y, 1, 2)}
    theory = SumTheory(PseudofermionAction(dirac), gauge)
    chain = tm.run_chain(key, theory, tm.kernels.pseudofermion_hmc(*scheme), 150, measure=links_only(observables), **options)
    exact = SumTheory(FermionDeterminant(dirac), gauge)
    reference = tm.run_chain(key, exact, tm.kernels.HMCKernel(*scheme), 150, measure=observables, **options)
    for name in observables:
        found, expected = tm.expectation(chain, name), tm.expectation(reference, name)
        assert abs(found.pull(expected)) < 4, (name, found, expected)
    assert abs(tm.statistics.creutz(chain).pull(1.0)) < 4
