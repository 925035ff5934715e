"""Sums and gradients of a whole family of loops: few, large array operations, whatever the number of loops.

Colours lead and sites trail. Displaced fields are windows of a field that is extended by a halo, because XLA copies windows
several times faster than it gathers sites.
"""

import functools
import itertools
import math
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from .._types import Array
from ..groups import adjoint, adjoint_times_stack, stack_times, stack_times_adjoint
from ..lattice import accumulator_dtype, shift
from ._algebra import Expression, LoopAlgebra
from ._links import link_matrices, oriented_links
from ._program import HalfPaths, Level, Program, SiteProgram, make_site_program


def family_values(program: Program, links: Array) -> Array:
    """Sum over sites and images of the real part of each term, shape `(terms,)`, in the accumulator precision.

    **Arguments:** `links`: one configuration, matrices `(dim, n, n, *lattice)` or angles `(dim, *lattice)`.
    """
    lattice = links.shape[-program.algebra.dim :]
    displaced = _displaced(program.paths, oriented_links(link_matrices(links)), lattice)
    _, traces = _traces(program.paths, displaced)
    return _sums(program, traces, _products_of_others(program, traces, lattice))


def family_gradient(program: Program, coefficients: Array, links: Array) -> tuple[Array, Array]:
    """The values of the family and the derivative of L = sum_k coefficients[k] values[k], as `jax.grad` returns it.

    Both together are the gradient of L with respect to coefficients and links, so that their Jacobian is symmetric.
    """
    lattice = links.shape[-program.algebra.dim :]
    matrices = link_matrices(links)
    displaced = _displaced(program.paths, oriented_links(matrices), lattice)
    paths, traces = _traces(program.paths, displaced)
    seen = _products_of_others(program, traces, lattice)
    weights = _weights(program, coefficients, traces, seen)
    cotangent = _fold(program.paths, _backward(program.paths, displaced, paths, weights), lattice)
    return _sums(program, traces, seen), _with_respect_to_links(program.paths, links, matrices, cotangent)


def expression_values(algebra: LoopAlgebra, expressions: Sequence[Expression], links: Array) -> Array:
    """Real parts of linear combinations of placed terms at every site, `(expressions, *lattice)`.

    A term placed relative to the origin is evaluated relative to each site: the inner products of
    `LoopAlgebra.inner_by_offset`, for instance. Differentiable by JAX.

    **Arguments:** `links`: one configuration, as for `family_values`.
    """
    lattice = links.shape[-algebra.dim :]
    terms = {term: row for row, term in enumerate(sorted({t for e in expressions for t in e}, key=lambda t: (len(t), t)))}
    program = make_site_program(algebra.n, algebra.dim, tuple(terms))
    matrices = link_matrices(links)
    values = jnp.ones((0, *lattice), matrices.dtype)
    if program.paths.levels:
        displaced = _displaced(program.paths, oriented_links(matrices), lattice)
        values = _displaced_traces(program, _traces(program.paths, displaced)[1], lattice)
    parts = []
    for size, rows in itertools.groupby(program.factors, key=len):
        table = np.array(list(rows), np.int32).reshape(-1, size)
        ones = jnp.ones((len(table), math.prod(lattice)), matrices.dtype)
        parts.append(_product([values[row] for row in table.T]) if size else ones)
    weights = np.zeros((len(expressions), len(terms)))
    for i, expression in enumerate(expressions):
        for term, coefficient in expression.items():
            weights[i, terms[term]] = float(coefficient)
    found = jnp.concatenate(parts).real if parts else jnp.zeros((0, math.prod(lattice)), matrices.real.dtype)
    return (jnp.asarray(weights, found.dtype) @ found).reshape(-1, *lattice)


# --- links ---------------------------------------------------------------------------------------------------------------


def _displaced(program: HalfPaths, oriented: Array, lattice: tuple[int, ...]) -> list[Array]:
    """The last links of all paths, level by level, sites flattened: `(rows, n, n, sites)`."""
    extended = _with_halo(oriented, program.halo, len(lattice))
    windows = [_windows(extended, level.links, program.halo, lattice) for level in program.levels]
    return [found.reshape(*found.shape[:3], math.prod(lattice)) for found in windows]


def _fold(program: HalfPaths, cotangents: list[Array], lattice: tuple[int, ...]) -> Array:
    """Transpose of `_displaced`: adds up derivatives with respect to displaced links where the links are."""
    dim, halo = len(lattice), program.halo
    rows = jnp.concatenate(cotangents)
    rows = rows.reshape(*rows.shape[:3], *lattice)
    table = np.concatenate([level.links for level in program.levels])
    extended = jnp.zeros((2 * dim, *rows.shape[1:3], *(extent + 2 * halo for extent in lattice)), rows.dtype)
    total = jax.linear_transpose(lambda x: _windows(x, table, halo, lattice), extended)(rows)[0]
    return _without_halo(total, halo, lattice)


def _with_respect_to_links(program: HalfPaths, links: Array, matrices: Array, cotangent: Array) -> Array:
    """From H with df = Re sum conj(H) dL on oriented links to the convention of `jax.grad` on links."""
    dim = program.algebra.dim
    backward = [adjoint(shift(cotangent[dim + mu], mu, 1, dim)) for mu in range(dim)]
    total = (cotangent[:dim] + jnp.stack(backward)).conj()
    # On angles dU = i U dtheta.
    return total if program.algebra.n > 1 else -(total * matrices).imag[:, 0, 0]


def _with_halo(x: Array, halo: int, dim: int) -> Array:
    for axis in range(x.ndim - dim, x.ndim):
        sites = np.arange(-halo, x.shape[axis] + halo) % x.shape[axis]
        x = jnp.take(x, jnp.asarray(sites), axis=axis, mode="clip") if halo else x
    return x


def _without_halo(x: Array, halo: int, lattice: tuple[int, ...]) -> Array:
    """Transpose of `_with_halo`."""
    for i, extent in enumerate(lattice):
        axis = x.ndim - len(lattice) + i
        before = -halo % extent
        after = -(x.shape[axis] + before) % extent
        padding = [(0, 0, 0)] * x.ndim
        padding[axis] = (before, after, 0)
        x = jax.lax.pad(x, jnp.zeros((), x.dtype), padding)
        x = x.reshape(*x.shape[:axis], -1, extent, *x.shape[axis + 1 :]).sum(axis)
    return x


def _windows(x: Array, table: np.ndarray, halo: int, lattice: tuple[int, ...]) -> Array:
    """Row r is x[table[r, 0]] displaced by table[r, 1:]; `x` has one leading axis of rows and a halo around its sites."""
    inner = x.shape[1 : x.ndim - len(lattice)]
    starts = np.concatenate([table[:, :1], np.zeros((len(table), len(inner)), np.int32), table[:, 1:] + halo], axis=1)

    def window(start: Array) -> Array:
        return jax.lax.dynamic_slice(x, list(start), (1, *inner, *lattice))[0]

    return jax.vmap(window)(jnp.asarray(starts, jnp.int32))


# --- traces --------------------------------------------------------------------------------------------------------------


def _sum(terms: list[Array]) -> Array:
    return functools.reduce(operator.add, terms)


def _trace_times_adjoint(a: Array, b: Array) -> Array:
    """tr a b^dagger; as a reduction, which XLA stores, whereas it would evaluate a sum of products again for every use."""
    return jnp.sum(a * b.conj(), axis=(1, 2))


def _traces(program: HalfPaths, displaced: list[Array]) -> tuple[list[Array], Array]:
    """Half paths and traces of their loops, level by level; all traces `(loops, sites)`."""
    paths, traces = [], []
    for k, level in enumerate(program.levels):
        found = stack_times(paths[-1][level.heads], displaced[k]) if k else displaced[0]
        paths.append(found)
        if level.left.size:
            traces.append(_trace_times_adjoint(found[level.left], found[level.right]))
    return paths, jnp.concatenate(traces)


def _backward(program: HalfPaths, displaced: list[Array], paths: list[Array], weights: Array) -> list[Array]:
    """H of displaced links, df = Re sum conj(H) dL, from weights with df = Re sum weights dtraces, level by level."""
    products, found = None, []
    for k in reversed(range(len(program.levels))):
        level = program.levels[k]
        total = _backward_level(level, paths[k], weights[level.loops], products)
        found.append(adjoint_times_stack(paths[k - 1][level.heads], total) if k else total)
        products = stack_times_adjoint(total, displaced[k]) if k else None
    return found[::-1]


def _backward_level(level: Level, paths: Array, weights: Array, products: Array | None) -> Array:
    """H of the paths of one level: tr(A B^dagger) gives conj(w) B to A and w A to B; paths above hand theirs down."""
    factors = jnp.concatenate([weights.conj(), weights])[:, None, None]
    partner = np.concatenate([level.right, level.left])
    parts = []
    for partners, children in level.classes:
        terms = [factors[loop] * paths[partner[loop]] for loop in partners.T]
        if products is not None:
            terms += [products[child] for child in children.T]
        parts.append(_sum(terms))
    return jnp.concatenate(parts)


# --- products of traces --------------------------------------------------------------------------------------------------


def _products_of_others(program: Program, traces: Array, lattice: tuple[int, ...]) -> list[Array]:
    """For every row of products the product of the other traces, seen from the site of the one left out: `(rows, sites)`."""
    if not program.products:
        return []
    displaced = _displaced_traces(program, traces, lattice)
    return [_product([displaced[row] for row in products.others.T]) for products in program.products]


def _displaced_traces(program: Program | SiteProgram, traces: Array, lattice: tuple[int, ...]) -> Array:
    """The traces of the table of displacements: `(rows, sites)`."""
    both = jnp.concatenate([traces, traces.conj()]).reshape(-1, *lattice)
    windows = _windows(_with_halo(both, program.trace_halo, len(lattice)), program.shifts, program.trace_halo, lattice)
    return windows.reshape(len(windows), -1)


def _product(factors: list[Array]) -> Array:
    return functools.reduce(operator.mul, factors)


def _sums(program: Program, traces: Array, seen: list[Array]) -> Array:
    """Sums over sites and images, term by term."""
    dtype = accumulator_dtype()
    # Complex sums: XLA would carry a real part over to the factors of the traces and multiply all of them out again.
    single = jnp.sum(traces, axis=1, dtype=jnp.result_type(complex)).real
    total = jnp.asarray(program.single.T, dtype) @ single
    for products, others in zip(program.products, seen, strict=True):
        own, other = traces[products.own[products.image_rows]], others[products.image_rows]
        values = jnp.sum(own * other, axis=1, dtype=jnp.result_type(complex)).real
        count = np.zeros((len(program.terms), len(products.image_rows)))
        count[products.image_terms, np.arange(len(products.image_rows))] = 1
        total = total + jnp.asarray(count, dtype) @ values
    return total


def _weights(program: Program, coefficients: Array, traces: Array, seen: list[Array]) -> Array:
    """dL = Re sum weights dtraces, `(loops, sites)`."""
    dtype = traces.real.dtype
    coefficients = coefficients.astype(dtype)
    weights = jnp.broadcast_to((jnp.asarray(program.single, dtype) @ coefficients)[:, None], traces.shape).astype(
        traces.dtype
    )
    if not seen:
        return weights
    scale = [coefficients[p.term] * jnp.asarray(p.multiplicity, dtype) for p in program.products]
    rows = jnp.concatenate([s[:, None].astype(traces.dtype) * o for s, o in zip(scale, seen, strict=True)])
    own = np.concatenate([products.own for products in program.products])
    return weights + jax.ops.segment_sum(rows, jnp.asarray(own), len(traces))
