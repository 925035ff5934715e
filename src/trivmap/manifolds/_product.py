from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._types import Array, PRNGKey, Shape
from ._base import AbstractManifold


class ProductManifold(AbstractManifold):
    r"""Several fields on one lattice, such as links and matter: configurations are dictionaries of arrays.

    $$ \exp(v)\, x = (\exp(v_1)\, x_1, \exp(v_2)\, x_2, \dots), \qquad
       \langle v, w \rangle = \sum_i \langle v_i, w_i \rangle_i, \qquad d\mu = \prod_i d\mu_i. $$

    Tangent vectors are dictionaries with the same names, coordinates those of the components one after the other. Everything
    else follows from the components, which are looked up by name: `manifold["phi"]`.

    **Arguments:** `**components`: manifolds by name, in any order; names are kept sorted, as JAX sorts dictionaries.

    **Raises:** `ValueError` for none or for different lattices, `TypeError` for what is no manifold.

        >>> manifold = tm.ProductManifold(links=tm.LinkField(tm.U1(), (4, 4)), phi=tm.RealField((4, 4), components=2))
        >>> x = manifold.cold()  # {"links": (2, 4, 4), "phi": (2, 4, 4)}
    """

    parts: tuple[tuple[str, AbstractManifold], ...] = eqx.field(static=True)

    def __init__(self, **components: Any):
        if not components:
            raise ValueError("ProductManifold: got no components, expected manifolds by name, such as phi=RealField((8, 8)).")
        wrong = {name: type(m).__name__ for name, m in components.items() if not isinstance(m, AbstractManifold)}
        if wrong:
            raise TypeError(f"ProductManifold: got {wrong}, expected manifolds, such as phi=RealField((8, 8)).")
        lattices = {name: manifold.lattice for name, manifold in components.items()}
        if len(set(lattices.values())) != 1:
            raise ValueError(f"ProductManifold: got lattices {lattices}, expected one lattice for all components.")
        self.parts = tuple(sorted(components.items()))

    @property
    def components(self) -> dict[str, AbstractManifold]:
        """The manifolds by name."""
        return dict(self.parts)

    def __getitem__(self, name: str) -> AbstractManifold:
        return self.components[name]

    @property
    def lattice(self) -> Shape:
        return self.parts[0][1].lattice

    @property
    def shape(self) -> dict[str, Any]:
        """Shapes of the components by name."""
        return self._each(lambda m: m.shape)

    @property
    def tangent_shape(self) -> dict[str, Any]:
        return self._each(lambda m: m.tangent_shape)

    @property
    def dimension(self) -> int:
        return sum(m.dimension for _, m in self.parts)

    @property
    def generators(self) -> tuple[int, ...]:
        return tuple(count for _, m in self.parts for count in m.generators)

    def trace(self, factor: Any) -> Any:
        if not isinstance(factor, dict):
            return factor * self.dimension
        return sum(self._each(lambda m, f: m.trace(f), factor).values())

    def exp(self, v: Any, x: Any) -> Any:
        return self._each(lambda m, v, x: m.exp(v, x), v, x)

    def reference_sample(self, key: PRNGKey, dtype: Any = None) -> Any:
        """Independent components. **Raises:** `TypeError` where one of the measures is not a probability."""
        return self._each(lambda m, key: m.reference_sample(key, dtype), self._keys(key))

    def cold(self, dtype: Any = None) -> Any:
        return self._each(lambda m: m.cold(dtype))

    def hot(self, key: PRNGKey, dtype: Any = None) -> Any:
        return self._each(lambda m, key: m.hot(key, dtype), self._keys(key))

    def random_tangent(self, key: PRNGKey, dtype: Any = None) -> Any:
        return self._each(lambda m, key: m.random_tangent(key, dtype), self._keys(key))

    def still(self, x: Any) -> Any:
        return self._each(lambda m, x: m.still(x), x)

    def pull_back(self, x: Any, cotangent: Any) -> Any:
        return self._each(lambda m, x, c: m.pull_back(x, c), x, cotangent)

    def motion(self, v: Any, x: Any) -> Any:
        return self._each(lambda m, v, x: m.motion(v, x), v, x)

    def effective(self, v: Any, x: Any) -> Any:
        return self._each(lambda m, v, x: m.effective(v, x), v, x)

    def bracket(self, v: Any, w: Any) -> Any:
        return self._each(lambda m, v, w: m.bracket(v, w), v, w)

    def project(self, x: Any) -> Any:
        return self._each(lambda m, x: m.project(x), x)

    def inner(self, v: Any, w: Any) -> Array:
        return sum(self._each(lambda m, v, w: m.inner(v, w), v, w).values())  # pyright: ignore[reportReturnType]

    def defect(self, x: Any) -> Array:
        """The largest of any component."""
        return jnp.max(jnp.stack(list(self._each(lambda m, x: m.defect(x), x).values())))

    def distance(self, x: Any, y: Any) -> Array:
        """The root of the sum of the squared distances of the components."""
        squares = self._each(lambda m, x, y: m.distance(x, y) ** 2, x, y)
        return jnp.sqrt(jnp.sum(jnp.stack(list(squares.values()))))

    def coordinates(self, v: Any) -> Array:
        return jnp.concatenate(list(self._each(lambda m, v: m.coordinates(v), v).values()))

    def from_coordinates(self, c: Array) -> Any:
        return self._each(lambda m, c: m.from_coordinates(c), self._cut(c, lambda m: m.dimension))

    def spread(self, mask: Array, like: Any) -> Any:
        return self._each(lambda m, mask, like: m.spread(mask, like), self._cut(mask, lambda m: len(m.generators)), like)

    def largest(self, v: Any) -> Array:
        return jnp.concatenate(list(self._each(lambda m, v: m.largest(v), v).values()))

    def check(self, x: Any) -> None:
        names = [name for name, _ in self.parts]
        if not isinstance(x, dict):
            raise TypeError(
                f"ProductManifold: got a configuration of type {type(x).__name__}, expected a dictionary with the "
                f"keys {names}."
            )
        if sorted(x) != names:
            raise ValueError(f"ProductManifold: got a configuration with the keys {sorted(x)}, expected {names}.")
        for name, manifold in self.parts:
            try:
                manifold.check(x[name])
            except (TypeError, ValueError) as error:
                raise type(error)(f"component {name!r}: {error}") from None

    def _each(self, function: Callable[..., Any], *trees: dict[str, Any]) -> dict[str, Any]:
        """A function of every component and its entries of dictionaries."""
        return {name: function(m, *(tree[name] for tree in trees)) for name, m in self.parts}

    def _keys(self, key: PRNGKey) -> dict[str, PRNGKey]:
        keys = jax.random.split(key, len(self.parts))
        return {name: k for (name, _), k in zip(self.parts, keys, strict=True)}

    def _cut(self, a: Array, size: Callable[[AbstractManifold], int]) -> dict[str, Array]:
        """Consecutive parts of an array along its first axis, one for each component."""
        found, start = {}, 0
        for name, manifold in self.parts:
            found[name] = a[start : start + size(manifold)]
            start += size(manifold)
        return found
