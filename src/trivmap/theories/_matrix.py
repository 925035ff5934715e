from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._checks import finite
from .._types import Array, Float, RealScalar
from ..groups import SU, AbstractGroup
from ..lattice import site_sum
from ..manifolds import LinkField
from ._base import AbstractTheory, coupling


class MatrixAction(AbstractTheory):
    r"""One SU(N) matrix with a class function as action:

    $$S = -\frac{\beta}{N} \mathrm{Re\,tr} \sum_{k \ge 1} c_k U^k$$

    The measure is the Haar measure of total mass one. Configurations are those of `LinkField(group, (1,))`, a single link
    that closes on itself. Exact results: `trivmap.exact.OneMatrixModel(n, beta, coefficients)`.

    **Arguments:** `group`: `SU(n)`; `beta`: a scalar; `coefficients`: $(c_1, c_2, \dots)$. Source: arXiv:2008.05456.

    **Raises:** `TypeError` for other groups, `ValueError` for no coefficients or numbers that are not finite.

        >>> matrix = tm.theories.MatrixAction(tm.SU(3), beta=1.0, coefficients=(1.0, -0.5))
        >>> matrix.action(matrix.manifold.cold())
    """

    manifold: LinkField = eqx.field(static=True)
    beta: RealScalar
    coefficients: Float[Array, " powers"]

    def __init__(self, group: AbstractGroup, beta: Any, coefficients: Sequence[float]):
        if not isinstance(group, SU):
            raise TypeError(f"MatrixAction: got {group}, expected SU(n).")
        if len(coefficients) == 0:
            raise ValueError("MatrixAction: got no coefficients, expected (c_1, c_2, ...), one or more numbers.")
        self.manifold = LinkField(group=group, lattice=(1,))
        self.beta = coupling("MatrixAction: beta", beta)
        finite("MatrixAction: coefficients", coefficients if hasattr(coefficients, "dtype") else np.asarray(coefficients))
        self.coefficients = jnp.asarray(coefficients, self.beta.dtype)

    def action(self, x: Array) -> RealScalar:
        self.manifold.check(x)
        group, u = self.manifold.group, x[0]
        power, total = u, jnp.zeros((), jnp.result_type(float))
        for k in range(self.coefficients.shape[0]):
            power = power if k == 0 else group.multiply(power, u)
            total = total + self.coefficients[k].astype(total.dtype) * site_sum(group.real_trace(power))
        return -self.beta.astype(total.dtype) * total
