import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ._errors import NoExactResultError

_MAX_POINTS = 30_000_000
_TOLERANCE = 1e-13


@dataclass(frozen=True)
class OneMatrixModel:
    r"""One SU(N) matrix with a density in its eigenvalues only, relative to the Haar measure of volume one:

    $$p(U) = \frac1Z \exp\Big(\frac{\beta}{N} \mathrm{Re\,tr} \sum_{k \ge 1} c_k U^k\Big)$$

    by the Weyl integration formula; the trapezoid rule on the torus of eigenangles converges faster than any power.

    **Arguments:** `n`: N, at least 2; `beta`; `coefficients`: $(c_1, c_2, \dots)$. Source: arXiv:2008.05456.

        >>> tm.exact.OneMatrixModel(3, 1.0, (1.0, -0.5)).log_z()
    """

    n: int
    beta: float
    coefficients: tuple[float, ...]

    def __post_init__(self):
        if self.n < 2:
            raise ValueError(f"a special unitary matrix has n >= 2, got n={self.n}.")
        object.__setattr__(self, "coefficients", tuple(float(c) for c in self.coefficients))

    def log_z(self) -> float:
        """Log of the normalisation Z."""
        return self._quadrature[2]

    def expectation(self, function: Callable[[np.ndarray], np.ndarray]) -> float:
        """Mean of a class function, given as a function of the eigenangles, shape (n, points) -> (points,)."""
        angles, weights, _ = self._quadrature
        return float(np.sum(np.real(function(angles)) * weights))

    def trace_moment(self, k: int = 1) -> float:
        """(1/N) <Re tr U^k>."""
        return self.expectation(lambda angles: np.mean(np.cos(k * angles), axis=0))

    def abs_trace_moment(self, power: int = 2) -> float:
        """<|tr U|^power> / N^power."""
        return self.expectation(lambda angles: np.abs(np.mean(np.exp(1j * angles), axis=0)) ** power)

    def mean_log_prob(self) -> float:
        """<log p>, the Kullback-Leibler divergence from p to the Haar measure."""
        return self.expectation(self._log_weight) - self.log_z()

    def log_prob(self, u: np.ndarray) -> float:
        """Log density of one matrix (n, n)."""
        u = np.asarray(u)
        if u.shape != (self.n, self.n):
            raise ValueError(f"got a matrix of shape {u.shape}, expected {(self.n, self.n)}.")
        angles = np.angle(np.linalg.eigvals(u))[:, None]
        return float(self._log_weight(angles)[0]) - self.log_z()

    def _log_weight(self, angles: np.ndarray) -> np.ndarray:
        total = np.zeros(angles.shape[1:])
        for k, c in enumerate(self.coefficients):
            total += c * np.sum(np.cos((k + 1) * angles), axis=0)
        return self.beta / self.n * total

    @cached_property
    def _quadrature(self) -> tuple[np.ndarray, np.ndarray, float]:
        points, previous = 16, math.nan
        while points ** (self.n - 1) <= _MAX_POINTS:
            angles, weights, log_z = self._trapezoid(points)
            # Angles that differ by a centre element alternate sign errors: two grids must agree.
            if abs(log_z - previous) < _TOLERANCE * max(1.0, abs(log_z)):
                return angles, weights, log_z
            points, previous = points * 3 // 2, log_z
        raise NoExactResultError(
            f"no exact result for SU({self.n}) with beta={self.beta}: the Weyl integral needs more than "
            f"{_MAX_POINTS} points. Take a smaller group or beta."
        )

    def _trapezoid(self, points: int) -> tuple[np.ndarray, np.ndarray, float]:
        free = np.meshgrid(*[2 * np.pi * np.arange(points) / points] * (self.n - 1), indexing="ij")
        angles = np.stack([a.ravel() for a in free])
        angles = np.concatenate([angles, -angles.sum(axis=0, keepdims=True)])
        measure = np.ones(angles.shape[1])
        for i in range(self.n):
            for j in range(i):
                measure *= 4 * np.sin((angles[i] - angles[j]) / 2) ** 2
        log_weight = self._log_weight(angles)
        shift = float(log_weight.max())
        weights = measure * np.exp(log_weight - shift)
        mean = float(weights.mean()) / math.factorial(self.n)
        return angles, weights / weights.sum(), math.log(mean) + shift
