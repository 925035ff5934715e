import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HalfRing:
    """All levels of some neighbouring sites whose product of eigenvalues is above the cutoff, as a prefix tree."""

    levels: np.ndarray  # (states, sites)
    log_weight: np.ndarray
    parents: tuple[np.ndarray, ...]
    last: tuple[np.ndarray, ...]


def half_ring(log_eigenvalues: np.ndarray, sites: int, log_cutoff: float) -> HalfRing:
    levels, log_weight = np.zeros((1, 0), dtype=int), np.zeros(1)
    parents, last = [], []
    for _ in range(sites):
        parent, level = np.nonzero(np.add.outer(log_weight, log_eigenvalues) >= log_cutoff)
        levels = np.concatenate([levels[parent], level[:, None]], axis=1)
        log_weight = log_weight[parent] + log_eigenvalues[level]
        parents.append(parent)
        last.append(level)
    return HalfRing(levels, log_weight, tuple(parents), tuple(last))


@dataclass(frozen=True)
class RingStates:
    """Product states of a ring of sites above a cutoff, grouped into orbits of the translations.

    `member[o, g]` is the state that the representative of orbit o becomes after g steps.
    """

    width: int
    left: HalfRing
    right: HalfRing
    left_of: np.ndarray
    right_of: np.ndarray
    log_weight: np.ndarray
    member: np.ndarray
    orbit: np.ndarray
    step: np.ndarray
    period: np.ndarray
    code: np.ndarray  # sorted, base `base` digits are the levels
    base: int
    mirror: np.ndarray  # orbit of the reflected representative ...
    mirror_step: np.ndarray  # ... and the step that reaches it

    @property
    def representative(self) -> np.ndarray:
        return self.member[:, 0]

    @property
    def levels(self) -> np.ndarray:
        return np.concatenate([self.left.levels[self.left_of], self.right.levels[self.right_of]], axis=1)

    def in_sector(self, momentum: int) -> np.ndarray:
        return momentum * self.period % self.width == 0


def count_states(log_eigenvalues: np.ndarray, width: int, log_cutoff: float) -> int:
    first = np.sort(half_ring(log_eigenvalues, width // 2, log_cutoff).log_weight)
    second = half_ring(log_eigenvalues, width - width // 2, log_cutoff).log_weight
    return int(np.sum(len(first) - np.searchsorted(first, log_cutoff - second)))


def ring_states(log_eigenvalues: np.ndarray, width: int, log_cutoff: float) -> RingStates:
    left = half_ring(log_eigenvalues, math.ceil(width / 2), log_cutoff)
    right = half_ring(log_eigenvalues, width // 2, log_cutoff)
    left_of, right_of = np.nonzero(np.add.outer(left.log_weight, right.log_weight) >= log_cutoff)
    levels = np.concatenate([left.levels[left_of], right.levels[right_of]], axis=1)
    base = len(log_eigenvalues)
    place = base ** np.arange(width)[::-1]
    code = levels @ place
    order = np.argsort(code)
    left_of, right_of, code, levels = left_of[order], right_of[order], code[order], levels[order]

    # Rounding at the cutoff may keep a state and drop an image of it: keep whole orbits only.
    images = np.stack([np.roll(levels, g, axis=1) @ place for g in range(width)], axis=1)
    images = np.concatenate([images, code_of_reflection(images, base, width)], axis=1)
    whole = np.all(np.isin(images, code), axis=1)
    left_of, right_of, code, images = left_of[whole], right_of[whole], code[whole], images[whole]

    state_of = np.searchsorted(code, images[:, :width])
    representative = np.unique(state_of.min(axis=1))
    member = state_of[representative]
    orbit, step = np.empty(len(code), dtype=int), np.empty(len(code), dtype=int)
    for g in range(width - 1, -1, -1):
        orbit[member[:, g]] = np.arange(len(member))
        step[member[:, g]] = g
    period = width // np.sum(member == member[:, :1], axis=1)
    # One sum per orbit, so that translates have exactly the same weight.
    log_weight = (left.log_weight[left_of] + right.log_weight[right_of])[representative][orbit]
    reflected = np.searchsorted(code, code_of_reflection(code[member[:, 0]], base, width))
    mirror, mirror_step = orbit[reflected], step[reflected]
    return RingStates(
        width, left, right, left_of, right_of, log_weight, member, orbit, step, period, code, base, mirror, mirror_step
    )


def code_of_reflection(code: np.ndarray, base: int, width: int) -> np.ndarray:
    result = np.zeros_like(code)
    for _ in range(width):
        code, digit = np.divmod(code, base)
        result = result * base + digit
    return result
