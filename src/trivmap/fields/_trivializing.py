"""Luescher's trivializing maps at finite order."""

from typing import Any

from ..theories import AbstractTheory
from ._loop_potential import LoopPotential, series_coefficients, series_terms


def trivializing_potential(theory: AbstractTheory, order: int = 1, *, dtype: Any = None) -> LoopPotential:
    r"""The potential of the trivializing map of a Wilson action, expanded in the flow time to a finite order.

    The flow dU/dt = -(dS~_t) U carries Haar-distributed links at t = 0 to the weight exp(-S) at t = 1 if
    L_t S~_t = S + C_t with L_t = -sum_a d_a d_a + t sum_a (d_a S) d_a. With S~_t = sum_k t^k S~^(k),

    L_0 S~^(0) = S,   L_0 S~^(k) = -(dS, dS~^(k-1)),

    solved exactly (rational coefficients) in the loop algebra; S~^(k) is proportional to beta^(k+1). The log weight of the
    truncated flow has a variance of order beta^(2 order + 4). Order 0 is the Wilson flow, order 1 Luescher's
    next-to-leading potential.

    **Arguments:** `theory`: a `WilsonAction` of U(1) or SU(N) in any dimension; `order`: highest power of t; `dtype`:
    precision of the coefficients (default: that of the coupling).

    **Raises:** `TypeError` for other theories, `ValueError` for lattices that are too small for the loops of that order
    (extents of order + 2 suffice). Source: arXiv:0907.5491.

        >>> potential = tm.fields.trivializing_potential(theory, order=1)
        >>> flow = tm.ContinuousFlow(tm.GradientField(potential), steps=4)
    """
    terms = series_terms(theory, order)
    coefficients = series_coefficients(theory, terms, order)  # pyright: ignore[reportArgumentType]
    return LoopPotential(theory.manifold, terms, coefficients=coefficients, time="polynomial", times=order + 1, dtype=dtype)
