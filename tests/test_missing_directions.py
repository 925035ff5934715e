"""What is missing in a field: predictions against a regression that is known in closed form."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import trivmap as tm

KEY = jax.random.key(0)
SITES = 6
MANIFOLD = tm.RealField((SITES,))
START, THEORY = (tm.theories.FreeScalarAction((SITES,), m2=m2) for m2 in (1.0, 1.4))


class Strength(tm.fields.AbstractVectorField):
    """A fixed velocity times one learned number, zero at the start."""

    strength: jax.Array
    kind: str

    @property
    def manifold(self):
        return MANIFOLD

    def __call__(self, t, x):
        table = {
            "scale": (x, float(SITES) + 0 * jnp.sum(x)),
            "mean": (jnp.mean(x) + 0 * x, 1.0 + 0 * jnp.sum(x)),
            # x_y (x_{y+1} - x_{y-1}) has the symmetries of no action: its slope along one vanishes.
            "turn": (jnp.roll(x, -1) - jnp.roll(x, 1), 0 * jnp.sum(x)),
        }
        velocity, divergence = table[self.kind]
        return self.strength * velocity, self.strength * divergence


class Gaussian(tm.priors.AbstractPrior):
    """The free field of another mass."""

    @property
    def manifold(self):
        return MANIFOLD

    def sample(self, key, dtype=None):
        return _covariance_root(1.0) @ jax.random.normal(key, (SITES,), dtype)

    def log_prob(self, x):
        return -START.action(x)


def _precision(m2):
    shifted = jnp.eye(SITES)
    laplacian = 2 * shifted - jnp.roll(shifted, 1, 0) - jnp.roll(shifted, -1, 0)
    return 2 * (laplacian + m2 * shifted)


def _covariance_root(m2):
    return jnp.linalg.cholesky(jnp.linalg.inv(_precision(m2)))


def _model(kind):
    return tm.Model(Gaussian(), tm.ContinuousFlow(Strength(jnp.zeros(()), kind), steps=1))


def _regression(kind: str) -> tuple[float, float]:
    """Variance of y = log w at zero strength, and what is left of it after regression on J = div v - v dS (forms of x)."""
    root, new = _covariance_root(1.0), _precision(1.4)
    shifted = jnp.eye(SITES)
    matrix = {
        "scale": shifted,
        "mean": jnp.full((SITES, SITES), 1 / SITES),
        "turn": jnp.roll(shifted, -1, 0) - jnp.roll(shifted, 1, 0),
    }[kind]
    form = lambda a: root.T @ (a + a.T) @ root / 2  # noqa: E731
    y, slope = form((_precision(1.0) - new) / 2), -form(matrix.T @ new)
    # Cov(z^T a z, z^T b z) = 2 tr(a b) for standard normal z and symmetric matrices.
    variance, covariance, square = (2 * jnp.trace(a @ b) for a, b in ((y, y), (y, slope), (slope, slope)))
    return float(variance), float(variance - (covariance**2 / square if square > 1e-12 else 0))


def test_predictions_are_those_of_the_regression():
    candidates = {kind: Strength(jnp.zeros(()), kind) for kind in ("turn", "mean", "scale")}
    found = tm.missing_directions(KEY, _model("turn"), THEORY, candidates, samples=8192)
    expected = {kind: _regression(kind) for kind in candidates}
    assert [c.name for c in found.candidates] == sorted(candidates, key=lambda kind: expected[kind][1])
    # The log weight is a quadratic form: its variance has a relative error of about sqrt(kurtosis/N), at most
    # sqrt(14/8192) = 4 %; four of these.
    assert found.variance == pytest.approx(expected["turn"][0], rel=0.17)
    for candidate in found.candidates:
        assert candidate.numbers == 1
        assert candidate.alone == pytest.approx(expected[candidate.name][1], rel=0.17)
        # The number of the model does nothing: its column is noise of rounding. Its correlations r, r' with log w in the two
        # halves are of order 1/sqrt(4096) = 0.016; fitted in one half it changes the variance of the other by r^2 - 2 r r',
        # at three standard deviations of each below 3 (3 x 0.016)^2 = 7e-3.
        assert candidate.joint == pytest.approx(candidate.alone, rel=7e-3)
        assert abs(found.own - candidate.joint - (expected["turn"][0] - expected[candidate.name][1])) < max(
            4 * candidate.error, 1e-9
        )
    assert found.own == pytest.approx(found.variance, rel=7e-3)
    assert found.everything <= 1.01 * min(c.joint for c in found.candidates)


def test_the_table_is_readable():
    found = tm.missing_directions(KEY, _model("turn"), THEORY, {"scale": Strength(jnp.zeros(()), "scale")}, samples=64)
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[3].split()[:2] == ["scale", "1"]
    wide = dataclasses.replace(found, candidates=(dataclasses.replace(found.candidates[0], name="x" * 90, numbers=123456),))
    assert max(map(len, str(wide).splitlines())) <= 80


def test_a_step_of_gauss_newton_keeps_the_promise():
    """U(1): the gain by a gated field that the closed form lacks is what one step on it brings."""
    theory = tm.WilsonAction(tm.U1(), (4, 4), beta=2.0)
    closed = tm.GatedConvolutionField.trivializing(theory.manifold, 2.0, features=2, gates=1, times=2)
    extra = tm.GatedConvolutionField(theory.manifold, features=2, gates=1, times=1)
    model = tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(closed, steps=4))
    found = tm.missing_directions(KEY, model, theory, {"gated": extra}, samples=1024)
    both = tm.Model(model.prior, tm.ContinuousFlow(tm.fields.SumField(closed, extra), steps=4))
    _, records = tm.gauss_newton(KEY, both, theory, steps=1, samples=1024, progress=False)
    gain = found.variance - found.candidates[0].joint
    assert gain > 4 * found.candidates[0].error > 0
    # Beyond the linear regime and with a step from a ladder: the same within half.
    assert records[0]["variance"] - records[1]["variance"] == pytest.approx(gain, rel=0.5)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ({}, "no candidate"),
        ({"moving": Strength(jnp.ones(()), "scale")}, "'moving' does not vanish"),
        ({"elsewhere": tm.GatedConvolutionField(tm.RealField((4,)))}, "same manifold"),
    ],
)
def test_errors_teach(candidates, message):
    with pytest.raises(ValueError, match=message):
        tm.missing_directions(KEY, _model("turn"), THEORY, candidates, samples=64)
