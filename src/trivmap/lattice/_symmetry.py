from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .._types import Array
from ._shift import shift

Adjoint = Callable[[Array], Array]


def translate(x: Array, displacement: Any) -> Array:
    """Moves a scalar or link field by `displacement`, an integer for each axis: `x'(y + displacement) = x(y)`."""
    dim = len(displacement)
    axes = tuple(range(x.ndim - dim, x.ndim))
    return jnp.roll(x, displacement, axis=axes)


def reflect(x: Array, axis: int, *, dim: int, adjoint: Adjoint | None = None) -> Array:
    r"""Reflection `x_axis -> -x_axis` about the origin.

    Links along `axis` change direction: $U'_\mu(x) = U_\mu(Px - \mu)^\dagger$.

    **Arguments:** `axis`: lattice axis; `dim`: number of lattice dimensions; `adjoint`: inverse of a group element for
    a link field `(dim, ...)`, `None` for a scalar field.
    """
    position = x.ndim - dim + axis
    reflected = jnp.roll(jnp.flip(x, position), 1, axis=position)
    if adjoint is None:
        return reflected
    # reflected[axis](x) holds the link that starts at Px; the one that ends there starts one site earlier,
    # which after the reflection is one site later.
    reverse = adjoint(shift(reflected[axis], axis, 1, dim))
    return reflected.at[axis].set(reverse)


def rotate(x: Array, plane: tuple[int, int], *, dim: int, adjoint: Adjoint | None = None) -> Array:
    """Rotation by a quarter turn that carries axis `plane[0]` to axis `plane[1]`; unequal extents are exchanged.

    **Arguments:** as for `reflect`.
    """
    mu, nu = plane
    swapped = jnp.swapaxes(x, x.ndim - dim + mu, x.ndim - dim + nu)
    if adjoint is not None:
        order = list(range(dim))
        order[mu], order[nu] = nu, mu
        swapped = swapped[jnp.asarray(order)]
    return reflect(swapped, mu, dim=dim, adjoint=adjoint)
