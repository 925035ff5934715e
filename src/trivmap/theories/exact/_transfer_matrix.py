import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ._errors import NoExactResultError
from ._one_site import OneSiteBasis, one_site_basis
from ._ring_states import RingStates, count_states, ring_states
from ._transfer_blocks import OneSiteMoves, RealFrame, momentum_blocks, multiplicity

MAX_WIDTH = 8
# Measured against a hundredth of it, at widths 3 to 5: 1e-13 in log Z, 1e-11 in the rest.
_SMALLEST_CUTOFF = 1e-9
_SMALLEST_CUTOFF_CHAIN = 1e-11
_SMALLEST_CUTOFF_MAGNETISATION = 1e-8
_LARGEST_CUTOFF = 1e-5
# About ten seconds for the widest slice; blocks are this number over twice the width.
_MAX_STATES = (3000, 280)  # at least, per square of the width
_MAX_STATES_MAGNETISATION = (700, 120)
_MAX_ERROR = 1e-6


@dataclass(frozen=True)
class Sector:
    """Spectrum for one momentum; in each pair the even parity of the field comes first, the odd second."""

    multiplicity: int
    frames: tuple[RealFrame, RealFrame]
    eigenvalues: tuple[np.ndarray, np.ndarray]
    vectors: tuple[np.ndarray, np.ndarray]
    coarse_eigenvalues: np.ndarray


@dataclass(frozen=True)
class TransferSolution:
    """What a transfer matrix yields; `one_site[i, j]` is the expectation of |i><j| at a site."""

    basis: OneSiteBasis
    log_z: float
    log_z_error: float
    one_site: np.ndarray
    phi_fourth: float
    correlator: np.ndarray
    mass_gap: float
    log_top: float

    def expectation(self, values: np.ndarray) -> float:
        """Mean of a function of the field at one site, given at the points of the grid."""
        a = self.basis.eigenvalues
        # Field functions stand beside A: K^{-1/2} O K^{1/2}, symmetrised.
        weight = np.add.outer(a, a) / (2 * np.sqrt(np.multiply.outer(a, a)))
        return float(np.sum(self.one_site * weight * self.basis.matrix(values)))

    def time_neighbour(self) -> float:
        """<phi(x) phi(x + time)>: the factor phi phi' inside the kernel A."""
        a, x = self.basis.eigenvalues, self.basis.matrix(self.basis.points)
        inside = x @ np.diag(a) @ x.T
        return float(np.sum(self.one_site * inside / np.sqrt(np.multiply.outer(a, a))))


def choose_states(
    dimension: int, width: int, m2: float, lam: float, cutoff: float, limits: tuple[int, int]
) -> tuple[OneSiteBasis, RingStates]:
    """States with relative weight above the cutoff, which is raised until few enough are left."""
    limit = max(limits[0], limits[1] * width**2)
    basis = one_site_basis(dimension, m2, lam, cutoff)
    while count_states(basis.log_eigenvalues[basis.eigenvalues >= cutoff], width, math.log(cutoff)) > limit:
        cutoff *= 10**0.1
        if cutoff > _LARGEST_CUTOFF:
            raise NoExactResultError(
                f"no exact result for phi^4 with m2={m2}, lam={lam} on a ring of {width} sites: the transfer matrix needs "
                f"more than {limit} states. Take a narrower lattice or a larger mass."
            )
    kept = basis.log_eigenvalues[basis.eigenvalues >= cutoff]
    return basis, ring_states(kept, width, math.log(cutoff))


def diagonalise(basis: OneSiteBasis, states: RingStates) -> list[Sector]:
    g = basis.ring(states.base)[None]
    blocks = [momentum_blocks(states, g, orbits) for orbits in parity_classes(states)]
    # A cutoff ten times larger selects a corner of each block: its trace shows the convergence.
    coarse = states.log_weight[states.representative] >= states.log_weight.min() + math.log(10)
    sectors = []
    for momentum in range(states.width // 2 + 1):
        frames, matrices = zip(*(block[momentum] for block in blocks), strict=True)
        values, vectors = zip(*(np.linalg.eigh(matrix) for matrix in matrices), strict=True)
        values = tuple(np.maximum(v, 0.0) for v in values)
        corners = [m[np.ix_(coarse[f.orbits], coarse[f.orbits])] for f, m in zip(frames, matrices, strict=True)]
        coarse_values = np.concatenate([np.maximum(np.linalg.eigvalsh(m), 0.0) for m in corners])
        sectors.append(Sector(multiplicity(momentum, states.width), frames, values, vectors, coarse_values))
    return sectors


def parity_classes(states: RingStates) -> list[np.ndarray]:
    odd = states.levels[states.representative].sum(axis=1) % 2
    return [np.flatnonzero(odd == parity) for parity in (0, 1)]


@lru_cache(maxsize=32)
def solve_transfer_matrix(dimension: int, width: int, length: int, m2: float, lam: float) -> TransferSolution:
    """Traces over `length` time slices of `width` sites in a periodic box."""
    smallest = _SMALLEST_CUTOFF_CHAIN if width == 1 else _SMALLEST_CUTOFF
    basis, states = choose_states(dimension, width, m2, lam, smallest, _MAX_STATES)
    sectors = diagonalise(basis, states)
    top = max(float(values.max()) for sector in sectors for values in sector.eigenvalues if values.size)
    trace = sum(s.multiplicity * float(np.sum((v / top) ** length)) for s in sectors for v in s.eigenvalues)
    coarse = sum(s.multiplicity * float(np.sum((s.coarse_eigenvalues / top) ** length)) for s in sectors)
    # The change from a ten times larger cutoff; the error itself is about thirty times smaller.
    error = abs(math.log(coarse / trace)) / 10
    if error > _MAX_ERROR:
        raise NoExactResultError(
            f"no exact result for phi^4 with m2={m2}, lam={lam} on {width} x {length} sites: log Z has converged to "
            f"{error:.0e} only with {len(states.code)} states. Take a narrower lattice or weaker order."
        )
    slice_fourth = _slice_expectation(basis, states, sectors, basis.points**4, top, length)
    moves = OneSiteMoves(states)
    even, odd = sectors[0].eigenvalues
    basis = basis.truncated(states.base)
    return TransferSolution(
        basis=basis,
        log_z=length * (width * basis.log_scale + math.log(top)) + math.log(trace),
        log_z_error=error,
        one_site=_one_site_expectation(moves, sectors, top, length) / (width * trace),
        phi_fourth=slice_fourth / (width * trace),
        correlator=_correlator(basis, moves, sectors, top, length) / (width * trace),
        mass_gap=math.log(even.max() / odd.max()),
        log_top=math.log(top),
    )


def _slice_expectation(
    basis: OneSiteBasis, states: RingStates, sectors: list[Sector], values: np.ndarray, top: float, length: int
) -> float:
    r"""Trace of the field function summed over a slice: $\mathrm{tr}(T^{L-1} dT)$ with dT its derivative in a source.

    As a derivative of the truncated log Z it converges like log Z, even for high powers of the field.
    """
    g = np.stack([basis.ring(states.base), basis.ring(states.base, values)])
    total = 0.0
    for parity, orbits in enumerate(parity_classes(states)):
        for sector, (_, slope) in zip(sectors, momentum_blocks(states, g, orbits), strict=True):
            weight, vectors = (sector.eigenvalues[parity] / top) ** (length - 1), sector.vectors[parity]
            diagonal = np.einsum("ij,ij->j", vectors, slope @ vectors) / top
            total += sector.multiplicity * float(weight @ diagonal)
    return total


def _one_site_expectation(moves: OneSiteMoves, sectors: list[Sector], top: float, length: int) -> np.ndarray:
    result = np.zeros((moves.states.base, moves.states.base))
    for sector in sectors:
        for frame, values, vectors in zip(sector.frames, sector.eigenvalues, sector.vectors, strict=True):
            density = frame.from_real((vectors * (values / top) ** length) @ vectors.T)
            chosen, row, column, factor = moves.between(frame, frame)
            element = sector.multiplicity * np.real(factor * density[column, row])
            np.add.at(result, (moves.new[chosen], moves.old[chosen]), element)
    return result


def _correlator(basis: OneSiteBasis, moves: OneSiteMoves, sectors: list[Sector], top: float, length: int) -> np.ndarray:
    """Trace of Phi T^t Phi T^(length - t) with Phi the field summed over the slice."""
    root = np.sqrt(basis.eigenvalues)
    field = basis.matrix(basis.points) / root[:, None] * root
    correlator = np.zeros(length)
    for sector in sectors:
        (even, odd), (u_even, u_odd) = sector.eigenvalues, sector.vectors
        raising = u_odd.T @ moves.matrix(field, sector.frames[1], sector.frames[0]) @ u_even
        lowering = u_even.T @ moves.matrix(field, sector.frames[0], sector.frames[1]) @ u_odd
        even, odd = even / top, odd / top
        # t = 0 with one time step between the factors, so that both stand beside a kernel.
        same = raising**2 * np.multiply.outer(odd, even ** (length - 1))
        same_mirrored = lowering**2 * np.multiply.outer(even, odd ** (length - 1))
        correlator[0] += sector.multiplicity * float(np.sum(same) + np.sum(same_mirrored))
        both = lowering * raising.T
        for t in range(1, length):
            terms = even ** (length - t) @ both @ odd**t + even**t @ both @ odd ** (length - t)
            correlator[t] += sector.multiplicity * float(terms)
    return correlator


@lru_cache(maxsize=32)
def magnetisation_moments(
    dimension: int, width: int, length: int, m2: float, lam: float, susceptibility: float
) -> tuple[float, float, float]:
    r"""$\langle|M|
    angle$, $\langle M^2
    angle$, $\langle M^4
    angle$ from $\langle e^{ikM}
    angle$.

        The density of M is negligible beyond R, hence a Fourier series with $k_j = \pi j / R$ on [-R, R].
    """
    volume = width * length
    basis, states = choose_states(dimension, width, m2, lam, _SMALLEST_CUTOFF_MAGNETISATION, _MAX_STATES_MAGNETISATION)
    # Newman: phi^4 is sub-Gaussian, so seven standard deviations leave 1e-11.
    reach = 7 * math.sqrt(susceptibility / volume)
    norm = _source_trace(basis, states, length, 0.0)
    last, mean_abs, second, fourth = 1.0, 1 / 2, 1 / 3, 1 / 5
    for j in range(1, 400):
        f = _source_trace(basis, states, length, math.pi * j / (reach * volume)) / norm
        alternating = 4 * (-1) ** j / (math.pi * j) ** 2
        mean_abs -= f * (j % 2) * 4 / (math.pi * j) ** 2
        second += f * alternating
        fourth += 2 * f * alternating * (1 - 6 / (math.pi * j) ** 2)
        if j > 9 and max(abs(f), abs(last)) < 1e-10:
            break
        last = f
    return mean_abs * reach, second * reach**2, fourth * reach**4


def _source_trace(basis: OneSiteBasis, states: RingStates, length: int, source: float) -> float:
    """Trace over all slices, each with the factor exp(i source sum_x phi_x)."""
    everything = np.arange(len(states.member))
    sign = (-1.0) ** states.levels[states.representative].sum(axis=1)
    trace = 0.0
    for frame, block in momentum_blocks(states, basis.ring_with_source(states.base, source)[None], everything):
        power = np.linalg.matrix_power(block * sign[frame.orbits], length)
        trace += multiplicity(frame.momentum, states.width) * float(np.trace(power))
    return trace
