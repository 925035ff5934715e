from dataclasses import dataclass

import numpy as np

from ._errors import NoExactResultError
from ._gauge2d import GaugeTorus
from ._topology import theta_sums

_LEAST_SHARE = 1e-9


@dataclass(frozen=True)
class ThetaTorus:
    r"""Two-dimensional U(1) with a theta term, $Z(\theta) = \sum_Q Z P(Q) e^{i\theta Q}$ over the charges at theta zero."""

    gauge: GaugeTorus
    theta: float

    def average_phase(self) -> float:
        r"""$Z(\theta) / Z(0)$."""
        return float(self._moment(0).real)

    def log_z(self) -> float:
        return self.gauge.log_z() + float(np.log(self._checked()))

    def plaquette(self) -> float:
        self._checked()
        z, first = theta_sums(self.gauge.beta, self.gauge.volume, self.theta)
        return first / z

    def charge_moment(self, power: int) -> complex:
        return complex(self._moment(power) / self._checked())

    def charge_squared(self) -> float:
        return self.charge_moment(2).real

    def _moment(self, power: int) -> complex:
        reach = self.gauge.volume // 2
        charges = np.arange(-reach, reach + 1)
        probabilities = self.gauge.charge_distribution(charges)
        return np.sum(probabilities * charges.astype(float) ** power * np.exp(1j * self.theta * charges))

    def _checked(self) -> float:
        z = self.average_phase()
        if not z > _LEAST_SHARE:
            raise NoExactResultError(
                f"no exact result for U(1) at theta={self.theta} on {self.gauge.lattice}: Z(theta)/Z(0) is {z:.1g}, of which "
                "no digits are known. Take a smaller lattice or theta."
            )
        return z
