"""Staples: what is left of the plaquettes of a link without the link.

Two ways, because they compute different amounts: of all links at once, where neighbouring staples share products, and of
some links by their numbers, `mu V + x` for the link mu at the flat site x of V.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._types import Array
from ..groups import AbstractGroup
from ..lattice import shift
from ._plaquettes import planes, plaquette_angle


def staple_sum(group: AbstractGroup, links: Array) -> Array:
    r"""Sums of staples $V_\mu(x)$, the derivative of the sum of plaquettes: `sum_P Re tr U_P` changes by `Re tr(dU_mu V_mu)`.

    **Arguments:** `group`: SU(n); `links`: `(dim, n, n, *lattice)`. The result has the same shape.

        >>> tm.gauge.staple_sum(tm.SU(2), tm.LinkField(tm.SU(2), (4, 4)).cold()).shape
        (2, 2, 2, 4, 4)
    """
    dim = links.shape[0]
    multiply, adjoint = group.multiply, group.adjoint
    terms: list[list[Array]] = [[] for _ in range(dim)]
    for mu, nu in planes(dim):
        u, v = links[mu], links[nu]
        u_shifted, v_shifted = shift(u, nu, 1, dim), shift(v, mu, 1, dim)
        # With corners a = u v' and b = v u', the plaquette is a b^dagger: six products serve all four of its links.
        a, b = adjoint(multiply(u, v_shifted)), adjoint(multiply(v, u_shifted))
        terms[mu] += [multiply(v_shifted, b), shift(multiply(a, v), nu, -1, dim)]
        terms[nu] += [multiply(u_shifted, a), shift(multiply(b, u), mu, -1, dim)]
    return jnp.stack([sum(terms[mu][1:], terms[mu][0]) for mu in range(dim)])


def angle_staple_sum(angles: Array) -> Array:
    """The same for U(1): the derivative of the sum of cosines of all plaquette angles."""
    dim = angles.shape[0]
    terms: list[list[Array]] = [[] for _ in range(dim)]
    for mu, nu in planes(dim):
        sine = jnp.sin(plaquette_angle(angles, mu, nu))
        terms[mu].append(shift(sine, nu, -1, dim) - sine)
        terms[nu].append(sine - shift(sine, mu, -1, dim))
    return jnp.stack([sum(terms[mu][1:], terms[mu][0]) for mu in range(dim)])


def staple_links(neighbours: tuple[Any, Any], mu: Any, sites: Any) -> Any:
    """Numbers of the links of the staples of some links, `(2, dim - 1, 3, *shape)`: above and below, planes, links.

    **Arguments:** `neighbours`: as `trivmap.lattice.neighbours` returns them; `mu`, `sites`: directions and flat sites of the
    links, int32 of one shape, `mu` also a single one. All in NumPy, for tables, or all in JAX.
    """
    forward, backward = neighbours
    stack = np.stack if isinstance(forward, np.ndarray) else jnp.stack
    dim, volume = forward.shape
    ahead, found = forward[mu, sites], []
    for k in range(1, dim):
        nu = (mu + k) % dim
        above = [nu * volume + ahead, mu * volume + forward[nu, sites], nu * volume + sites]
        below = [nu * volume + backward[nu, ahead], mu * volume + backward[nu, sites], nu * volume + backward[nu, sites]]
        found.append(stack([stack(above), stack(below)]))
    return stack(found, 1)


def staple_plaquettes(neighbours: tuple[Any, Any], mu: Any, sites: Any) -> Array:
    """Numbers of the plaquettes of the staples of some links, `(2, dim - 1, *shape)`: above and below, planes.

    Plaquettes are counted plane by plane, `plane V + x` with their lowest corner x. Arguments as for `staple_links`, in JAX.
    """
    backward = neighbours[1]
    dim, volume = backward.shape
    number = {pair: i for i, pair in enumerate(planes(dim))}
    plane = jnp.asarray([[number.get((min(a, b), max(a, b)), 0) for b in range(dim)] for a in range(dim)], jnp.int32)
    found = []
    for k in range(1, dim):
        nu = (mu + k) % dim
        first = plane[mu, nu] * volume
        found.append(jnp.stack([first + sites, first + backward[nu, sites]]))
    return jnp.stack(found, 1)


def staples(group: AbstractGroup, flat: Array, table: Array) -> Array:
    """Staples V of some links, so that U V are plaquettes: `(2 (dim - 1), *element_shape, links)`, those above first.

    **Arguments:** `flat`: all links by number, `(*element_shape, dim volume)`; `table`: numbers `(2, dim - 1, 3, links)` of
    `staple_links`.
    """
    count, width = table.shape[1], table.shape[3]
    # Planes join the sites: one product for all of them.
    joined = jnp.moveaxis(table, 2, 1).reshape(2, 3, -1)
    both = jnp.stack(_above_and_below(group, flat, joined))
    shaped = both.reshape(2, *group.element_shape, count, width)
    return jnp.moveaxis(shaped, -2, 1).reshape(2 * count, *group.element_shape, width)


def staple_sum_of(group: AbstractGroup, flat: Array, table: Array, weights: Array | None = None) -> Array:
    """The sums of `staples`: matrices `(n, n, links)` for SU(n), complex numbers `(links)` for angles.

    **Arguments:** `weights`: factors of the staples, `(2, dim - 1, links)`, by default one.
    """
    total: Any = 0
    # Plane by plane: what is summed at once is never stored.
    for k in range(table.shape[1]):
        for side, staple in enumerate(_above_and_below(group, flat, table[:, k])):
            value = staple if group.complex_elements else lax.complex(jnp.cos(staple), jnp.sin(staple))
            if weights is not None:
                value = weights[side, k].astype(value.dtype).reshape((1,) * (value.ndim - 1) + (-1,)) * value
            total = total + value
    return total


def _above_and_below(group: AbstractGroup, flat: Array, numbers: Array) -> tuple[Array, Array]:
    """From numbers of links `(2, 3, links)`."""
    (a, b, c), (d, e, f) = [[jnp.take(flat, row, axis=-1, mode="clip") for row in side] for side in numbers]
    multiply, adjoint = group.multiply, group.adjoint
    above = multiply(multiply(a, adjoint(b)), adjoint(c))
    below = multiply(multiply(adjoint(d), adjoint(e)), f)
    return above, below
