"""Fixed steps of a low-storage scheme: scans over steps and stages around a single evaluation of the field."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._trees import add, precision
from .._types import Array, Float
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ._base import Integration, VectorField, counts, evaluate, remat, scale, squared_norm
from ._tableau import LowStorageTableau


class _Stage(NamedTuple):
    """Coefficients of the stages, leading axes (steps, stages), scanned over."""

    t: Array
    decay: Array  # A_i
    exponent: Array  # h B_i
    weight: Array  # h b_i, of the log-det
    error: Array  # h d_i


class _Registers(NamedTuple):
    x: Any
    slope: Any
    log_det: Array
    error: tuple[Any, Array] | None  # embedded errors of x and log_det in this step


def _coefficients(tableau: LowStorageTableau, dtype: Any, t0: Array, t1: Array, steps: int) -> _Stage:
    scheme = tableau.expanded
    # Times from integers: adding up steps would drift.
    offsets = np.arange(steps)[:, None] + np.array(scheme.c)
    h = (t1 - t0) / steps

    def tile(values: Any, dtype: Any) -> Array:
        return jnp.asarray(np.broadcast_to(np.asarray(values), (steps, tableau.stages)), dtype)

    return _Stage(
        t=(t0 + h * jnp.asarray(offsets, h.dtype)).astype(dtype),
        decay=tile(tableau.a, dtype),
        exponent=h.astype(dtype) * tile(tableau.b, dtype),
        weight=h * tile(scheme.butcher[1], h.dtype),
        error=h * tile(scheme.error_weights, h.dtype),
    )


def low_storage_integrate(
    field: VectorField,
    manifold: AbstractManifold,
    x: Any,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    tableau: LowStorageTableau,
    steps: int,
    *,
    error: bool,
    checkpoint: bool | str,
) -> Integration:
    """Integrates with `steps` equal steps (interface of `integrate`)."""
    zero = jnp.zeros((), accumulator_dtype())
    still = manifold.still(x)

    def stage(registers: _Registers, s: _Stage) -> tuple[_Registers, None]:
        velocity, divergence = evaluate(field, manifold, s.t, registers.x)
        slope = add(scale(s.decay, registers.slope), velocity)
        errors = registers.error
        if errors is not None:
            errors = (add(errors[0], scale(s.error, velocity)), errors[1] + s.error * divergence)
        # The log-det does not feed back, so its recurrence is the plain quadrature with weights b_i.
        log_det = registers.log_det + s.weight * divergence
        return _Registers(manifold.exp(scale(s.exponent, slope), registers.x), slope, log_det, errors), None

    def step(carry: tuple[Any, Array, Any], s: _Stage) -> tuple[tuple[Any, Array, Any], None]:
        x, log_det, totals = carry
        start = _Registers(x, still, log_det, (still, zero) if error else None)
        end, _ = jax.lax.scan(remat(stage, checkpoint == "stage"), start, s)
        if end.error is not None:
            totals = (totals[0] + squared_norm(manifold, end.error[0]), totals[1] + end.error[1] ** 2)
        return (end.x, end.log_det, totals), None

    carry = (x, zero, (zero, zero) if error else None)
    coefficients = _coefficients(tableau, precision(x), t0, t1, steps)
    (x, log_det, totals), _ = jax.lax.scan(remat(step, checkpoint), carry, coefficients)
    return Integration(x, log_det, *(totals or (None, None)), counts(steps, 0, steps * tableau.stages))
