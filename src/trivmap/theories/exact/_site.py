import math
from dataclasses import dataclass

import numpy as np

from ._errors import NoExactResultError

# Kernels between points are matrices of this size.
_MAX_POINTS = 5000


def site_grid(m2: float, lam: float, curvature: float = 0.0, hollow: bool = False) -> tuple[np.ndarray, np.ndarray, float]:
    r"""Points, weights and log scale for $\int d\phi\, \exp(-m^2\phi^2 - \lambda\phi^4)\, f(\phi)$ at the points.

    The trapezoid rule converges faster than any power for entire integrands that decay; `curvature` is that of f.
    `hollow` leaves out the points between deep wells; with the others the middle one is zero.
    Weights are scaled such that the largest is the step: multiply by exp(log scale).
    """
    # exp(-75) leaves a margin of sixteen decades for polynomial factors.
    margin = 75.0
    well = -m2 / (2 * lam) if m2 < 0 else 0.0
    # Without differences of large numbers, at tiny and at large couplings; points between deep wells carry no weight.
    high = well + math.sqrt(margin / lam) if m2 < 0 else 2 * margin / (m2 + math.sqrt(m2**2 + 4 * lam * margin))
    low = max(well - math.sqrt(margin / lam), 0.0) if m2 < 0 and hollow else 0.0
    # The error is exp(-2 pi^2 (width/step)^2) with the width at the minimum, or that of the quartic term.
    step = 0.2 / math.sqrt(2 * abs(m2) + 12 * lam * well + 2 * math.sqrt(lam) + curvature)
    first, last = math.floor(math.sqrt(low) / step), math.ceil(math.sqrt(high) / step)
    if last - first > _MAX_POINTS:
        raise NoExactResultError(
            f"no exact result for phi^4 with lam={lam}: the integral of exp({-m2:g} phi^2 - lam phi^4) over one site needs "
            f"{last - first} points up to phi = {math.sqrt(high):.3g}, at most {_MAX_POINTS} are summed. Take a larger lam, "
            "or simulate."
        )
    half = step * np.arange(first, last + 1)
    points = np.concatenate([-half[:0:-1], half]) if first == 0 else np.concatenate([-half[::-1], half])
    exponent = -lam * (points**2 - well) ** 2 if m2 < 0 else -m2 * points**2 - lam * points**4
    return points, step * np.exp(exponent), lam * well**2


@dataclass(frozen=True)
class Phi4Site:
    r"""A single site, where the kinetic term vanishes: $Z = \int d\phi\, \exp(-m^2\phi^2 - \lambda\phi^4)$."""

    m2: float
    lam: float

    def log_z(self) -> float:
        _, weights, log_scale = site_grid(self.m2, self.lam, hollow=True)
        return math.log(weights.sum()) + log_scale

    def phi_moment(self, power: int) -> float:
        points, weights, _ = site_grid(self.m2, self.lam, hollow=True)
        return 0.0 if power % 2 else float(points**power @ weights / weights.sum())

    def susceptibility(self) -> float:
        return self.phi_moment(2)

    def two_point(self, axis: int = 0) -> np.ndarray:
        return np.array([self.phi_moment(2)])

    def nearest_neighbour(self, axis: int) -> float:
        return self.phi_moment(2)

    def abs_magnetisation(self) -> float:
        from scipy.special import erfc, erfcx

        # |phi| has a kink, so in closed form: (1/2) int du exp(-m2 u - lam u^2) over u > 0.
        _, weights, _ = site_grid(self.m2, self.lam, hollow=True)
        z = self.m2 / (2 * math.sqrt(self.lam))
        scaled = erfcx(z) if z >= 0 else erfc(z)
        return float(0.5 * math.sqrt(math.pi / self.lam) * scaled / weights.sum())

    def binder_cumulant(self) -> float:
        return 1 - self.phi_moment(4) / (3 * self.phi_moment(2) ** 2)

    def mean_action(self) -> float:
        return self.m2 * self.phi_moment(2) + self.lam * self.phi_moment(4)

    def action_variance(self) -> float:
        points, weights, _ = site_grid(self.m2, self.lam, hollow=True)
        deviation = self.m2 * points**2 + self.lam * points**4 - self.mean_action()
        return float(deviation**2 @ weights / weights.sum())
