"""A vector field times an even function of the topological charge."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import integers, positive
from .._trees import scale
from .._types import Configuration, Tangent
from ..gauge import plaquette_angle
from ..lattice import site_sum
from ..manifolds import AbstractManifold
from ..observables import clover_charge
from ..theories import AbstractTheory
from ._base import AbstractVectorField
from ._sincos import sincos
from ._time import chebyshev_basis

Charge = Callable[[Configuration], Float[Array, ""]]


class ChargeGatedField(AbstractVectorField):
    r"""A vector field times an even function of a smooth topological charge q, so that charges flow differently.

    $$ v = s(q)\, u, \qquad \mathrm{div}\, v = s(q)\, \mathrm{div}\, u + s'(q)\, \langle \partial q, u\rangle, \qquad
       s = T_k\Big(\frac{2}{1 + q^2/w^2} - 1\Big) $$

    with a Chebyshev polynomial $T_k$; the slope of q along u is one forward derivative. With q odd under reflections and
    charge conjugation, v has the symmetries of u. Add it to an ungated field by `SumField`; several orders k distinguish more
    charges.

    **Arguments:**

    - `field`: u, any field. `order`: k. `width`: w, the charge at which the argument of $T_k$ vanishes.
    - `charge`: q as a differentiable function of a configuration, a number; by default $\sum_x \sin P_x / 2\pi$ for U(1) in
      two dimensions and the clover charge for SU(N) in four.

    **Raises:** `ValueError` where there is no default for the charge.

        >>> u = tm.GatedConvolutionField(theory.manifold, features=2, times=3)
        >>> velocity, divergence = tm.fields.ChargeGatedField(u, order=1)(jnp.zeros(()), links)
    """

    field: AbstractVectorField
    charge: Charge = eqx.field(static=True)
    order: int = eqx.field(static=True)
    width: float = eqx.field(static=True)

    def __init__(self, field: AbstractVectorField, *, order: int = 1, width: float = 0.8, charge: Charge | None = None):
        integers("ChargeGatedField", 1, order=order)
        positive("ChargeGatedField: width", width)
        self.field = field
        self.charge = _default_charge(field.manifold) if charge is None else charge
        self.order, self.width = order, float(width)

    @property
    def manifold(self) -> AbstractManifold:
        return self.field.manifold

    def on(self, manifold: AbstractManifold) -> "ChargeGatedField":
        """The same gate of the field on a lattice of other extents: the charge is a sum over all of it."""
        return self._around(self.field.on(manifold))

    def transferred(self, theory: AbstractTheory) -> "ChargeGatedField":
        return self._around(self.field.transferred(theory))

    def _around(self, field: AbstractVectorField) -> "ChargeGatedField":
        return ChargeGatedField(field, order=self.order, width=self.width, charge=self.charge)

    def __call__(self, t: Float[Array, ""], x: Configuration) -> tuple[Tangent, Float[Array, ""]]:
        velocity, divergence = self.field(t, x)
        charge, slope = jax.jvp(self.charge, (x,), (self.manifold.motion(velocity, x),))
        gate, change = jax.jvp(self._gate, (charge,), (slope,))
        return scale(gate, velocity), gate * divergence + change

    def _gate(self, charge: Float[Array, ""]) -> Float[Array, ""]:
        return chebyshev_basis(1 / (1 + (charge / self.width) ** 2), self.order + 1)[self.order]


def _default_charge(manifold: AbstractManifold) -> Charge:
    group, dimension = getattr(manifold, "group", None), len(manifold.lattice)
    if group is not None and not group.complex_elements and dimension == 2:
        return _sine_charge
    if group is not None and group.complex_elements and dimension == 4:
        return clover_charge
    raise ValueError(
        f"ChargeGatedField: no topological charge is known for {manifold}; give charge=, a differentiable function of a "
        "configuration that is odd under the symmetries that flip the sign of a charge."
    )


def _sine_charge(x: Float[Array, "2 *lattice"]) -> Float[Array, ""]:
    return site_sum(sincos(plaquette_angle(x, 0, 1))[0]) / (2 * jnp.pi)
