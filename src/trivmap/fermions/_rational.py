"""Powers of positive matrices by rational functions in partial fractions."""

import dataclasses
import functools
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._checks import finite, integers, positive
from .._types import Array

# More poles than these gain nothing: residues of both signs cancel.
_MOST = 30


@dataclasses.dataclass(frozen=True)
class RationalPower:
    r"""A rational function close to a power on an interval, $R(x) = c + \sum_l r_l/(x + \sigma_l) \approx x^p$.

    For $p = -1/2$ Zolotarev's, whose largest relative error is the smallest possible one for this number of poles (E. I.
    Zolotarev 1877; arXiv:hep-lat/0206007); other powers by the AAA algorithm (arXiv:1612.00337), which near 1e-9 ends at
    rounding.

    **Arguments:** `exponent`: between -1 and 1, not zero; `interval`: `(lower, upper)`, positive, with the spectrum inside;
    `poles`: their number, or `None` for the one with an error of at most `target`, or else the least error.

    **Raises:** `ValueError` for an interval or exponent that is none, or where poles are not real and negative.

        >>> root = tm.fermions.RationalPower(-0.5, (1e-3, 1.0), poles=12)
        >>> bool(root.error < 1e-10 and abs(root(0.25) - 2.0) < 1e-9)
        True
    """

    exponent: float
    interval: tuple[float, float]
    poles: int | None = None
    target: float = 1e-12
    constant: float = dataclasses.field(init=False)
    residues: tuple[float, ...] = dataclasses.field(init=False)
    shifts: tuple[float, ...] = dataclasses.field(init=False)
    error: float = dataclasses.field(init=False)
    """Largest relative error on the interval, by 20001 points equally far apart in log x and its ends."""

    def __post_init__(self):
        lower, upper = _checked_interval(self.interval)
        finite("RationalPower: exponent", self.exponent)
        if not 0 < abs(self.exponent) < 1:
            raise ValueError(f"RationalPower: got exponent={self.exponent}, expected one between -1 and 1 other than 0.")
        if self.poles is not None:
            integers("RationalPower", 1, poles=self.poles)
        found = _fraction(float(self.exponent), lower / upper, self.poles, self.target)
        if found is None:
            raise ValueError(
                f"RationalPower: got {self.poles} poles for x^{self.exponent:g} on {self.interval}, where some are not "
                "negative; expected fewer, or None for as many as help."
            )
        constant, residues, shifts, error = found
        scale = upper**self.exponent
        for name, value in {
            "interval": (lower, upper),
            "poles": len(shifts),
            "constant": float(scale * constant),
            "residues": tuple((scale * upper * residues).tolist()),
            "shifts": tuple((upper * shifts).tolist()),
            "error": float(error),
        }.items():
            object.__setattr__(self, name, value)

    def __call__(self, x: Any) -> Array:
        """R of numbers, elementwise."""
        x = jnp.asarray(x)
        poles = zip(self.residues, self.shifts, strict=True)
        return sum((residue / (x + shift) for residue, shift in poles), jnp.full_like(x, self.constant))


def zolotarev(ratio: float, poles: int) -> tuple[float, np.ndarray, np.ndarray]:
    r"""$A, a_l, b_l$ of the best $A \prod_l (x + b_l)/(x + a_l) \approx x^{-1/2}$ on `(ratio, 1)`; $a_1 < b_1 < a_2 < \dots$

    >>> factor, a, b = tm.fermions.zolotarev(1e-3, 6)
    """
    from scipy.special import ellipj, ellipkm1

    steps = np.arange(1, 2 * poles + 1) / (2 * poles + 1)
    sn, cn, *_ = ellipj(steps * ellipkm1(ratio), 1 - ratio)
    c = ratio * (sn / cn) ** 2
    a, b = c[0::2], c[1::2]
    x = np.geomspace(ratio, 1, 20001)
    product = np.prod((x[:, None] + b) / (x[:, None] + a), axis=1) * np.sqrt(x)
    return 2 / (product.max() + product.min()), a, b


def _checked_interval(interval: Any) -> tuple[float, float]:
    lower, upper = map(float, interval)
    positive("RationalPower: lower end of the interval", lower)
    finite("RationalPower: upper end of the interval", upper)
    if not lower < upper:
        raise ValueError(f"RationalPower: got the interval {interval}, expected lower < upper.")
    return lower, upper


@functools.lru_cache(maxsize=64)
def _fraction(exponent: float, ratio: float, poles: int | None, target: float) -> tuple | None:
    """Constant, residues, shifts and error on `(ratio, 1)`."""
    of = _zolotarev_fraction if exponent == -0.5 else _aaa_fraction
    if poles is not None:
        return of(exponent, ratio, poles)
    best = None
    for count in range(1, _MOST + 1):
        found = of(exponent, ratio, count)
        if found is not None and (best is None or found[3] < best[3]):
            best = found
        if best is not None and best[3] <= target:
            break
    return best


def _zolotarev_fraction(exponent: float, ratio: float, poles: int) -> tuple:
    factor, a, b = zolotarev(ratio, poles)
    others = ~np.eye(poles, dtype=bool)
    tops, bottoms = (b - a[:, None], a - a[:, None])
    products = np.prod(np.where(others, tops / np.where(others, bottoms, 1.0), 1.0), axis=1)
    residues = factor * (b - a) * products
    return factor, residues, a, _error(exponent, ratio, factor, residues, a)


def _aaa_fraction(exponent: float, ratio: float, poles: int) -> tuple | None:
    from scipy.interpolate import AAA

    x = np.geomspace(ratio, 1, 2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that it ended at the number of poles
        fit = AAA(x, x**exponent, max_terms=poles + 1, rtol=1e-15, clean_up=False)
    where, residues = fit.poles(), fit.residues()
    if np.any(where.imag != 0) or np.any(where.real >= 0):
        return None
    constant = np.sum(fit.weights * fit.support_values) / np.sum(fit.weights)
    residues, shifts = residues.real, -where.real
    return constant.real, residues, shifts, _error(exponent, ratio, constant.real, residues, shifts)


def _error(exponent: float, ratio: float, constant: float, residues: np.ndarray, shifts: np.ndarray) -> float:
    x = np.geomspace(ratio, 1, 20001)
    return np.max(np.abs((constant + np.sum(residues / (x[:, None] + shifts), axis=1)) / x**exponent - 1))
