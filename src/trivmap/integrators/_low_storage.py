"""Fixed steps of a low-storage scheme: one scan over steps and stages, one field evaluation in its body."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._types import Array, Float
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ._base import Integration, VectorField, counts, evaluate, real_dtype, scale, squared_norm
from ._tableau import LowStorageTableau


class _Stage(NamedTuple):
    """Coefficients of one stage, scanned over."""

    t: Array
    decay: Array  # A_i
    exponent: Array  # h B_i
    weight: Array  # h b_i, of the log-det
    error: Array  # h d_i
    keep: Array  # 0 in the first stage of a step, where the error registers start anew
    close: Array  # 1 in the last stage of a step, where they are read


class _Registers(NamedTuple):
    x: Array
    slope: Array
    log_det: Array
    error: tuple[Array, Array] | None  # e_x, e_log_det of this step
    total: tuple[Array, Array] | None  # their squares, summed over the steps so far


def _stages(tableau: LowStorageTableau, dtype: Any, t0: Array, t1: Array, steps: int) -> _Stage:
    scheme, size = tableau.expanded, tableau.stages
    # Times from integers: adding up steps would drift and, in an adaptive loop, produce a spurious last step.
    offsets = np.arange(steps)[:, None] + np.array(scheme.c)
    h = (t1 - t0) / steps
    last = np.arange(size) == size - 1

    def tile(values: Any, dtype: Any) -> Array:
        return jnp.tile(jnp.asarray(np.asarray(values), dtype), steps)

    return _Stage(
        t=(t0 + h * jnp.asarray(offsets.reshape(-1), h.dtype)).astype(dtype),
        decay=tile(tableau.a, dtype),
        exponent=h.astype(dtype) * tile(tableau.b, dtype),
        weight=h * tile(scheme.butcher[1], h.dtype),
        error=h * tile(scheme.error_weights, h.dtype),
        keep=tile(np.arange(size) > 0, h.dtype),
        close=tile(last, h.dtype),
    )


def low_storage_integrate(
    field: VectorField,
    manifold: AbstractManifold,
    x: Array,
    t0: Float[Array, ""],
    t1: Float[Array, ""],
    tableau: LowStorageTableau,
    steps: int,
    *,
    error: bool,
    checkpoint: bool,
) -> Integration:
    """Integrates with `steps` equal steps (interface of `integrate`)."""
    accumulator = accumulator_dtype()
    zero = jnp.zeros((), accumulator)

    def stage(registers: _Registers, s: _Stage) -> tuple[_Registers, None]:
        velocity, divergence = evaluate(field, s.t, registers.x)
        slope = scale(s.decay, registers.slope) + velocity
        new = _Registers(
            x=manifold.exp(scale(s.exponent, slope), registers.x),
            slope=slope,
            # The log-det does not feed back, so its recurrence is the plain quadrature with weights b_i.
            log_det=registers.log_det + s.weight * divergence,
            error=None,
            total=None,
        )
        if not error:
            return new, None
        e_x = scale(s.keep, registers.error[0]) + scale(s.error, velocity)
        e_log_det = s.keep * registers.error[1] + s.error * divergence
        total = (
            registers.total[0] + s.close * squared_norm(manifold, e_x),
            registers.total[1] + s.close * e_log_det**2,
        )
        return new._replace(error=(e_x, e_log_det), total=total), None

    start = _Registers(
        x=x,
        slope=jnp.zeros_like(x),
        log_det=zero,
        error=(jnp.zeros_like(x), zero) if error else None,
        total=(zero, zero) if error else None,
    )
    # Recomputing stage by stage stores two configurations per stage (three with errors) and nothing of the field.
    body = jax.checkpoint(stage, prevent_cse=False) if checkpoint else stage
    end, _ = jax.lax.scan(body, start, _stages(tableau, real_dtype(x), t0, t1, steps))
    error_x, error_log_det = end.total if error else (None, None)
    return Integration(end.x, end.log_det, error_x, error_log_det, counts(steps, 0, steps * tableau.stages))
