from typing import Any

import equinox as eqx
import jax.numpy as jnp

from .._checks import integers
from .._types import Array, PRNGKey, Shape
from ..groups import U1, AbstractGroup, real_dtype
from ..lattice import check_lattice
from ._base import AbstractManifold

_HOT_WIDTH = 0.1


class RealField(AbstractManifold):
    """Real fields with the Lebesgue measure `prod_x d phi(x)`: scalars `(*lattice)`, or several components per site.

    **Arguments:** `lattice`: extents; `components`: `None` for a scalar, a number n for configurations `(n, *lattice)`, as of
    a complex field by its real and imaginary part.

    **Raises:** `TypeError` or `ValueError` for components that are no positive integer.

        >>> manifold = tm.RealField((4, 4), components=2)
        >>> x = manifold.cold()  # (2, 4, 4)
    """

    lattice: Shape = eqx.field(static=True, converter=check_lattice)
    components: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.components is not None:
            integers("RealField", 1, components=self.components)

    @property
    def shape(self) -> Shape:
        return self.lattice if self.components is None else (self.components, *self.lattice)

    @property
    def local_group(self) -> AbstractGroup:
        """That of angles, which add like real numbers as long as nobody wraps them; for one component.

        **Raises:** `TypeError` for several.
        """
        if self.components is not None:
            return super().local_group
        return U1()  # pyright: ignore[reportCallIssue]

    def exp(self, v: Array, x: Array) -> Array:
        return x + v

    def reference_sample(self, key: PRNGKey, dtype: Any = None) -> Array:
        """Always raises `TypeError`: the Lebesgue measure is not a probability."""
        raise TypeError(
            "RealField.reference_sample: got a request to sample the Lebesgue measure, expected a normalisable one; "
            "use trivmap.GaussianPrior(manifold, width)."
        )

    def cold(self, dtype: Any = None) -> Array:
        return jnp.zeros(self.shape, real_dtype(dtype))

    def hot(self, key: PRNGKey, dtype: Any = None) -> Array:
        """Normal of width 0.1 at every site."""
        return _HOT_WIDTH * self.random_tangent(key, dtype)

    def bracket(self, v: Array, w: Array) -> Array:
        return jnp.zeros_like(v)
