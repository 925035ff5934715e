from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._types import Array, Complex, RealScalar
from ..gauge import geometric_charge
from ..manifolds import AbstractManifold, LinkField
from ._base import AbstractTheory, coupling


class ThetaTerm(AbstractTheory):
    r"""The theta term of two-dimensional U(1) gauge theory, a pure phase: $S = -i\theta\, Q$.

    Q is the geometric charge, $\frac{1}{2\pi} \sum_x \mathrm{wrap}(\theta_P)$, an integer, so that the weight
    $e^{i\theta Q}$ has the period $2\pi$ in theta. With Wilson's action, $Z(\theta) / Z(0) = \sum_Q P(Q) e^{i\theta Q}$ is
    the average phase, known to `tm.exact`.

    **Arguments:** `manifold`: links of `U1()` in two dimensions; `theta`: the vacuum angle, a real scalar.

    **Raises:** `ValueError` for another manifold, or a theta that is no finite number (`TypeError` if complex).

        >>> vacuum = tm.theories.SumTheory(theory, tm.theories.ThetaTerm(theory.manifold, theta=1.0))
        >>> vacuum.complex_action
        True
    """

    manifold: LinkField = eqx.field(static=True)
    theta: RealScalar

    def __init__(self, manifold: AbstractManifold, theta: Any):
        if not isinstance(manifold, LinkField) or manifold.group.complex_elements or len(manifold.lattice) != 2:
            raise ValueError(f"ThetaTerm: got {manifold}, expected the links of U1() in two dimensions.")
        self.manifold = manifold
        self.theta = coupling("ThetaTerm: theta", theta)

    def action(self, x: Array) -> Complex[Array, ""]:
        """The action, purely imaginary."""
        self.manifold.check(x)
        charge = geometric_charge(x)
        phase = self.theta.astype(charge.dtype) * charge
        return jax.lax.complex(jnp.zeros_like(phase), -phase)

    def gradient(self, x: Array) -> Array:
        """Zero, as the real part."""
        return jnp.zeros(self.manifold.tangent_shape, x.dtype)
