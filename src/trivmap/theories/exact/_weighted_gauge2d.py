import math
from dataclasses import dataclass

import numpy as np

from ._errors import NoExactResultError
from ._gauge2d import LEAST_SHARE, AbstractGaugeTorus, expansion_of


@dataclass(frozen=True)
class WeightedGaugeTorus(AbstractGaugeTorus):
    r"""Pure gauge theory on a two-dimensional torus with several couplings, $Z = \sum_r \prod_P c_r(\beta_P)$ (Migdal).

    Where the plaquettes lie does not matter: `weights` are pairs of a weight, $\beta_P = \beta\, w_P$, and the number of
    plaquettes that have it.
    """

    group_name: str
    n: int
    lattice: tuple[int, ...]
    beta: float
    weights: tuple[tuple[float, int], ...]

    @property
    def couplings(self) -> tuple[tuple[float, int], ...]:
        """Pairs of a coupling and its number of plaquettes."""
        return tuple((self.beta * weight, count) for weight, count in self.weights)

    def log_z(self) -> float:
        logarithm = sum(count * expansion_of(self.group_name, self.n, beta).log_c0 for beta, count in self.couplings)
        return logarithm + math.log(self._sum())

    def mean_action(self) -> float:
        return -sum(beta * count * mean for (beta, count), mean in zip(self.couplings, self._plaquettes(), strict=True))

    def action_variance(self) -> float:
        r"""Of $\sum_P w_P p_P$, the derivative of $\log Z$ by beta of second order."""
        firsts, seconds, total = self._ratios("first"), self._ratios("second"), self._sum()
        square = 0.0
        for i, (weight, count) in enumerate(self.weights):
            square += weight**2 * count * float(np.sum(self._product(i) * seconds[i]))
            for j, (other, number) in enumerate(self.weights):
                pairs = count * (number - (i == j))
                if pairs:
                    square += weight * other * pairs * float(np.sum(self._product(i, j) * firsts[i] * firsts[j]))
        mean = sum(w * count * p for (w, count), p in zip(self.weights, self._plaquettes(), strict=True))
        return square / total - mean**2

    def plaquette(self) -> float:
        """The mean over all plaquettes, whatever their couplings."""
        counts = [count for _, count in self.couplings]
        return float(np.average(self._plaquettes(), weights=counts))

    def _plaquettes(self) -> list[float]:
        """Means of the plaquettes of each coupling: one factor of the product is replaced by its derivative."""
        slopes, total = self._ratios("first"), self._sum()
        return [float(np.sum(self._product(i) * slope)) / total for i, slope in enumerate(slopes)]

    def _sum(self) -> float:
        terms = self._product()
        total = float(np.sum(terms))
        if not total > LEAST_SHARE * float(np.sum(np.abs(terms))):
            raise NoExactResultError(
                f"no exact result for {self.group_name} with the couplings {self.couplings} (beta, plaquettes): the terms of "
                "the character expansion cancel. Take smaller |beta|."
            )
        return total

    def _product(self, *without: int) -> np.ndarray:
        """Of the coefficients of all plaquettes but some, whose couplings are given by number."""
        counts = [count - without.count(i) for i, (_, count) in enumerate(self.couplings)]
        return np.prod([ratio**count for ratio, count in zip(self._ratios(), counts, strict=True)], axis=0)

    def _ratios(self, which: str = "ratio") -> list[np.ndarray]:
        """Coefficients of all couplings for the representations that the largest |beta| needs."""
        largest = max(abs(beta) for beta, _ in self.couplings)
        return [getattr(expansion_of(self.group_name, self.n, beta, largest), which) for beta, _ in self.couplings]
