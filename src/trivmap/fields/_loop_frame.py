"""Traces of loops site by site, their gradients on every link, and the inner products of these gradients.

A link sees the loops through it as algebra elements, d_a w = +-Re tr(T_a X)/N with the open loop X that starts at the link.
Their Gram matrix on each link contains all inner products of the loop algebra, without its long merged loops.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact

from ..gauge import casimir, link_matrices, oriented_links
from ..groups import AbstractGroup, adjoint, matrix_product
from ._loop_tables import LoopTables, Windows


def windows(x: Inexact[Array, "..."], table: Windows, dim: int) -> Inexact[Array, "..."]:
    """Stacks displaced channels, `(..., channels, *lattice)` -> `(..., rows, *lattice)`."""
    halo = int(np.abs(table.shifts).max(initial=0))
    axis, lattice = x.ndim - dim - 1, x.shape[x.ndim - dim :]
    for i in range(x.ndim - dim, x.ndim) if halo else ():
        sites = np.arange(-halo, x.shape[i] + halo) % x.shape[i]
        x = jnp.take(x, jnp.asarray(sites), axis=i, mode="clip")
    starts = np.zeros((len(table.channels), x.ndim), np.int32)
    starts[:, axis] = table.channels
    starts[:, axis + 1 :] = table.shifts + halo
    sizes = (*x.shape[:axis], 1, *lattice)

    def window(start: Array) -> Array:
        return jnp.squeeze(lax.dynamic_slice(x, list(start), sizes), axis)

    return jax.vmap(window, out_axes=axis)(jnp.asarray(starts))


def loop_functions(tables: LoopTables, group: AbstractGroup, links: Array) -> tuple[Array, Array]:
    """The functions w_f and the coordinates of their gradients on the links.

    **Returns:** `(functions, *lattice)` and `(generators, dim, rows, *lattice)`.
    """
    dim = len(tables.lattice)
    traces, loops = _open_loops(tables, jnp.moveaxis(oriented_links(link_matrices(links)), 0, 2))
    parts = [traces.real, traces.imag] if tables.imaginary else [traces.real]
    coordinates = [_generator_traces(group, loops)]
    if tables.imaginary:
        # Im tr(T X) = Re tr(T (-i X)).
        coordinates.append(_generator_traces(group, lax.complex(loops.imag, -loops.real)))
    rows = windows(jnp.concatenate(coordinates, axis=1), tables.open_loops, dim)
    signs = jnp.asarray(tables.signs.reshape(1, -1, *(1 for _ in range(dim))) / group.n, rows.dtype)
    gradients = (rows * signs).reshape(rows.shape[0], dim, -1, *tables.lattice)
    return jnp.concatenate(parts) / group.n, gradients


def laplacians(tables: LoopTables, group: AbstractGroup, w: Float[Array, "functions *lattice"]) -> Array:
    """sum_a d_a d_a w_f = -length C_F w_f for loops that meet every link at most once."""
    lengths = np.array([len(path) for path in tables.paths] * (tables.size // len(tables.paths)))
    return w * jnp.asarray(-float(casimir(group.n)) * lengths.reshape(-1, *(1 for _ in tables.lattice)), w.dtype)


def inner_products(tables: LoopTables, gradients: Array) -> Float[Array, "pairs *lattice"]:
    """<dw_f(x), dw_g(x + r)> for all `tables.pairs`, at x."""
    dim = len(tables.lattice)
    gram = jnp.sum(gradients[:, :, :, None] * gradients[:, :, None], axis=0)
    gram = gram.reshape(-1, *tables.lattice)
    found = []
    for size, table in tables.pair_windows:
        found.append(jnp.sum(windows(gram, table, dim).reshape(size, -1, *tables.lattice), axis=0))
    return jnp.concatenate(found)


def combine(tables: LoopTables, group: AbstractGroup, gradients: Array, weights: Float[Array, "functions *lattice"]) -> Array:
    """sum_{f,x} weights_f(x) dw_f(x), a tangent vector."""
    dim = len(tables.lattice)
    seen = windows(weights, Windows(tables.functions, tables.open_loops.shifts), dim)
    total = jnp.sum(gradients * seen.reshape(1, *gradients.shape[1:]), axis=2)
    if group.n == 1:
        return total[0]
    return jnp.moveaxis(group.from_coordinates(total), 2, 0)


def _open_loops(tables: LoopTables, oriented: Array) -> tuple[Array, Array]:
    """Traces `(paths, *lattice)`, and the open loops of all paths at all cuts, by length, cut and path.

    **Arguments:** `oriented`: links in all directions, forward then backward, `(n, n, 2 dim, *lattice)`.
    """
    dim, traces, loops = len(tables.lattice), [], []
    for length, members, cuts in tables.lengths:
        step = [windows(oriented, _step(tables, members, position), dim) for position in range(length)]
        closed = step[0]
        for link in step[1:]:
            closed = matrix_product(closed, link)
        found = {0: closed}
        for cut in range(1, max(cuts) + 1):
            found[cut] = matrix_product(matrix_product(adjoint(step[cut - 1]), found[cut - 1]), step[cut - 1])
        for cut in range(-1, min(cuts) - 1, -1):
            found[cut] = matrix_product(matrix_product(step[cut], found[cut + 1]), adjoint(step[cut]))
        traces.append(sum(closed[i, i] for i in range(1, closed.shape[0])) + closed[0, 0])
        loops += [found[cut] for cut in cuts]
    order = np.argsort(np.concatenate([members for _, members, _ in tables.lengths]))
    return jnp.concatenate(traces)[order], jnp.concatenate(loops, axis=2)


def _step(tables: LoopTables, members: np.ndarray, position: int) -> Windows:
    """Which oriented links the paths walk along at one position, relative to their starts."""
    dim, channels, shifts = len(tables.lattice), [], []
    for k in members:
        path = tables.paths[k]
        site = np.zeros(dim, np.int32)
        for step in path[:position]:
            site[abs(step) - 1] += np.sign(step)
        channels.append(abs(path[position]) - 1 + (dim if path[position] < 0 else 0))
        shifts.append(site)
    return Windows(np.array(channels), np.array(shifts))


def _generator_traces(group: AbstractGroup, loops: Array) -> Array:
    """Re tr(T_a X), `(generators, rows, *lattice)`."""
    if group.n == 1:
        return -loops[0].imag
    # sum_a T_a Re tr(T_a X) = -TA(X)/2.
    return group.coordinates(group.project_algebra(loops)) / -2
