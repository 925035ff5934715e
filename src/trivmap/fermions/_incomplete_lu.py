from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import _linalg as linalg
from .._checks import at_least, integer
from .._types import Array
from ..lattice import colour_sites
from ._even_odd import EvenOddDirac
from ._lu_tables import LUTables, lu_tables
from ._preconditioner import AbstractPreconditioner, AbstractSpinorMap, spinor_shape
from ._wilson_dirac import WilsonDirac


class IncompleteLU(AbstractPreconditioner):
    r"""Incomplete LU decomposition $D \approx LU$ that keeps the blocks between sites up to a distance.

    Sites are eliminated one after the other, $D_{ij} \leftarrow D_{ij} - D_{ik} D_{kk}^{-1} D_{kj}$ in blocks of spin and
    colour, red ones before black ones; a block that arises between sites further apart than `distance` (steps along the
    axes) is dropped. L has ones on its diagonal, the determinant of U is the product of the pivots $D_{kk}$. Nothing is
    learned, and the factors are gauge covariant, $L[U^\Omega] = \Omega L[U] \Omega^\dagger$: dropping blocks does not see
    the gauge. On a whole lattice of even extents the even sites are eliminated exactly; an `EvenOddDirac` has done so
    before.

    Dropped blocks move the zeros of det D: on rare fields a pivot is nearly singular where D is not, and the noise of
    pseudofermions would have infinite variance. Singular values of pivots are therefore raised to a floor.

    **Arguments:** `operator`: `EvenOddDirac` (better) or `WilsonDirac`; `distance`: 2 or 4 or 6 ... on odd sites, cost grows
    like its power 2d; `floor`: for the singular values of pivots, which are of order one; 0 for the plain decomposition.

    **Raises:** `ValueError` for a distance below the range of the operator (1, or 2 on odd sites) or a negative floor.

    Source: Meijerink and van der Vorst, Math. Comp. 31 (1977) 148.

        >>> schur = tm.fermions.EvenOddDirac(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
        >>> lower, upper = tm.fermions.IncompleteLU(schur, distance=2).factors(links)
    """

    operator: WilsonDirac | EvenOddDirac
    distance: int = eqx.field(static=True)
    floor: float = eqx.field(static=True)

    def __init__(self, operator: Any, distance: int = 4, floor: float | int = 0.4):
        integer("IncompleteLU: distance", distance)
        at_least("IncompleteLU: floor", floor, 0)
        if distance < operator.range:
            raise ValueError(
                f"IncompleteLU: got distance {distance}, expected at least {operator.range}: {type(operator).__name__} "
                "itself connects sites that far apart."
            )
        self.operator, self.distance, self.floor = operator, distance, float(floor)

    def factors(self, x: Array) -> tuple["TriangularMap", "TriangularMap"]:
        tables = lu_tables(self.operator, self.distance)
        blocks = _eliminated(_blocks(self.operator, x, tables), tables, self.floor)
        adjoint = jnp.swapaxes(blocks[tables.neighbours, tables.opposite].conj(), -1, -2)
        return TriangularMap(blocks, adjoint, None, tables), TriangularMap(blocks, adjoint, blocks[:, 0], tables)


class TriangularMap(AbstractSpinorMap):
    """A triangular block matrix: sites in the order of the levels of `tables`, lower with ones on the diagonal where `pivots`
    are `None`, upper with the pivots there otherwise."""

    blocks: Array  # (sites, displacements, block, block), both triangles
    adjoint: Array  # of the same matrix
    pivots: Array | None  # (sites, block, block)
    tables: LUTables = eqx.field(static=True)

    def apply(self, psi: Array, dagger: bool = False) -> Array:
        blocks, pivots = self._part(dagger)
        b = _columns(psi, len(blocks))
        product = b if pivots is None else jnp.einsum("ist,it->is", pivots, b)
        return _spinor(product + jnp.einsum("iast,iat->is", blocks, b[self.tables.neighbours]), psi)

    def solve(self, psi: Array, dagger: bool = False) -> Array:
        blocks, pivots = self._part(dagger)
        inverses = None if pivots is None else linalg.inverse(pivots)

        def level(y: Array, rows: tuple) -> tuple[Array, None]:
            batch, near, block, inverse = rows
            here = y[batch] - jnp.einsum("kast,kat->ks", block, y[near])
            here = here if inverse is None else jnp.einsum("kst,kt->ks", inverse, here)
            return y.at[batch].set(here, mode="drop"), None

        descending = (self.pivots is None) == dagger
        batches = jnp.asarray(self.tables.batches[::-1] if descending else self.tables.batches)
        # What fills up a level reads the last site, and is dropped.
        rows = jax.tree.map(lambda a: jnp.asarray(a)[batches], (self.tables.neighbours, blocks, inverses))
        return _spinor(lax.scan(level, _columns(psi, len(blocks)), (batches, *rows))[0], psi)

    def log_det(self) -> Array:
        if self.pivots is None:
            return jnp.zeros(())
        return jnp.sum(linalg.log_det(self.pivots)[0].astype(float))

    def _part(self, dagger: bool) -> tuple[Array, Array | None]:
        """The triangle of the matrix or of its adjoint without the diagonal, and the diagonal."""
        earlier = (self.pivots is None) != dagger
        mask = self.tables.earlier if earlier else self.tables.later
        triangle = jnp.where(mask[..., None, None], self.adjoint if dagger else self.blocks, 0)
        if self.pivots is None or not dagger:
            return triangle, self.pivots
        return triangle, jnp.swapaxes(self.pivots.conj(), -1, -2)


def _blocks(operator: WilsonDirac | EvenOddDirac, x: Array, tables: LUTables) -> Array:
    """The blocks of the operator at the displacements of the tables, `(sites, displacements, block, block)`.

    From products with sources of ones on sites so far apart that no row sees two of them.
    """
    u: Any = operator.transporters(x)
    sites, block = len(operator.sites), operator.size // len(operator.sites)
    reach = 2 * operator.range
    steps = np.indices((2 * reach + 1,) * len(operator.dirac.lattice)).reshape(len(operator.dirac.lattice), -1).T - reach
    apart = tuple(map(tuple, steps[np.abs(steps).sum(axis=1) <= reach].tolist()))
    colour = colour_sites(operator.dirac.lattice, apart)[tuple(operator.sites.T)]
    sources = np.einsum("ci,st->csti", colour == np.arange(colour.max() + 1)[:, None], np.eye(block))
    sources = jnp.asarray(sources, u[0].dtype).reshape(-1, *spinor_shape(operator))
    columns = jax.vmap(lambda psi: operator.apply_with(u, psi))(sources).reshape(-1, block, block, sites)
    extents = np.array(operator.dirac.lattice)
    near = np.minimum(tables.steps, extents - tables.steps).sum(axis=1) <= operator.range
    found = columns[colour[tables.neighbours], :, :, np.arange(sites)[:, None]]  # (sites, displacements, source, row)
    return jnp.where(near[:, None, None], jnp.swapaxes(found, -1, -2), 0)


def _eliminated(blocks: Array, tables: LUTables, floor: float) -> Array:
    """Both factors in the place of the matrix: L below the diagonal, U on it and above."""
    sites, steps, block, _ = blocks.shape
    # A site and a displacement more: what fills up a level, and what is dropped.
    padded = jnp.zeros((sites + 1, steps + 1, block, block), blocks.dtype).at[:-1, :-1].set(blocks)
    padded = padded.at[-1, 0].set(jnp.eye(block, dtype=blocks.dtype))
    neighbours = np.concatenate([tables.neighbours, np.full((1, steps), sites)])
    later = np.concatenate([tables.later, np.zeros((1, steps), bool)])

    def level(a: Array, batch: Array) -> tuple[Array, None]:
        there, mask = jnp.asarray(neighbours)[batch], jnp.asarray(later)[batch][..., None, None]
        pivots, inverses = _bounded(a[batch, 0], floor)
        a = a.at[batch, 0].set(pivots)
        column = a[there, tables.opposite]
        factor = jnp.where(mask, column @ inverses[:, None], 0)
        row = jnp.where(mask, a[batch, :-1], 0)
        a = a.at[there, tables.opposite].set(jnp.where(mask, factor, column))
        fill = factor[:, :, None] @ row[:, None, :]
        return a.at[there[:, :, None], tables.between].add(-fill), None

    result, _ = lax.scan(level, padded, jnp.asarray(tables.batches))
    return result[:-1, :-1]


def _bounded(pivots: Array, floor: float) -> tuple[Array, Array]:
    """Matrices with singular values below the floor raised to it, and their inverses."""
    u, values, v = linalg.svd(pivots)
    raised = jnp.maximum(values, floor)[..., None, :]
    adjoint = lambda m: jnp.swapaxes(m.conj(), -1, -2)  # noqa: E731
    return (u * raised.astype(u.dtype)) @ v, (adjoint(v) / raised.astype(u.dtype)) @ adjoint(u)


def _columns(psi: Array, sites: int) -> Array:
    """A spinor `(spin, colour, *sites)` as `(sites, block)`."""
    return psi.reshape(-1, sites).T


def _spinor(columns: Array, like: Array) -> Array:
    return columns.T.reshape(like.shape)
