"""Products of manifolds: the theories that need them, against limits, sums of characters and quadratures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_configuration
from scipy import integrate, special

import trivmap as tm
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


def test_bounded_actions_at_the_edge_are_accepted():
    U1HiggsAction((4, 4), 1.0, 0.3, 0.0, 1.21)
    ScalarYukawaAction((4,), -1.0, 0.26, 1.0, 0.0, 1.0)
    ScalarYukawaAction((4,), 1.0, 0.0, 1.0, 0.0, 0.0)
