"""Solvers on groups inside diffrax: truncation, dense output, adaptive steps, adjoints, refusals."""

import warnings

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solver_problems import distance, problem, reference, rms, starts, stepper

from trivmap.groups import U1
from trivmap.manifolds import LinkField
from trivmap.solvers import (
    CF4,
    LSCFRK4,
    RKMK,
    LuescherW3,
    dexpinv,
    integrate,
    integrate_dense,
    max_norm,
)
from trivmap.solvers._rkmk import bernoulli_coefficients

CASE = "SU(2) link"
# For what commutators do; elsewhere SU(2) compiles faster.
LINK = "SU(3) link"


def term(field):
    return diffrax.ODETerm(lambda t, y, args: field(t, y[0]))


def start(x):
    return x, jnp.zeros(())


# --- the chart --------------------------------------------------------------------------------------------------------


def test_bernoulli_coefficients():
    expected = [1, -1 / 2, 1 / 12, 0, -1 / 720, 0, 1 / 30240, 0, -1 / 1209600]
    np.testing.assert_allclose(bernoulli_coefficients(9), expected, rtol=1e-15)


def test_dexpinv_inverts_the_differential_of_the_exponential():
    """d/ds exp(Omega + s w) = v exp(Omega) gives w = dexpinv_Omega(v): fixes sign and side."""
    manifold = problem(LINK).manifold
    group = manifold.group
    omega = 0.1 * manifold.random_tangent(jax.random.key(0))
    w = manifold.random_tangent(jax.random.key(1))
    u, du = jax.jit(lambda: jax.jvp(lambda o: group.exp(o[0]), (omega,), (w,)))()
    v = group.multiply(du, group.adjoint(u))[None]
    # The first term left out is B_10 / 10! ad^10 = 2e-8 (2 |Omega|)^10 with |Omega| about 0.2 in the spectral norm.
    np.testing.assert_allclose(dexpinv(manifold, omega, v, 8), w, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("solver", "truncation", "order"),
    [
        (diffrax.Tsit5(), 0, 2),
        (diffrax.Tsit5(), 1, 3),
        # B_3 = 0: q = 2 is as good as q = 3.
        (diffrax.Dopri8(), 2, 5),
    ],
)
def test_truncated_commutators_lower_the_order(solver, truncation, order):
    wrapped = RKMK(solver, problem(LINK).manifold, truncation)
    assert wrapped.order(term(problem(LINK).field)) == order
    run = stepper(LINK, wrapped)
    errors = [distance(LINK, run(starts(LINK), 0.0, 1.0, n)[0], reference(LINK)[0]) for n in (8, 16, 32)]
    coarse, fine = np.log2(errors[0] / errors[1]), np.log2(errors[1] / errors[2])
    # As in the tests of the orders: extrapolated slope, 0.25 tells neighbouring orders apart.
    assert abs(2 * fine - coarse - order) < 0.25 or abs(fine - order) < 0.25, (errors, coarse, fine)


def test_default_truncation_keeps_the_order():
    manifold, field = problem(CASE).manifold, problem(CASE).field
    for solver, order in ((diffrax.Heun(), 2), (diffrax.Bosh3(), 3), (diffrax.Tsit5(), 5), (diffrax.Dopri8(), 8)):
        assert RKMK(solver, manifold).order(term(field)) == order
    assert RKMK(diffrax.Bosh3(), manifold).evaluations == 4


# --- plain diffrax ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "state"), [(LSCFRK4, "with log-det"), (CF4, "alone"), (lambda m: RKMK(diffrax.Tsit5(), m), "two terms")]
)
def test_plain_diffeqsolve(make, state):
    """The same numbers as `integrate`; a state without log-det works, and two terms add up."""
    manifold, field, x = problem(CASE)
    expected = jax.jit(lambda: integrate(field, manifold, x, solver=make(manifold), steps=8))()
    terms = {
        "with log-det": term(field),
        "alone": diffrax.ODETerm(lambda t, y, args: field(t, y)[0]),
        "two terms": diffrax.MultiTerm(*2 * [diffrax.ODETerm(lambda t, y, args: 0.5 * field(t, y)[0])]),
    }[state]

    @jax.jit
    def solve(y0):
        controller = diffrax.StepTo(jnp.linspace(0.0, 1.0, 9))
        return diffrax.diffeqsolve(terms, make(manifold), 0.0, 1.0, None, y0, stepsize_controller=controller).ys

    if state == "with log-det":
        xs, log_dets = solve(start(x))
        np.testing.assert_allclose(log_dets[0], expected.log_det, rtol=1e-12)
    else:
        xs = solve(x)
    # Another order of the same sums: some ten roundings per step.
    np.testing.assert_allclose(xs[0], expected.x, rtol=0, atol=1e-13)


def test_saved_times_are_on_the_group():
    manifold, field, x = problem(CASE)
    ts = jnp.linspace(0.03, 0.99, 7)
    solution = jax.jit(
        lambda: diffrax.diffeqsolve(
            term(field),
            RKMK(diffrax.Dopri5(), manifold),
            0.0,
            1.0,
            0.05,
            start(x),
            saveat=diffrax.SaveAt(ts=ts),
        )
    )()
    xs, log_dets = solution.ys
    assert float(jnp.max(jax.vmap(jax.vmap(manifold.group.unitarity_defect))(xs))) < 1e-14 * 100
    for t, y, log_det in zip(ts, xs, log_dets, strict=True):
        exact, exact_log_det = stepper(CASE, "RKMK(Dopri8)")(x[None], 0.0, t, 20)
        # Dopri5 with h = 0.05 and its dense output of fourth order: h^5 = 3e-7 times constants of order one.
        assert float(manifold.distance(y, exact[0])) < 3e-7
        assert abs(float(log_det - exact_log_det[0])) < 3e-6


@pytest.mark.slow
def test_half_solver_and_forward_mode():
    """A wrapped commutator-free solver estimates its error by halving; forward mode goes through the stage loop."""
    manifold, field, x = problem("U(1) flow")
    controller = diffrax.PIDController(rtol=0, atol=1e-6, norm=max_norm)

    def solve(strength, solver, adjoint, controller):
        scaled = diffrax.ODETerm(lambda t, y, args: field(t, y)[0] * strength.astype(y.dtype))
        out = diffrax.diffeqsolve(
            scaled, solver, 0.0, 1.0, 0.1, x, stepsize_controller=controller, adjoint=adjoint, max_steps=64
        )
        assert out.ys is not None
        return jnp.sum(jnp.cos(out.ys[0] - 1))

    one = jnp.ones(())
    half = jax.jit(lambda s: solve(s, diffrax.HalfSolver(CF4(manifold)), diffrax.RecursiveCheckpointAdjoint(), controller))(
        one
    )
    exact = jnp.sum(jnp.cos(stepper("U(1) flow", "RKMK(Dopri8)")(x[None], 0.0, 1.0, 64)[0][0] - 1))
    assert abs(float(half - exact)) < 1e-5
    solver, fixed = RKMK(diffrax.Bosh3(), manifold), diffrax.ConstantStepSize()
    forward = jax.jit(lambda s: jax.jvp(lambda s: solve(s, solver, diffrax.ForwardMode(), fixed), (s,), (one,))[1])(one)
    reverse = jax.jit(jax.grad(lambda s: solve(s, solver, diffrax.RecursiveCheckpointAdjoint(), fixed)))(one)
    # Derivatives of one program in two ways: rounding.
    np.testing.assert_allclose(forward, reverse, rtol=1e-12)


# --- dense output -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "order"), [pytest.param(LuescherW3(), 3, marks=pytest.mark.slow), (CF4(), 3), (diffrax.Dopri5(), 5)]
)
def test_dense_output(solver, order):
    """On the group everywhere, exact at the steps, off the grid of the order of the dense output."""
    manifold, field, x = problem(CASE)
    errors, log_det_errors = [], []
    for n in (8, 16):

        def run(ts, n=n):
            return jax.vmap(integrate_dense(field, manifold, x, solver=solver, steps=n))(ts)

        # Fractions 1/3 and 0.45 of a step, and the end.
        ts = jnp.array([1 / 3, 2.45, 6.45, n]) / n
        xs, log_dets = jax.jit(run)(ts)
        assert float(jnp.max(jax.vmap(jax.vmap(manifold.group.unitarity_defect))(xs))) < 1e-13
        exact = [stepper(CASE, "RKMK(Dopri8)")(x[None], 0.0, t, 20) for t in ts[:-1]]
        errors.append(rms(jnp.stack([manifold.distance(y, e[0][0]) for y, e in zip(xs, exact, strict=False)])))
        log_det_errors.append(rms(jnp.stack([a - e[1][0] for a, e in zip(log_dets, exact, strict=False)])))
    end = jax.jit(lambda: integrate(field, manifold, x, solver=solver, steps=n))()
    np.testing.assert_allclose(xs[-1], end.x, rtol=0, atol=1e-13)
    np.testing.assert_allclose(log_dets[-1], end.log_det, rtol=1e-12)
    # Few points near the start of a coarse grid: half an order of slack.
    assert np.log2(errors[0] / errors[1]) > order - 0.5
    assert np.log2(log_det_errors[0] / log_det_errors[1]) > order - 0.5


def test_dense_output_backwards_and_adaptive():
    manifold, field, x = problem("U(1) flow")
    controller = diffrax.PIDController(rtol=0, atol=1e-8)
    path = jax.jit(lambda: integrate_dense(field, manifold, x, t0=1.0, t1=0.2, controller=controller, max_steps=64))()
    expected = jax.jit(lambda: integrate(field, manifold, x, t0=1.0, t1=0.5, solver=diffrax.Dopri8(), steps=20))()
    y, log_det = path(0.5)
    # Fourth-order dense output of Tsit5 between steps of about 0.1: errors of some 1e-6.
    assert float(manifold.distance(y, expected.x)) < 1e-5
    assert abs(float(log_det - expected.log_det)) < 1e-5


# --- adaptive steps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["SU(2) link", "scalar"])
@pytest.mark.parametrize("back", [False, True])
def test_adaptive_error_follows_the_tolerance(case, back):
    manifold, field, _ = problem(case)
    t0, t1 = (1.0, 0.0) if back else (0.0, 1.0)
    x = reference(case)[0][0] if back else starts(case)[0]
    exact, log_det = (starts(case)[0], -reference(case)[1][0]) if back else jax.tree.map(lambda a: a[0], reference(case))

    @jax.jit
    def run(atol):
        controller = diffrax.PIDController(rtol=0, atol=atol)
        return integrate(field, manifold, x, t0=t0, t1=t1, solver=diffrax.Tsit5(), controller=controller)

    previous = 0
    for atol in (1e-5, 1e-8):
        out = run(jnp.asarray(atol))
        # Local errors below atol (rms per entry) in each of N < 100 steps, up to 18 entries, with little growth.
        assert float(manifold.distance(out.x, exact)) < 100 * atol
        assert abs(float(out.log_det - log_det)) < 100 * atol
        steps = int(out.stats["steps"])
        assert previous < steps < 100
        # Every accepted step satisfied the controller: |e_x|^2 <= 2 * entries * atol^2 (1/2-norm), e_log_det^2 <= atol^2.
        assert float(out.error_log_det) <= steps * atol**2
        assert float(out.error_x) <= steps * 2 * x.size * atol**2
        previous = steps


def test_norm_does_not_drown_the_log_det():
    """On 16 x 16 links diffrax's default norm averages over 513 numbers, and the log-det's tolerance is lost."""
    group = U1()
    manifold = LinkField(group, (16, 16))
    x = manifold.reference_sample(jax.random.key(4))

    def field(t, x):
        # All the structure sits in the log-det.
        return 0.1 * jnp.sin(x), 10 * jnp.cos(12 * t) + 0.1 * jnp.sum(jnp.cos(x))

    def run(norm):
        options = {} if norm is None else {"norm": norm}
        controller = diffrax.PIDController(rtol=0, atol=1e-6, **options)
        return jax.jit(lambda: integrate(field, manifold, x, solver=diffrax.Tsit5(), controller=controller))()

    default = next(f.default for f in diffrax.PIDController.__dataclass_fields__.values() if f.name == "norm")
    exact = jax.jit(lambda: integrate(field, manifold, x, solver=diffrax.Dopri8(), steps=40))().log_det
    ours = run(None)
    averaged = run(lambda tree: default(tree))
    assert abs(float(ours.log_det - exact)) < 1e-5
    assert abs(float(averaged.log_det - exact)) > 3 * abs(float(ours.log_det - exact))
    assert int(averaged.stats["steps"]) < int(ours.stats["steps"])


def test_max_norm():
    """Largest root mean square of the leaves, with a finite derivative at zero."""
    tree = (jnp.array([3.0, 4.0j]), jnp.array(1.0, jnp.float32))
    np.testing.assert_allclose(max_norm(tree), np.sqrt(12.5), rtol=1e-15)
    assert np.all(np.isfinite(jax.grad(lambda a: max_norm((a,)))(jnp.zeros(3))))


def test_solves_are_silent():
    """No warning about complex states, and strict promotion stays in force for the field."""
    manifold, field, x = problem(CASE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        controller = diffrax.PIDController(rtol=0, atol=1e-3)
        integrate(field, manifold, x, solver=diffrax.Tsit5(), controller=controller)
    with pytest.raises(Exception, match="strict"):
        jnp.add(jnp.ones(2, jnp.float32), jnp.ones(2, jnp.float64))


def test_clipped_controller():
    """A clipped controller steps on given times; its inner norm is replaced as well."""
    manifold, field, x = problem("scalar")
    inner = diffrax.PIDController(rtol=0, atol=1e-6)
    controller = diffrax.ClipStepSizeController(inner, step_ts=jnp.array([0.5]))
    out = jax.jit(lambda: integrate(field, manifold, x, solver=diffrax.Tsit5(), controller=controller))()
    plain = jax.jit(lambda: integrate(field, manifold, x, solver=diffrax.Tsit5(), controller=inner))()
    np.testing.assert_allclose(out.x, plain.x, rtol=0, atol=1e-5)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (diffrax.Kvaerno3(), "implicit"),
        (diffrax.ReversibleHeun(), "earlier charts"),
        (diffrax.LeapfrogMidpoint(), "earlier charts"),
        (diffrax.ItoMilstein(), "Ito"),
        (diffrax.ShARK(), "not an explicit Runge-Kutta"),
        (diffrax.HalfSolver(diffrax.Tsit5()), "wrapper"),
        (LSCFRK4(), "wrapper or a solver on groups"),
        ("Tsit5", "solver"),
    ],
)
def test_solvers_that_cannot_work_in_a_chart(solver, message):
    with pytest.raises(TypeError, match=message):
        RKMK(solver, problem(CASE).manifold)


def test_other_refusals():
    manifold, field, x = problem(CASE)
    with pytest.raises(ValueError, match=r"LSCFRK4\(manifold\)"):
        diffrax.diffeqsolve(term(field), LSCFRK4(), 0.0, 1.0, 0.1, start(x))
    with pytest.raises(TypeError, match="manifold"):
        RKMK(diffrax.Tsit5(), "SU(3)")
    with pytest.raises(ValueError, match="truncation >= 0"):
        RKMK(diffrax.Tsit5(), manifold, -1)
    step = CF4(manifold).interpolation_cls(t0=0.0, t1=0.1, y0=x, slopes=4 * (jnp.zeros_like(x),))
    with pytest.raises(ValueError, match="cannot be subtracted"):
        step.evaluate(0.02, 0.05)
    with pytest.raises(TypeError, match="wrapper"):
        integrate(field, manifold, x, solver=diffrax.HalfSolver(LSCFRK4()), steps=1)
