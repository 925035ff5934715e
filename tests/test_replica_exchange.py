"""Replica exchange: every rung against exact values, acceptance against formulas, states that go on, flows between rungs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm
from trivmap.kernels import HeatbathKernel, HMCKernel, KernelSequence, OverrelaxationKernel
from trivmap.statistics import (
    communication_barrier,
    equal_acceptance,
    predicted_acceptance,
    round_trip_bound,
    round_trips,
    swap_acceptance,
    swap_identity,
)
from trivmap.theories import WeightedWilsonAction

SWEEPS = KernelSequence(HeatbathKernel(), OverrelaxationKernel())


def charge(x):
    return tm.topological_charge(x) ** 2


def defect_ladder(extent, beta, *defects):
    lattice = (extent, extent)
    return [WeightedWilsonAction.with_defect(tm.U1(), lattice, beta, value) for value in defects]


@pytest.fixture(scope="module")
def scalars():
    """Three rungs of phi^4 by HMC."""
    ladder = [tm.Phi4Action((2, 3), m2=-4.0, lam=lam) for lam in (6.0, 7.0, 8.0)]
    measure = {"phi2": lambda x: jnp.mean(x**2)}
    options = {"kernel": HMCKernel(1.0, steps=5), "chains": 32, "thermalisation": 50, "measure": measure}
    return ladder, tm.replica_exchange(jax.random.key(0), ladder, 150, **options)


def test_every_rung_has_its_exact_value(scalars):
    ladder, replicas = scalars
    for theory, chain in zip(ladder, replicas.chains, strict=True):
        estimate = tm.expectation(chain, "phi2")
        assert abs(estimate.pull(tm.exact.phi_squared(theory))) < 4, estimate
        # Between neighbours <phi^2> differs by 3 %: a mix-up of rungs would show.
        assert estimate.error < 0.02 * estimate.value
        assert tm.acceptance_rate(chain) > 0.5
        assert chain.accepted.shape == (32, 2 * 150)


def test_the_mean_of_the_ratio_is_one(scalars):
    for pair in range(2):
        assert swap_acceptance(scalars[1])[pair] > 0.5  # else the tail is too heavy for this check
        estimate = swap_identity(scalars[1], pair)
        assert abs(estimate.pull(1.0)) < 4, estimate


def test_walkers_are_those_that_swaps_say(scalars):
    replicas = scalars[1]
    for walkers, swapped in zip(replicas.walkers, replicas.swapped, strict=True):
        # What happened during thermalisation is not recorded: the first row is the start.
        place = walkers[0].copy()
        for now, swaps in zip(walkers[1:], swapped[1:], strict=True):
            for pair in np.flatnonzero(swaps == 1):
                place[[pair, pair + 1]] = place[[pair + 1, pair]]
            np.testing.assert_array_equal(place, now)


def test_pairs_are_tried_in_turn(scalars):
    tried = scalars[1].swapped >= 0
    assert tried[:, ::2, 0].all()
    assert tried[:, 1::2, 1].all()
    assert not tried[:, 1::2, 0].any()
    assert not tried[:, ::2, 1].any()


def test_round_trips_stay_below_their_bound(scalars):
    rate, bound = round_trips(scalars[1]), round_trip_bound(scalars[1])
    # The bound holds for independent exchanges; a rate of 9600 exchanges is known to 3 %.
    assert 0.5 * bound < rate < 1.1 * bound
    assert communication_barrier(scalars[1]) == pytest.approx(np.sum(1 - swap_acceptance(scalars[1])))


def test_round_trips_of_a_known_path():
    """One walker goes up and down once, in steps of one rung."""
    walkers = np.array([[0, 1, 2], [1, 0, 2], [1, 2, 0], [1, 0, 2], [0, 1, 2]])[None]
    none = np.zeros((1, 5, 2))
    assert round_trips(tm.statistics.ReplicaChains((), none, none, none, walkers)) == 1 / 5


def test_runs_go_on_bit_for_bit():
    ladder = defect_ladder(4, 3.0, 0.0, 3.0)
    options = {"kernel": HeatbathKernel(), "translate": (1,), "chains": 2, "measure": {"Q2": charge}, "chunk": 2}
    whole = tm.replica_exchange(jax.random.key(1), ladder, 6, thermalisation=2, **options)
    first = tm.replica_exchange(jax.random.key(1), ladder, 2, thermalisation=2, **options)
    rest = tm.replica_exchange(jax.random.key(1), ladder, 4, initial=first.state, **options)
    for i in range(2):
        joined = np.concatenate([first[i].observables["Q2"], rest[i].observables["Q2"]], axis=1)
        np.testing.assert_array_equal(joined, whole[i].observables["Q2"])
    np.testing.assert_array_equal(np.concatenate([first.walkers, rest.walkers], axis=1), whole.walkers)


def test_configurations_are_kept_without_measure():
    ladder = [tm.Phi4Action((2, 3), m2=-4.0, lam=lam) for lam in (6.0, 8.0)]
    replicas = tm.replica_exchange(jax.random.key(1), ladder, 3, kernel=HMCKernel(1.0, steps=4), chains=2, thermalisation=1)
    assert replicas[1].configurations.shape == (2, 3, 2, 3)
    assert len(replicas) == 2


# Eleven rungs of beta in geometric spacing from 3 to 7 on 16x16: computed apart from the exact variances of the action.
GEOMETRIC = [0.435, 0.440, 0.446, 0.451, 0.457, 0.462, 0.466, 0.470, 0.473, 0.476]


def test_predicted_acceptance():
    betas = np.geomspace(3.0, 7.0, 11)
    middle = np.sqrt(betas[1:] * betas[:-1])
    variances = [tm.exact.action_variance(tm.WilsonAction(tm.U1(), (16, 16), beta)) for beta in middle]
    # Three digits are given; at the middle instead of the mean of both rungs, second order in the spacing of 9 %.
    np.testing.assert_allclose(predicted_acceptance(np.diff(betas), variances), GEOMETRIC, atol=2e-3)


def test_equal_acceptance():
    betas = np.linspace(3.0, 7.0, 60)
    variances = [tm.exact.action_variance(tm.WilsonAction(tm.U1(), (16, 16), beta)) for beta in betas]
    ladder = equal_acceptance(betas, variances, 11)
    assert ladder[0] == 3.0
    assert ladder[-1] == pytest.approx(7.0)
    middle = (ladder[1:] + ladder[:-1]) / 2
    variances = [tm.exact.action_variance(tm.WilsonAction(tm.U1(), (16, 16), beta)) for beta in middle]
    acceptance = predicted_acceptance(np.diff(ladder), variances)
    # Of the geometric ladder they spread by 0.04.
    assert np.ptp(acceptance) < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("patch", [None, 5], ids=["plain", "repair"])
def test_a_defect_opens_the_charge(patch):
    """beta = 7 on 8x8, where heatbath alone has tau_int of hundreds of sweeps."""
    ladder = defect_ladder(8, 7.0, 0.0, 2.0, 7.0)
    flows = None
    if patch is not None:
        ladder = ladder[::2]
        flows = [tm.flows.DefectRepair(ladder[0].manifold, source=0.0, target=7.0, patch=patch)]
    replicas = tm.replica_exchange(
        jax.random.key(2), ladder, 600, kernel=SWEEPS, flows=flows, tolerance=None, chains=8, thermalisation=200,
        translate=(len(ladder) - 1,), measure={"Q2": charge},
    )  # fmt: skip
    for theory, chain in zip(ladder, replicas.chains, strict=True):
        estimate = tm.expectation(chain, "Q2")
        assert abs(estimate.pull(tm.exact.charge_squared(theory))) < 4, estimate
    acceptance = swap_acceptance(replicas)
    if patch is None:
        # E min(1, e^d) of one free plaquette by quadrature; corrections of order 1/64, and 4800 trials in chains.
        np.testing.assert_allclose(acceptance, [0.42585870, 0.58736363], atol=0.04)
    else:
        assert abs(swap_identity(replicas, 0).pull(1.0)) < 4
        assert acceptance[0] > 0.58  # .62 of independent plaquettes


def between(start, end, steps):
    manifold = tm.LinkField(tm.U1(), (4, 4))
    field = tm.GatedConvolutionField.trivializing(manifold, end)
    return tm.ContinuousFlow(tm.fields.WindowField(field, start / end), steps=steps)


@pytest.mark.slow
def test_flows_between_couplings():
    """T-REX: more exchanges than plain tempering, and the exact plaquette on both rungs."""
    ladder = [tm.WilsonAction(tm.U1(), (4, 4), beta) for beta in (1.0, 3.0)]
    options = {"kernel": HeatbathKernel(), "chains": 16, "thermalisation": 50, "measure": {"plaquette": tm.plaquette}}
    plain = tm.replica_exchange(jax.random.key(3), ladder, 150, **options)
    # Eight steps come back to within 1e-3 in 92 of 100 cases and to within 1e-2 in 99.
    flows = [between(1.0, 3.0, 8)]
    carried = tm.replica_exchange(jax.random.key(3), ladder, 150, flows=flows, tolerance=1e-2, **options)
    for theory, chain in zip(ladder, carried.chains, strict=True):
        assert abs(tm.expectation(chain, "plaquette").pull(tm.exact.plaquette(theory))) < 4
    assert swap_acceptance(carried)[0] > swap_acceptance(plain)[0] + 0.2
    assert abs(swap_identity(carried, 0).pull(1.0)) < 4
    assert carried.returned.mean() > 0.95


def replicas_of(*theories, **options):
    return tm.replica_exchange(jax.random.key(0), theories, 2, **{"kernel": HeatbathKernel(), "thermalisation": 0} | options)


REPAIR = tm.flows.DefectRepair(tm.LinkField(tm.U1(), (4, 4)), source=0.0, target=2.0, patch=3)
U1 = [tm.WilsonAction(tm.U1(), (4, 4), beta) for beta in (1.0, 2.0)]


@pytest.mark.parametrize(
    ("act", "error", "match"),
    [
        (lambda: replicas_of(U1[0]), ValueError, "two or more"),
        (lambda: replicas_of(U1[0], tm.WilsonAction(tm.U1(), (4, 6), 1.0)), ValueError, "different manifolds"),
        (lambda: replicas_of(U1[0], *defect_ladder(4, 2.0, 0.0)), ValueError, "of one kind"),
        (lambda: replicas_of(*U1, flows=[]), ValueError, "got 0 flows, expected 1"),
        (
            lambda: replicas_of(*U1, flows=[tm.flows.DefectRepair(tm.LinkField(tm.U1(), (6, 6)), source=1.0, target=2.0)]),
            ValueError,
            "got a flow on .* between rungs 0 and 1",
        ),
        (lambda: replicas_of(*U1, schedule="odd"), ValueError, "'deo', 'seo'"),
        (lambda: replicas_of(*U1, translate=(5,)), ValueError, "got rung 5"),
        (lambda: replicas_of(*defect_ladder(4, 2.0, 0.0, 2.0), translate=(0,)), ValueError, "without defect"),
        (lambda: replicas_of(*U1, initial=[U1[0].manifold.cold()]), ValueError, "one for each of 2 rungs"),
        (
            lambda: replicas_of(*defect_ladder(4, 2.0, 0.0, 2.0), flows=[REPAIR], tolerance=1e-30),
            ValueError,
            r"\(0, 1\) never came back",
        ),
        (lambda: equal_acceptance([2.0, 1.0], [1.0, 1.0], 3), ValueError, "that increase"),
    ],
)
def test_errors_teach(act, error, match):
    with pytest.raises(error, match=match):
        act()


def test_the_next_call_compiles_nothing():
    ladder = [tm.Phi4Action((2, 3), m2=-4.0, lam=lam) for lam in (6.0, 8.0)]
    traced = []

    def measured(x):
        traced.append(None)
        return jnp.mean(x**2)

    options = {"kernel": HMCKernel(1.0, steps=2), "measure": {"phi2": measured}, "chunk": 2}
    first = tm.replica_exchange(jax.random.key(1), ladder, 2, thermalisation=1, **options)
    before = len(traced)
    assert before > 0
    tm.replica_exchange(jax.random.key(1), ladder, 2, initial=first.state, **options)
    assert len(traced) == before
