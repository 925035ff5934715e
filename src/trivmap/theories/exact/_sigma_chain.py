import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ._errors import NoExactResultError

# Harmonics beyond l(l + n - 2) = 40 |beta| (n - 1) * 2 carry less than rounding at large beta; at small beta they fall like
# powers of beta.
_MARGIN = 40
LARGEST_BETA = 1e8
# Of the sum to the sum of absolute values: below, an odd antiferromagnetic ring would lose more than four digits.
_CANCELLATION = 1e-4


@dataclass(frozen=True)
class SigmaChain:
    r"""The O(n) model on a ring of L sites, by the expansion of the transfer matrix in harmonics of the sphere.

    $$e^{\beta s \cdot s'} = \sum_l \lambda_l \sum_m Y_{lm}(s) Y_{lm}(s'), \qquad
      \lambda_l = \Gamma(\tfrac n2) \left(\tfrac 2\beta\right)^{\nu} I_{\nu + l}(\beta), \quad \nu = \tfrac n2 - 1,$$

    with orthonormal harmonics in the uniform measure of volume one, $d_l$ of them at degree l:
    $Z = \sum_l d_l \lambda_l^L$. Every other axis has extent one and gives $e^{\beta}$ per site. For $\beta < 0$,
    $\lambda_l$ has the sign $(-1)^l$. Source: H. E. Stanley, Phys. Rev. 179 (1969) 570.
    """

    n: int
    lattice: tuple[int, ...]
    beta: float

    @property
    def length(self) -> int:
        return math.prod(self.lattice)

    @property
    def chain_axis(self) -> int:
        return int(np.argmax(self.lattice))

    @property
    def constant_bonds(self) -> int:
        """Bonds of sites with themselves, along the other axes."""
        return self.length * (len(self.lattice) - 1)

    @cached_property
    def degrees(self) -> np.ndarray:
        return np.arange(2 + _MARGIN + math.ceil(math.sqrt(80 * abs(self.beta) * (self.n - 1))))

    @cached_property
    def log_degeneracies(self) -> np.ndarray:
        r"""$\log d_l$: harmonics of degree l are the polynomials of degree l without those that contain $s^2$."""
        count = lambda l: math.comb(l + self.n - 1, self.n - 1) if l >= 0 else 0  # noqa: E731, E741
        return np.array([math.log(count(l) - count(l - 2)) for l in map(int, self.degrees)])  # noqa: E741

    @cached_property
    def steps(self) -> np.ndarray:
        r"""$\lambda_{l+1} / \lambda_l$ of $|\beta|$, by the recurrence, stable from above."""
        beta, nu, last = abs(self.beta), self.n / 2 - 1, len(self.degrees)
        ratios, ratio = np.zeros(last), 0.0
        for l in range(2 * last + 100, -1, -1):  # noqa: E741
            ratio = beta / (2 * (nu + l + 1) + beta * ratio)
            if l < last:
                ratios[l] = ratio
        return ratios

    @cached_property
    def log_ratios(self) -> np.ndarray:
        r"""$\log |\lambda_l / \lambda_0|$."""
        return np.concatenate([[0.0], np.cumsum(np.log(self.steps[:-1]))])

    @cached_property
    def log_largest(self) -> float:
        r"""$\log \lambda_0 = \log {}_0F_1(n/2, \beta^2/4)$."""
        from scipy import special  # heavy, and needed here only

        beta, nu = abs(self.beta), self.n / 2 - 1
        scaled = float(special.ive(nu, beta))
        if beta < 1 or scaled < 1e-250:
            return math.log(float(special.hyp0f1(self.n / 2, beta**2 / 4)))
        return math.log(scaled) + beta + math.lgamma(self.n / 2) + nu * math.log(2 / beta)

    @cached_property
    def log_passages(self) -> np.ndarray:
        r"""$\log \sum_a \mathrm{tr}\, P_l s_a P_{l+1} s_a$: components of s lead from degree l to l + 1 and back."""
        return np.array([math.log(math.comb(l + self.n - 2, l)) for l in map(int, self.degrees[:-1])])  # noqa: E741

    @cached_property
    def weights(self) -> np.ndarray:
        return self._signs(self.length) * np.exp(self.log_degeneracies + _power(self.log_ratios, self.length))

    @cached_property
    def total(self) -> float:
        total = float(self.weights.sum())
        if total < _CANCELLATION * np.abs(self.weights).sum():
            raise NoExactResultError(
                f"no exact result for an O({self.n}) ring of {self.length} sites at beta={self.beta}: a negative coupling on "
                "an odd number of sites is frustrated, and the expansion in harmonics cancels unless it is weak."
            )
        return total

    def log_z(self) -> float:
        return self.length * self.log_largest + math.log(self.total) + self.beta * self.constant_bonds

    def mean_action(self) -> float:
        return -self.beta * (self.length * self._correlation(1) + self.constant_bonds)

    def action_variance(self) -> float:
        r"""$d^2 \log Z / d\beta^2$, with $\lambda'' = (1 + l(l+n-2)/\beta^2) \lambda - \frac{n-1}{\beta} \lambda'$."""
        n, beta, length, degrees = self.n, self.beta, self.length, self.degrees
        if beta == 0:
            return {1: 0.0, 2: 4 / n}.get(length, length / n)
        slopes = np.sign(beta) * self.steps + degrees / beta
        bends = 1 + degrees * (degrees + n - 2) / beta**2 - (n - 1) * slopes / beta - slopes**2
        mean = lambda values: float(self.weights @ values) / self.total  # noqa: E731
        return length * mean(bends) + length**2 * (mean(slopes**2) - mean(slopes) ** 2)

    def nearest_neighbour(self, axis: int) -> float:
        return self._correlation(1) if axis == self.chain_axis else 1.0

    def two_point(self, axis: int) -> np.ndarray:
        if axis != self.chain_axis:
            return np.array([self.susceptibility()])
        return np.array([self._correlation(t) for t in range(self.length)])

    def susceptibility(self) -> float:
        return sum(self._correlation(t) for t in range(self.length))

    def pole_mass(self, axis: int) -> float:
        if axis != self.chain_axis or self.beta <= 0:
            raise NoExactResultError("the mass of an O(n) chain is that along the chain, at beta > 0.")
        return -math.log(self.steps[0])

    def _correlation(self, distance: int) -> float:
        r"""$\langle s_0 \cdot s_t \rangle$."""
        low, high, rest = self.log_ratios[:-1], self.log_ratios[1:], self.length - distance
        up = np.exp(self.log_passages + _power(low, distance) + _power(high, rest))
        down = np.exp(self.log_passages + _power(high, distance) + _power(low, rest))
        # Of lambda_l^t lambda_{l+1}^(L - t): l t + (l + 1)(L - t) odd factors.
        sign = lambda k: -1.0 if self.beta < 0 and k % 2 else 1.0  # noqa: E731
        return float(self._signs(self.length)[:-1] @ (sign(rest) * up + sign(distance) * down)) / self.total

    def _signs(self, power: int) -> np.ndarray:
        r"""Signs of $\lambda_l^k$."""
        return np.where(self.degrees * power % 2 == 1, -1.0 if self.beta < 0 else 1.0, 1.0)


def _power(log: np.ndarray, power: int) -> np.ndarray:
    """The logarithm of a power; that of 0^0 is zero."""
    return power * log if power else np.zeros_like(log)
