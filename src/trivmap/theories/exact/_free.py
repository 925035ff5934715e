import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FreeField:
    r"""Free scalar field by momentum sums, $\lambda_k = \sum_\mu (2 - 2\cos k_\mu) + m^2$, covariance $1 / 2\lambda_k$."""

    lattice: tuple[int, ...]
    m2: float

    @property
    def volume(self) -> int:
        return math.prod(self.lattice)

    def _eigenvalues(self) -> np.ndarray:
        total = np.full(self.lattice, self.m2)
        for axis, extent in enumerate(self.lattice):
            shape = [1] * len(self.lattice)
            shape[axis] = extent
            # 4 sin^2(k/2) keeps full accuracy at small momenta
            total = total + (4 * np.sin(np.pi * np.arange(extent) / extent) ** 2).reshape(shape)
        return total

    def log_z(self) -> float:
        return 0.5 * float(np.sum(np.log(np.pi / self._eigenvalues())))

    def propagator(self, displacement: tuple[int, ...]) -> float:
        if len(displacement) != len(self.lattice):
            raise ValueError(f"displacement {displacement} has not one entry for each axis of the lattice {self.lattice}.")
        phase = np.zeros(self.lattice)
        for axis, (extent, step) in enumerate(zip(self.lattice, displacement, strict=True)):
            shape = [1] * len(self.lattice)
            shape[axis] = extent
            phase = phase + (2 * np.pi * step * np.arange(extent) / extent).reshape(shape)
        return float(np.mean(np.cos(phase) / (2 * self._eigenvalues())))

    def two_point(self, axis: int = 0) -> np.ndarray:
        extent = self.lattice[axis]
        k = 2 * np.pi * np.arange(extent) / extent
        spectrum = 1 / (2 * (4 * np.sin(k / 2) ** 2 + self.m2))
        return np.mean(np.cos(np.outer(np.arange(extent), k)) * spectrum, axis=1)

    def phi_moment(self, power: int) -> float:
        if power % 2:
            return 0.0
        return math.prod(range(1, power, 2)) * self.propagator((0,) * len(self.lattice)) ** (power // 2)

    def nearest_neighbour(self, axis: int) -> float:
        return self.propagator(tuple(int(mu == axis) for mu in range(len(self.lattice))))

    def susceptibility(self) -> float:
        return 1 / (2 * self.m2)

    def abs_magnetisation(self) -> float:
        return math.sqrt(2 * self.susceptibility() / (math.pi * self.volume))

    def binder_cumulant(self) -> float:
        return 0.0

    def pole_mass(self, axis: int = 0) -> float:
        return 2 * math.asinh(math.sqrt(self.m2) / 2)

    def mean_action(self) -> float:
        return self.volume / 2

    def action_variance(self) -> float:
        return self.volume / 2
