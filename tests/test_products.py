"""Products of manifolds: the theories that need them, against limits, sums of characters and quadratures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_configuration
from scipy import integrate, special

import trivmap as tm
from trivmap.io import EnsembleFileError, read_checkpoint, read_npz, write_checkpoint, write_npz
from trivmap.lattice import shift
from trivmap.theories import Phi4Action, ScalarYukawaAction, U1HiggsAction, WilsonAction

HIGGS = {"beta": 1.1, "kappa": 0.35, "lam": 0.4, "m2": 0.9}
YUKAWA = {"m2_phi": -0.4, "lam_phi": 0.8, "m2_chi": 0.7, "lam_chi": 0.3, "g": 0.9}


def agrees(estimate, exact, bound=4.0):
    z = (float(estimate.value) - exact) / float(estimate.error)
    assert abs(z) < bound, f"{estimate} against {exact}: z = {z:.2f}"


def test_higgs_action_is_gauge_invariant(key):
    theory = U1HiggsAction((3, 4), **HIGGS)
    x = random_configuration(theory.manifold, key)
    alpha = jax.random.normal(jax.random.key(1), (3, 4))
    turned = jnp.exp(jax.lax.complex(jnp.zeros_like(alpha), alpha)) * jax.lax.complex(*x["phi"])
    links = x["links"] + alpha[None] - jnp.stack([shift(alpha, mu, 1, 2) for mu in range(2)])
    moved = {"links": links, "phi": jnp.stack([turned.real, turned.imag])}
    assert jnp.allclose(theory.action(moved), theory.action(x), rtol=1e-13)
    assert abs(float(theory.action({**x, "links": links}) - theory.action(x))) > 0.1  # the links alone are not


def test_higgs_action_in_its_limits(key):
    """Without hopping Wilson's action and one potential per site; with unit links twice `Phi4Action` and a cross term."""
    x = random_configuration(U1HiggsAction((3, 4), **HIGGS).manifold, key)
    square = jnp.sum(x["phi"] ** 2, axis=0)
    apart = U1HiggsAction((3, 4), beta=1.1, kappa=0.0, lam=0.4, m2=0.9).action(x)
    expected = WilsonAction(tm.U1(), (3, 4), 1.1).action(x["links"]) + jnp.sum(0.9 * square + 0.4 * square**2)
    assert jnp.allclose(apart, expected, rtol=1e-13)

    frozen = U1HiggsAction((3, 4), beta=1.1, kappa=1.0, lam=0.4, m2=4.5).action({**x, "links": jnp.zeros((2, 3, 4))})
    phi4 = Phi4Action((3, 4), m2=4.5 - 2 * 2, lam=0.4)
    cross = 2 * 0.4 * jnp.sum(x["phi"][0] ** 2 * x["phi"][1] ** 2)
    assert jnp.allclose(frozen, phi4.action(x["phi"][0]) + phi4.action(x["phi"][1]) + cross - 1.1 * 12, rtol=1e-13)


def higgs_log_z(beta, kappa, lam, m2):
    r"""On 2x1, from characters of the links: with $t = |\varphi|^2$ on two sites ($d^2\varphi = \pi\, dt\, d\alpha/2\pi$),

    Z = pi^2 int dt ds e^{-V(t) - V(s)} I_0(2 kappa sqrt(t s))^2 sum_n I_n(2 kappa t) I_n(2 kappa s) I_n(2 beta):

    the two links along the time connect the sites, those along the extent of one begin and end on their own site, and
    both plaquettes are cos of the difference of the latter.
    """
    nodes, weights = np.polynomial.legendre.leggauss(80)
    t, w = 6 * (nodes + 1), 6 * weights  # V(12) = 70
    site = w * np.exp(-m2 * t - lam * t**2)
    bonds = special.iv(0, 2 * kappa * np.sqrt(t[:, None] * t)) ** 2
    loops = sum(
        special.iv(n, 2 * beta) * special.iv(n, 2 * kappa * t)[:, None] * special.iv(n, 2 * kappa * t) for n in range(-25, 26)
    )
    return float(np.log(np.pi**2 * np.einsum("i,j,ij->", site, site, bonds * loops)))


def derivative(f, name, couplings, h=1e-4):
    """Central difference of fourth order; rounding of log Z leaves 1e-11."""
    at = lambda k: f(**{**couplings, name: couplings[name] + k * h})  # noqa: E731
    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)


def test_higgs_chain_against_characters_and_quadrature(key):
    theory = U1HiggsAction((2, 1), **HIGGS)
    measure = {
        "plaquette": lambda x: -jax.grad(lambda b: U1HiggsAction((2, 1), b, 0.35, 0.4, 0.9).action(x))(1.1) / 2,
        "bonds": lambda x: -jax.grad(lambda k: U1HiggsAction((2, 1), 1.1, k, 0.4, 0.9).action(x))(0.35),
        "square": lambda x: jnp.sum(x["phi"] ** 2),
    }
    chain = tm.hmc(key, theory, 1000, chains=32, steps=6, trajectory_length=1.2, measure=measure)
    for name, coupling, factor in (("plaquette", "beta", 0.5), ("bonds", "kappa", 1.0), ("square", "m2", -1.0)):
        agrees(tm.expectation(chain, name), factor * derivative(higgs_log_z, coupling, HIGGS))
    # Creutz: <exp(-delta H)> = 1 in equilibrium.
    creutz = np.exp(-chain.delta_h).mean(axis=1)
    assert abs(creutz.mean() - 1) < 4 * creutz.std() / np.sqrt(len(creutz))


def test_higgs_chain_without_hopping_is_pure_gauge(key):
    theory = U1HiggsAction((4, 4), beta=1.5, kappa=0.0, lam=0.0, m2=0.5)
    measure = {"plaquette": lambda x: tm.plaquette(x["links"]), "square": lambda x: jnp.mean(x["phi"] ** 2)}
    chain = tm.hmc(key, theory, 300, chains=16, steps=8, measure=measure)
    agrees(tm.expectation(chain, "plaquette"), float(tm.exact.plaquette(WilsonAction(tm.U1(), (4, 4), 1.5))))
    agrees(tm.expectation(chain, "square"), 1.0)  # normal variables of variance 1/(2 m2)


def yukawa_log_z(m2_phi, lam_phi, m2_chi, lam_chi, g):
    """On one site, where differences of neighbours vanish: a quadrature in phi and chi."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    phi, w = 5 * nodes, 5 * weights
    chi = phi[:, None]
    action = m2_phi * phi**2 + lam_phi * phi**4 + m2_chi * chi**2 + lam_chi * chi**4 + g * phi**2 * chi
    return float(np.log(np.einsum("i,j,ji->", w, w, np.exp(-action))))


def test_yukawa_chain_against_quadrature(key):
    """Two numbers only: a trajectory length that comes from the key of one of the momenta would show (seven sigma)."""
    theory = ScalarYukawaAction((1,), **YUKAWA)
    measure = {
        "phi^2": lambda x: jnp.sum(x["phi"] ** 2),
        "chi^2": lambda x: jnp.sum(x["chi"] ** 2),
        "phi^2 chi": lambda x: jnp.sum(x["phi"] ** 2 * x["chi"]),
    }
    chain = tm.hmc(key, theory, 1000, chains=32, steps=6, measure=measure)
    for name, coupling in (("phi^2", "m2_phi"), ("chi^2", "m2_chi"), ("phi^2 chi", "g")):
        agrees(tm.expectation(chain, name), -derivative(yukawa_log_z, coupling, YUKAWA))


def test_yukawa_fields_without_coupling_are_phi4(key):
    theory = ScalarYukawaAction((3, 4), **{**YUKAWA, "g": 0.0})
    x = random_configuration(theory.manifold, key)
    apart = Phi4Action((3, 4), -0.4, 0.8).action(x["phi"]) + Phi4Action((3, 4), 0.7, 0.3).action(x["chi"])
    assert theory.action(x) == apart


def test_quadratures_are_converged():
    """Against adaptive quadrature of one dimension less, where the other integral is known."""
    free = {"m2_phi": 0.4, "lam_phi": 0.0, "m2_chi": 0.7, "lam_chi": 0.3, "g": 0.0}
    quartic = integrate.quad(lambda c: np.exp(-0.7 * c**2 - 0.3 * c**4), -np.inf, np.inf)[0]
    cut = special.erf(5 * np.sqrt(0.4))  # the box of the quadrature
    assert np.isclose(yukawa_log_z(**free), np.log(quartic * np.sqrt(np.pi / 0.4) * cut), rtol=0, atol=1e-8)
    site = integrate.quad(lambda t: np.pi * np.exp(-0.9 * t - 0.4 * t**2), 0, np.inf)[0]
    expected = 2 * np.log(site) + np.log(special.iv(0, 2 * 1.1))
    assert np.isclose(higgs_log_z(**{**HIGGS, "kappa": 0.0}), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: U1HiggsAction((4, 4), 1.0, 0.1, -0.1, 1.0), "lam >= 0"),
        (lambda: U1HiggsAction((4, 4), 1.0, 0.3, 0.0, 1.2), r"m2 > 2 d \|kappa\| = 1.2"),
        (lambda: U1HiggsAction((4,), 1.0, 0.3, 1.0, 1.0), "at least two"),
        (lambda: ScalarYukawaAction((4,), 1.0, -0.1, 1.0, 1.0, 0.1), "lam >= 0"),
        (lambda: ScalarYukawaAction((4,), 1.0, 0.0, 1.0, 1.0, 0.1), "expected g = 0"),
        (lambda: ScalarYukawaAction((4,), 1.0, 0.25, 1.0, 0.0, 1.0), r"4 lam_phi m2_chi > g\^2"),
    ],
)
def test_actions_without_lower_bound_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda m: tm.CouplingFlow(jax.random.key(0), m),
        lambda m: tm.flows.FourierFlow(m),
        lambda m: tm.ConvolutionField(jax.random.key(0), m),
        lambda m: tm.fields.NeighbourPotential(jax.random.key(0), m),
        lambda m: tm.GatedConvolutionField(m),
    ],
)
def test_transports_of_scalars_refuse_several_components(make):
    """They would take the components for one more axis of the lattice."""
    with pytest.raises(TypeError, match="RealField|given"):
        make(tm.RealField((4, 4), components=2))


def test_bounded_actions_at_the_edge_are_accepted():
    U1HiggsAction((4, 4), 1.0, 0.3, 0.0, 1.21)
    ScalarYukawaAction((4,), -1.0, 0.26, 1.0, 0.0, 1.0)
    ScalarYukawaAction((4,), 1.0, 0.0, 1.0, 0.0, 0.0)


# --- data and files ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored():
    """Thirty configurations of a product with SU(2) links, a sphere and a scalar of two components, with weights."""
    manifold = tm.ProductManifold(
        u=tm.LinkField(tm.SU(2), (2, 3)), s=tm.SphereField(3, (2, 3)), phi=tm.RealField((2, 3), components=2)
    )
    x = jax.vmap(lambda k: random_configuration(manifold, k))(jax.random.split(jax.random.key(3), 30))
    log_weights = np.sin(np.arange(30.0))
    return manifold, tm.Ensemble(x, log_weights, {"norm": np.sum(np.asarray(x["phi"]) ** 2, axis=(1, 2, 3))})


def equal(x, y):
    assert jax.tree.structure(x) == jax.tree.structure(y)
    for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def norm(x):
    return jnp.sum(x["phi"] ** 2)


def test_ensembles_of_products(stored):
    _, ensemble = stored
    assert len(ensemble) == 30
    part = ensemble[5:20:3]
    assert len(part) == 5
    equal(part.configurations, {name: a[5:20:3] for name, a in ensemble.configurations.items()})
    measured, kept = tm.expectation(ensemble, norm, batch_size=7), tm.expectation(ensemble, "norm")
    assert np.isclose(measured.value, kept.value, rtol=1e-13)
    assert np.isclose(measured.error, kept.error, rtol=1e-13)
    single = tm.Ensemble({"phi": np.zeros((3, 2), np.float32), "u": np.zeros((3, 4))}, np.zeros(3))
    assert single.precisions == (np.float32, np.float64)
    with pytest.raises(ValueError, match="30 log weights, but configurations of shape .*29"):
        tm.Ensemble({**ensemble.configurations, "s": ensemble.configurations["s"][1:]}, ensemble.log_weights)
    with pytest.raises(ValueError, match="masked"):
        tm.Ensemble({"phi": np.ma.masked_equal(np.arange(3.0), 1)}, np.zeros(3))


def test_metropolis_of_products(key, stored):
    _, ensemble = stored
    chain = tm.independence_metropolis(key, ensemble[1:], initial=ensemble[:1])
    index = chain.indices[0] + 1  # -1 is the initial state
    equal(chain.configurations, {name: a[index][None] for name, a in ensemble.configurations.items()})
    values = np.asarray(jax.vmap(norm)(jax.tree.map(jnp.asarray, jax.tree.map(lambda a: a[0], chain.configurations))))
    np.testing.assert_allclose(values, chain.observables["norm"][0], rtol=1e-13)
    equal(chain[10:].configurations, jax.tree.map(lambda a: a[:, 10:], chain.configurations))
    with pytest.raises(ValueError, match=r"leading axes|equal axes"):
        tm.Chain({"a": np.zeros((2, 5, 3)), "b": np.zeros((2, 4, 3))})


def test_files_of_products(tmp_path, key, stored):
    _, ensemble = stored
    path = tmp_path / "samples.h5"
    tm.io.append_ensemble(path, ensemble[:10], {"beta": 1.0})
    tm.io.append_ensemble(path, ensemble[10:], {"beta": 1.0})
    found, attributes = tm.read_ensemble(path)
    equal(found.configurations, ensemble.configurations)
    equal((found.log_weights, found.observables), (ensemble.log_weights, ensemble.observables))
    assert attributes["beta"] == 1.0
    with pytest.raises(EnsembleFileError, match="cannot append"):
        tm.io.append_ensemble(path, tm.Ensemble({"phi": ensemble.configurations["phi"]}, ensemble.log_weights))
    # Every byte of the fields is under the checksum.
    content = bytearray(path.read_bytes())
    where = content.find(np.ascontiguousarray(ensemble.configurations["s"][0]).tobytes())
    assert where > 0
    content[where + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(EnsembleFileError, match="checksum"):
        tm.read_ensemble(path)

    write_npz(tmp_path / "samples.npz", ensemble)
    equal(read_npz(tmp_path / "samples.npz").configurations, ensemble.configurations)

    chain = tm.independence_metropolis(key, ensemble)
    tm.write_chain(tmp_path / "chain.h5", chain)
    equal(tm.read_chain(tmp_path / "chain.h5")[0].configurations, chain.configurations)
    with pytest.raises(ValueError, match="cannot store"):
        tm.write_ensemble(path, tm.Ensemble({"a/": np.zeros((1, 2))}, np.zeros(1)))


def test_chains_of_products_continue_bit_for_bit(tmp_path, key):
    theory = U1HiggsAction((2, 3), **HIGGS)
    options = {"chains": 2, "steps": 3, "thermalisation": 0}
    whole = tm.hmc(key, theory, 6, initial="cold", **options)
    first = tm.hmc(key, theory, 4, initial="cold", **options)
    write_checkpoint(tmp_path / "state.ckpt", first.state)
    state = read_checkpoint(tmp_path / "state.ckpt", first.state)[0]
    rest = tm.hmc(key, theory, 2, initial=state, **options)
    equal(rest.configurations, jax.tree.map(lambda a: a[:, 4:], whole.configurations))
    one = jax.tree.map(lambda a: a[0, -1], whole.configurations)
    single = tm.hmc(key, theory, 1, initial=one, dtype=jnp.float32, **options)
    assert {a.dtype for a in jax.tree.leaves(single.configurations)} == {np.dtype(np.float32)}
    with pytest.raises(ValueError, match="2 initial configurations for 3 chains"):
        tm.hmc(key, theory, 1, initial=jax.tree.map(lambda a: a[:, -1], whole.configurations), chains=3)
    with pytest.raises(ValueError, match="got a configuration with the keys"):
        tm.hmc(key, theory, 1, initial={"phi": one["phi"]})


def test_energy_violation_of_products_is_of_second_order(key):
    """The same trajectories with half the step: the violation of leapfrog falls by four, to the next order."""
    theory = U1HiggsAction((3, 2), **HIGGS)
    x = jax.vmap(lambda k: random_configuration(theory.manifold, k))(jax.random.split(key, 16))
    options = {"initial": x, "chains": 16, "thermalisation": 0, "length_spread": 0.0, "trajectory_length": 0.3}
    coarse, fine = (tm.hmc(key, theory, 1, steps=n, **options).delta_h for n in (8, 16))
    ratio = np.sqrt(np.mean(coarse**2) / np.mean(fine**2))
    assert 3.8 < ratio < 4.2


def test_attributes_of_products():
    theory = U1HiggsAction((2, 3), **HIGGS)
    described = tm.io.ensemble_attributes(theory)["theory"]
    assert described == {"name": "U1HiggsAction", "lattice": [2, 3], **HIGGS}
