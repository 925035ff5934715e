"""Masses of mesons: free quarks against their dispersion, fits of chains and of reweighted samples against one another."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm
from trivmap.fermions import WilsonDirac
from trivmap.observables import MesonCorrelators, effective_mass, pcac_mass
from trivmap.statistics import fit_correlator

NESTED = tm.kernels.NestedIntegrator(tm.kernels.leapfrog, tm.kernels.omf2, 2)


def quark_energy(kappa, p):
    """Of a free quark with momentum p along space: cosh E = 1 + (M^2 + sin^2 p)/(2 (1 + M)), M = m_0 + 1 - cos p."""
    shifted = 1 / (2 * kappa) - 2 + 1 - math.cos(p)
    return math.acosh(1 + (shifted**2 + math.sin(p) ** 2) / (2 * (1 + shifted)))


def test_pion_of_free_quarks_has_twice_their_mass():
    """One spatial site has zero momentum only: projectors keep there and back apart, so that C(t) is one cosh at t > 0."""
    kappa = 0.2
    pion = MesonCorrelators(WilsonDirac(tm.U1(), (8, 1), kappa)).pion
    values = eqx.filter_jit(pion)(jnp.zeros((2, 8, 1)))
    twice = 2 * quark_energy(kappa, 0.0)
    assert twice == pytest.approx(2 * math.log(1 + 1 / (2 * kappa) - 2))
    for t in (2, 3, None):
        # Solves to 1e-10; the correlator has fallen to 1e-2.
        assert abs(effective_mass(pion, t).function(values) - twice) < 1e-7


def test_fit_of_free_quarks(key):
    """Times that wind with a random phase change the amplitude of the correlator alone: a fit without any noise of shape."""
    pion = MesonCorrelators(WilsonDirac(tm.U1(), (8, 1), 0.2)).pion
    phases = jax.random.uniform(key, (64,), maxval=2 * np.pi)
    x = np.zeros((64, 2, 8, 1))
    x[:, 0, 3, 0] = phases
    ensemble = tm.Ensemble(None, 0.1 * np.cos(phases), {"pion": tm.statistics.measure(pion, x)})
    fit = fit_correlator(ensemble, "pion", 1, correlated=False)
    exact = 2 * quark_energy(0.2, 0.0)
    assert abs(fit.masses.value[0] - exact) < 1e-7
    assert fit.chi2 < 1e-10
    for t in (2, None):
        assert abs(tm.expectation(ensemble, "pion", function=effective_mass(pion, t)).value - exact) < 1e-7


def test_lowest_state_of_free_quarks_on_a_wide_lattice():
    """Pairs of opposite momenta: the next state is quarks with p = 2 pi/L, suppressed by their energy."""
    kappa, extent = 0.2, 4
    pion = MesonCorrelators(WilsonDirac(tm.U1(), (32, extent), kappa)).pion
    values = eqx.filter_jit(pion)(jnp.zeros((2, 32, extent)))
    t, lowest = 12, 2 * quark_energy(kappa, 0.0)
    gap = 2 * quark_energy(kappa, 2 * math.pi / extent) - lowest
    # Two pairs with that momentum, each with at most the amplitude of the lowest state (spinors are normalised), and a
    # derivative of order one of the effective mass by what is admixed; solves to 1e-10 of a correlator down by e^(-m t).
    assert abs(effective_mass(pion, t).function(values) - lowest) < 4 * math.exp(-gap * t) + 1e-9 * math.exp(lowest * t)


def test_wall_source_is_the_sum_of_point_sources(key):
    """In the mean over gauges, with the noise of the gauge: 512 transformations of one field, four errors of the mean."""
    dirac = WilsonDirac(tm.U1(), (4, 4), 0.2)
    x = 0.3 * dirac.manifold.reference_sample(key)
    wall = jax.jit(jax.vmap(MesonCorrelators(dirac, source="wall").pion))
    phases = jax.random.uniform(jax.random.key(1), (512, 4, 4), maxval=2 * np.pi)
    ahead = jnp.stack([jnp.roll(phases, -1, axis=1), jnp.roll(phases, -1, axis=2)], axis=1)
    found = np.asarray(wall(x[None] + phases[:, None] - ahead))
    moved = jnp.stack([jnp.roll(x, -i, axis=2) for i in range(4)])  # space is periodic
    expected = np.sum(jax.vmap(MesonCorrelators(dirac).pion)(moved), axis=0)
    assert np.all(np.abs(found.mean(0) - expected) < 4 * found.std(0) / 512**0.5 + 1e-9)


def test_bad_effective_masses():
    dirac = WilsonDirac(tm.U1(), (4, 4), 0.2)
    pion = MesonCorrelators(dirac).pion
    with pytest.raises(ValueError, match="effective_mass: t"):
        effective_mass(pion, 0)
    with pytest.raises(ValueError, match="got t=4, expected a separation in 1..3"):
        effective_mass(pion, 4).function(jnp.ones(4))
    with pytest.raises(ValueError, match="extent of 2"):
        effective_mass(pion).function(jnp.ones(2))
    with pytest.raises(ValueError, match="extents"):
        pion(jnp.zeros((2, 4, 6)))


@pytest.mark.slow
def test_masses_of_the_schwinger_model(key):
    """8x8, kappa = 0.25: pion and quark from reweighted exact samples and from HMC, with the plateau of the fit."""
    theory = tm.SchwingerAction((8, 8), beta=2.0, kappa=0.25)
    correlators = MesonCorrelators(theory.determinant.dirac)
    x = np.asarray(tm.exact.sample(key, theory.gauge, 2048))
    log_weights = tm.statistics.measure(theory.determinant.action, x, batch_size=32)
    ensemble = tm.Ensemble(None, -log_weights, split(tm.statistics.measure(correlators, x)))
    moves = tm.kernels.HMCKernel(1.0, 6, NESTED), tm.kernels.WindingHit(), tm.kernels.HolonomyRotation()
    measured = {"mesons": correlators}
    chain = tm.run_chain(key, theory, tm.kernels.KernelSequence(*moves), 250, chains=8, measure=measured)
    chain = tm.Chain(None, split(chain.observables["mesons"]))
    by_weight, by_chain = fit_correlator(ensemble, "pion", 2), fit_correlator(chain, "pion", 2)
    for fit in (by_weight, by_chain):
        assert fit.probability > 1e-3
    assert abs(by_weight.masses.pull(by_chain.masses)[0]) < 4
    for name, derived in (("pion", effective_mass(correlators.pion, 3)), ("mesons", pcac_mass(correlators, 4))):
        found = [tm.expectation(data, name, function=derived) for data in (ensemble, chain)]
        assert abs(found[0].pull(found[1])) < 4


def split(mesons):
    return {"mesons": mesons, "pion": mesons[..., 0, :]}
