"""Commutator-free Runge-Kutta tableaus as data, checked when they are built."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Elementary weights of the error estimate of classical RK4, e = h/6 (k1 - k2 - k3 + k4).
_RK4_ERROR_C2 = 1 / 12
_RK4_ERROR_AC = 1 / 24


def error_weights(a: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Weights d of an embedded error estimate e = h sum_i d_i F_i that needs no extra evaluation.

    Minimum-norm solution of
        sum d = 0,  sum d c = 0,  sum d c^2 = 1/12,  and, where the stages leave room for it,  sum d A c = 1/24,
    which are the values of h/6 (k1 - k2 - k3 + k4) for classical RK4: e then equals RK4's estimate to leading order,
    h^3 (f''(f, f) / 24 + f' f' f / 24), whatever the tableau, so that one strength of regularisation suits all. With three
    stages (and EES27, whose last condition is not independent) the first three conditions hold, and with two stages
    sum d = 0, sum d c = 1/4, so that e is O(h^2) instead of O(h^3).

    Args:
        a: Runge-Kutta matrix of shape (stages, stages).
        c: nodes of shape (stages,).
    """
    ones = np.ones_like(c)
    if len(c) < 3:
        return np.linalg.lstsq(np.stack([ones, c]), np.array([0.0, 0.25]), rcond=None)[0]
    conditions = np.stack([ones, c, c**2])
    weights = np.linalg.lstsq(conditions, np.array([0.0, 0.0, _RK4_ERROR_C2]), rcond=None)[0]
    free = np.linalg.svd(conditions)[2][3:]  # directions that keep the first three conditions
    slope = free @ (a @ c)
    if np.sum(slope**2) < 1e-12:
        return weights
    return weights + free.T @ slope * (_RK4_ERROR_AC - weights @ a @ c) / np.sum(slope**2)


@dataclass(frozen=True)
class CommutatorFreeTableau:
    """Commutator-free scheme: every stage is a product of exponentials of combinations of earlier slopes.

        Y_i = exp(h sum_j r^m_ij F_j) ... exp(h sum_j r^1_ij F_j) Y_base(i),   F_j = F(t + c_j h, Y_j),   Y_1 = y.

    Args:
        name: name of the scheme.
        order: declared order on a Lie group.
        bases: for stages 2..s and for the result, the (zero-based) stage whose point is multiplied.
        exponents: for stages 2..s and for the result, the rows r^1, r^2, ... in the order of application; short rows are
            padded with zeros.
        c: nodes; every stage's rows, added to those of its base, must sum to its node and the result's to one.

    Raises:
        ValueError: a row uses a slope that is not known yet, or sums do not agree with `c`.

        >>> tableau = tm.solvers.CF4().tableau
        >>> tableau.order
    """

    name: str
    order: int
    bases: tuple[int, ...]
    exponents: tuple[tuple[tuple[float, ...], ...], ...]
    c: tuple[float, ...]

    def __post_init__(self):
        stages = len(self.c)
        if len(self.bases) != stages or len(self.exponents) != stages:
            raise ValueError(
                f"{self.name}: {stages} nodes need {stages} bases and {stages} sets of exponents (stages 2..s and the "
                f"result), got {len(self.bases)} and {len(self.exponents)}."
            )
        for index, (base, rows) in enumerate(zip(self.bases, self.exponents, strict=True), start=1):
            if not 0 <= base < index or any(len(row) > index for row in rows):
                raise ValueError(f"{self.name}: stage {index + 1} uses a stage that has not been computed yet.")
        matrix, weights = self.butcher
        sums, expected = np.append(matrix.sum(axis=1), weights.sum()), np.append(self.c, 1.0)
        # Published coefficients carry 13 to 16 digits.
        if not np.allclose(sums, expected, rtol=0, atol=1e-12):
            raise ValueError(f"{self.name}: rows sum to {sums}, but the nodes and the total are {expected}.")

    @property
    def stages(self) -> int:
        """Number of evaluations of the field per step."""
        return len(self.c)

    @cached_property
    def butcher(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrix A (stages, stages) and weights b (stages,) of the Runge-Kutta scheme on a vector space."""
        stages = len(self.c)
        points = [np.zeros(stages)]
        for base, rows in zip(self.bases, self.exponents, strict=True):
            points.append(points[base] + sum((_pad(row, stages) for row in rows), np.zeros(stages)))
        return np.stack(points[:-1]), points[-1]

    @cached_property
    def error_weights(self) -> np.ndarray:
        """Weights d_i of the embedded error estimate e = h sum_i d_i F_i (`error_weights`)."""
        return error_weights(self.butcher[0], np.array(self.c))

    @property
    def error_order(self) -> int:
        """Power of h of the embedded error estimate of one step."""
        return 2 if self.stages == 2 else 3

    @cached_property
    def path(self) -> tuple[tuple[float, ...], ...]:
        """All exponents between the start and the result of a step, in the order of application."""
        rows, index = list(self.exponents[-1]), self.bases[-1]
        while index > 0:
            rows = list(self.exponents[index - 1]) + rows
            index = self.bases[index - 1]
        return tuple(rows)

    @cached_property
    def dense_weights(self) -> np.ndarray:
        """Weights g of the dense output, sum g = 0 and sum g c = 1/2, of minimal norm.

        At t + theta h each exponent r of `path` becomes theta r, and the last one gains (theta^2 - theta) g: exact at both
        ends and second-order conditions in between (local error h^3).
        """
        conditions = np.stack([np.ones(self.stages), np.array(self.c)])
        return np.linalg.lstsq(conditions, np.array([0.0, 0.5]), rcond=None)[0]


@dataclass(frozen=True)
class LowStorageTableau:
    """Low-storage (2N) commutator-free scheme: K <- A_i K + F(t + c_i h, Y), Y <- exp(h B_i K) Y, with A_1 = 0.

    The nodes follow from the recurrence with F = 1.

    Args:
        name: name of the scheme.
        order: declared order on a Lie group.
        a: coefficients A_i, the first one zero.
        b: coefficients B_i.

    Raises:
        ValueError: lengths differ, A_1 is not zero, or the scheme is not consistent (weights do not sum to one).

        >>> tableau = tm.solvers.LSCFRK4().tableau
        >>> tableau.order
    """

    name: str
    order: int
    a: tuple[float, ...]
    b: tuple[float, ...]

    def __post_init__(self):
        if len(self.a) != len(self.b) or self.a[0] != 0:
            raise ValueError(f"{self.name}: a low-storage scheme needs as many A_i as B_i and A_1 = 0.")
        self.expanded.butcher  # noqa: B018  (checks that the weights sum to one)

    @property
    def stages(self) -> int:
        """Number of evaluations of the field per step."""
        return len(self.a)

    @cached_property
    def expanded(self) -> CommutatorFreeTableau:
        """The same scheme with its exponents written in the slopes F_i."""
        register, rows = np.zeros(self.stages), []
        for stage, (a, b) in enumerate(zip(self.a, self.b, strict=True)):
            register = a * register + np.eye(self.stages)[stage]
            rows.append(b * register)
        nodes = [0.0, *np.cumsum([row.sum() for row in rows])[:-1]]
        return CommutatorFreeTableau(
            name=self.name,
            order=self.order,
            bases=tuple(range(self.stages)),
            exponents=tuple((tuple(float(r) for r in row[: i + 1]),) for i, row in enumerate(rows)),
            c=tuple(float(node) for node in nodes),
        )


def _pad(row: Sequence[float], length: int) -> np.ndarray:
    return np.pad(np.array(row, dtype=float), (0, length - len(row)))
