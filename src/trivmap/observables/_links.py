import jax.numpy as jnp
import numpy as np

from .._checks import integer
from .._types import Array
from ..groups import SU, U1, AbstractGroup


def link_group(x: Array) -> AbstractGroup:
    """The group of a link field, recognised by its dtype and shape.

    **Arguments:** `x`: real angles `(dim, *lattice)` for U(1), complex matrices `(dim, n, n, *lattice)` for SU(n).

    **Raises:** `TypeError` for integers, `ValueError` for any other shape.
    """
    if jnp.issubdtype(x.dtype, jnp.floating):
        if x.ndim >= 2 and x.shape[0] == x.ndim - 1:
            return U1()
        raise ValueError(
            f"links: got a real array of shape {x.shape}, expected U(1) angles (dim, *lattice) with dim = number of lattice "
            "axes; pass one configuration without batch axis (use jax.vmap for batches)."
        )
    if not jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"links: got dtype {x.dtype}, expected real angles (U(1)) or complex matrices (SU(n)).")
    if x.ndim >= 4 and x.shape[0] == x.ndim - 3 and x.shape[1] == x.shape[2] >= 2:
        return SU(x.shape[1])  # pyright: ignore[reportCallIssue]
    raise ValueError(
        f"links: got a complex array of shape {x.shape}, expected SU(n) matrices (dim, n, n, *lattice) with dim = number of "
        "lattice axes; move colours to the front (jnp.moveaxis) and pass one configuration (use jax.vmap for batches)."
    )


def check_plane(plane: tuple[int, int], dim: int) -> tuple[int, int]:
    """Refuses anything but a pair of different directions of a lattice with `dim` dimensions."""
    integers = all(isinstance(mu, int | np.integer) and not isinstance(mu, bool) for mu in plane)
    if not integers or len(plane) != 2 or plane[0] == plane[1] or not all(0 <= mu < dim for mu in plane):
        raise ValueError(f"plane: got {plane}, expected two different directions in 0..{dim - 1}.")
    return plane


def check_axis(name: str, axis: int, dim: int) -> None:
    """Refuses anything but one of `dim` directions."""
    integer(f"{name}: axis", axis)
    if not 0 <= axis < dim:
        raise ValueError(f"{name}: got axis {axis}, expected a direction in 0..{dim - 1}.")
