"""Orders, reversal, log-det, derivatives, precision and error messages of the solvers."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solver_problems import LOW_STORAGE, SOLVERS, TABLEAUS, distance, problem, reference, rms, starts, stepper

from trivmap._trees import precision
from trivmap.solvers import (
    CF4,
    LSCFRK4,
    integrate,
)
from trivmap.solvers._stepwise import stepwise_integrate

# --- orders -----------------------------------------------------------------------------------------------------------


def slopes(errors):
    return np.log2(errors[:-1]) - np.log2(errors[1:])


def check_order(errors, order, exact=True):
    """The slope is the order, or at least the order.

    With error C h^p (1 + c h), the slope between h and h/2 is p + c h / (2 log 2) + O(h^2); 2 s_2 - s_1 removes the term
    in h and leaves O((c h)^2), while the mean of the slopes is safer where C is small. 0.25 tells neighbouring orders
    apart and asks for c h < 1/2. Errors near rounding are left out.
    """
    errors = np.array(errors)
    found = slopes(errors[errors > 2e-14])
    assert len(found) > 0, "compare errors above rounding"
    candidates = np.array([found[-1], np.mean(found), 2 * found[-1] - found[-2] if len(found) > 1 else found[-1]])
    assert np.max(candidates) > order - 0.25, (errors, found)
    if exact:
        assert np.min(np.abs(candidates - order)) < 0.25, (errors, found)


# Errors above rounding and yet asymptotic: fewer steps for higher order.
STEPS = {1: (64, 128, 256), 2: (16, 32, 64), 3: (16, 32, 64), 4: (16, 32, 64), 5: (8, 16, 32), 8: (2, 4, 8)}


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("case", ["SU(3) link", "SU(3) flow"])
def test_order_of_field_and_log_det(name, case):
    order, group = SOLVERS[name].order, problem(case).manifold.group
    exact_x, exact_log_det = reference(case)
    ends = [stepper(case, name)(starts(case), 0.0, 1.0, n) for n in STEPS[order]]
    # Leading terms of the fifth- and eighth-order methods are small: higher slopes before the asymptotic region.
    check_order([distance(case, y, exact_x) for y, _ in ends], order, exact=order < 5)
    check_order([rms(log_det - exact_log_det) for _, log_det in ends], order, exact=False)
    # Every factor is unitary to rounding, eps per product; at most 64 steps of 15 exponentials.
    assert float(jnp.max(jax.vmap(jax.vmap(group.unitarity_defect))(ends[-1][0]))) < 1e-12


@pytest.mark.parametrize("case", ["U(1) flow", "SU(2) flow", "scalar"])
@pytest.mark.parametrize("name", ["LSCFRK4", "RKMK(Heun)"])
def test_order_on_every_manifold(name, case):
    exact_x, exact_log_det = reference(case)
    ends = [stepper(case, name)(starts(case), 0.0, 1.0, n) for n in (16, 32, 64)]
    check_order([distance(case, y, exact_x) for y, _ in ends], SOLVERS[name].order)
    check_order([rms(log_det - exact_log_det) for _, log_det in ends], SOLVERS[name].order, exact=False)


@pytest.mark.parametrize("name", TABLEAUS + ["RKMK(Heun)", "RKMK(Tsit5)"])
def test_order_of_reversal(name):
    """Forward then backward with the same steps; for the EES schemes far better than their order."""
    x, run = starts("SU(3) link"), stepper("SU(3) link", name)
    order = SOLVERS[name].reversal
    distances, log_dets = [], []
    for n in {3: (16, 32, 64), 5: (8, 16, 32), 7: (4, 8, 16)}[order]:
        y, forward = run(x, 0.0, 1.0, n)
        z, backward = run(y, 1.0, 0.0, n)
        distances.append(distance("SU(3) link", z, x))
        log_dets.append(rms(forward + backward))
    check_order(distances, order, exact=False)
    check_order(log_dets, order, exact=False)


def test_ees27_is_nearly_reversible():
    """Same cost class, errors of the solution larger than LSCFRK4's, errors of the reversal far smaller."""
    x = starts("SU(3) link")

    def errors(name):
        run = stepper("SU(3) link", name)
        y, _ = run(x, 0.0, 1.0, 20)
        z, _ = run(y, 1.0, 0.0, 20)
        return distance("SU(3) link", y, reference("SU(3) link")[0]), distance("SU(3) link", z, x)

    solution, reversal = errors("EES27")
    assert solution > errors("LSCFRK4")[0]
    # Order 2 against 7 at h = 1/20: the ratio of the two is of the order of h^5 = 3e-7; leave two orders of magnitude.
    assert reversal < 1e-4 * solution
    assert reversal < 1e-9


def test_drift_off_the_group_is_rounding():
    """2000 steps in double and single precision."""
    group, run = problem("SU(3) link").manifold.group, stepper("SU(3) link", "LSCFRK4")
    xs = starts("SU(3) link")
    for dtype, bound in ((jnp.complex128, 1e-12), (jnp.complex64, 2e-4)):
        ys, _ = run(xs.astype(dtype), 0.0, 1.0, 2000)
        # 10^4 products, each with a rounding of a few eps that does not average out: below 10^4 * 16 eps in single precision;
        # measured 8e-14 after as many steps in double precision.
        assert float(jnp.max(jax.vmap(jax.vmap(group.unitarity_defect))(ys))) < bound


# --- log-det ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["SU(2) link", "SU(3) link", "U(1) flow", "scalar"])
def test_log_det_is_that_of_the_dense_jacobian(case):
    """slogdet of D_ab, where d/ds f(exp(s T_b) x) = (sum_a D_ab T_a) f(x): independent of the divergence formula."""
    manifold, field, x = problem(case)
    basis = jnp.eye(manifold.dimension)

    def jacobian(solver, steps):
        def endpoint(c):
            moved = manifold.exp(manifold.from_coordinates(c), x)
            return integrate(field, manifold, moved, solver=solver, steps=steps, error=False, checkpoint=False)

        def column(direction):
            end, velocity = jax.jvp(lambda c: endpoint(c).x, (jnp.zeros(manifold.dimension),), (direction,))
            if jnp.iscomplexobj(end):
                # Velocity times inverse; (a b) with b the adjoint, per direction.
                inverse = jax.vmap(manifold.group.adjoint)(end)
                velocity = jax.vmap(manifold.group.multiply)(velocity, inverse)
            return manifold.coordinates(velocity)

        return jax.vmap(column)(basis), endpoint(jnp.zeros(manifold.dimension)).log_det

    # Forward mode needs diffrax's plain loop over stages.
    columns, log_det = jax.jit(lambda: jacobian(diffrax.Dopri8(scan_kind="lax"), 40))()
    sign, expected = np.linalg.slogdet(np.array(columns))
    assert sign == 1
    # Dopri8 with 40 steps: h^8 = 2e-13 with constants of order ten; rounding, eps times 40 steps of 14 stages, is less.
    assert abs(float(log_det) - expected) < 1e-11


def test_log_det_differs_from_the_discrete_jacobian_at_the_order():
    """The integrated divergence is the log-det of the ODE, not of the discrete map: they differ by O(h^4) for LSCFRK4."""
    manifold, field, x = problem("U(1) flow")
    zero = jnp.zeros(manifold.dimension)

    def difference(steps):
        def end(c):
            return integrate(field, manifold, manifold.exp(manifold.from_coordinates(c), x), steps=steps, error=False)

        matrix = jax.jacfwd(lambda c: manifold.coordinates(end(c).x))(zero)
        return jnp.linalg.slogdet(matrix)[1] - end(zero).log_det

    coarse, fine = (abs(float(jax.jit(difference, static_argnums=0)(n))) for n in (40, 80))
    assert fine > 1e-8
    assert abs(np.log2(coarse / fine) - 4) < 0.3


@pytest.mark.parametrize("name", ["LSCFRK4", "CG4", "RKMK(Euler)", "RKMK(Tsit5)"])
def test_constant_divergence_counts_the_time(name):
    """The accumulated log-det of div v = 1 is t1 - t0, with its sign."""
    manifold, _, x = problem("scalar")
    solver = SOLVERS[name].make(manifold)
    out = integrate(lambda t, x: (x, jnp.ones(())), manifold, x, t0=2.0, t1=0.5, solver=solver, steps=7)
    assert abs(float(out.log_det) + 1.5) < 1e-12
    if out.error_log_det is not None:
        assert float(out.error_log_det) < 1e-24


# --- the scan of the low-storage schemes ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOW_STORAGE)
def test_low_storage_scan_is_the_expanded_scheme(name):
    """The 2N registers and the products of exponentials agree to rounding, errors included."""
    manifold, field, x = problem("SU(2) link")
    solver = SOLVERS[name].make(manifold)
    scanned = jax.jit(lambda: integrate(field, manifold, x, t0=0.2, t1=0.9, solver=solver, steps=3))()
    t0, t1 = jnp.asarray(0.2), jnp.asarray(0.9)
    general = jax.jit(lambda: stepwise_integrate(field, x, t0, t1, solver, 3, error=True, checkpoint=True))()
    # 3 steps of at most 5 stages: below 100 eps in x; the log-det is of order 10.
    np.testing.assert_allclose(scanned.x, general.x, rtol=0, atol=100 * np.finfo(float).eps)
    np.testing.assert_allclose(scanned.log_det, general.log_det, rtol=1e-13)
    np.testing.assert_allclose(scanned.error_x, general.error_x, rtol=1e-9)
    np.testing.assert_allclose(scanned.error_log_det, general.error_log_det, rtol=1e-9)


@pytest.mark.parametrize("name", ["CF4", "RKMK(Tsit5)", "LSCFRK4"])
def test_scan_over_steps_is_a_loop_of_single_steps(name):
    manifold, field, _ = problem("SU(3) link")
    xs, solver = starts("SU(3) link"), SOLVERS[name].make(manifold)
    out = jax.jit(lambda: integrate(field, manifold, xs[0], solver=solver, steps=4))()
    ys, log_dets = stepper("SU(3) link", name)(xs, 0.0, 1.0, 4)
    np.testing.assert_allclose(out.x, ys[0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(out.log_det, log_dets[0], rtol=1e-13)
    assert int(out.stats["steps"]) == 4
    assert int(out.stats["evaluations"]) == 4 * solver.evaluations


@pytest.mark.parametrize("name", [name for name in TABLEAUS if name != "CG2"])
def test_embedded_error_of_a_quadrature(name):
    """div v = t^2: e = h sum_i d_i (t + c_i h)^2 = h^3 / 12 in every step, so the sum of squares is n (h^3 / 12)^2."""
    manifold, _, x = problem("scalar")
    solver, n = SOLVERS[name].make(manifold), 5

    def field(t, x):
        return jnp.full_like(x, 2 * t**2), t**2

    out = integrate(field, manifold, x, t0=1.0, t1=3.0, solver=solver, steps=n)
    expected = n * ((2 / n) ** 3 / 12) ** 2
    # Cancellation between the stages: relative error below 1e3 eps max |d| t^2 h / (h^3 / 12).
    np.testing.assert_allclose(out.error_log_det, expected, rtol=1e-10)
    # Four sites with velocity 2 t^2 each.
    np.testing.assert_allclose(out.error_x, 4 * 4 * expected, rtol=1e-10)


def test_times_visited_are_counted_with_integers():
    """40, 50 and 100 steps in float32 make exactly so many, the last of them ending at t1."""
    manifold, _, x = problem("scalar")
    x = x.astype(jnp.float32)
    seen = []

    def field(t, x):
        jax.debug.callback(lambda t: seen.append(float(t)), t)
        return jnp.zeros_like(x), jnp.zeros(())

    for steps in (40, 50, 100):
        seen.clear()
        jax.block_until_ready(integrate(field, manifold, x, solver=LSCFRK4(), steps=steps, checkpoint=False))
        jax.effects_barrier()
        assert len(seen) == 5 * steps
        last = 1 - (1 - LSCFRK4().tableau.c[-1]) / steps
        assert abs(max(seen) - last) < 1e-6


def test_error_is_optional():
    manifold, field, x = problem("scalar")
    for solver in (LSCFRK4(), CF4()):
        out = integrate(field, manifold, x, solver=solver, steps=2, error=False)
        assert out.error_x is None
        assert out.error_log_det is None
    with_error = integrate(field, manifold, x, steps=2)
    without = integrate(field, manifold, x, steps=2, error=False)
    np.testing.assert_array_equal(with_error.x, without.x)


# --- derivatives ------------------------------------------------------------------------------------------------------


def scaled(field):
    """The field times a parameter."""

    def with_strength(strength):
        def scaled_field(t, x):
            v, div = field(t, x)
            return v * strength.astype(v.dtype), div * strength.astype(div.dtype)

        return scaled_field

    return with_strength


def objective(case, name, **options):
    manifold, field, x = problem(case)
    solver = SOLVERS[name].make(manifold)
    weights = manifold.random_tangent(jax.random.key(8))

    def loss(strength, start):
        out = integrate(scaled(field)(strength), manifold, start, t0=0.1, t1=0.6, solver=solver, **options)
        assert out.error_x is not None
        assert out.error_log_det is not None
        value = out.log_det + jnp.sum(jnp.real(out.x * jnp.conj(weights)))
        return value + 100 * (10 * out.error_x + out.error_log_det)

    return manifold, x, loss


def check_gradients(manifold, x, loss, atol):
    """Against central differences in the strength of the field, and along the group at the start."""
    direction = manifold.random_tangent(jax.random.key(9))
    strength, h = jnp.asarray(0.8), 1e-4

    @jax.jit
    def values(strength, s):
        return loss(strength, manifold.exp(direction * s.astype(direction.dtype), x))

    zero, step = jnp.zeros(()), jnp.asarray(h)
    by_strength, by_start = jax.jit(jax.grad(values, argnums=(0, 1)))(strength, zero)
    numeric = (values(strength + step, zero) - values(strength - step, zero)) / (2 * h)
    np.testing.assert_allclose(by_strength, numeric, rtol=0, atol=atol)
    numeric = (values(strength, step) - values(strength, -step)) / (2 * h)
    np.testing.assert_allclose(by_start, numeric, rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("case", "name", "checkpoint"),
    [
        ("SU(2) flow", "LSCFRK4", True),
        ("SU(2) link", "LSCFRK4", "stage"),
        ("U(1) flow", "LSCFRK4", False),
        ("SU(2) link", "CF4", True),
        ("SU(2) link", "RKMK(Bosh3)", True),
    ],
)
def test_gradients_of_fixed_steps(case, name, checkpoint):
    # Central differences with h = 1e-4: h^2 f''' / 6 = 2e-9 f''' and rounding eps f / h = 2e-11 for f of order 10.
    # Third derivatives along a direction of 24 coordinates are of order 100.
    check_gradients(*objective(case, name, steps=3, checkpoint=checkpoint), atol=1e-6)


@pytest.mark.parametrize("case", ["scalar", pytest.param("SU(2) link", marks=pytest.mark.slow)])
def test_gradients_of_adaptive_steps(case):
    # Step sizes are constants for the derivative but move in the difference: the discrepancy is of the order of the
    # tolerance's derivative, 1e-10 in x, divided by nothing smaller than h = 1e-4.
    controller = diffrax.PIDController(rtol=0, atol=1e-10)
    check_gradients(*objective(case, "RKMK(Tsit5)", controller=controller), atol=3e-6)


# --- precision, transformations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "name"),
    [("SU(3) link", "LSCFRK4"), ("SU(2) link", "CF4"), ("SU(2) link", "RKMK(Tsit5)"), ("U(1) flow", "RKMK(Heun)")],
)
def test_float32_stays_float32(case, name):
    """State and times in float32 under x64, sums in float64, and the value right to float32."""
    manifold, field, x = problem(case)
    single = x.astype(jnp.complex64 if jnp.iscomplexobj(x) else jnp.float32)
    seen = set()

    def watched(t, x):
        seen.add((precision(x).name, jnp.asarray(t).dtype.name))
        return field(t, x)

    def run(x):
        return integrate(watched, manifold, x, solver=SOLVERS[name].make(manifold), steps=8)

    out, double = jax.jit(run)(single), jax.jit(run)(x)
    assert seen == {("float32", "float32"), ("float64", "float64")}
    assert out.x.dtype == single.dtype
    assert {out.log_det.dtype, out.error_x.dtype, out.error_log_det.dtype} == {jnp.dtype("float64")}
    # 8 steps of up to 7 stages of a contracting flow: some 50 roundings of 6e-8 in quantities of order ten.
    assert float(manifold.distance(out.x.astype(x.dtype), double.x)) < 3e-5
    assert abs(float(out.log_det - double.log_det)) < 1e-4


def test_float32_adaptive():
    manifold, field, x = problem("SU(2) link")
    controller = diffrax.PIDController(rtol=0, atol=1e-4)
    run = jax.jit(lambda x: integrate(field, manifold, x, solver=diffrax.Tsit5(), controller=controller))
    out = run(starts("SU(2) link")[0].astype(jnp.complex64))
    assert out.x.dtype == jnp.complex64
    assert out.log_det.dtype == jnp.float64
    # Some ten steps, each within the tolerance.
    assert float(manifold.distance(out.x.astype(x.dtype), reference("SU(2) link")[0][0])) < 1e-3


@pytest.mark.parametrize("options", [{"steps": 3}, {"controller": diffrax.PIDController(rtol=0, atol=1e-6)}])
def test_vmap_is_a_loop(options):
    """Batched lanes take their own adaptive steps and give the numbers of single runs."""
    manifold, field, _ = problem("U(1) flow")
    starts = jax.vmap(manifold.reference_sample)(jax.random.split(jax.random.key(2), 3))
    solver = LSCFRK4() if "steps" in options else diffrax.Tsit5()

    def run(x):
        return integrate(field, manifold, x, solver=solver, **options)

    batched = jax.jit(jax.vmap(run))(starts)
    single = [jax.jit(run)(x) for x in starts]
    # The same operations, vectorised: a few roundings; the counts are equal.
    np.testing.assert_allclose(batched.x, jnp.stack([r.x for r in single]), rtol=0, atol=1e-13)
    np.testing.assert_allclose(batched.log_det, jnp.stack([r.log_det for r in single]), rtol=0, atol=1e-12)
    assert batched.stats["steps"].tolist() == [int(r.stats["steps"]) for r in single]


def test_time_is_differentiable_data():
    """d log_det / d t1 is the divergence at the end."""
    manifold, field, x = problem("scalar")

    def run(t1):
        return integrate(field, manifold, x, t1=t1, steps=40)

    t1 = jnp.asarray(0.7)
    out = run(t1)
    # The derivative of a fourth-order solution, h = 0.7 / 40, constants of order one.
    assert abs(float(jax.grad(lambda t: run(t).log_det)(t1) - field(t1, out.x)[1])) < (0.7 / 40) ** 4
