"""Two-dimensional pure gauge theory in infinite volume, where plaquettes are independent.

Arguments: `group` is `U1()` or `SU(n)`; the weight of a plaquette is `exp(beta p)`, `p = Re tr U_P / N`.
"""

import math
from typing import Any

import numpy as np

from ._gauge2d import expansion_of
from ._representations import CharacterExpansion


def _expansion(group: Any, beta: float) -> CharacterExpansion:
    return expansion_of(group.name, group.n, float(beta))


def log_z(group: Any, beta: float) -> float:
    """Log of the partition function per plaquette, log c_0 (Haar measure of volume one)."""
    return _expansion(group, beta).log_c0


def plaquette(group: Any, beta: float) -> float:
    """Mean plaquette, (1/N) <Re tr U_P>."""
    expansion = _expansion(group, beta)
    return float(expansion.first[expansion.trivial])


def action_variance(group: Any, beta: float) -> float:
    """Var(sum_P p) per plaquette, the second derivative of `log_z` in beta."""
    expansion = _expansion(group, beta)
    return float(expansion.second[expansion.trivial]) - plaquette(group, beta) ** 2


def wilson_loop(group: Any, beta: float, r: int, t: int) -> float:
    r"""Area law, $\langle W \rangle = (c_f / c_0)^{rt}$ for a contractible rectangle."""
    if r < 1 or t < 1:
        raise ValueError(f"extents of a Wilson loop are at least 1, got r={r}, t={t}.")
    expansion = _expansion(group, beta)
    return float(expansion.ratio[expansion.fundamental]) ** (r * t)


def string_tension(group: Any, beta: float) -> float:
    r"""$-\log(c_f / c_0)$ in lattice units; beta > 0."""
    return -math.log(wilson_loop(group, beta, 1, 1))


def topological_susceptibility(beta: float) -> float:
    r"""U(1): $\langle Q^2 \rangle / V = \langle \theta_P^2 \rangle / 4\pi^2$ for one independent plaquette."""
    # Gauss-Legendre on the smooth integrand of a half period; the peak has width 1 / sqrt(|beta|).
    nodes, weights = np.polynomial.legendre.leggauss(64 + 8 * math.ceil(math.sqrt(abs(beta))))
    angle = 0.5 * math.pi * (nodes + 1)
    weights = weights * np.exp(beta * np.cos(angle) - abs(beta))
    return float(angle**2 @ weights / weights.sum()) / (4 * math.pi**2)
