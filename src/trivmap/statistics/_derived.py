"""Functions of mean values and their gradients."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def of_means(function: Any) -> Callable | None:
    """The function of means, also of a derived observable."""
    function = getattr(function, "function", function)
    if function is not None and not callable(function):
        raise TypeError(f"expected a function of the means or a DerivedObservable, got {function!r}")
    return function


def undefined_cautions(value: Any) -> tuple[str, ...]:
    """Of a function of means that has no value there, as a mass from a correlator that is noise."""
    return () if np.all(np.isfinite(value)) else ("the function of the means is not finite at the measured means",)


def linearise(function: Callable, means: Any, spread: Any) -> tuple[np.ndarray, np.ndarray]:
    """Value and Jacobian (*value shape, *means shape) of a function at the means.

    Differentiated by JAX where the function allows tracing, otherwise by central differences with the standard
    errors as steps (section 3 of hep-lat/0306017).
    """
    means, spread = np.asarray(means, np.float64), np.asarray(spread, np.float64)
    try:
        x = jnp.asarray(means)
        value, jacobian = function(x), jax.jacfwd(function)(x)
        return np.asarray(value, np.float64), np.asarray(jacobian, np.float64)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError):
        return np.asarray(function(means), np.float64), _central_differences(function, means, spread)


def project(deltas: np.ndarray, jacobian: np.ndarray, components: int) -> np.ndarray:
    """Fluctuations (*samples, *components) contracted with a Jacobian (*value, *components): (*samples, *value)."""
    lead, value = (a.shape[: a.ndim - components] for a in (deltas, jacobian))
    size = math.prod(deltas.shape[deltas.ndim - components :])
    return (deltas.reshape(*lead, size) @ jacobian.reshape(-1, size).T).reshape(*lead, *value)


def _central_differences(function: Callable, means: np.ndarray, spread: np.ndarray) -> np.ndarray:
    value = np.asarray(function(means), np.float64)
    jacobian = np.zeros((*value.shape, means.size))
    for k in range(means.size):
        step = np.zeros(means.size)
        step[k] = spread.flat[k] or 1e-6 * max(1.0, abs(means.flat[k]))
        step = step.reshape(means.shape)
        difference = np.asarray(function(means + step)) - np.asarray(function(means - step))
        jacobian[..., k] = difference / (2.0 * step.flat[k])
    return jacobian.reshape(*value.shape, *means.shape)
