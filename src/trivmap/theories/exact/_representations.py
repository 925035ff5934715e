import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ._errors import NoExactResultError

# Determinants of nearly equal Bessel functions lose digits at large beta / n; more than this is refused.
_MAX_CANCELLATION = 1e-11
_MAX_REPRESENTATIONS = 100_000


@dataclass(frozen=True)
class CharacterExpansion:
    r"""Irreducible representations $r$ with the coefficients of one plaquette weight.

    $$\exp(\beta\, \mathrm{Re\,tr}\, U / N) = \sum_r d_r c_r \chi_r(U)$$

    `ratio`, `first`, `second` hold $c_r / c_0$, $c_r' / c_0$ and $c_r'' / c_0$ (derivatives in $\beta$);
    `pairs` lists all $(r, s)$ with $s$ in (fundamental x $r$). The trivial representation has index `trivial`.
    """

    n: int
    dimension: np.ndarray
    ratio: np.ndarray
    first: np.ndarray
    second: np.ndarray
    pairs: tuple[np.ndarray, np.ndarray]
    trivial: int
    log_c0: float

    @property
    def fundamental(self) -> int:
        lower, upper = self.pairs
        return int(upper[lower == self.trivial][0])


@lru_cache(maxsize=64)
def u1_expansion(beta: float, reach: float) -> CharacterExpansion:
    """c_n = I_n(beta) for every integer charge n."""
    from scipy.special import ive

    # I_n / I_0 falls like exp(-n^2 / 2 beta), and like (beta/2)^n / n! once n > beta.
    cutoff = 20 + math.ceil(10 * math.sqrt(reach))
    if 2 * cutoff + 1 > _MAX_REPRESENTATIONS:
        raise NoExactResultError(
            f"no exact result for U(1) at beta={beta}: the character expansion needs {2 * cutoff + 1} representations, at "
            f"most {_MAX_REPRESENTATIONS} are summed. Use weak coupling."
        )
    charges = np.arange(-cutoff, cutoff + 1)
    scaled = ive(charges, beta)
    pairs = (np.arange(2 * cutoff), np.arange(1, 2 * cutoff + 1))
    return _assemble(1, np.ones(charges.size), scaled, pairs, cutoff, abs(beta))


@lru_cache(maxsize=64)
def sun_expansion(n: int, beta: float, reach: float) -> CharacterExpansion:
    """d_r c_r = sum_k det I_{lambda_j - j + i + k}(beta / n); SU(2) in the closed form 2 I_{2j+1}(beta) / beta."""
    weights = _highest_weights(n, reach)
    dimension = _dimensions(weights)
    if n == 2:
        scaled = _su2_coefficients(weights[:, 0], beta)
    else:
        scaled = _determinant_coefficients(weights, beta)
    index = {tuple(int(k) for k in weight): i for i, weight in enumerate(weights)}
    lower, upper = [], []
    for weight, i in index.items():
        for larger in _fundamental_product(weight):
            if larger in index:
                lower.append(i)
                upper.append(index[larger])
    pairs = (np.array(lower), np.array(upper))
    return _assemble(n, dimension, scaled, pairs, index[(0,) * n], abs(beta))


def _assemble(n, dimension, scaled, pairs, trivial, log_scale) -> CharacterExpansion:
    """From d_r c_r exp(-log_scale); multiplication by Re tr U / n is the derivative in beta, hence exact."""

    def times_real_trace(coefficients):
        lower, upper = pairs
        result = np.zeros_like(coefficients)
        np.add.at(result, lower, coefficients[upper])
        np.add.at(result, upper, coefficients[lower])
        return result / (2 * n)

    first = times_real_trace(scaled)
    second = times_real_trace(first)
    norm = scaled[trivial] * dimension
    log_c0 = log_scale + math.log(scaled[trivial])
    return CharacterExpansion(n, dimension, scaled / norm, first / norm, second / norm, pairs, trivial, log_c0)


def _highest_weights(n: int, beta: float) -> np.ndarray:
    # The ratio c_r / c_0 is below double precision for lambda_1 beyond this (bound exp(-lambda_1^2 n / 4 beta)).
    cutoff = 16 + math.ceil(12.5 * math.sqrt(abs(beta) / n))
    count = math.comb(cutoff + n - 1, n - 1)
    if count > _MAX_REPRESENTATIONS:
        raise NoExactResultError(
            f"no exact result for SU({n}) at beta={beta}: the character expansion needs {count} representations, "
            f"at most {_MAX_REPRESENTATIONS} are summed. Take a smaller group or a smaller beta."
        )
    weights = np.zeros((1, 0), dtype=int)
    for _ in range(n - 1):
        rows = []
        for weight in weights:
            top = weight[-1] if weight.size else cutoff
            rows.append(np.concatenate([np.tile(weight, (top + 1, 1)), np.arange(top + 1)[:, None]], axis=1))
        weights = np.concatenate(rows)
    return np.concatenate([weights, np.zeros((len(weights), 1), dtype=int)], axis=1)


def _fundamental_product(weight: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Add one box to each row where the diagram stays a diagram; a full column drops out."""
    n = len(weight)
    results = []
    for row in range(n):
        if row == 0 or weight[row - 1] > weight[row]:
            larger = [k + (i == row) - (row == n - 1) for i, k in enumerate(weight)]
            results.append(tuple(larger))
    return results


def _dimensions(weights: np.ndarray) -> np.ndarray:
    n = weights.shape[1]
    shifted = weights - np.arange(n)
    dimension = np.ones(len(weights))
    for i in range(n):
        for j in range(i + 1, n):
            dimension *= (shifted[:, i] - shifted[:, j]) / (j - i)
    return np.rint(dimension)


def _su2_coefficients(doubled_spin: np.ndarray, beta: float) -> np.ndarray:
    from scipy.special import ive

    order = doubled_spin + 1
    if abs(beta) > 1:
        return order * 2 * ive(order, beta) / beta
    # The same by recurrence, without 0/0 at beta = 0; it would lose digits at large beta.
    return ive(order - 1, beta) - ive(order + 1, beta)


def _determinant_coefficients(weights: np.ndarray, beta: float) -> np.ndarray:
    from scipy.special import ive

    n = weights.shape[1]
    x = beta / n
    reach = 20 + math.ceil(10 * math.sqrt(abs(x))) + n
    order = weights[:, None, :] - np.arange(n)[None, None, :] + np.arange(n)[None, :, None]
    shifts = range(-reach - int(weights.max()), reach + 1)
    lowest = shifts[0] - n
    table = ive(np.arange(lowest, reach + int(weights.max()) + n + 1), x)
    i0 = int(np.flatnonzero(weights.sum(axis=1) == 0)[0])
    trivial = sum(float(np.linalg.det(table[order[i0] + (shift - lowest)])) for shift in shifts)
    # Hadamard's bound over the determinant that is left measures the digits lost.
    rows = np.linalg.norm(table[order[i0] - lowest], axis=1)
    cancellation = np.finfo(float).eps * float(np.prod(rows)) / trivial
    if not 0 < cancellation < _MAX_CANCELLATION:
        raise NoExactResultError(
            f"no exact result for SU({n}) at beta={beta}: the determinants of Bessel functions cancel to a relative "
            f"accuracy of {cancellation:.0e}. The expansion is for moderate beta; at this one use weak coupling."
        )
    total = np.zeros(len(weights))
    for shift in shifts:
        total += np.linalg.det(table[order + (shift - lowest)])
    return total
