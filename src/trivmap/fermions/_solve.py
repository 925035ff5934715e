"""Solves with Wilson-Dirac operators by conjugate gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from .._checks import integers, positive
from .._types import Array
from ._conjugate_gradient import conjugate_gradient
from ._even_odd import EvenOddDirac
from ._wilson_dirac import WilsonDirac

# Relative residual that one pass of conjugate gradients in float32 reaches at the condition numbers of light quarks.
_SINGLE = 1e-5
# A pass gains at least a digit, or rounding leaves nothing to gain.
_PASSES = 20


class NotConvergedError(RuntimeError):
    """Conjugate gradients did not reach their tolerance."""


class Solution(NamedTuple):
    """What a solve gives: the spinor, the true relative residual |b - D psi|/|b|, iterations of conjugate gradients."""

    spinor: Array
    residual: Array
    iterations: Array


def solve(
    dirac: WilsonDirac,
    x: Array,
    source: Array,
    *,
    dagger: bool = False,
    tolerance: float = 1e-10,
    max_iterations: int = 5000,
    mixed: bool = False,
) -> Solution:
    r"""The solution of $D\psi = b$, by conjugate gradients on $\hat D^\dagger \hat D$ of the even-odd form where extents
    are even.

    Conjugate gradients stop at their own, recursive residual of the normal equation; the true one is computed
    afterwards, and they go on from there until that is below the tolerance. Derivatives by links, couplings and source
    solve the adjoint equation once, and never pass through iterations. Several sources at once: `jax.vmap` over `source`.

    **Arguments:** `source`: b, `(spin, colour, *lattice)`; `dagger`: solve $D^\dagger\psi = b$; `tolerance`: of
    $|b - D\psi| / |b|$; `max_iterations`: of conjugate gradients; `mixed`: iterate in float32, with the residual in
    float64.

    **Raises:** `NotConvergedError` with residual, iterations and kappa (under `jit` as the error of JAX that holds this
    message); `ValueError` for a tolerance that the precision of the source does not allow.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> bool(tm.fermions.solve(dirac, links, dirac.point_source((0, 0), spin=0)).residual < 1e-10)
        True
    """
    positive("solve: tolerance", tolerance)
    integers("solve", 1, max_iterations=max_iterations)
    dirac.check_spinor(source)
    if source.dtype == jnp.complex64 and tolerance < 1e-6:
        raise ValueError(f"solve: got tolerance {tolerance:g} for a source in complex64, expected at least 1e-6.")
    equations = _equations(dirac)
    u = dirac.transporters(x)

    def inverse(dagger: bool, b: Array) -> tuple[Array, tuple[Array, Array]]:
        return _refined(equations, lax.stop_gradient(u), b, dagger, tolerance, max_iterations, mixed)

    spinor, (residual, iterations) = lax.custom_linear_solve(
        lambda psi: dirac.apply_with(u, psi, dagger),
        source,
        solve=lambda _, b: inverse(dagger, b),
        # The transpose of a matrix is the conjugate of its adjoint.
        transpose_solve=lambda _, b: _conjugated(*inverse(not dagger, b.conj())),
        has_aux=True,
    )
    spinor = checked(spinor, residual, iterations, dirac.kappa, tolerance)
    return Solution(spinor, residual, iterations)


def _conjugated(psi: Array, info: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
    return psi.conj(), info


def _refined(
    equations: Any, u: Array, b: Array, dagger: bool, tolerance: float, max_iterations: int, mixed: bool
) -> tuple[Array, tuple[Array, Array]]:
    """Passes of conjugate gradients on what is left of b, until that is small enough."""
    dirac, size = equations.dirac, _norm(b)
    single = jnp.complex64 if mixed else b.dtype
    inner = equations.transporters(u.astype(single))
    goal = tolerance * size

    def go_on(state: tuple) -> Array:
        _, _, left, steps, passes = state
        return (left > goal) & (steps < max_iterations) & (passes < _PASSES)

    def improve(state: tuple) -> tuple:
        psi, r, left, steps, passes = state
        # A pass aims a little below the goal. The residual of the normal equation is not the one that counts, hence passes.
        aim = jnp.maximum(0.3 * goal / left, _SINGLE if mixed else 0.0)
        scale = left.astype(b.dtype)  # of order one, for float32
        step, count = equations.solve(inner, (r / scale).astype(single), dagger, aim, max_iterations)
        psi = psi + scale * step.astype(b.dtype)
        r = b - dirac.apply_with(u, psi, dagger)
        return psi, r, _norm(r), steps + count, passes + 1

    zero = jnp.zeros((), jnp.int32)
    start = (jnp.zeros_like(b), b, size, zero, zero)
    psi, _, left, steps, _ = lax.while_loop(go_on, improve, start)
    return psi, (jnp.where(size > 0, left / size, 0.0), steps)


class _Whole(NamedTuple):
    """The normal equation on the whole lattice."""

    dirac: WilsonDirac

    def transporters(self, u: Array) -> Array:
        return u

    def solve(self, u: Any, b: Array, dagger: bool, tolerance: Array, max_iterations: int) -> tuple[Array, Array]:
        apply = lambda psi, dagger: self.dirac.apply_with(u, psi, dagger)  # noqa: E731
        return _normal_equation(apply, b, dagger, tolerance, max_iterations)


class _Halves(NamedTuple):
    """The normal equation of the Schur complement on odd sites; the even ones follow."""

    schur: EvenOddDirac

    @property
    def dirac(self) -> WilsonDirac:
        return self.schur.dirac

    def transporters(self, u: Array) -> tuple[Array, Array]:
        return self.schur.split(u)

    def solve(self, u: Any, b: Array, dagger: bool, tolerance: Array, max_iterations: int) -> tuple[Array, Array]:
        schur, kappa = self.schur, self.dirac.kappa.astype(b.dtype)
        even, odd = schur.split(b)
        reduced = odd + kappa * schur.hop_to(1, u, schur.over_diagonal(even, dagger), dagger)
        apply = lambda psi, dagger: schur.apply_with(u, psi, dagger)  # noqa: E731
        odd, steps = _normal_equation(apply, reduced, dagger, tolerance, max_iterations)
        even = schur.over_diagonal(even + kappa * schur.hop_to(0, u, odd, dagger), dagger)
        return schur.join(even, odd), steps


def _equations(dirac: WilsonDirac) -> _Whole | _Halves:
    return _Whole(dirac) if any(extent % 2 for extent in dirac.lattice) else _Halves(EvenOddDirac(dirac))


def _normal_equation(apply: Any, b: Array, dagger: bool, tolerance: Array, max_iterations: int) -> tuple[Array, Array]:
    """A psi = b by A^dagger A psi = A^dagger b, A being the operator or its adjoint."""
    normal = lambda psi: apply(apply(psi, dagger), not dagger)  # noqa: E731
    return conjugate_gradient(normal, apply(b, not dagger), tolerance, max_iterations)


def _norm(psi: Array) -> Array:
    return jnp.sqrt(jnp.sum(psi.real**2 + psi.imag**2))


def checked(spinor: Array, residual: Array, iterations: Array, kappa: Array, tolerance: float) -> Array:
    """The spinor, if the solve converged."""
    numbers = lax.stop_gradient((residual, iterations, kappa))
    if not any(isinstance(number, Tracer) for number in numbers):
        _refuse(tolerance, *map(np.asarray, numbers))
        return spinor

    def host(*numbers: Any) -> np.ndarray:
        arrays = [np.asarray(number) for number in numbers]
        _refuse(tolerance, *arrays)
        return np.zeros(arrays[0].shape, bool)

    failed = jax.pure_callback(host, jax.ShapeDtypeStruct((), bool), *numbers, vmap_method="broadcast_all")
    return jnp.where(failed, jnp.nan, spinor)  # so that the check is not removed as unused


def _refuse(tolerance: float, residual: np.ndarray, iterations: np.ndarray, kappa: np.ndarray) -> None:
    """Raises for the worst of one or several solves."""
    residuals, counts, kappas = (np.ravel(a) for a in np.broadcast_arrays(residual, iterations, kappa))
    worst = np.argmax(np.where(np.isnan(residuals), np.inf, residuals))
    if not residuals[worst] <= tolerance:
        raise NotConvergedError(
            f"solve: got a relative residual of {residuals[worst]:.2g} after {counts[worst]} iterations at "
            f"kappa = {kappas[worst]:g}, expected {tolerance:g}; raise max_iterations or the tolerance, or take a smaller "
            "kappa: near a zero of det D no number of iterations is enough."
        )
