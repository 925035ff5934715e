"""Exact results against every exact row of the reference data, and against identities that need no table."""

import json
import math
from collections import Counter
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from trivmap.groups import SU, U1
from trivmap.theories import FreeScalarAction, Phi4Action, WilsonAction, exact

REFERENCE = Path(__file__).parent / "reference"
GROUPS = {"U1": U1(), "SU2": SU(2), "SU3": SU(3)}
# Fixed fields are tested with actions and observables, fermions with the fermion actions.
ELSEWHERE = {"fixed_field", "free_field"}


def rows(name, kinds=("ensemble", None)):
    data = json.loads((REFERENCE / f"{name}.json").read_text())["rows"]
    exact_rows = [row for row in data if row["grade"] == "E"]
    assert {row["params"].get("kind") for row in exact_rows} <= {*kinds, *ELSEWHERE, "torus", "infinite_volume"} | {
        "strong_coupling"
    }
    return [row for row in exact_rows if row["params"].get("kind") in kinds]


def identify(row):
    return "-".join(str(v) for k, v in row["params"].items() if k != "kind")


def check(row, checkers, scales=None, tolerance=None):
    """Every key of a row has a checker; tolerance max(1e-10, 5 accuracy) relative to the value or its natural size."""
    missing = set(row["values"]) - set(checkers)
    assert not missing, f"no checker for {missing}"
    tolerance = max(1e-10, 5 * row.get("accuracy", 0.0)) if tolerance is None else tolerance
    for key, expected in row["values"].items():
        value, expected = np.asarray(checkers[key]()), np.asarray(expected)
        assert value.shape == expected.shape, key
        scale = (scales or {}).get(key, 0.0)
        error = np.abs(value - expected) / np.maximum(np.abs(expected), scale)
        assert np.all(error < tolerance), f"{key}: {value} against {expected}, relative {error}"
    return len(row["values"])


def gauge_theory(row):
    p = row["params"]
    return WilsonAction(GROUPS[p["group"]], tuple(p["shape"]), p["beta"])


# --- identities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [U1(), SU(2), SU(3), SU(4)], ids=lambda g: g.name)
@pytest.mark.parametrize("lattice", [(1, 1), (2, 3), (8, 8)])
def test_derivatives_of_log_z_are_the_cumulants_of_the_action(group, lattice):
    beta, h = 2.0, 1e-3

    def moments(b):
        theory = WilsonAction(group, lattice, b)
        return exact.log_z(theory), math.prod(lattice) * exact.plaquette(theory), exact.action_variance(theory)

    # Central difference: error (h^4/30) f^(5) = 1e-10 at V = 64; rounding of log Z = 40, 1e-14 / h = 1e-11.
    stencil = np.array([1, -8, 8, -1]) / (12 * h)
    values = np.array([moments(beta + k * h) for k in (-2, -1, 1, 2)])
    _, mean, variance = moments(beta)
    assert abs(stencil @ values[:, 0] - mean) < 1e-8
    assert abs(stencil @ values[:, 1] - variance) < 1e-8


@pytest.mark.parametrize("group", [U1(), SU(2), SU(3), SU(4)], ids=lambda g: g.name)
def test_smallest_loop_is_the_plaquette_and_beta_zero_is_haar(group):
    theory = WilsonAction(group, (3, 4), 2.5)
    assert abs(exact.wilson_loop(theory, 1, 1) - exact.plaquette(theory)) < 1e-14
    haar = WilsonAction(group, (3, 4), 0.0)
    assert exact.log_z(haar) == pytest.approx(0.0, abs=1e-14)
    assert exact.plaquette(haar) == pytest.approx(0.0, abs=1e-14)
    # <|tr P|^2> = 1 for an irreducible representation under Haar
    assert exact.polyakov_loop_squared(haar) == pytest.approx(1 / group.n**2, abs=1e-14)


def test_one_plaquette_commutator():
    # On one site the plaquette is U V U^dagger V^dagger: 1 for U(1), and <Re tr>/N = 1/N^2 under Haar.
    assert exact.log_z(WilsonAction(U1(), (1, 1), 3.0)) == pytest.approx(3.0, abs=1e-13)
    assert exact.plaquette(WilsonAction(SU(3), (1, 1), 0.0)) == pytest.approx(1 / 9, abs=1e-14)


def test_sign_of_beta_on_an_even_torus():
    # -1 is in SU(2), and links on alternate lines multiplied by it flip every plaquette.
    plus, minus = (WilsonAction(SU(2), (4, 4), beta) for beta in (1.7, -1.7))
    assert exact.log_z(plus) == pytest.approx(exact.log_z(minus), abs=1e-12)
    assert exact.plaquette(plus) == pytest.approx(-exact.plaquette(minus), abs=1e-12)


@pytest.mark.parametrize("lattice", [(1, 3), (2, 2), (3, 5), (8, 8), (32, 64)])
def test_charge_distribution_is_normalised_and_symmetric(lattice):
    theory = WilsonAction(U1(), lattice, 1.5)
    largest = min(math.prod(lattice) // 2, 200)
    p = exact.charge_distribution(theory, np.arange(-largest, largest + 1))
    assert abs(p.sum() - 1) < 1e-13
    np.testing.assert_allclose(p, p[::-1], atol=1e-15)
    assert exact.charge_distribution(theory, math.prod(lattice)) == 0.0
    if math.prod(lattice) > 1000:
        # Finite volume is exponentially small: <Q^2>/V is the susceptibility of one plaquette.
        expected = exact.infinite_volume.topological_susceptibility(1.5) * math.prod(lattice)
        # Each P(Q) carries rounding of 1e-15, hundreds of them with Q^2 up to 1e4 over <Q^2> = 60.
        assert exact.charge_squared(theory) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("group", [U1(), SU(2), SU(3)], ids=lambda g: g.name)
def test_large_torus_is_infinite_volume(group):
    theory, bulk = WilsonAction(group, (24, 32), 3.0), exact.infinite_volume
    volume = 24 * 32
    assert exact.log_z(theory) == pytest.approx(volume * bulk.log_z(group, 3.0), rel=1e-12)
    assert exact.plaquette(theory) == pytest.approx(bulk.plaquette(group, 3.0), rel=1e-12)
    assert exact.action_variance(theory) == pytest.approx(volume * bulk.action_variance(group, 3.0), rel=1e-10)
    assert bulk.string_tension(group, 3.0) == pytest.approx(-math.log(bulk.wilson_loop(group, 3.0, 1, 1)))


SCALARS = {
    "site": Phi4Action((1,), -2.0, 1.0),
    "site 2D": Phi4Action((1, 1), 1.0, 0.5),
    "chain": Phi4Action((5,), -3.0, 2.0),
    "ladder": Phi4Action((2, 5), -4.0, 8.0),
    "square": Phi4Action((4, 4), -4.0, 6.0),
    "oblong": Phi4Action((4, 3), -1.0, 0.7),
    "free": FreeScalarAction((3, 4, 5), 0.7),
}


@pytest.mark.parametrize("name", SCALARS)
def test_scalar_identities(name):
    theory = SCALARS[name]
    dimension, volume = len(theory.lattice), math.prod(theory.lattice)
    lam = float(getattr(theory, "lam", 0.0))
    # Schwinger-Dyson 2 (2d + m2) <phi^2> - 4 sum_mu <phi phi_mu> + 4 lam <phi^4> = 1, terms of order ten
    neighbours = sum(exact.ising_energy(theory, mu) for mu in range(dimension))
    local = 2 * (2 * dimension + float(theory.m2)) * exact.phi_squared(theory) - 4 * neighbours
    assert local + 4 * lam * exact.phi_fourth(theory) == pytest.approx(1.0, abs=1e-9)
    assert exact.ising_energy(theory) == pytest.approx(neighbours / dimension, rel=1e-12)
    assert exact.mean_action(theory) == pytest.approx(volume * (0.5 - lam * exact.phi_fourth(theory)), rel=1e-9)
    assert exact.magnetisation(theory) == 0.0
    assert exact.entropy(theory) == pytest.approx(exact.log_z(theory) + exact.mean_action(theory))
    for axis, extent in enumerate(theory.lattice):
        correlator = exact.two_point(theory, axis)
        assert correlator.shape == (extent,)
        assert correlator.sum() == pytest.approx(exact.susceptibility(theory), rel=1e-9)
        np.testing.assert_allclose(correlator[1:], correlator[:0:-1], rtol=1e-9)


def test_transfer_matrix_derivatives_of_log_z():
    def log_z(m2, lam):
        return exact.log_z(Phi4Action((2, 4), m2, lam))

    m2, lam, h = -2.0, 2.5, 1e-2
    theory = Phi4Action((2, 4), m2, lam)
    stencil = np.array([-1, 9, -45, 45, -9, 1]) / (60 * h)
    steps = h * np.array([-3, -2, -1, 1, 2, 3])
    # Sixth order: error (h^6 / 140) f^(7), f^(7) < 1e4 here; rounding 1e-14 / h.
    slope = stencil @ [log_z(m2 + s, lam) for s in steps]
    assert slope == pytest.approx(-8 * exact.phi_squared(theory), rel=1e-9)
    slope = stencil @ [log_z(m2, lam + s) for s in steps]
    assert slope == pytest.approx(-8 * exact.phi_fourth(theory), rel=1e-9)


def test_transfer_matrix_of_a_nearly_free_field():
    # First order: log Z - log Z_free = -V lam <phi^4>_free, second order V lam^2 times a number of order 1.
    lam = 1e-6
    free, theory = FreeScalarAction((2, 3), 1.0), Phi4Action((2, 3), 1.0, lam)
    shift = exact.log_z(theory) - exact.log_z(free)
    assert shift == pytest.approx(-6 * lam * exact.phi_fourth(free), abs=6 * lam**2 + 1e-12)
    for axis in (0, 1):
        assert exact.pole_mass(theory, axis) == pytest.approx(exact.pole_mass(free, axis), abs=10 * lam)
        np.testing.assert_allclose(exact.two_point(theory, axis), exact.two_point(free, axis), rtol=100 * lam)
    assert exact.abs_magnetisation(theory) == pytest.approx(exact.abs_magnetisation(free), rel=100 * lam)
    assert exact.binder_cumulant(theory) == pytest.approx(0.0, abs=100 * lam)


def test_extents_of_one_and_orientation_do_not_matter():
    chain, flat, turned = (Phi4Action(s, -4.0, 8.0) for s in ((6,), (1, 6), (6, 1)))
    assert exact.log_z(flat) == exact.log_z(chain) == exact.log_z(turned)
    np.testing.assert_array_equal(exact.two_point(flat, 1), exact.two_point(chain, 0))
    np.testing.assert_array_equal(exact.two_point(flat, 0), [exact.susceptibility(chain)])
    assert exact.ising_energy(turned, 1) == exact.phi_squared(turned)
    wide, tall = Phi4Action((3, 4), -4.0, 8.0), Phi4Action((4, 3), -4.0, 8.0)
    np.testing.assert_allclose(exact.two_point(wide, 0), exact.two_point(tall, 1), rtol=1e-12)
    assert exact.ising_energy(wide, 0) == pytest.approx(exact.ising_energy(tall, 1), rel=1e-12)


def test_lam_zero_is_the_free_field():
    assert exact.log_z(Phi4Action((3, 4), 0.5, 0.0)) == exact.log_z(FreeScalarAction((3, 4), 0.5))


def test_convergence_in_the_number_of_states(monkeypatch):
    from trivmap.theories.exact import _transfer_matrix as transfer

    values, estimates = [], []
    for cutoff in (1e-4, 1e-5, 1e-6, 1e-11):
        monkeypatch.setattr(transfer, "_SMALLEST_CUTOFF", cutoff)
        monkeypatch.setattr(transfer, "_LARGEST_CUTOFF", 1e-3)
        monkeypatch.setattr(transfer, "_MAX_ERROR", 1.0)
        solution = transfer.solve_transfer_matrix.__wrapped__(2, 4, 4, -4.0, 8.0)
        values.append(solution.log_z)
        estimates.append(solution.log_z_error)
    errors = np.abs(np.array(values[:-1]) - values[-1])
    # Measured 7e-7, 1e-8, 4e-10: a factor of at least ten for each decade; the estimate is an upper bound.
    assert np.all(errors[1:] < 0.1 * errors[:-1])
    assert errors[-1] < 1e-9
    assert np.all(errors < 5 * np.array(estimates[:-1]))


@pytest.mark.parametrize("n", [2, 3])
def test_one_matrix_moments_are_derivatives_of_log_z(n):
    beta, c, h = 5.0, np.array([0.4, -0.3, 0.2]), 1e-3
    stencil = np.array([1, -8, 8, -1]) / (12 * h)
    for k in range(3):
        step = np.eye(3)[k]
        values = [exact.OneMatrixModel(n, beta, tuple(c + s * h * step)).log_z() for s in (-2, -1, 1, 2)]
        # error h^4/30 f^(5) = 1e-10
        assert stencil @ values == pytest.approx(beta * exact.OneMatrixModel(n, beta, tuple(c)).trace_moment(k + 1), abs=1e-9)


def test_one_matrix_normalisation_is_the_plaquette_weight():
    for group in (SU(2), SU(3), SU(4)):
        model = exact.OneMatrixModel(group.n, 4.0, (1.0,))
        assert model.log_z() == pytest.approx(exact.infinite_volume.log_z(group, 4.0), rel=1e-12)
        assert model.trace_moment() == pytest.approx(exact.infinite_volume.plaquette(group, 4.0), rel=1e-12)


# --- reference values -----------------------------------------------------------------------------------------------


def torus_checkers(theory):
    first, last = (0, 1), (1, 0)

    def loop(r, t):
        # Where only one orientation fits, that one.
        return exact.wilson_loop(theory, r, t, first if r < theory.lattice[0] and t < theory.lattice[1] else last)

    return {
        "logZ": lambda: exact.log_z(theory),
        "plaquette": lambda: exact.plaquette(theory),
        "action_variance": lambda: exact.action_variance(theory),
        "wilson_1x2": lambda: loop(1, 2),
        "wilson_2x2": lambda: loop(2, 2),
        "polyakov_abs2": lambda: exact.polyakov_loop_squared(theory),
        "polyakov_corr_axis0_R1": lambda: exact.polyakov_correlator(theory, axis=0, distance=1),
        "polyakov_corr_axis1_R1": lambda: exact.polyakov_correlator(theory, axis=1, distance=1),
        "Q2": lambda: exact.charge_squared(theory),
        "Q4": lambda: exact.charge_moment(theory, 4),
        "P": lambda: exact.charge_distribution(theory, np.arange(6)),
    }


@pytest.mark.parametrize("row", rows("gauge2d", ("torus",)), ids=identify)
def test_two_dimensional_gauge_theory(row):
    assert check(row, torus_checkers(gauge_theory(row)), {"P": 1.0}) >= 6


@pytest.mark.parametrize("row", rows("gauge2d", ("infinite_volume",)), ids=identify)
def test_two_dimensional_gauge_theory_in_infinite_volume(row):
    group, beta, bulk = GROUPS[row["params"]["group"]], row["params"]["beta"], exact.infinite_volume
    checkers = {
        "logZ_per_plaquette": lambda: bulk.log_z(group, beta),
        "plaquette": lambda: bulk.plaquette(group, beta),
        "action_variance_per_plaquette": lambda: bulk.action_variance(group, beta),
        "wilson_1x2": lambda: bulk.wilson_loop(group, beta, 1, 2),
        "wilson_2x2": lambda: bulk.wilson_loop(group, beta, 2, 2),
        "Q2_per_plaquette": lambda: bulk.topological_susceptibility(beta),
    }
    assert check(row, checkers) >= 5


@pytest.mark.parametrize("row", rows("gauge4d", ("strong_coupling",)), ids=identify)
def test_strong_coupling(row):
    p = row["params"]
    theory = WilsonAction(GROUPS[p["group"]], (4, 4, 4, 4), p["beta"])
    # The same truncation, hence much closer than the truncation error that the row states.
    assert row["error"]["plaquette"] > 1e-11
    assert check(row, {"plaquette": lambda: exact.strong_coupling_plaquette(theory)}, tolerance=1e-10) == 1


@pytest.mark.parametrize("row", rows("schwinger"), ids=identify)
def test_pure_gauge_log_z_in_the_schwinger_rows(row):
    values = row["values"]
    theory = WilsonAction(U1(), tuple(row["params"]["shape"]), row["params"]["beta"])
    assert exact.log_z(theory) == pytest.approx(values["logZ"] - values["log_Z_ratio"], rel=1e-10)


def scalar_checkers(theory):
    axes = range(len(theory.lattice))
    extents = theory.lattice

    def correlator(axis):
        return exact.two_point(theory, axis)[: theory.lattice[axis] // 2 + 1]

    checkers = {
        "logZ": lambda: exact.log_z(theory),
        "phi2": lambda: exact.phi_squared(theory),
        "phi4": lambda: exact.phi_fourth(theory),
        "phi6": lambda: exact.phi_moment(theory, 6),
        "phi8": lambda: exact.phi_moment(theory, 8),
        "chi2": lambda: exact.susceptibility(theory),
        "abs_phi": lambda: exact.abs_magnetisation(theory),
        "abs_magnetisation": lambda: exact.abs_magnetisation(theory),
        "binder": lambda: exact.binder_cumulant(theory),
        "mean_action": lambda: exact.mean_action(theory),
        "action_variance": lambda: exact.action_variance(theory),
        "entropy": lambda: exact.entropy(theory),
        "pole_mass": lambda: exact.pole_mass(theory),
        "mass_gap": lambda: exact.pole_mass(theory),
        "nn": lambda: [exact.ising_energy(theory, mu) for mu in axes],
        "corr": lambda: correlator(0),
        "corr_t1": lambda: [exact.two_point(theory, mu)[1] for mu in axes],
        "corr_t2": lambda: [exact.two_point(theory, mu)[2 % extents[mu]] for mu in axes],
        "propagator_1_2_0": lambda: exact.propagator(theory, ([1, 2] + [0] * len(extents))[: len(extents)]),
        "log_prob_at_0.7": lambda: -float(theory.action(jax.numpy.full((1,), 0.7))) - exact.log_z(theory),
    }
    return checkers | {f"corr_axis{axis}": lambda axis=axis: correlator(axis) for axis in axes}


@pytest.mark.parametrize("row", rows("scalar_free"), ids=identify)
def test_free_scalar(row):
    theory = FreeScalarAction(tuple(row["params"]["shape"]), row["params"]["m2"])
    assert check(row, scalar_checkers(theory)) >= 11


@pytest.mark.parametrize("row", rows("phi4_site"), ids=identify)
def test_phi4_site(row):
    theory = Phi4Action((1,), row["params"]["m2"], row["params"]["lam"])
    # <S> and the cumulant pass near zero, of natural size 1/2 and 2/3.
    assert check(row, scalar_checkers(theory), {"mean_action": 0.5, "binder": 0.5, "logZ": 1.0, "entropy": 1.0}) == 10


@pytest.mark.parametrize("row", rows("phi4_1d"), ids=identify)
def test_phi4_chain(row):
    p = row["params"]
    theory = Phi4Action(tuple(p["shape"]), p["m2"], p["lam"])
    # <S> of natural size V/2
    assert check(row, scalar_checkers(theory), {"mean_action": math.prod(p["shape"]) / 2}) in (2, 8)


def slow_if_costly(row):
    # Three to ten seconds of an idle core each: wide slices, and moments of the magnetisation on all but the narrowest.
    shape = row["params"]["shape"]
    slow = min(shape) > 5 or ("binder" in row["values"] and (row["params"]["m2"] == -2 or math.prod(shape) > 12))
    return pytest.param(row, marks=[pytest.mark.slow] if slow else [], id=identify(row))


@pytest.mark.parametrize("row", [slow_if_costly(row) for row in rows("phi4_2d")])
def test_phi4_torus(row):
    p = row["params"]
    theory = Phi4Action(tuple(p["shape"]), p["m2"], p["lam"])
    # The cumulant vanishes for a free field: natural size 2/3; <S> of natural size V/2.
    scales = {"mean_action": math.prod(p["shape"]) / 2, "binder": 2 / 3}
    assert check(row, scalar_checkers(theory), scales) in (2, 6, 7, 8)


def sun_test_matrix(n):
    j, k = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    m = np.sin(1 + 7 * j + 11 * k) + 1j * np.cos(2 + 5 * j + 2 * k)
    h = (m + m.conj().T) / 2
    return expm(1j * (h - np.trace(h) / n * np.eye(n)))


@pytest.mark.parametrize("row", rows("sun_matrix"), ids=identify)
def test_one_matrix_model(row):
    p = row["params"]
    model = exact.OneMatrixModel(p["N"], p["beta"], tuple(p["c"]))
    u = sun_test_matrix(p["N"])
    checkers = {f"re_tr{k}": lambda k=k: model.trace_moment(k) for k in range(1, 5)} | {
        "logZ": model.log_z,
        "re_tr1_sq": lambda: model.expectation(lambda angles: np.mean(np.cos(angles), axis=0) ** 2),
        "abs_tr_sq": lambda: model.abs_trace_moment(2),
        "abs_tr_4": lambda: model.abs_trace_moment(4),
        "mean_log_prob": model.mean_log_prob,
        "log_prob_test_matrix": lambda: model.log_prob(u),
        "tr_test_matrix": lambda: [np.trace(u).real, np.trace(u).imag],
    }
    # Everything is of order one, and much of it vanishes at beta = 0.
    assert check(row, checkers, dict.fromkeys(checkers, 1.0)) == 11


def test_no_exact_row_is_skipped():
    """Counts, so that a renamed kind or a new file of rows fails instead of being passed over."""
    counted = Counter()
    for path in REFERENCE.glob("*.json"):
        for row in json.loads(path.read_text())["rows"]:
            if row["grade"] == "E" and row["params"].get("kind") not in ELSEWHERE:
                counted[path.stem] += 1
    assert counted == {
        "gauge2d": len(rows("gauge2d", ("torus", "infinite_volume"))),
        "gauge4d": len(rows("gauge4d", ("strong_coupling",))),
        "scalar_free": len(rows("scalar_free")),
        "phi4_site": len(rows("phi4_site")),
        "phi4_1d": len(rows("phi4_1d")),
        "phi4_2d": len(rows("phi4_2d")),
        "sun_matrix": len(rows("sun_matrix")),
        "schwinger": len(rows("schwinger")),
    }
    assert sum(counted.values()) == 82 + 5 + 15 + 9 + 12 + 31 + 15 + 7


# --- what is refused ------------------------------------------------------------------------------------------------


def _with(theory, name, value):
    return eqx.tree_at(lambda t: getattr(t, name), theory, jnp.asarray(value))


REFUSED = {
    "SU(2) in 3D": (exact.log_z, WilsonAction(SU(2), (4, 4, 4), 1.0), r"SU\(2\) gauge theory in 3 dimensions"),
    "phi^4 too wide": (exact.log_z, Phi4Action((9, 12), -4.0, 8.0), "width 8, the narrower side of this lattice is 9"),
    "phi^4 in 3D": (exact.susceptibility, Phi4Action((2, 3, 2), -4.0, 8.0), "one and two dimensions only"),
    # The constructors refuse both.
    "unbounded": (exact.log_z, _with(Phi4Action((4,), 1.0, 0.5), "lam", -0.5), "cannot be normalised"),
    "massless": (exact.log_z, _with(FreeScalarAction((4, 4), 1.0), "m2", 0.0), "needs m2 > 0"),
    "scalar plaquette": (exact.plaquette, FreeScalarAction((4, 4), 1.0), "no exact plaquette for FreeScalarAction"),
    "charge of SU(2)": (exact.charge_squared, WilsonAction(SU(2), (4, 4), 1.0), "only U\\(1\\) does"),
    "group too large": (exact.log_z, WilsonAction(SU(8), (4, 4), 1.0), "SU\\(8\\) at beta=1.0: .* representations"),
    "beta too large": (exact.log_z, WilsonAction(SU(4), (4, 4), 400.0), "SU\\(4\\) at beta=400.0"),
    "weak coupling": (exact.strong_coupling_plaquette, WilsonAction(SU(3), (4,) * 4, 6.0), "does not converge"),
    "ordered": (exact.log_z, Phi4Action((8, 8), -8.0, 1.0), "Take a narrower lattice"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unknown_results_say_why(name):
    function, theory, message = REFUSED[name]
    with pytest.raises(exact.NoExactResultError, match=message):
        function(theory)


def test_bad_arguments():
    theory = WilsonAction(U1(), (2, 4), 1.0)
    with pytest.raises(exact.NoExactResultError, match="extent 1 along axis 1 and 2 along axis 0 does not fit"):
        exact.wilson_loop(theory, 1, 2)
    with pytest.raises(ValueError, match="planes"):
        exact.wilson_loop(theory, 1, 1, plane=(0, 2))
    with pytest.raises(ValueError, match="at least 1"):
        exact.wilson_loop(theory, 0, 1)
    with pytest.raises(ValueError, match="axes 0 and 1"):
        exact.polyakov_correlator(theory, 2, 1)
    with pytest.raises(TypeError, match="integers"):
        exact.charge_distribution(theory, 0.5)
    with pytest.raises(ValueError, match=r"axis=2: the lattice \(3, 4\)"):
        exact.two_point(Phi4Action((3, 4), 1.0, 1.0), 2)
    with pytest.raises(ValueError, match="one entry for each axis"):
        exact.propagator(FreeScalarAction((3, 4), 1.0), (1,))
    with pytest.raises(exact.NoExactResultError, match="type str"):
        exact.log_z("phi4")
    with pytest.raises(ValueError, match="shape"):
        exact.OneMatrixModel(3, 1.0, (1.0,)).log_prob(np.eye(2))


def test_traced_couplings_are_refused():
    with pytest.raises(TypeError, match="outside jit, grad and vmap"):
        jax.jit(lambda beta: exact.log_z(WilsonAction(U1(), (4, 4), beta)))(1.0)
