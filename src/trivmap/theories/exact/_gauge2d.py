import abc
import math
from dataclasses import dataclass

import numpy as np

from ..._checks import integer
from . import _topology
from ._errors import NoExactResultError
from ._representations import CharacterExpansion, sun_expansion, u1_expansion

# Share of the sum of absolute values that has to be left of a sum: six digits of it are right.
LEAST_SHARE = 1e-9


def expansion_of(group_name: str, n: int, beta: float, reach: float | None = None) -> CharacterExpansion:
    """With the representations that |beta| needs, or `reach`, if that is given."""
    reach = abs(beta) if reach is None else reach
    return u1_expansion(beta, reach) if group_name == "U(1)" else sun_expansion(n, beta, reach)


class AbstractGaugeTorus(abc.ABC):
    """Topological charges of pure gauge theory on a two-dimensional torus."""

    group_name: str

    @property
    @abc.abstractmethod
    def couplings(self) -> tuple[tuple[float, int], ...]:
        """Pairs of a coupling and the number of plaquettes that have it."""

    def _charges(self) -> tuple[np.ndarray, np.ndarray]:
        if self.group_name != "U(1)":
            raise NoExactResultError(
                f"{self.group_name} gauge fields in two dimensions carry no topological charge: only U(1) does."
            )
        return _topology.charge_probabilities(self.couplings)

    def charge_distribution(self, charge) -> float | np.ndarray:
        charges, probabilities = self._charges()
        wanted = np.asarray(charge)
        if not np.issubdtype(wanted.dtype, np.integer):
            raise TypeError(f"topological charges are integers, got dtype {wanted.dtype}.")
        inside = np.abs(wanted) <= charges[-1]
        result = np.where(inside, probabilities[np.where(inside, wanted, 0) + charges[-1]], 0.0)
        return result if result.ndim else float(result)

    def charge_moment(self, power: int) -> float:
        integer("charge_moment: power", power, 0)
        charges, probabilities = self._charges()
        return float(np.sum(probabilities * charges.astype(float) ** power))

    def charge_squared(self) -> float:
        return self.charge_moment(2)


@dataclass(frozen=True)
class GaugeTorus(AbstractGaugeTorus):
    r"""Pure gauge theory on a two-dimensional torus, $Z = \sum_r c_r^V$ (Migdal)."""

    group_name: str
    n: int
    lattice: tuple[int, int]
    beta: float

    @property
    def volume(self) -> int:
        return math.prod(self.lattice)

    @property
    def couplings(self) -> tuple[tuple[float, int], ...]:
        return ((self.beta, self.volume),)

    @property
    def expansion(self) -> CharacterExpansion:
        return expansion_of(self.group_name, self.n, self.beta)

    def _sum(self) -> float:
        terms = self.expansion.ratio**self.volume
        total = float(np.sum(terms))
        # Negative beta on an odd number of plaquettes is frustrated: terms of alternating sign.
        if not total > LEAST_SHARE * float(np.sum(np.abs(terms))):
            raise NoExactResultError(
                f"no exact result for {self.group_name} at beta={self.beta} on {self.lattice}: the terms of the character "
                "expansion cancel. Take a smaller |beta|, or an even number of plaquettes."
            )
        return total

    def log_z(self) -> float:
        return self.volume * self.expansion.log_c0 + math.log(self._sum())

    def plaquette(self) -> float:
        e = self.expansion
        return float(np.sum(e.ratio ** (self.volume - 1) * e.first)) / self._sum()

    def action_variance(self) -> float:
        e, v, z, p = self.expansion, self.volume, self._sum(), self.plaquette()
        # Deviations from the mean: V^2 <p>^2 would swallow the digits of the variance on large lattices.
        single = float(np.sum(e.ratio ** (v - 1) * e.second)) / z - p * p
        spread = float(np.sum(e.ratio ** max(v - 2, 0) * (e.first - p * e.ratio) ** 2)) / z
        return v * single + v * (v - 1) * spread

    def mean_action(self) -> float:
        return -self.beta * self.volume * self.plaquette()

    def wilson_loop(self, r: int, t: int, plane: tuple[int, int] | None = None) -> float:
        if r < 1 or t < 1:
            raise ValueError(f"extents of a Wilson loop are at least 1, got r={r}, t={t}.")
        if plane is not None and sorted(plane) != [0, 1]:
            raise ValueError(f"plane={plane}: a two-dimensional lattice has the planes (0, 1) and (1, 0).")
        for mu, nu in [(0, 1), (1, 0)] if plane is None else [plane]:
            if r >= self.lattice[mu] or t >= self.lattice[nu]:
                raise NoExactResultError(
                    f"a Wilson loop of extent {r} along axis {mu} and {t} along axis {nu} does not fit on the lattice "
                    f"{self.lattice}: each extent has to be smaller than the lattice. "
                    "If one orientation fits, name it by plane=(axis of r, axis of t)."
                )
        e, area = self.expansion, r * t
        lower, upper = e.pairs
        terms = e.dimension[lower] / e.dimension[upper] * e.ratio[upper] ** (self.volume - area)
        # pairs: upper in f x lower, hence lower in fbar x upper
        return float(np.sum(terms * e.ratio[lower] ** area)) / (self.n * self._sum())

    def polyakov_loop_squared(self, axis: int = 0) -> float:
        return self.polyakov_correlator(axis, 0)

    def polyakov_correlator(self, axis: int, distance: int) -> float:
        if axis not in (0, 1):
            raise ValueError(f"axis={axis}: a two-dimensional lattice has the axes 0 and 1.")
        # Lines winding along `axis` are displaced along the other one.
        length, transverse = self.lattice[axis], self.lattice[1 - axis]
        integer("polyakov_correlator: distance", distance, 0)
        if distance > transverse:
            raise ValueError(
                f"polyakov_correlator: got distance {distance}, expected at most the extent {transverse} of axis {1 - axis}."
            )
        between = length * (distance % transverse)
        e = self.expansion
        lower, upper = e.pairs
        terms = e.ratio[lower] ** (self.volume - between) * e.ratio[upper] ** between
        return float(np.sum(terms)) / (self.n**2 * self._sum())
