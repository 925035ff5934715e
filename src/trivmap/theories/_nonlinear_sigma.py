from typing import Any

import equinox as eqx

from .._types import Array, RealScalar, Shape
from ..lattice import shift, site_sum
from ..manifolds import SphereField
from ._base import AbstractTheory, coupling


class NonlinearSigmaModel(AbstractTheory):
    r"""The O(n) nonlinear sigma model in any dimension: unit vectors with

    $$S = -\beta \sum_{x,\mu} s_x \cdot s_{x+\mu}$$

    The measure is uniform, of total mass one per site: $\log Z = 0$ at $\beta = 0$. n = 2 is the XY model, n = 3 the
    Heisenberg model. Along an extent of 2 both bonds between a pair of sites count, and a site of an extent of 1 is its own
    neighbour. Observables of scalars apply to the components, as in `jax.vmap(tm.observables.susceptibility)(s).sum()`, the
    sum over x of $\langle s_x \cdot s_0 \rangle$.

    **Arguments:** `n`: components, two or more; `lattice`: extents; `beta`: coupling, a scalar of either sign (negative ones
    are antiferromagnetic).

    **Raises:** `ValueError` for n < 2, and for a coupling that is no finite real scalar (`TypeError` if complex).

        >>> theory = tm.NonlinearSigmaModel(3, (16,), beta=1.0)
        >>> chain = tm.hmc(key, theory, 100)
    """

    manifold: SphereField = eqx.field(static=True)
    beta: RealScalar

    def __init__(self, n: int, lattice: Shape, beta: Any):
        self.manifold = SphereField(n=n, lattice=lattice)
        self.beta = coupling("NonlinearSigmaModel: beta", beta)

    @property
    def n(self) -> int:
        """Number of components."""
        return self.manifold.n

    def action(self, x: Array) -> RealScalar:
        """The action, summed in float64 when x64 is enabled."""
        self.manifold.check(x)
        dim = len(self.lattice)
        bonds = site_sum(x * sum(shift(x, mu, 1, dim) for mu in range(dim)))
        return -self.beta.astype(bonds.dtype) * bonds
