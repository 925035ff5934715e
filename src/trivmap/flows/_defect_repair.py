"""The exact map between couplings of a single plaquette, in two-dimensional U(1)."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .._checks import finite, integer
from .._parameters import all_fields
from ..gauge import plaquette_angle
from ..manifolds import AbstractManifold, LinkField
from ._base import AbstractFlow

_BISECTIONS = 40  # 2 pi / 2^40 is below 1e-11, which one step of Newton carries to rounding


class DefectRepair(AbstractFlow):
    r"""Carries the coupling of one plaquette of two-dimensional U(1) from one value to another, without training.

    The angle $\varphi$ of the plaquette at the origin goes to $h(\varphi) = F_b^{-1}(F_a(\varphi))$ with the distribution
    functions F of the von Mises densities $\propto e^{a \cos\varphi}$, $e^{b \cos\varphi}$. The difference is taken from the
    other $K^2 - 1$ plaquettes of a patch in equal parts, by links inside of the patch alone,
    $\delta\theta_l = a_l (h(\varphi) - \varphi)$, so that $\log\det = \log h'(\varphi)$. What is left to the acceptance of an
    exchange is the change of the action of those plaquettes, which falls with the size of the patch.

    **Arguments:** `manifold`: links of `U1()` in two dimensions; `source`, `target`: a and b; `patch`: the extent K of a
    square of plaquettes around the origin, at least 2 and at most the extents of the lattice.

    **Raises:** `ValueError` for other manifolds, patches or couplings that are negative or not finite.

        >>> repair = tm.flows.DefectRepair(tm.LinkField(tm.U1(), (8, 8)), source=0.0, target=7.0, patch=5)
        >>> x, log_det = repair.forward_and_log_det(repair.manifold.cold())
    """

    field_space: LinkField = eqx.field(static=True)
    source: Array
    target: Array
    coefficients: Array
    source_series: Array
    target_series: Array

    def __init__(self, manifold: AbstractManifold, *, source: float, target: float, patch: int = 5):
        if not isinstance(manifold, LinkField) or manifold.group.complex_elements or len(manifold.lattice) != 2:
            raise ValueError(f"DefectRepair: got {manifold}, expected the links of U1() in two dimensions.")
        integer("DefectRepair: patch", patch, 2)
        if patch > min(manifold.lattice):
            raise ValueError(f"DefectRepair: got patch={patch}, expected at most the extents {manifold.lattice}.")
        for name, value in (("source", source), ("target", target)):
            finite(f"DefectRepair: {name}", value)
            if value < 0:
                raise ValueError(f"DefectRepair: {name}: got {value}, expected a coupling of at least zero.")
        self.field_space = manifold
        self.source, self.target = jnp.asarray(float(source)), jnp.asarray(float(target))
        self.coefficients = jnp.asarray(_link_coefficients(manifold.lattice, patch))
        # I_k/I_0 is below rounding from there on; the same number up to couplings of 19, so that flows can be stacked.
        terms = max(64, 20 + math.ceil(10 * math.sqrt(max(source, target))))
        self.source_series, self.target_series = (jnp.asarray(_series(beta, terms)) for beta in (source, target))

    @property
    def manifold(self) -> LinkField:
        return self.field_space

    def frozen_fields(self) -> frozenset[str]:
        """All of them: nothing is learned."""
        return all_fields(self)

    def forward_and_log_det(self, z: Array) -> tuple[Array, Float[Array, ""]]:
        return self._moved(z, self.source, self.source_series, self.target, self.target_series)

    def inverse_and_log_det(self, x: Array) -> tuple[Array, Float[Array, ""]]:
        return self._moved(x, self.target, self.target_series, self.source, self.source_series)

    def _moved(self, x: Array, a: Array, series_a: Array, b: Array, series_b: Array) -> tuple[Array, Array]:
        self.manifold.check(x)
        angle = plaquette_angle(x, 0, 1)[0, 0].astype(self.coefficients.dtype)
        angle = angle - 2 * jnp.pi * jnp.round(angle / (2 * jnp.pi))
        new = _quantile(_distribution(angle, series_a), b, series_b)
        log_det = _log_density(angle, a, series_a) - _log_density(new, b, series_b)
        return x + (self.coefficients * (new - angle)).astype(x.dtype), log_det


def _series(beta: float, terms: int) -> np.ndarray:
    r"""$\log 2\pi I_0(\beta) - \beta$, then $I_k/I_0$ for k = 1, 2, ...."""
    from scipy.special import ive

    return np.concatenate([[np.log(2 * np.pi * ive(0, beta))], ive(np.arange(1, terms + 1), beta) / ive(0, beta)])


def _distribution(angle: Array, series: Array) -> Array:
    r"""$\int_0^\varphi \rho$, from -1/2 at $-\pi$ to 1/2 at $\pi$."""
    k = jnp.arange(1, len(series), dtype=series.dtype)
    return (angle + 2 * jnp.sum(series[1:] / k * jnp.sin(k * angle))) / (2 * jnp.pi)


def _log_density(angle: Array, beta: Array, series: Array) -> Array:
    return beta * (jnp.cos(angle) - 1) - series[0]


def _quantile(probability: Array, beta: Array, series: Array) -> Array:
    """The inverse of `_distribution`; its derivative is that of the last step."""
    goal = lax.stop_gradient(probability)

    def halve(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        above = _distribution(middle, series) > goal
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    edge = jnp.asarray(np.pi, probability.dtype)
    low, high = lax.fori_loop(0, _BISECTIONS, halve, (-edge, edge))
    angle = lax.stop_gradient((low + high) / 2)
    return angle + (probability - _distribution(angle, series)) / jnp.exp(_log_density(angle, beta, series))


def _link_coefficients(lattice: tuple[int, ...], patch: int) -> np.ndarray:
    """Changes of the links `(2, *lattice)` that add 1 to the plaquette at the origin and take it from the rest of the patch.

    The shortest solution; links on the edge of the patch, which belong to a plaquette outside, stay.
    """
    offset = (patch - 1) // 2  # the origin is the middle of the patch
    first = [(i - offset) % lattice[0] for i in range(patch)]
    second = [(j - offset) % lattice[1] for j in range(patch)]
    inner = [(0, i, j) for i in range(patch) for j in range(1, patch)]
    inner += [(1, i, j) for i in range(1, patch) for j in range(patch)]
    matrix = np.zeros((patch * patch, len(inner)))
    for column, (mu, i, j) in enumerate(inner):
        # theta_0(x) has the sign + in the plaquette at x and - in the one at x - 1; theta_1 the other way round.
        behind = (i, j - 1) if mu == 0 else (i - 1, j)
        sign = 1 if mu == 0 else -1
        matrix[i * patch + j, column] += sign
        matrix[behind[0] * patch + behind[1], column] -= sign
    wanted = np.full(patch * patch, -1 / (patch * patch - 1))
    wanted[offset * patch + offset] = 1.0
    solution = np.linalg.lstsq(matrix, wanted, rcond=None)[0]
    coefficients = np.zeros((2, *lattice))
    for value, (mu, i, j) in zip(solution, inner, strict=True):
        coefficients[mu, first[i], second[j]] += value
    return coefficients
