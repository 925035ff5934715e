from typing import Any

import equinox as eqx

from .._types import Array, RealScalar, Shape
from ..gauge import plaquette_sum
from ..groups import AbstractGroup
from ..manifolds import LinkField
from ._base import AbstractTheory, coupling


class WilsonAction(AbstractTheory):
    r"""Wilson's plaquette action of U(1) or SU(N) in any dimension $d \ge 2$, without additive constant:

    $$S = -\frac{\beta}{N} \sum_{x,\, \mu<\nu} \mathrm{Re\,tr}\, U_\mu(x) U_\nu(x+\mu) U_\mu(x+\nu)^\dagger
    U_\nu(x)^\dagger$$

    (U(1): $-\beta \sum \cos\theta_P$). The measure is the Haar measure of total mass one per link, $d\theta/2\pi$ for U(1),
    so that $\log Z = 0$ at $\beta = 0$. Along an extent of 2 both plaquettes between a pair of links count.

    `gradient` is the closed-form force by staples: $-\frac{\beta}{N} \sum_a T_a \mathrm{Re\,tr}(T_a U_\mu V_\mu)$ with the
    sum of staples $V_\mu$ and $\mathrm{tr}\, T_a T_b = -\delta_{ab}/2$.

    **Arguments:** `group`: `U1()` or `SU(n)`; `lattice`: extents; `beta`: inverse coupling, a scalar of either sign.

    **Raises:** `ValueError` for one dimension, `TypeError` or `ValueError` for a beta that is no finite number.

        >>> su3 = tm.WilsonAction(tm.SU(3), (4, 4), beta=6.0)
        >>> su3.action(su3.manifold.cold())
    """

    manifold: LinkField = eqx.field(static=True)
    beta: RealScalar

    def __init__(self, group: AbstractGroup, lattice: Shape, beta: Any):
        self.manifold = LinkField(group=group, lattice=lattice)
        if len(self.manifold.lattice) < 2:
            raise ValueError(
                f"WilsonAction: got a lattice of {len(self.manifold.lattice)} dimension, expected at least two "
                "(a plaquette spans a plane); give extents such as (8, 8)."
            )
        self.beta = coupling("WilsonAction: beta", beta)

    @property
    def group(self) -> AbstractGroup:
        return self.manifold.group

    def action(self, x: Array) -> RealScalar:
        """The action, summed in float64 when x64 is enabled."""
        self.manifold.check(x)
        total = plaquette_sum(self.group, x)
        return -self.beta.astype(total.dtype) * total
