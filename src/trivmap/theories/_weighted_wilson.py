from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._checks import finite
from .._types import Array, RealScalar, Shape
from ..gauge import plaquette_traces
from ..groups import AbstractGroup
from ..lattice import site_sum
from ..manifolds import LinkField
from ._base import AbstractTheory, coupling


class WeightedWilsonAction(AbstractTheory):
    r"""Wilson's action with a coupling for every plaquette, $\beta_P = \beta\, w_P$:

    $$S = -\frac{\beta}{N} \sum_P w_P\, \mathrm{Re\,tr}\, U_P$$

    (U(1): $-\beta \sum_P w_P \cos\theta_P$). Weights below one make a defect, weights of zero an open boundary, and one beta
    per plane an anisotropic action; `WilsonAction` has all weights one, and a faster force.

    **Arguments:** `group`: `U1()` or `SU(n)`; `lattice`: extents; `beta`: inverse coupling; `weights`: real array
    `(planes, *lattice)`, planes $\mu < \nu$ in lexicographic order, the plaquette at x being the one whose lowest corner is
    x.

    **Raises:** `ValueError` for one dimension, or weights of another shape or that are not finite.

        >>> weights = np.ones((1, 4, 4)); weights[0, 0, 0] = 0.0
        >>> defect = tm.theories.WeightedWilsonAction(tm.U1(), (4, 4), beta=2.0, weights=weights)
    """

    manifold: LinkField = eqx.field(static=True)
    beta: RealScalar
    weights: Array

    def __init__(self, group: AbstractGroup, lattice: Shape, beta: Any, weights: Any):
        self.manifold = LinkField(group=group, lattice=lattice)
        dim = len(self.manifold.lattice)
        if dim < 2:
            raise ValueError(f"WeightedWilsonAction: got a lattice of {dim} dimension, expected at least two.")
        shape = (dim * (dim - 1) // 2, *self.manifold.lattice)
        if np.shape(weights) != shape:
            raise ValueError(
                f"WeightedWilsonAction: got weights of shape {np.shape(weights)}, expected {shape} = (planes, *lattice): one "
                "number for every plaquette."
            )
        finite("WeightedWilsonAction: weights", weights)
        self.beta = coupling("WeightedWilsonAction: beta", beta)
        self.weights = jnp.asarray(weights, self.beta.dtype)

    @classmethod
    def with_defect(
        cls, group: AbstractGroup, lattice: Shape, beta: Any, defect: Any, size: Shape | None = None
    ) -> "WeightedWilsonAction":
        r"""Coupling `defect` instead of `beta` on a block of plaquettes of all planes at the origin.

        A ladder of `defect` from `beta` down to zero, with all rungs at the same beta elsewhere, opens a way for topology
        through few plaquettes (M. Hasenbusch, arXiv:1706.04443).

        **Arguments:** `defect`: the coupling there, a number; `size`: extents of the block, by default one site; with 1 along
        time and the lattice's extents across it is a plane of the lattice.

        **Raises:** `ValueError` for a beta of zero, of which no weight makes another coupling.

            >>> open_plaquette = tm.theories.WeightedWilsonAction.with_defect(tm.U1(), (4, 4), 2.0, 0.0)
        """
        if float(beta) == 0:
            raise ValueError("WeightedWilsonAction.with_defect: got beta=0, expected another one: weights are ratios to it.")
        dim = len(lattice)
        weights = np.ones((dim * (dim - 1) // 2, *lattice))
        block = (1,) * dim if size is None else tuple(size)
        weights[(slice(None), *(slice(0, extent) for extent in block))] = float(defect) / float(beta)
        return cls(group, lattice, beta, weights)

    @property
    def group(self) -> AbstractGroup:
        return self.manifold.group

    def action(self, x: Array) -> RealScalar:
        """The action, summed in float64 when x64 is enabled."""
        self.manifold.check(x)
        traces = plaquette_traces(self.group, x)
        total = site_sum(self.weights.astype(traces.dtype) * traces)
        return -self.beta.astype(total.dtype) * total
