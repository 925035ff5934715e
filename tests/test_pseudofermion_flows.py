"""Noisy weights from pseudofermions and their flows: unbiased, with the variance of the formula, exact in averages."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm
from trivmap import _linalg as linalg
from trivmap.fermions import (
    ColourCouplings,
    EvenOddDirac,
    HasenbuschPreconditioner,
    IdentityPreconditioner,
    IncompleteLU,
    WilsonDirac,
    conditional_ess,
)
from trivmap.models import JointModel, PseudofermionFlow
from trivmap.theories import StochasticDeterminant

GAUGE = tm.WilsonAction(tm.U1(), (4, 4), beta=2.0)


def schur(kappa, lattice=(4, 4)):
    return EvenOddDirac(WilsonDirac(tm.U1(), lattice, kappa))


def quenched(n, gauge=GAUGE, seed=0):
    return tm.exact.sample(jax.random.key(seed), gauge, n)


ESTIMATES = {
    "even-odd, 6 roots": lambda method: StochasticDeterminant(IdentityPreconditioner(schur(0.2)), 6, method=method),
    "all sites, 8 roots": lambda method: StochasticDeterminant(
        IdentityPreconditioner(WilsonDirac(tm.U1(), (4, 4), 0.2)), 8, method=method
    ),
    "LU, one": lambda method: StochasticDeterminant(IncompleteLU(schur(0.24), 2), 1, method=method),
    "LU, 3 roots": lambda method: StochasticDeterminant(IncompleteLU(schur(0.26), 2), 3, method=method),
    # Worse than none: quarks of the other sign of kappa.
    "wrong, 48 roots": lambda method: StochasticDeterminant(
        HasenbuschPreconditioner(WilsonDirac(tm.U1(), (4, 4), 0.2), WilsonDirac(tm.U1(), (4, 4), -0.2)), 48, method=method
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LU, 3 roots", "all sites, 8 roots"])
def test_quadrature_against_eigenvectors(name):
    """The same spinors, the same estimate."""
    x, key = quenched(1)[0], jax.random.key(1)
    dense, lanczos = (eqx.filter_jit(ESTIMATES[name](m).noisy_action)(key, x) for m in ("dense", "lanczos"))
    # n forms, each off by tolerance^2 |chi|^2 / lambda_min at most: 8 * 1e-14 * 32 * 100; rounding is less.
    assert abs(dense - lanczos) < 3e-10
    assert not np.isclose(dense, ESTIMATES[name]("dense").action(x), atol=1e-3)


@pytest.mark.parametrize("name", ["LU, one", *(pytest.param(n, marks=pytest.mark.slow) for n in ESTIMATES if n != "LU, one")])
def test_unbiased_with_the_variance_of_the_formula(name):
    theory, x = ESTIMATES[name]("dense"), quenched(1, seed=3)[0]
    keys = jax.random.split(jax.random.key(2), (16, 2000))
    draw = eqx.filter_jit(jax.vmap(lambda k: theory.noisy_action(k, x)))
    w = np.exp(float(theory.action(x)) - np.stack([np.asarray(draw(k)) for k in keys]))
    mean, error = w.mean(), w.mean(axis=1).std(ddof=1) / 4
    assert abs(mean - 1) < 4 * error, (mean, error)
    second, error = (w**2).mean(), (w**2).mean(axis=1).std(ddof=1) / 4
    assert abs(second - 1 / theory.conditional_ess(x)) < 4 * error, (second, error)
    assert theory.conditional_ess(x) < 0.99


def test_formula_of_the_variance():
    """One eigenvalue by quadrature over |chi|^2; many roots; infinite variance."""
    s, n = 1.7, 3
    t = np.linspace(0, 200, 400_001)
    moment = lambda k: np.trapezoid(np.exp(-t - k * t * (s ** (-1 / n) - 1)), t) ** n  # noqa: E731
    # The step of the trapezoid rule: (5e-4)^2/12 times the slope at zero.
    assert np.isclose(conditional_ess(jnp.array([s]), n), moment(1) ** 2 / moment(2), rtol=1e-6)
    many = jnp.array([0.3, 0.9, 2.0])
    # The next term of the expansion in 1/n is of relative size sum ln^4 s / (12 n^3) + sum |ln^3 s| / n^2.
    assert np.isclose(conditional_ess(many, 1000), np.exp(-np.sum(np.log(many) ** 2) / 1000), rtol=1e-5)
    assert conditional_ess(jnp.array([0.5, 2.0]), 1) == 0
    assert conditional_ess(jnp.array([0.5, 2.0]), 2) > 0


@pytest.mark.slow
@pytest.mark.parametrize("roots", [1, 2, 4])
def test_averages_with_noisy_weights(roots):
    """Reweighting and pseudo-marginal Metropolis of quenched configurations on 2x2 against the integral, for weak and strong
    noise."""
    rows = json.loads((Path(__file__).parent / "reference" / "schwinger.json").read_text())["rows"]
    wanted = {"kind": "ensemble", "shape": [2, 2], "beta": 2.0, "kappa": 0.276, "nf": 2}
    (row,) = (row for row in rows if wanted.items() <= row["params"].items())
    exact = dict(row["values"])
    gauge = tm.WilsonAction(tm.U1(), (2, 2), 2.0)
    quarks = StochasticDeterminant(IdentityPreconditioner(schur(0.276, (2, 2))), roots)
    n = 40_000
    x = quenched(n, gauge)
    noisy = -jax.jit(jax.vmap(quarks.noisy_action))(jax.random.split(jax.random.key(5), n), x)
    plaquette = np.asarray(jax.vmap(tm.plaquette)(x))
    ensemble = tm.Ensemble(None, None, {"plaquette": plaquette}, noisy_log_weights=np.asarray(noisy)[:, None])
    chain = tm.independence_metropolis(jax.random.key(6), ensemble)
    for found in (tm.expectation(ensemble, "plaquette"), tm.expectation(chain, "plaquette")):
        assert abs(found.pull(exact["plaquette"])) < 4, found
    assert abs(tm.log_z(ensemble).pull(exact["log_Z_ratio"])) < 4


class Pseudofermions(tm.AbstractTheory):
    """|D^-1 phi|^2 + S_gauge on links and pseudofermions."""

    operator: Any
    gauge: tm.WilsonAction

    @property
    def manifold(self):
        return tm.ProductManifold(links=self.gauge.manifold, phi=self.operator.spinor_field)

    def action(self, x):
        # Not by `jnp.linalg`: under vmap two of its stacks, of a flow and of its halving, may wait for each other for ever.
        inverse = linalg.inverse(self.operator.dense(x["links"])) @ self.operator.to_spinor(x["phi"]).reshape(-1)
        return jnp.sum(jnp.abs(inverse) ** 2) + self.gauge.action(x["links"])


MARGINAL = tm.Model(tm.HaarPrior(GAUGE.manifold), tm.ContinuousFlow(tm.GatedConvolutionField(GAUGE.manifold), steps=2))


def test_joint_model():
    """Densities of samples; with A = D the weight is that of the links times |det D|^2, without noise."""
    operator, key = schur(0.24), jax.random.key(4)
    theory = Pseudofermions(operator, GAUGE)

    @eqx.filter_jit
    def drawn(preconditioner):
        model = JointModel(MARGINAL, phi=PseudofermionFlow(preconditioner))
        assert model.manifold == theory.manifold
        x, log_q = model.sample_and_log_prob(key)
        log_q_links = MARGINAL.sample_and_log_prob(jax.random.split(key)[0])[1]
        again = log_q_links + model.conditionals["phi"].at(x["links"]).log_prob(x["phi"])
        exact = StochasticDeterminant(preconditioner).action(x["links"])
        noise = -theory.action(x) + GAUGE.action(x["links"]) - (log_q - log_q_links) - operator.size * np.log(np.pi) + exact
        return log_q, again, noise

    # Logarithms of determinants of 16 rows, a solve.
    for preconditioner in (HasenbuschPreconditioner(operator, operator), IncompleteLU(operator, 2)):
        log_q, again, noise = drawn(preconditioner)
        assert np.isclose(log_q, again, rtol=0, atol=1e-10)
        assert (abs(noise) < 1e-10) == isinstance(preconditioner, HasenbuschPreconditioner)


@pytest.mark.slow
def test_training_of_links_and_pseudofermions():
    """Reverse KL of the joint model falls with polynomials that are learned; the operator stays as it was."""
    operator = schur(0.24)
    theory = Pseudofermions(operator, GAUGE)
    couplings = ColourCouplings.polynomial(operator, layers=4, degree=2)
    model = JointModel(MARGINAL, phi=PseudofermionFlow(couplings))
    trained, _ = tm.fit(jax.random.key(0), model, theory, steps=60, batch_size=32, progress=False)
    kl = [-tm.sample(jax.random.key(1), m, theory, 1000).log_weights.mean() for m in (model, trained)]
    # The same keys; log weights have a spread of about 3, so that the means of 1000 are good to 0.1.
    assert kl[1] < kl[0] - 1
    learned = trained.conditionals["phi"].preconditioner
    assert learned.operator.dirac.kappa == operator.dirac.kappa
    assert not jnp.allclose(learned.left.coefficients, 0)


def test_refusals():
    plain = IdentityPreconditioner(schur(0.2))
    with pytest.raises(ValueError, match="roots"):
        StochasticDeterminant(plain, 0)
    with pytest.raises(ValueError, match="'auto', 'dense' or 'lanczos'"):
        StochasticDeterminant(plain, 2, method="svd")
    with pytest.raises(ValueError, match="estimates"):
        tm.sample(jax.random.key(0), MARGINAL, tm.theories.SumTheory(StochasticDeterminant(plain), GAUGE), 3, estimates=0)
    with pytest.raises(ValueError, match="phi= is given a field"):
        JointModel(MARGINAL, phi=PseudofermionFlow(IdentityPreconditioner(schur(0.2, (4, 6)))))
    with pytest.raises(TypeError, match="conditional"):
        JointModel(MARGINAL, phi=MARGINAL)
    hasty = StochasticDeterminant(plain, 2, method="lanczos", max_iterations=2)
    with pytest.raises(tm.fermions.NotConvergedError, match="after 2 iterations"):
        hasty.noisy_action(jax.random.key(0), quenched(1)[0])
