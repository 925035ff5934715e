"""HMC: reversibility, orders, Creutz equality, acceptance, exact values, bookkeeping."""

import json
import math
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trivmap.groups import SU, U1
from trivmap.kernels import SymplecticIntegrator, energy, leapfrog, molecular_dynamics, omf2, omf4
from trivmap.manifolds import RealField
from trivmap.observables import plaquette, topological_charge, wilson_loop
from trivmap.samplers import SamplingInterrupted, hmc
from trivmap.samplers import _run_chain as chain_loop
from trivmap.statistics import acceptance_rate, creutz, expectation
from trivmap.theories import AbstractTheory, FreeScalarAction, NonlinearSigmaModel, Phi4Action, WilsonAction

REFERENCE = Path(__file__).parent / "reference"
INTEGRATORS = {"leapfrog": leapfrog, "omf2": omf2, "omf4": omf4}
THEORIES = {
    "phi4": lambda: Phi4Action((4, 3), m2=-4.0, lam=8.0),
    "U1": lambda: WilsonAction(U1(), (3, 4), 2.0),
    "O3": lambda: NonlinearSigmaModel(3, (4, 3), 1.2),
    "O4": lambda: NonlinearSigmaModel(4, (2, 3), 1.2),
    "SU2": lambda: WilsonAction(SU(2), (2, 3), 2.2),
    "SU3": lambda: WilsonAction(SU(3), (2, 3), 5.0),
    "SU4": lambda: WilsonAction(SU(4), (2, 2), 5.0),
}


def reference(file, shape, grade, **params):
    rows = json.loads((REFERENCE / f"{file}.json").read_text())["rows"]
    wanted = {"shape": list(shape), **params}
    for row in rows:
        if row["grade"] == grade and all(row["params"].get(k) == v for k, v in wanted.items()):
            return row
    raise LookupError(f"{file}: no row {wanted} of grade {grade}")


@eqx.filter_jit
def start(theory, key, dtype=None):
    """A random field of moderate action, and momenta."""
    k1, k2 = jax.random.split(key)
    manifold = theory.manifold
    scalar = isinstance(manifold, RealField)
    x = 0.5 * manifold.random_tangent(k1, dtype) if scalar else manifold.reference_sample(k1, dtype)
    return x, manifold.effective(manifold.random_tangent(k2, dtype), x)


@eqx.filter_jit
def integrate(theory, integrator, x, p, gradient):
    x, p, gradient = molecular_dynamics(theory, integrator, x, p, gradient, 0.5, 4)
    return theory.manifold.project(x), p, gradient


@eqx.filter_jit
def gradient_of(theory, x):
    return theory.gradient(x)


@eqx.filter_jit
def distance(theory, x, y):
    return theory.manifold.distance(x, y)


# Identities


CASES = [(name, scheme) for name in ("phi4", "U1", "O3") for scheme in INTEGRATORS]
CASES += [("SU2", "omf2"), ("SU3", "omf4"), ("SU4", "leapfrog"), ("O4", "omf2")]


@pytest.mark.parametrize(("name", "scheme"), CASES)
def test_reversibility(name, scheme, key):
    theory, integrator = THEORIES[name](), INTEGRATORS[scheme]
    x, p = start(theory, key)
    x1, p1, gradient = integrate(theory, integrator, x, p, gradient_of(theory, x))
    x2, p2, _ = integrate(theory, integrator, x1, -p1, gradient)
    # Rounding 2e-16 per operation, some hundred operations per link, growth by the instability below 10.
    assert distance(theory, x2, x) < 1e-12
    assert jnp.max(jnp.abs(p2 + p)) < 1e-12


def test_reversibility_in_single_precision(key):
    theory = WilsonAction(SU(3), (2, 3), jnp.asarray(5.0, jnp.float32))
    x, p = start(theory, key, jnp.float32)
    assert x.dtype == jnp.complex64
    x1, p1, gradient = integrate(theory, omf2, x, p, gradient_of(theory, x))
    x2, _, _ = integrate(theory, omf2, x1, -p1, gradient)
    assert x2.dtype == jnp.complex64
    assert distance(theory, x2, x) < 1e-4  # the same count with eps = 1e-7


@pytest.mark.parametrize(("name", "scheme"), [*CASES[:-4], ("SU2", "omf2"), ("SU2", "omf4"), ("SU3", "omf4")])
def test_energy_violation_falls_with_the_declared_order(name, scheme, key):
    theory, integrator = THEORIES[name](), INTEGRATORS[scheme]
    length = 0.2 if name == "phi4" else 0.5  # the quartic term makes large forces

    @jax.jit
    @jax.vmap
    def piece(x, p, gradient, length):
        return molecular_dynamics(theory, integrator, x, p, gradient, length, 6)

    x, p = jax.vmap(lambda k: start(theory, k))(jax.random.split(key, 16))
    gradient = jax.jit(jax.vmap(theory.gradient))(x)
    hamiltonian = jax.jit(jax.vmap(lambda x, p: energy(theory, theory.action(x), p)))
    lengths = jnp.full(16, length)
    coarse = hamiltonian(*piece(x, p, gradient, lengths)[:2]) - hamiltonian(x, p)
    # Two trajectories of half the length, in as many steps each: the gradient passes on.
    half = piece(x, p, gradient, lengths / 2)
    fine = hamiltonian(*piece(*half, lengths / 2)[:2]) - hamiltonian(x, p)
    # Next order: relative h^2 = (1/12)^2 times coefficients of order ten.
    assert jnp.linalg.norm(coarse) / jnp.linalg.norm(fine) == pytest.approx(2**integrator.order, rel=0.12)


def test_tables_of_integrators_are_checked():
    with pytest.raises(ValueError, match="order condition of order 4 violated"):
        SymplecticIntegrator("leapfrog", 4, (0.5, 0.5), (1.0,))
    with pytest.raises(ValueError, match="not symmetric"):
        SymplecticIntegrator("x", 1, (0.0, 1.0), (1.0,))
    with pytest.raises(ValueError, match="need one more kick"):
        SymplecticIntegrator("x", 1, (1.0,), (1.0,))
    with pytest.raises(ValueError, match="order condition"):
        SymplecticIntegrator("omf2", 2, (0.19, 0.61, 0.19), (0.5, 0.5))


@pytest.mark.parametrize("integrator", INTEGRATORS.values(), ids=INTEGRATORS)
def test_schedule_merges_adjoining_kicks(integrator):
    first, drifts, kicks = integrator.schedule(3)
    assert len(drifts) == len(kicks) == 3 * integrator.force_evaluations
    assert first + kicks.sum() == pytest.approx(3.0, abs=1e-14)
    assert drifts.sum() == pytest.approx(3.0, abs=1e-14)
    np.testing.assert_allclose(kicks[:-1], kicks[:-1][::-1], atol=1e-14)
    assert kicks[-1] == first


# Exact values


def run(theory, n=300, chains=16, **options):
    options = {"steps": 5, "trajectory_length": 1.0, "integrator": "omf2", **options}
    return hmc(jax.random.key(1), theory, n, chains=chains, **options)


def assert_healthy(chain):
    """Creutz equality, and the acceptance that belongs to the mean energy violation."""
    assert abs(creutz(chain).pull(1.0)) < 4
    predicted = math.erfc(math.sqrt(max(chain.delta_h.mean(), 0.0)) / 2)
    # Binomial error of the decisions, that of the prediction, and the next order of its expansion in the volume.
    assert abs(acceptance_rate(chain) - predicted) < 4 / math.sqrt(chain.accepted.size) + 0.02


def test_free_scalar():
    row = reference("scalar_free", (4, 6), "E", m2=1.0)["values"]
    measure = {"phi2": lambda x: jnp.mean(x**2), "chi2": lambda x: x.size * jnp.mean(x) ** 2}
    chain = run(FreeScalarAction((4, 6), m2=1.0), measure=measure, steps=3)
    assert_healthy(chain)
    for name in measure:
        estimate = expectation(chain, name)
        assert abs(estimate.pull(row[name])) < 4
        assert estimate.error < 0.03 * row[name]


def test_lengths_spread_over_the_period_of_a_mode():
    """S = phi^2 / 2 for the mean field at m2 = 1/2: in trajectories of length 2 pi it comes back to where it was."""
    theory = FreeScalarAction((2, 2), m2=0.5)
    options = {"measure": {"chi2": lambda x: x.size * jnp.mean(x) ** 2}, "integrator": "omf4", "steps": 12, "chains": 8}
    options |= {"trajectory_length": 2 * math.pi, "thermalisation": 20}
    frozen = hmc(jax.random.key(0), theory, 200, length_spread=0.0, **options).observables["chi2"]
    # The hot start has width 0.1: a mean square of 0.01, where 1 is right, and errors of the integrator move it slowly.
    assert np.mean(frozen) < 0.1
    moving = expectation(hmc(jax.random.key(0), theory, 2000, length_spread=0.5, **options), "chi2")
    assert abs(moving.pull(1.0)) < 4
    assert moving.error < 0.05


def test_phi4_and_its_schwinger_dyson_identity():
    row = reference("phi4_2d", (4, 6), "E", m2=-4, lam=8)["values"]

    def moments(x):
        neighbours = [jnp.mean(x * jnp.roll(x, -1, axis=mu)) for mu in (0, 1)]
        return jnp.stack([jnp.mean(x**2), jnp.mean(x**4), x.size * jnp.mean(x) ** 2, *neighbours])

    chain = run(Phi4Action((4, 6), m2=-4.0, lam=8.0), measure={"moments": moments}, integrator="leapfrog", steps=8)
    assert_healthy(chain)
    estimate = expectation(chain, "moments")
    exact = np.array([row["phi2"], row["phi4"], row["chi2"], *row["nn"]])
    assert np.all(np.abs(estimate.pull(exact)) < 4)
    assert np.all(estimate.error[:2] < 0.02 * exact[:2])
    # 2 [(2 d + m2) <phi^2> - 2 sum_mu <phi phi_mu>] + 4 lam <phi^4> = 1
    identity = expectation(chain, "moments", function=lambda m: -4 * (m[3] + m[4]) + 32 * m[1])
    assert abs(identity.pull(1.0)) < 4


def gauge_measurements(theory):
    measure = {
        "plaquette": plaquette,
        "wilson_1x2": lambda u: wilson_loop(u, 1, 2),
        "wilson_2x2": lambda u: wilson_loop(u, 2, 2),
    }
    if theory.manifold.group.name == "U(1)":
        measure["Q2"] = lambda u: topological_charge(u) ** 2
    return measure


@pytest.mark.parametrize(
    ("group", "beta", "integrator", "steps"),
    [(U1(), 1.0, "leapfrog", 6), (SU(2), 2.2, "omf2", 3), (SU(3), 5.0, "omf4", 1)],
    ids=["U1", "SU2", "SU3"],
)
def test_gauge_theory_on_an_unequal_torus(group, beta, integrator, steps):
    label = group.name.replace("(", "").replace(")", "")
    row = reference("gauge2d", (4, 6), "E", group=label, beta=beta)["values"]
    theory = WilsonAction(group, (4, 6), beta)
    measure = gauge_measurements(theory)
    chain = run(theory, n=200, measure=measure, integrator=integrator, steps=steps)
    assert_healthy(chain)
    for name in measure:
        assert abs(expectation(chain, name).pull(row[name])) < 4, name
    assert expectation(chain, "plaquette").error < 0.01 * row["plaquette"]
    assert chain.unitarity_defect < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(("group", "beta"), [(U1(), 2.0), (SU(2), 2.7), (SU(3), 6.0)], ids=["U1", "SU2", "SU3"])
def test_gauge_theory_8x8(group, beta):
    label = group.name.replace("(", "").replace(")", "")
    row = reference("gauge2d", (8, 8), "E", group=label, beta=beta)["values"]
    theory = WilsonAction(group, (8, 8), beta)
    measure = gauge_measurements(theory)
    chain = run(theory, n=400, chains=32, measure=measure, steps=4)
    assert_healthy(chain)
    for name in measure:
        assert abs(expectation(chain, name).pull(row[name])) < 4, name
    assert expectation(chain, "plaquette").error < 0.002 * row["plaquette"]


@pytest.mark.slow
@pytest.mark.parametrize(("group", "beta"), [(SU(2), 2.3), (SU(3), 6.0)], ids=["SU2", "SU3"])
def test_gauge_theory_in_four_dimensions(group, beta):
    label = group.name.replace("(", "").replace(")", "")
    row = reference("gauge4d", (4, 4, 4, 4), "M", group=label, beta=beta)
    theory = WilsonAction(group, (4, 4, 4, 4), beta)
    chain = run(theory, n=150, chains=8, measure={"plaquette": plaquette}, steps=6, thermalisation=80)
    assert_healthy(chain)
    estimate = expectation(chain, "plaquette")
    assert abs(estimate.pull(row["values"]["plaquette"], row["error"]["plaquette"])) < 4
    assert estimate.error < 0.003
    assert chain.unitarity_defect < 1e-12


def test_single_precision_fields():
    theory = WilsonAction(SU(3), (2, 3), jnp.asarray(5.0, jnp.float32))
    row = reference("gauge2d", (2, 3), "E", group="SU3", beta=5.0)["values"]
    chain = run(theory, n=100, steps=3, dtype=jnp.float32)
    assert chain.configurations.dtype == np.complex64
    assert chain.delta_h.dtype == np.float64
    assert chain.unitarity_defect < 1e-5
    assert abs(creutz(chain).pull(1.0)) < 4
    assert abs(expectation(chain, plaquette).pull(row["plaquette"])) < 4


# Bookkeeping


class Quadratic(AbstractTheory):
    """A user's theory: manifold, action and gradient; counts the calls of the gradient at run time."""

    calls: list = eqx.field(static=True)
    manifold: RealField = eqx.field(default=RealField((3,)), static=True)

    def action(self, x):
        return 0.5 * jnp.sum(x**2)

    def gradient(self, x):
        jax.debug.callback(lambda: self.calls.append(None))
        return x


class Calls(list):
    __hash__ = object.__hash__


def test_cost_accounting():
    theory = Quadratic(Calls())
    chain = hmc(jax.random.key(0), theory, 6, steps=3, thin=2, integrator="omf2", thermalisation=5)
    jax.effects_barrier()
    assert chain.force_evaluations == 6
    assert len(theory.calls) == 1 + chain.force_evaluations * (5 + 2 * 6)
    assert chain.accepted.shape == chain.delta_h.shape == (1, 12)
    assert chain.shape == (1, 6)


def test_results_do_not_depend_on_chunks_or_interruptions(monkeypatch):
    theory = THEORIES["U1"]()
    options = {"steps": 3, "chains": 2, "thin": 2, "thermalisation": 7}
    whole = hmc(jax.random.key(3), theory, 11, **options)
    chunked = hmc(jax.random.key(3), theory, 11, chunk=4, progress=True, **options)
    np.testing.assert_array_equal(whole.configurations, chunked.configurations)
    np.testing.assert_array_equal(whole.delta_h, chunked.delta_h)

    original, calls = chain_loop._run, []

    def interrupted(*args):
        calls.append(None)
        if len(calls) == 5:  # two calls for thermalisation, two chunks of four
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(chain_loop, "_run", interrupted)
    with pytest.raises(SamplingInterrupted, match="interrupted after 8 of 11") as caught:
        hmc(jax.random.key(3), theory, 11, chunk=4, **options)
    monkeypatch.undo()
    partial = caught.value.partial
    rest = hmc(jax.random.key(3), theory, 3, initial=partial.state, **(options | {"thermalisation": 0}))
    joined = np.concatenate([partial.configurations, rest.configurations], axis=1)
    np.testing.assert_array_equal(joined, whole.configurations)
    np.testing.assert_array_equal(np.concatenate([partial.accepted, rest.accepted], axis=1), whole.accepted)


def test_groups_of_chains_change_nothing(monkeypatch):
    theory = THEORIES["phi4"]()
    options = {"steps": 3, "chains": 6, "thermalisation": 2}
    together = hmc(jax.random.key(7), theory, 3, **options)
    # Room for four chains of twelve sites in float64: groups must be equal, so three.
    monkeypatch.setattr(chain_loop, "_CACHE_BYTES", 4 * 12 * 8)
    assert chain_loop._group_size(together.state.configuration) == 3
    grouped = hmc(jax.random.key(7), theory, 3, **options)
    np.testing.assert_allclose(grouped.configurations, together.configurations, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(grouped.accepted, together.accepted)


def test_measurements_belong_to_the_kept_configurations():
    theory = THEORIES["SU2"]()
    options = {"steps": 3, "chains": 2, "thermalisation": 3}
    kept = hmc(jax.random.key(4), theory, 6, **options)
    measured = hmc(jax.random.key(4), theory, 6, measure={"plaquette": plaquette}, **options)
    assert measured.configurations is None
    direct = jax.vmap(jax.vmap(plaquette))(jnp.asarray(kept.configurations))
    np.testing.assert_allclose(measured.observables["plaquette"], direct, rtol=1e-12)
    # A rejected trajectory repeats the configuration.
    x = kept.configurations
    same = np.all(x[:, 1:] == x[:, :-1], axis=tuple(range(2, x.ndim)))
    np.testing.assert_array_equal(same, ~kept.accepted[:, 1:])
    np.testing.assert_array_equal(kept.state.configuration, x[:, -1])


def test_diverged_trajectories_are_rejected():
    theory = Phi4Action((4, 4), m2=-4.0, lam=8.0)
    chain = hmc(jax.random.key(5), theory, 5, trajectory_length=1e3, steps=20, thermalisation=0)
    assert not chain.accepted.any()
    assert np.all(chain.delta_h == np.inf)
    assert np.all(np.isfinite(chain.configurations))
    assert np.ptp(chain.configurations, axis=1).max() == 0.0


@pytest.mark.parametrize("name", ["phi4", "U1", "SU2", "O3"])
def test_starts(name):
    theory = THEORIES[name]()
    options = {"steps": 2, "chains": 2, "thermalisation": 0}
    start = lambda initial: hmc(jax.random.key(6), theory, 1, initial=initial, **options)  # noqa: E731
    cold, hot = start("cold"), start("hot")
    assert cold.configurations.shape == hot.configurations.shape == (2, 1, *theory.manifold.shape)
    one, both = start(hot.configurations[0, -1]), start(hot.configurations[:, -1])
    np.testing.assert_array_equal(one.configurations[0], both.configurations[0])


def test_refusals():
    theory = THEORIES["U1"]()
    with pytest.raises(ValueError, match="unknown integrator 'euler'"):
        hmc(jax.random.key(0), theory, 1, integrator="euler")
    with pytest.raises(ValueError, match='initial must be "hot", "cold"'):
        hmc(jax.random.key(0), theory, 1, initial="warm")
    with pytest.raises(ValueError, match="steps: got 0, expected a positive integer"):
        hmc(jax.random.key(0), theory, 1, steps=0)
    with pytest.raises(ValueError, match=r"length_spread: got 1.0, expected a number in \[0, 1\)"):
        hmc(jax.random.key(0), theory, 1, length_spread=1.0)
    with pytest.raises(ValueError, match="got shape"):
        hmc(jax.random.key(0), theory, 1, initial=jnp.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match="3 initial configurations for 2 chains"):
        hmc(jax.random.key(0), theory, 1, chains=2, initial=jnp.zeros((3, 2, 3, 4)))
    with pytest.raises(TypeError, match="dtype"):
        hmc(jax.random.key(0), theory, 1, initial=jnp.zeros((2, 3, 4), complex))
    with pytest.raises(ValueError, match="action of the initial configuration is not finite"):
        hmc(jax.random.key(0), theory, 1, initial=jnp.full((2, 3, 4), jnp.nan))
    state = hmc(jax.random.key(0), theory, 1, thermalisation=0).state
    with pytest.raises(ValueError, match="belongs to another theory"):
        hmc(jax.random.key(0), WilsonAction(U1(), (3, 4), 3.0), 1, initial=state)
    with pytest.raises(ValueError, match="state to continue has configurations of shape"):
        hmc(jax.random.key(0), theory, 1, chains=2, initial=state)
