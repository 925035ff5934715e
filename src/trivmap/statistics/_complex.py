"""Functions of complex means, by real and imaginary part."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._derived import linearise, project
from ._estimate import Estimate, merged_cautions

_LEAST_PULL = 4.0  # of the modulus of an average phase from zero


def parts(z: Any) -> Any:
    """Real and imaginary part along a new first axis."""
    module: Any = np if isinstance(z, np.ndarray | np.generic) else jnp
    z = module.asarray(z)
    return module.stack([module.real(z), module.imag(z)])


def joined(real: Any, imaginary: Any) -> Any:
    """The complex numbers, of NumPy or of JAX as they come."""
    if isinstance(real, np.ndarray | np.generic):
        return real + 1j * imaginary
    return jax.lax.complex(real, imaginary)


def returns_real(function: Callable, means: Any) -> bool:
    """Whether a function of complex means has real values, such as a modulus."""
    return not np.iscomplexobj(function(jnp.asarray(means)))


def linearise_complex(function: Callable, means: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, Callable]:
    """Value of a function at complex means, and the map from their deviations `(samples, *means)` to those of the value.

    Real and imaginary part are variables of their own, so that the function need not be holomorphic.
    """
    of_parts = lambda x: parts(function(joined(x[0], x[1])))  # noqa: E731
    value, jacobian = linearise(of_parts, parts(np.asarray(means)), parts(np.asarray(spread)))

    def propagate(deltas: np.ndarray) -> np.ndarray:
        moved = project(np.stack([np.real(deltas), np.imag(deltas)], axis=1), jacobian, deltas.ndim)
        return moved[:, 0] + 1j * moved[:, 1]

    return np.asarray(value[0] + 1j * value[1]), propagate


def merged_parts(of_parts: Estimate, cautions: tuple[str, ...] = ()) -> Estimate:
    """The complex estimate from one of both parts along the first axis, with the longer of the two autocorrelation times."""
    value, error = (np.asarray(a)[0] + 1j * np.asarray(a)[1] for a in (of_parts.value, of_parts.error))
    rest: tuple[Any, ...] = ()
    if of_parts.tau_int is not None:
        tau, dtau = np.asarray(of_parts.tau_int), np.asarray(of_parts.dtau_int)
        slower = np.nan_to_num(tau[0]) >= np.nan_to_num(tau[1])
        rest = (np.where(slower, tau[0], tau[1]), np.where(slower, dtau[0], dtau[1]))
    return Estimate.of(value, error, *rest, cautions=merged_cautions(of_parts.cautions, cautions))


def sign_problem(mean: complex, error: complex) -> tuple[str, ...]:
    """The caution of ratios by an average phase that may be zero."""
    size, spread = abs(mean), abs(error)
    if size >= _LEAST_PULL * spread:
        return ()
    return (f"sign problem: the average phase {size:.2g} has the error {spread:.2g}, and ratios by it mean little",)
