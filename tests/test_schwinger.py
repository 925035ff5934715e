"""The Schwinger model: exact partition functions on 2x2, reweighted quenched samples and HMC against reference ensembles."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm
from trivmap.fermions import WilsonDirac
from trivmap.kernels import NestedIntegrator, leapfrog, omf2
from trivmap.observables import ChiralCondensate

ROWS = json.loads((Path(__file__).parent / "reference" / "schwinger.json").read_text())["rows"]
ENSEMBLES = [row for row in ROWS if row["params"]["kind"] == "ensemble"]
EXACT = [row for row in ENSEMBLES if row["grade"] == "E"]
SAMPLED = [row for row in ENSEMBLES if row["grade"] == "M"]


def identify(row):
    p = row["params"]
    return f"{p['shape'][0]}x{p['shape'][1]}-{p['beta']}-{p['kappa']}-{p['nf']}-{row.get('method', 'exact')[:6]}"


def theory_of(row):
    p = row["params"]
    return tm.SchwingerAction(tuple(p["shape"]), p["beta"], p["kappa"], p["nf"], tuple(p["bc"]))


def select(rows, fast):
    return [pytest.param(row, id=identify(row), marks=() if fast(row["params"]) else pytest.mark.slow) for row in rows]


def gauge_fixed_log_z(points, beta, kappa, flavours):
    """log Z on 2x2 by the trapezoidal rule in the five angles that a maximal tree leaves free, with the sign of det D."""
    angles = 2 * np.pi * np.stack(np.meshgrid(*5 * [np.arange(points)], indexing="ij")).reshape(5, -1).T / points
    # All but theta_0(0, .) and theta_1(0, 0), which join the four sites.
    free = [(0, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1)]

    def weight(angles):
        x = jnp.zeros((2, 2, 2)).at[tuple(np.array(free).T)].set(angles)
        theory = tm.SchwingerAction((2, 2), beta, kappa, flavours)
        return jnp.exp(-theory.action(x)).real

    blocks = jnp.asarray(angles).reshape(points**2, -1, 5)
    total = jax.lax.scan(lambda total, block: (total + jnp.sum(jax.vmap(weight)(block)), None), jnp.zeros(()), blocks)[0]
    return jnp.log(total / points**5)


@pytest.mark.parametrize("row", select(EXACT, lambda p: p["beta"] == 1.0 and p["nf"] == 2 and p["kappa"] == 0.2))
def test_exact_partition_function(row):
    """log Z and its derivatives: d/d beta is V <cos P>, d/d kappa is nf (size - <tr D^-1>)/kappa."""
    p, values = row["params"], row["values"]
    # The rule misses modes of order `points` in an angle, I_n(2 beta) for the two plaquettes of a link and a few less by the
    # polynomial of the determinant: below 1e-5 for ten points at beta = 1 (times few), below 1e-7 for 16 at beta = 2.
    points, tolerance = (10, 1e-4) if p["beta"] == 1.0 else (16, 1e-6)
    function = jax.jit(jax.value_and_grad(gauge_fixed_log_z, argnums=(1, 2)), static_argnums=(0, 3))
    log_z, (by_beta, by_kappa) = function(points, p["beta"], p["kappa"], p["nf"])
    assert abs(log_z - values["logZ"]) < tolerance
    assert abs(by_beta / 4 - values["plaquette"]) < tolerance
    assert abs((8 - p["kappa"] * by_kappa / p["nf"]) / 4 - values["trace_inverse_per_site"]) < tolerance
    quenched = tm.exact.log_z(tm.WilsonAction(tm.U1(), (2, 2), p["beta"]))
    assert abs(values["logZ"] - quenched - values["log_Z_ratio"]) < 1e-11


@pytest.mark.parametrize(("lattice", "beta"), [((3, 4), 1.5), ((2, 2), -0.8), ((1, 2), 3.0)])
def test_exact_samples_of_pure_gauge_theory(key, lattice, beta):
    """Against the character expansion, plaquette, charge and Polyakov loops; wrapped, and not in a fixed gauge."""
    theory = tm.WilsonAction(tm.U1(), lattice, beta)
    x = tm.exact.sample(key, theory, 20_000)
    assert x.shape == (20_000, 2, *lattice)
    assert jnp.max(jnp.abs(x)) <= np.pi
    squared = lambda y: tm.topological_charge(y) ** 2  # noqa: E731
    for observable, exact in ((tm.plaquette, tm.exact.plaquette(theory)), (squared, tm.exact.charge_squared(theory))):
        values = tm.statistics.measure(observable, np.asarray(x))
        assert abs(values.mean() - exact) < 4 * values.std() / len(values) ** 0.5 + 1e-12
    # Averages of independent, uniform phases: links, and lines that wind around the lattice.
    for phases in (x[:, 0, 0, 0], x[:, 1, -1, -1], jnp.sum(x[:, 0, :, 0], axis=-1), jnp.sum(x[:, 1, 0], axis=-1)):
        assert jnp.abs(jnp.mean(jnp.exp(1j * phases.astype(complex)))) < 4 / len(x) ** 0.5
    assert jnp.array_equal(x, tm.exact.sample(key, theory, 20_000))
    assert tm.exact.sample(key, theory, 3, dtype=jnp.float32).dtype == jnp.float32


def test_exact_samples_are_refused_elsewhere(key):
    others = tm.WilsonAction(tm.SU(2), (2, 2), 1.0), tm.WilsonAction(tm.U1(), (2, 2, 2), 1.0), tm.Phi4Action((2,), 1.0, 1.0)
    for theory in others:
        with pytest.raises(tm.exact.NoExactResultError, match="they are known for WilsonAction"):
            tm.exact.sample(key, theory, 3)
    with pytest.raises(ValueError, match="count"):
        tm.exact.sample(key, tm.WilsonAction(tm.U1(), (2, 2), 1.0), 0)


def means(data, theory):
    observables = {
        "plaquette": tm.plaquette,
        "Q2": lambda y: tm.topological_charge(y) ** 2,
        "trace_inverse_per_site": ChiralCondensate(theory.determinant.dirac),
    }
    return {name: tm.expectation(data, observable, batch_size=32) for name, observable in observables.items()}


def agree(found, row):
    """Within four errors, those of the reference included."""
    compared = set(found) & set(row["values"])
    for name in compared:
        error = np.hypot(np.real(found[name].error), row["error"][name])
        assert abs(np.real(found[name].value) - row["values"][name]) < 4 * error, name
    return compared


@pytest.mark.parametrize("row", select(SAMPLED, lambda p: p["shape"] in ([4, 2], [4, 6])))
def test_reweighted_quenched_samples(key, row):
    theory = theory_of(row)
    volume = np.prod(theory.lattice)
    ensemble = tm.samplers.quenched(key, theory, 4096 if volume < 40 else 65_536)
    found = means(ensemble, theory) | {"logZ": tm.log_z(ensemble)}
    assert {"plaquette", "Q2", "trace_inverse_per_site"} <= agree(found, row)


@pytest.mark.parametrize("flavours", [1, 2])
def test_ensembles_of_2x2(key, flavours):
    """Reweighting and HMC against exact values, one flavour with its sign by way of the magnitude."""
    (row,) = [r for r in EXACT if r["params"] | {"nf": flavours, "beta": 1.0, "kappa": 0.276} == r["params"]]
    theory, values = theory_of(row), row["values"]
    assert theory.complex_action == (flavours == 1)
    ensemble = tm.samplers.quenched(key, theory, 8192)
    chain = tm.hmc(key, theory, 500, steps=4, chains=8, thermalisation=50)
    for data in (ensemble, chain):
        for name, found in means(data, theory).items():
            if name in values:
                assert abs(np.real(found.value) - values[name]) < 4 * np.real(found.error), name
    log_z = tm.log_z(ensemble)
    assert abs(np.real(log_z.value) - values["logZ"]) < 4 * np.real(log_z.error)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "beta", "kappa"), [([8, 8], 2.0, 0.2), ([8, 8], 2.0, 0.276), ([8, 8], 1.0, 0.276)])
def test_hmc_against_reference_ensembles(key, shape, beta, kappa):
    """Nested leapfrog, the gauge force twice as often, and hits, since trajectories do not cross the zeros of det D."""
    (row, *_) = [r for r in SAMPLED if r["params"] | {"shape": shape, "beta": beta, "kappa": kappa, "nf": 2} == r["params"]]
    theory = theory_of(row)
    moves = tm.kernels.WindingHit(), tm.kernels.HolonomyRotation()
    kernel = tm.kernels.KernelSequence(tm.kernels.HMCKernel(1.0, 8, NestedIntegrator(leapfrog, omf2, 2)), *moves)
    observables = {"plaquette": tm.plaquette, "Q2": lambda y: tm.topological_charge(y) ** 2}
    observables["trace_inverse_per_site"] = ChiralCondensate(theory.determinant.dirac)
    chain = tm.run_chain(key, theory, kernel, 400, chains=8, thermalisation=100, measure=observables)
    assert agree({name: tm.expectation(chain, name) for name in observables}, row) == set(observables)
    if kappa == 0.2:
        # <exp(-dH)> = 1 where no zero of det D is near; at kappa = 0.276 its estimator has no variance.
        creutz = tm.statistics.creutz(chain)
        assert abs(creutz.value - 1) < 4 * creutz.error


def test_terms_and_bad_input():
    theory = tm.SchwingerAction((4, 4), beta=2.0, kappa=0.2, flavours=2, boundary=(1, -1))
    x = theory.manifold.reference_sample(jax.random.key(0))
    determinant, gauge = theory.terms
    action, parts = jax.jit(lambda x: (theory.action(x), (determinant.action(x), gauge.action(x))))(x)
    assert jnp.allclose(action, sum(parts), rtol=1e-14)
    assert determinant.dirac.boundary == (1, -1)
    assert (theory.beta, theory.kappa) == (2.0, 0.2)
    with pytest.raises(ValueError, match="two extents"):
        tm.SchwingerAction((4, 4, 4), beta=2.0, kappa=0.2)
    with pytest.raises(ValueError, match="one sign for each"):
        tm.SchwingerAction((4, 4), beta=2.0, kappa=0.2, boundary=(-1,))
    with pytest.raises(ValueError, match="one manifold"):
        tm.theories.SumTheory(gauge, tm.theories.FermionDeterminant(WilsonDirac(tm.U1(), (4, 6), 0.2)))
