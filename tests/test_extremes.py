"""Exact results at extreme couplings: right at once, or the library's own refusal."""

import time

import numpy as np
import pytest

import trivmap as tm
from trivmap import exact


def _wilson(group, lattice, beta):
    return tm.WilsonAction(group, lattice, beta)


RIGHT = {
    # At beta = 0 plaquettes are uniform: V/12 (beyond the constraint, which matters on small lattices only).
    "Q2 uniform": (lambda: exact.charge_squared(_wilson(tm.U1(), (64, 64), 0.0)), 64**2 / 12, 1e-9),
    # Independent Gaussian plaquettes; corrections 1/(2 beta) of the width.
    "Q2 sharp": (lambda: exact.charge_squared(_wilson(tm.U1(), (512, 512), 1e3)), 512**2 / (4 * np.pi**2 * 1e3), 1e-3),
    "Q2 frozen": (lambda: exact.charge_squared(_wilson(tm.U1(), (4, 4), 2e4)), 0.0, 1e-12),
    "Q2 at 1e6": (lambda: exact.charge_squared(_wilson(tm.U1(), (8, 8), 1e6)), 0.0, 1e-12),
    # Signs of V Gaussian numbers with sum zero: V/4 (1 + (V - 1) (2/pi) asin(-1/(V - 1))), corrections of order 1/beta.
    "Q2 at -2e4": (
        lambda: exact.charge_squared(_wilson(tm.U1(), (4, 4), -2e4)),
        4 * (1 - 15 * 2 / np.pi * np.arcsin(1 / 15)),
        1e-3,
    ),
    # Gaussian plaquettes of d modes: 1 - d/(2 beta), but for the constraint, one sum of width sqrt(beta/V).
    "plaquette U(1)": (lambda: exact.plaquette(_wilson(tm.U1(), (4, 4), 2e4)), 1 - 15 / 16 / 4e4, 1e-8),
    "plaquette SU(2)": (lambda: exact.plaquette(_wilson(tm.SU(2), (4, 4), 2e4)), 1 - (3 - 1 / 16) / 4e4, 1e-7),
    "plaquette tiny": (lambda: exact.plaquette(_wilson(tm.SU(3), (4, 4), 1e-8)) * 1e8, 1 / 18, 1e-9),
    # Gaussian site: 1/(2 m2).
    "site, tiny lam": (lambda: exact.phi_squared(tm.Phi4Action((1,), 4.0, 1e-300)), 1 / 8, 1e-12),
    # Two deep wells at phi^2 = -m2/(2 lam), with the curvature 4 |m2|: log Z = m2^2/(4 lam) + log(2 sqrt(pi/(2 |m2|))).
    "site, deep wells": (lambda: exact.phi_squared(tm.Phi4Action((1,), -4.0, 1e-12)) * 1e-12, 2.0, 1e-9),
    "log Z of deep wells": (
        lambda: exact.log_z(tm.Phi4Action((1,), -4.0, 1e-3)) - 4000.0,
        np.log(2 * np.sqrt(np.pi / 8)),
        1e-3,
    ),
    "chain, deep wells": (lambda: exact.phi_squared(tm.Phi4Action((4,), -40.0, 1.0)), 20.0, 0.05),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_at_once(name):
    function, expected, tolerance = RIGHT[name]
    start = time.process_time()
    assert abs(function() - expected) < tolerance * max(1.0, abs(expected))
    assert time.process_time() - start < 20


REFUSED = {
    "deep wells": lambda: exact.log_z(tm.Phi4Action((4, 4), -4.0, 1e-3)),
    "deeper wells": lambda: exact.susceptibility(tm.Phi4Action((4, 4), -4.0, 1e-12)),
    "wide chain": lambda: exact.log_z(tm.Phi4Action((6,), -4.0, 1e-12)),
    "huge mass": lambda: exact.pole_mass(tm.Phi4Action((6,), 1e12, 1.0)),
    "overflow": lambda: exact.log_z(tm.Phi4Action((4,), -1e200, 1e-200)),
    "huge beta": lambda: exact.charge_squared(_wilson(tm.U1(), (4, 4), 1e9)),
    "huge beta, log Z": lambda: exact.log_z(_wilson(tm.U1(), (4, 4), 1e12)),
    "huge beta, SU(2)": lambda: exact.plaquette(_wilson(tm.SU(2), (4, 4), 1e300)),
    "huge beta, SU(3)": lambda: exact.plaquette(_wilson(tm.SU(3), (4, 4), 1e4)),
    "frustrated": lambda: exact.charge_squared(_wilson(tm.U1(), (3, 3), -50.0)),
    "frustrated, log Z": lambda: exact.log_z(_wilson(tm.U1(), (3, 3), -200.0)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_the_library(name):
    start = time.process_time()
    with pytest.raises(exact.NoExactResultError):
        REFUSED[name]()
    assert time.process_time() - start < 20
