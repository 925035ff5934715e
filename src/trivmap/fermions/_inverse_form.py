r"""Quadratic forms of inverses, $b^\dagger (D D^\dagger + \sigma)^{-1} b$, with derivatives that cost no solve."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._types import Array
from ..lattice import site_sum
from ._conjugate_gradient import conjugate_gradient
from ._multi_shift import multi_shift
from ._rational import RationalPower
from ._solve import checked, refined


class Accuracy(NamedTuple):
    """When conjugate gradients end: the relative residual of the normal equation, the number of iterations.

    >>> accuracy = tm.fermions.Accuracy(tolerance=1e-10, max_iterations=1000)
    """

    tolerance: float
    max_iterations: int


def solve_normal(operator: Any, u: Any, b: Array, accuracy: Accuracy) -> tuple[Array, Array, Array]:
    r"""The solution of $D D^\dagger x = b$ from zero, its true relative residual, and the iterations.

    **Arguments:** `operator`: a `WilsonDirac` or its `EvenOddDirac`; `u`: its transporters; `b`: one of its spinors. The
    residual is not compared with the tolerance: not converged is for the caller to say.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> u, b = dirac.transporters(links), dirac.random_spinor(key)
        >>> x, residual, iterations = tm.fermions.solve_normal(dirac, u, b, tm.fermions.Accuracy(1e-10, 1000))
    """
    normal = lambda psi: operator.apply_with(u, operator.apply_with(u, psi, dagger=True))  # noqa: E731
    improve = lambda r, aim: conjugate_gradient(normal, r, aim, accuracy.max_iterations)  # noqa: E731
    return refined(normal, improve, b, accuracy.tolerance, accuracy.max_iterations)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def inverse_form(accuracy: Accuracy, operator: Any, u: Any, b: Array) -> Array:
    r"""$b^\dagger (D D^\dagger)^{-1} b$, differentiable by links, couplings and b with a single solve.

    With $x = (D D^\dagger)^{-1} b$ the derivative is $-x^\dagger\, d(D D^\dagger)\, x + 2\, \mathrm{Re}\, x^\dagger db$, in
    which x is a constant. Raises `NotConvergedError` as `solve` does.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> u, b = dirac.transporters(links), dirac.random_spinor(key)
        >>> value = tm.fermions.inverse_form(tm.fermions.Accuracy(1e-10, 1000), dirac, u, b)
    """
    return _value_and_solution(accuracy, operator, u, b)[0]


def _value_and_solution(accuracy: Accuracy, operator: Any, u: Any, b: Array) -> tuple[Array, Array]:
    x, residual, iterations = solve_normal(operator, u, b, accuracy)
    x = checked(x, residual, iterations, operator.kappa, accuracy.tolerance)
    # Of this expression the error is of second order in that of x.
    return 2 * real_inner(b, x) - _square(operator, u, x), x


def _square(operator: Any, u: Any, x: Array) -> Array:
    y = operator.apply_with(u, x, dagger=True)
    return real_inner(y, y)


def _forward(accuracy: Accuracy, operator: Any, u: Any, b: Array) -> tuple[Array, tuple]:
    value, x = _value_and_solution(accuracy, operator, u, b)
    return value, (operator, u, b, x)


def _backward(accuracy: Accuracy, kept: tuple, cotangent: Array) -> tuple:
    operator, u, b, x = kept
    return jax.vjp(lambda o, u, b: 2 * real_inner(b, x) - _square(o, u, x), operator, u, b)[1](cotangent)


inverse_form.defvjp(_forward, _backward)


def real_inner(a: Array, b: Array) -> Array:
    r"""$\mathrm{Re}\, a^\dagger b$, in the precision of sums over the lattice."""
    return site_sum(a.real * b.real + a.imag * b.imag)


def apply_inverse(operator: Any, u: Any, b: Array, accuracy: Accuracy) -> Array:
    r"""$D^{-1} b = D^\dagger (D D^\dagger)^{-1} b$ by `solve_normal`, for draws: not differentiable (`solve` is).

    **Raises:** `NotConvergedError` as `solve` does.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> u, b = dirac.transporters(links), dirac.random_spinor(key)
        >>> psi = tm.fermions.apply_inverse(dirac, u, b, tm.fermions.Accuracy(1e-10, 1000))
    """
    x, residual, iterations = solve_normal(operator, u, b, accuracy)
    x = checked(x, residual, iterations, operator.kappa, accuracy.tolerance)
    return operator.apply_with(u, x, dagger=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def rational_form(accuracy: Accuracy, fraction: RationalPower, operator: Any, u: Any, b: Array) -> Array:
    r"""$b^\dagger R(D D^\dagger)\, b$ of a rational function, differentiable as `inverse_form`: all its solves share one
    Krylov space, and derivatives cost two applications of D for each pole.

    >>> dirac, root = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2), tm.fermions.RationalPower(-0.5, (1e-3, 4.0), 8)
    >>> u, b = dirac.transporters(links), dirac.random_spinor(key)
    >>> value = tm.fermions.rational_form(tm.fermions.Accuracy(1e-10, 1000), root, dirac, u, b)
    """
    return _rational_forward(accuracy, fraction, operator, u, b)[0]


def solve_fraction(accuracy: Accuracy, shifts: tuple[float, ...], operator: Any, u: Any, b: Array) -> tuple[Array, Array]:
    r"""The solutions of $(D D^\dagger + \sigma_l) x_l = b$, and the iterations.

    **Raises:** `NotConvergedError` as `solve` does.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> u, b = dirac.transporters(links), dirac.random_spinor(key)
        >>> x, iterations = tm.fermions.solve_fraction(tm.fermions.Accuracy(1e-10, 1000), (0.0, 0.1), dirac, u, b)
    """
    normal = lambda psi: operator.apply_with(u, operator.apply_with(u, psi, dagger=True))  # noqa: E731
    numbers = jnp.asarray(shifts, b.real.dtype)
    x, residual, iterations = multi_shift(normal, b, numbers, accuracy.tolerance, accuracy.max_iterations)
    return checked(x, residual, iterations, operator.kappa, accuracy.tolerance), iterations


def _rational_forward(accuracy: Accuracy, fraction: RationalPower, operator: Any, u: Any, b: Array) -> tuple[Array, tuple]:
    x, _ = solve_fraction(accuracy, fraction.shifts, operator, u, b)
    return _partial_fractions(fraction, b, x), (operator, u, b, x)


def _partial_fractions(fraction: RationalPower, b: Array, x: Array) -> Array:
    """The form as a function of b, from half of its derivative."""
    forms = jax.vmap(lambda y: real_inner(b, y))(x)
    return fraction.constant * real_inner(b, b) + jnp.sum(jnp.asarray(fraction.residues, forms.dtype) * forms)


def _rational_backward(accuracy: Accuracy, fraction: RationalPower, kept: tuple, cotangent: Array) -> tuple:
    operator, u, b, x = kept

    def form(operator: Any, u: Any, b: Array) -> Array:
        squares = jax.vmap(lambda y: _square(operator, u, y))(x)
        lost = jnp.sum(jnp.asarray(fraction.residues, squares.dtype) * squares)
        # Twice the forms with constant solutions, less what these have to bear: the constant term counts once.
        return 2 * _partial_fractions(fraction, b, x) - fraction.constant * real_inner(b, b) - lost

    return jax.vjp(form, operator, u, b)[1](cotangent)


rational_form.defvjp(_rational_forward, _rational_backward)
