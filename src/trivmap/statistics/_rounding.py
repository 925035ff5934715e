"""Whether data fluctuate, or only their last digits do."""

import math
from typing import Any

import numpy as np

# Of one number and of a mean: what varies by less is constant.
CONSTANT = 8.0
# Sums over many sites leave more: 3e-13 in double, 3e-6 in single precision. Such a spread may be rounding.
_SUSPICIOUS = 0.8


def resolution(*data: Any) -> float:
    """The coarsest machine epsilon of arrays or dtypes; double precision for integers, lists and `None`."""
    kinds: list[Any] = [a if isinstance(a, np.dtype) else getattr(a, "dtype", np.dtype(float)) for a in data]
    floats = [np.finfo(kind).eps for kind in kinds if np.issubdtype(kind, np.inexact)]
    return float(max([np.finfo(np.float64).eps, *floats]))


def fluctuations(samples: np.ndarray, axes: tuple[int, ...], epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Means over the axes and deviations from them, exactly zero where they are rounding.

    The mean is taken twice, since the first one loses the digits of an offset.
    """
    unit = _unit(samples)
    samples = samples / unit
    first = samples.mean(axis=axes, keepdims=True)
    deltas = samples - first
    shift = deltas.mean(axis=axes, keepdims=True)
    deltas = deltas - shift
    spread, scale = (np.abs(a).max(axis=axes, keepdims=True) for a in (deltas, samples))
    constant = spread <= CONSTANT * epsilon * scale
    return np.asarray(np.squeeze(first + shift, axes) * unit), np.where(constant, 0.0, deltas) * unit


def root_sum_squares(x: np.ndarray) -> np.ndarray:
    """Over the first axis."""
    unit = _unit(x)
    return np.asarray(np.sqrt(np.sum((x / unit) ** 2, axis=0)) * unit)


def _unit(x: np.ndarray) -> float:
    """A power of two about as large as the largest number where squares or sums would leave the range, else one."""
    largest = float(np.max(np.abs(x), initial=0.0))
    # A derived quantity may have no value, and then its fluctuations are nan.
    if largest == 0.0 or not math.isfinite(largest) or 1e-100 < largest < 1e100:
        return 1.0
    return 2.0 ** max(math.floor(math.log2(largest)), -1000)


def rounding_cautions(values: np.ndarray, deltas: np.ndarray, axes: tuple[int, ...], epsilon: float) -> tuple[str, ...]:
    """Where data (or a component) vary, but no more than sums of numbers of order one do in this precision."""
    spread, scale = (np.abs(a).max(axis=axes) for a in (deltas, values))
    suspicious = (spread > 0.0) & (spread <= epsilon**_SUSPICIOUS * np.maximum(scale, 1.0))
    if not np.any(suspicious):
        return ()
    most = np.max(spread, initial=0.0, where=suspicious)
    return (f"the data vary by {most:.0e} only, which may be rounding of numbers of order one or more",)
