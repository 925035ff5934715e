"""Parameters that cannot be meant are refused where a theory, a manifold or a prior is made; traced ones pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm

REFUSED = {
    "beta nan": (lambda: tm.WilsonAction(tm.U1(), (4, 4), np.nan), ValueError, "beta: got nan"),
    "beta inf": (lambda: tm.WilsonAction(tm.U1(), (4, 4), -np.inf), ValueError, "beta: got -inf"),
    "beta beyond float32": (lambda: tm.WilsonAction(tm.U1(), (4, 4), np.float32("inf")), ValueError, "beta: got inf"),
    "beta bool": (lambda: tm.WilsonAction(tm.U1(), (4, 4), True), TypeError, "beta: got True"),
    "beta string": (lambda: tm.WilsonAction(tm.U1(), (4, 4), "2"), TypeError, "beta: got '2'"),
    "beta None": (lambda: tm.WilsonAction(tm.U1(), (4, 4), None), TypeError, "beta: got None"),
    "beta of many digits": (lambda: tm.WilsonAction(tm.U1(), (4, 4), 10**400), (TypeError, ValueError), "beta: got 1000"),
    "SU(1)": (lambda: tm.SU(1), ValueError, "n = 1"),
    "extent zero": (lambda: tm.WilsonAction(tm.U1(), (4, 0), 1.0), ValueError, "each >= 1"),
    "extent negative": (lambda: tm.Phi4Action((-4, 4), 1.0, 1.0), ValueError, "each >= 1"),
    "extent bool": (lambda: tm.Phi4Action((True, 4), 1.0, 1.0), TypeError, "integer extents"),
    "no extent": (lambda: tm.Phi4Action((), 1.0, 1.0), ValueError, "at least one"),
    "unbounded phi^4": (lambda: tm.Phi4Action((4,), 1.0, -8.0), ValueError, "no lower bound"),
    "flat phi^4": (lambda: tm.Phi4Action((4,), 0.0, 0.0), ValueError, "expected m2 > 0"),
    "inverted phi^4": (lambda: tm.Phi4Action((4,), -1.0, 0.0), ValueError, "expected m2 > 0"),
    "m2 nan": (lambda: tm.Phi4Action((4,), np.nan, 1.0), ValueError, "m2: got nan"),
    "lam inf": (lambda: tm.Phi4Action((4,), 1.0, np.inf), ValueError, "lam: got inf"),
    "kappa zero": (lambda: tm.Phi4Action.from_kappa((4,), 0.0, 1.0), ValueError, "kappa: got 0"),
    "lam of the hopping form": (lambda: tm.Phi4Action.from_kappa((4,), 0.2, -1.0), ValueError, "no lower bound"),
    "massless": (lambda: tm.theories.FreeScalarAction((4,), 0.0), ValueError, "m2 > 0"),
    "tachyonic": (lambda: tm.theories.FreeScalarAction((4,), -1.0), ValueError, "m2 > 0"),
    "coefficients": (lambda: tm.theories.MatrixAction(tm.SU(2), 1.0, (1.0, np.nan)), ValueError, "coefficients: got"),
    "width": (lambda: tm.GaussianPrior(tm.RealField((4,)), np.inf), ValueError, "width: got inf"),
    "range of a coupling": (lambda: _family(-1.0, 1.0), ValueError, "no lower bound"),
    "endless range": (lambda: _family(1.0, np.inf), ValueError, "high: got inf"),
    "end of a path": (
        lambda: tm.training.AnnealedTheory(tm.Phi4Action((4,), 1.0, 1.0), tm.Phi4Action((4,), 1.0, 1.0), np.nan),
        ValueError,
        "fraction=nan",
    ),
}


def _family(low, high):
    theory = tm.Phi4Action((4,), 1.0, 1.0)
    prior = tm.GaussianPrior(theory.manifold)
    flow = tm.flows.PointwiseFlow(theory.manifold, tm.transforms.RationalQuadraticSpline(4))
    return tm.ConditionalModel(lambda _: tm.Model(prior, flow), theory, low, high, coupling="lam")


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused(name):
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        make()


def test_traced_couplings_pass():
    """Under jit, grad and vmap values are not known: the same constructors work."""
    x = jnp.ones((2, 2))

    def action(m2, lam):
        return tm.Phi4Action((2, 2), m2, lam).action(x)

    assert jax.jit(action)(1.0, -1.0) == 0.0
    assert jnp.array_equal(jax.vmap(action, (0, None))(jnp.asarray([-1.0, 0.0]), 0.0), jnp.asarray([-4.0, 0.0]))
    slope = jax.grad(lambda beta: tm.WilsonAction(tm.U1(), (2, 2), beta).action(jnp.zeros((2, 2, 2))))(jnp.nan)
    assert slope == -4


def test_what_is_legal_passes():
    assert tm.WilsonAction(tm.SU(3), (1, 2), -3).beta == -3.0
    assert tm.Phi4Action((1,), -1e6, 1e-12).lam == 1e-12
    assert tm.Phi4Action((2, 1), np.float32(1), 0).m2.dtype == np.float32
