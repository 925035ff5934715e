"""Symmetric splitting schemes for Hamilton's equations, as checked tables of coefficients."""

import dataclasses
import itertools
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Splitting:
    r"""One step $e^{b_0 h B} e^{a_1 h A} e^{b_1 h B} \cdots e^{a_s h A} e^{b_s h B}$: kicks b, drifts a.

    B moves the momenta by minus the force gradient, A moves the field along the momenta. The construction checks
    consistency, time-reversal symmetry and the declared order: a coefficient with a wrong digit does not load.
    """

    name: str
    order: int
    kicks: tuple[float, ...]
    drifts: tuple[float, ...]

    def __post_init__(self):
        if len(self.kicks) != len(self.drifts) + 1:
            raise ValueError(f"{self.name}: {len(self.drifts)} drifts need one more kick, got {len(self.kicks)}")
        for label, row in (("kicks", self.kicks), ("drifts", self.drifts)):
            if not np.allclose(row, row[::-1], rtol=0, atol=1e-15):
                raise ValueError(f"{self.name}: the {label} are not symmetric, so trajectories would not be reversible")
        defect = max(abs(d) for length in range(1, self.order + 1) for d in self._order_defects(length))
        if defect > 1e-14:
            raise ValueError(f"{self.name}: order condition of order {self.order} violated by {defect:.1e}")

    @property
    def force_evaluations(self) -> int:
        """Gradients per step; the last one of a step is the first of the next."""
        return len(self.drifts)

    def schedule(self, steps: int) -> tuple[float, np.ndarray, np.ndarray]:
        """First kick, then the drifts and kicks that follow in pairs, for `steps` steps with adjoining kicks merged."""
        kicks = np.tile(np.asarray(self.kicks[1:]), (steps, 1))
        kicks[:-1, -1] += self.kicks[0]
        return self.kicks[0], np.tile(np.asarray(self.drifts), steps), kicks.reshape(-1)

    def _order_defects(self, length: int) -> list[float]:
        """Coefficients of all words of one length in A and B, less those of exp(A + B)."""
        return [
            self._word_coefficient(word) - 1.0 / math.factorial(length) for word in itertools.product("AB", repeat=length)
        ]

    def _word_coefficient(self, word: tuple[str, ...]) -> float:
        # In the nilpotent matrices A, B with a one at (i, i + 1) where letter i of the word is A or B, the corner
        # of a product of exponentials is the coefficient of the word.
        letters = {c: np.diag([float(w == c) for w in word], k=1) for c in "AB"}
        product = _nilpotent_exp(self.kicks[0] * letters["B"])
        for a, b in zip(self.drifts, self.kicks[1:], strict=True):
            product = product @ _nilpotent_exp(a * letters["A"]) @ _nilpotent_exp(b * letters["B"])
        return float(product[0, -1])


def _nilpotent_exp(m: np.ndarray) -> np.ndarray:
    result = term = np.eye(len(m))
    for k in range(1, len(m)):
        term = term @ m / k
        result = result + term
    return result


leapfrog = Splitting("leapfrog", 2, (0.5, 0.5), (1.0,))

# Omelyan, Mryglod, Folk, Comput. Phys. Commun. 151 (2003) 272: minimal error norms, velocity versions.
_LAMBDA = 0.1931833275037836
omf2 = Splitting("omf2", 2, (_LAMBDA, 1 - 2 * _LAMBDA, _LAMBDA), (0.5, 0.5))

_RHO, _THETA, _VARTHETA, _LAM = 0.2539785108410595, -0.03230286765269967, 0.08398315262876693, 0.6822365335719091
omf4 = Splitting(
    "omf4",
    4,
    (_VARTHETA, _LAM, 0.5 - _LAM - _VARTHETA, 0.5 - _LAM - _VARTHETA, _LAM, _VARTHETA),
    (_RHO, _THETA, 1 - 2 * (_RHO + _THETA), _THETA, _RHO),
)

SPLITTINGS = {scheme.name: scheme for scheme in (leapfrog, omf2, omf4)}
