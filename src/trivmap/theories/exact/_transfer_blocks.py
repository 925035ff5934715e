from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ._ring_states import HalfRing, RingStates

_BATCH_SIZE = 1_000_000  # ring elements at a time


@dataclass(frozen=True)
class RealFrame:
    r"""Combinations of orbits in a momentum sector in which every real, reflection-symmetric operator is a real matrix.

    Reflection times complex conjugation keeps the momentum: $|o, p\rangle \to e^{i p h} |o', p\rangle$ with h the step to
    the mirror image. Its invariant vectors have one entry `own` on an orbit and one entry `other` on the mirror orbit.
    """

    momentum: int
    orbits: np.ndarray
    partner: np.ndarray
    own: np.ndarray
    other: np.ndarray

    def columns(self, matrix: np.ndarray) -> np.ndarray:
        return matrix * self.own + matrix[:, self.partner] * self.other

    def from_real(self, matrix: np.ndarray) -> np.ndarray:
        """A real matrix in this frame, back between orbits."""
        half = matrix * self.own.conj() + matrix[:, self.partner] * self.other[self.partner].conj()
        return half * self.own[:, None] + half[self.partner] * self.other[self.partner][:, None]


def real_frame(states: RingStates, momentum: int, orbits: np.ndarray) -> RealFrame:
    """`orbits`: those of one class, of which the ones present in the sector are kept."""
    orbits = orbits[momentum * states.period[orbits] % states.width == 0]
    position = np.full(len(states.member), -1)
    position[orbits] = np.arange(len(orbits))
    partner = position[states.mirror[orbits]]
    half_angle = np.pi * momentum * states.mirror_step[orbits] / states.width
    phase, index = np.exp(2j * half_angle), np.arange(len(orbits))
    own = np.where(partner == index, np.exp(1j * half_angle), np.sqrt(0.5))
    own = np.where(partner < index, -1j * np.sqrt(0.5) * phase[partner], own)
    other = np.where(partner == index, 0.0, np.sqrt(0.5) * np.where(partner < index, 1j, phase))
    return RealFrame(momentum, orbits, partner, own, other)


def to_real(matrix: np.ndarray, rows: RealFrame, columns: RealFrame) -> np.ndarray:
    return np.ascontiguousarray(np.real(rows.columns(columns.columns(matrix).conj().T).T))


def _chain_row(half: HalfRing, levels: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
    """Products of ring tensors <levels| ... |t> along half a ring for every t, shape (states, bond, bond).

    `g` is one tensor, or a tensor and its derivative in a source; so is the product.
    """
    product = [np.eye(g.shape[-1])[None], np.zeros((1, g.shape[-1], g.shape[-1]))][: len(g)]
    for level, parent, last in zip(levels, half.parents, half.last, strict=True):
        site = g[:, level][:, last]
        grown = [product[0][parent] @ site[0]]
        if len(g) == 2:
            grown.append(product[1][parent] @ site[0] + product[0][parent] @ site[1])
        product = grown
    return product


def _close_rings(left: list[np.ndarray], rights: list[list[np.ndarray]]) -> np.ndarray:
    """Traces over the bonds that join a left half to each right half, (left states, rights, right states)."""

    def join(a: np.ndarray, order: int) -> np.ndarray:
        b = np.concatenate([right[order] for right in rights]).transpose(0, 2, 1)
        return a.reshape(len(a), -1) @ b.reshape(len(b), -1).T

    rings = join(left[0], 0) if len(left) == 1 else join(left[1], 0) + join(left[0], 1)
    return rings.reshape(len(left[0]), len(rights), -1)


def _ring_rows(states: RingStates, g: np.ndarray, orbits: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers, and the slice between their representatives and all translates of all: (orbits, width, rows)."""
    left_of, right_of = states.left_of[states.member[orbits]], states.right_of[states.member[orbits]]
    # Representatives are sorted, so that those with a common left half are neighbours; few at a time, for memory.
    batch = max(1, _BATCH_SIZE // (len(states.left.levels) * len(states.right.levels)))
    kept = 10 * _BATCH_SIZE // (len(states.right.levels) * g[0, 0, 0].size)
    halves = {}
    for left in np.unique(left_of[:, 0]):
        same = np.flatnonzero(left_of[:, 0] == left)
        row = _chain_row(states.left, states.left.levels[left], g)
        for rows in np.split(same, range(batch, len(same), batch)):
            if len(halves) > kept:
                halves.clear()
            for right in set(right_of[rows, 0]) - set(halves):
                halves[right] = _chain_row(states.right, states.right.levels[right], g)
            rings = _close_rings(row, [halves[right] for right in right_of[rows, 0]])
            yield rows, rings[left_of[:, :, None], np.arange(len(rows)), right_of[:, :, None]]


def momentum_blocks(states: RingStates, g: np.ndarray, orbits: np.ndarray) -> list[tuple[RealFrame, np.ndarray]]:
    r"""The transfer matrix $K^{1/2} D K^{1/2}$ among orbits, one real block for each momentum 0 ... width // 2.

    With $|o, p\rangle \propto \sum_g e^{-2\pi i p g / L} |g\, o\rangle$ an element is a Fourier sum over the translates
    of the column's representative. Momenta p and -p are alike, hence only half are needed. `g`: ring tensors in an array
    of length one, or with their derivative in a source in one of length two, for the derivative of the blocks.
    """
    width = states.width
    blocks = np.empty((width // 2 + 1, len(orbits), len(orbits)), dtype=complex)
    for rows, rings in _ring_rows(states, g, orbits):
        blocks[:, rows] = np.fft.rfft(rings, axis=1).transpose(1, 2, 0)
    scale = (np.exp(0.5 * states.log_weight[states.representative]) * np.sqrt(states.period))[orbits]
    blocks *= scale[:, None] * scale / width
    result = []
    for momentum, block in enumerate(blocks):
        frame = real_frame(states, momentum, orbits)
        inside = states.in_sector(momentum)[orbits]
        result.append((frame, to_real(block[np.ix_(inside, inside)], frame, frame)))
    return result


def multiplicity(momentum: int, width: int) -> int:
    return 1 if 2 * momentum % width == 0 else 2


class OneSiteMoves:
    """Where sum_x O_x takes the representative of each orbit: level `old` of one site becomes `new`."""

    def __init__(self, states: RingStates):
        levels = states.levels[states.representative]
        orbits, width, base = len(levels), states.width, states.base
        new = np.broadcast_to(np.arange(base), (orbits, width, base))
        old = np.broadcast_to(levels[:, :, None], new.shape)
        place = (base ** np.arange(width)[::-1])[:, None]
        code = states.code[states.representative][:, None, None] + (new - old) * place
        target = np.minimum(np.searchsorted(states.code, code), len(states.code) - 1)
        found = states.code[target] == code
        self.states = states
        self.column = np.nonzero(found)[0]
        self.new, self.old = new[found], old[found]
        self.row = states.orbit[target[found]]
        self._step = states.step[target[found]]
        self._norm = np.sqrt(states.period[self.column] / states.period[self.row])

    def between(self, rows: RealFrame, columns: RealFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Moves from `columns` to `rows` in a momentum sector: which, positions, and element in units of O[new, old]."""
        width, orbits = self.states.width, len(self.states.member)
        row_at, column_at = np.full(orbits, -1), np.full(orbits, -1)
        row_at[rows.orbits], column_at[columns.orbits] = np.arange(len(rows.orbits)), np.arange(len(columns.orbits))
        chosen = np.flatnonzero((row_at[self.row] >= 0) & (column_at[self.column] >= 0))
        phase = np.exp(2j * np.pi * rows.momentum * self._step[chosen] / width)
        return chosen, row_at[self.row[chosen]], column_at[self.column[chosen]], self._norm[chosen] * phase

    def matrix(self, element: np.ndarray, rows: RealFrame, columns: RealFrame) -> np.ndarray:
        """sum_x O_x between the real frames of two classes."""
        chosen, row, column, factor = self.between(rows, columns)
        result = np.zeros((len(rows.orbits), len(columns.orbits)), dtype=complex)
        np.add.at(result, (row, column), factor * element[self.new[chosen], self.old[chosen]])
        return to_real(result, rows, columns)
