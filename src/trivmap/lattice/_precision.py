"""What is lost where JAX's x64 is off."""

import warnings

import jax.numpy as jnp

from ._sites import accumulator_dtype

_said = False


class PrecisionWarning(UserWarning):
    """Sums over the lattice are in single precision, because x64 is off."""


def warn_of_single_precision(name: str) -> None:
    """Warns once per process where sums would be in float32: errors of actions and weights grow with the volume.

    Fields of float32 with x64 on need no warning: their sums are in float64.
    """
    global _said
    if _said or accumulator_dtype() == jnp.float64:
        return
    _said = True
    warnings.warn(
        f"{name}: x64 is off, so that actions and log weights are summed in float32, with errors that grow with the lattice. "
        "Switch it on at the start of the program with jax.config.update('jax_enable_x64', True); the fields may stay "
        "float32 (dtype=). This is said once.",
        PrecisionWarning,
        stacklevel=3,
    )
