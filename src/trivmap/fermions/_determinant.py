"""Exact determinants of Wilson-Dirac operators: which methods there are, and which one fits."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .. import _linalg as linalg
from .._types import Array
from ._even_odd import EvenOddDirac
from ._slab_log_det import slab_log_det
from ._wilson_dirac import WilsonDirac


def log_det(dirac: WilsonDirac, x: Array, method: str = "auto") -> tuple[Array, Array]:
    r"""Phase of det D, complex of modulus one, and $\log |\det D|$ on the links `x`, both in float64 when x64 is on.

    Without twisted mass the phase is 1 or -1; it counts as a constant in derivatives. The logarithm is differentiable by
    links and kappa. Methods: "slab", scattering matrices of time slices (two-dimensional U(1), no twisted mass,
    $|\kappa| < 1/2$), at cost $L_0 L_1^3$; "even-odd" (even extents), LU of half the size; "dense", LU of the whole
    matrix, at cost $\text{size}^3$; "auto", the first of these that is possible.

    **Arguments:** `dirac`: the operator; `x`: one configuration of its links.

    **Raises:** `ValueError` for an unknown method, or one that does not fit, with the reason.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> phase, logarithm = tm.fermions.log_det(dirac, links)
    """
    dirac.manifold.check(x)
    # The determinant of a float32 field is exact for that field: rounding of a whole LU decomposition would go into
    # weights.
    x = x.astype(jnp.result_type(complex if jnp.iscomplexobj(x) else float))
    match log_det_method(dirac, method):
        case "slab":
            sign, value = slab_log_det(x, dirac.kappa.astype(x.dtype), (dirac.boundary[0], dirac.boundary[1]))
            return sign.astype(jnp.result_type(complex)), value
        case "even-odd":
            schur = EvenOddDirac(dirac)
            value, phase = linalg.log_det(schur.dense(x))
            return _constant(dirac, phase), value + schur.even_log_det()
        case _:
            value, phase = linalg.log_det(dirac.dense(x))
            return _constant(dirac, phase), value


def log_det_method(dirac: WilsonDirac, method: str) -> str:
    """The method that `log_det` takes: the one asked for, if it fits, or the cheapest of those that do."""
    reasons = {"slab": _no_slabs(dirac), "even-odd": _no_halves(dirac), "dense": None}
    if method == "auto":
        return next(name for name, reason in reasons.items() if reason is None)
    if method not in reasons:
        raise ValueError(f"method: got {method!r}, expected 'auto' or one of {', '.join(map(repr, reasons))}.")
    if reasons[method]:
        raise ValueError(f"method: {method!r} needs {reasons[method]}; take 'auto'.")
    return method


def _no_slabs(dirac: WilsonDirac) -> str | None:
    if len(dirac.lattice) != 2 or dirac.group.complex_elements:
        return f"U(1) in two dimensions, got {dirac.group.name} on {dirac.lattice}"
    if dirac.twisted_mass is not None:
        return "an operator without twisted mass"
    if not isinstance(dirac.kappa, Tracer) and not abs(float(np.asarray(dirac.kappa))) < 0.5:
        return f"|kappa| < 1/2, got {float(np.asarray(dirac.kappa)):g}"
    return None


def _no_halves(dirac: WilsonDirac) -> str | None:
    return f"even extents, got {dirac.lattice}" if any(extent % 2 for extent in dirac.lattice) else None


def _constant(dirac: WilsonDirac, phase: Array) -> Array:
    """Without twisted mass exactly 1 or -1 (or 0), free of rounding."""
    return phase if dirac.twisted_mass is not None else jnp.sign(phase.real).astype(phase.dtype)
