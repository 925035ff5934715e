"""Vector fields and potentials from any local function, with exact divergences by colouring the links."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._trees import precision
from .._types import Callable, Configuration, Tangent
from ..manifolds import AbstractManifold
from ._base import AbstractPotential, AbstractVectorField
from ._reach import Reach, Velocity, check_locality, check_reach, coordinate_colours


class LocalField(AbstractVectorField):
    """Any local velocity, with its exact divergence by forward derivatives along colours.

    divergence = sum_{e,a} d^a_e v^a_e: links (sites) of one colour lie outside each other's reach, so one derivative along
    T_a on all of them at once gives their diagonal entries, and the sum takes (number of colours) x (number of generators)
    derivatives on a lattice of any size. One derivative is compiled, in a loop; memory is that of a few of them.
    For a reach of r lattice units there are d (r + 1)^d colours where r + 1 divides the extents, and somewhat more
    elsewhere; on lattices of extent 2 r + 1 or less every link has its own. On a product
    of manifolds this is done for the variables of all components together.

    **Arguments:**

    - `velocity`: a function (t, x) -> tangent vector of the manifold, differentiable in forward mode; an
      `equinox.Module` if it has parameters. Equivariance is up to it.
    - `manifold`: of the configurations.
    - `reach`: the velocity on a link (mu, x) depends on links (nu, y) with |y_i - x_i| <= reach for all i only (sites
      likewise). The plaquettes around a link have reach 1. Or the array of `dependence`, which finds out what the
      velocity depends on in detail, and often saves more than half of the colours.
    - `check`: compare the velocity at random links before and after all links out of reach are drawn anew.

    **Raises:** `ValueError` if the velocity depends on links out of reach, or is not a tangent vector.

        >>> field = tm.fields.LocalField(lambda t, x: -x, scalar.manifold, reach=0)
        >>> velocity, divergence = field(jnp.zeros(()), phi)
    """

    velocity: Velocity
    manifold: AbstractManifold = eqx.field(static=True)
    reach: Reach = eqx.field(static=True)

    def __init__(self, velocity: Velocity, manifold: AbstractManifold, reach: Any, *, check: bool = True):
        self.velocity = _as_pytree(velocity)
        self.manifold = manifold
        self.reach = check_reach(reach, manifold)
        _check_shape(self.velocity, manifold)
        if check:
            check_locality(self.velocity, manifold, self.reach)

    @property
    def colours(self) -> int:
        """Number of colours of the links."""
        return coordinate_colours(self.reach, self.manifold)[1]

    @property
    def derivatives(self) -> int:
        """Number of forward derivatives of the velocity in one divergence."""
        return int(coordinate_colours(self.reach, self.manifold)[0].max()) + 1

    def __call__(self, t: Float[Array, ""], x: Configuration) -> tuple[Tangent, Float[Array, ""]]:
        return _with_divergence(self.velocity, self.manifold, self.reach, t, x)


class LocalPotential(AbstractPotential):
    """Any sum of local terms as a potential, with gradient by reverse mode and exact Laplacian by colouring.

    The Laplacian is the divergence of the gradient, as in `LocalField`: (colours) x (generators) forward derivatives of the
    reverse-mode gradient, on a lattice of any size. `LoopPotential` is faster where it applies.

    **Arguments:** `function`: (t, x) -> real scalar, an `equinox.Module` if it has parameters; `manifold`: of the
    configurations; `reach`, `check`: as for `LocalField`, of the gradient: two links are within reach of each other if a
    term of the sum contains both.

    **Raises:** `ValueError` if the gradient depends on links out of reach.

        >>> potential = tm.fields.LocalPotential(lambda t, x: jnp.sum(x**4), scalar.manifold, reach=0)
        >>> gradient, laplacian = potential.gradient_and_laplacian(jnp.zeros(()), phi)
    """

    function: Callable[[Array, Array], Array]
    manifold: AbstractManifold = eqx.field(static=True)
    reach: Reach = eqx.field(static=True)

    def __init__(
        self,
        function: Callable[[Array, Array], Array],
        manifold: AbstractManifold,
        reach: Any,
        *,
        check: bool = True,
    ):
        self.function = _as_pytree(function)
        self.manifold = manifold
        self.reach = LocalField(_Gradient(self.function, manifold), manifold, reach, check=check).reach

    def __call__(self, t: Float[Array, ""], x: Configuration) -> Float[Array, ""]:
        return self.function(t, x)

    def receptive_field(self) -> Reach:
        return self.reach

    def gradient_and_laplacian(self, t: Float[Array, ""], x: Configuration) -> tuple[Tangent, Float[Array, ""]]:
        return _with_divergence(_Gradient(self.function, self.manifold), self.manifold, self.reach, t, x)


def _with_divergence(velocity: Velocity, manifold: AbstractManifold, reach: Reach, t: Array, x: Any) -> tuple[Any, Array]:
    table = coordinate_colours(reach, manifold)[0]
    value, derivative = jax.linearize(lambda y: velocity(t, y), x)
    labels = jnp.asarray(table)

    # Recomputed in the backward pass, which would otherwise keep the intermediate arrays of all derivatives.
    @jax.checkpoint
    def diagonal(job: Array) -> Array:
        unit = manifold.from_coordinates((labels == job).astype(precision(x)))
        return manifold.inner(unit, derivative(manifold.motion(unit, x)))

    jobs = jnp.arange(int(table.max()) + 1, dtype=jnp.int32)
    return value, jnp.sum(lax.map(diagonal, jobs))


class _Gradient(eqx.Module):
    function: Callable[[Array, Array], Array]
    manifold: AbstractManifold = eqx.field(static=True)

    def __call__(self, t: Array, x: Any) -> Any:
        return self.manifold.gradient(lambda y: self.function(t, y))(x)


def _as_pytree(function: Any) -> Any:
    """A plain function as a pytree without leaves, so that the field has array leaves only."""
    leaves = jax.tree.leaves(function)
    return jax.tree_util.Partial(function) if len(leaves) == 1 and leaves[0] is function else function


def _check_shape(velocity: Velocity, manifold: AbstractManifold) -> None:
    x, v = jax.eval_shape(manifold.cold), jax.eval_shape(manifold.random_tangent, jax.random.key(0))
    out = eqx.filter_eval_shape(velocity, jax.ShapeDtypeStruct((), precision(x)), x)
    same = jax.tree.structure(out) == jax.tree.structure(v) and all(
        (a.shape, a.dtype) == (b.shape, b.dtype) for a, b in zip(jax.tree.leaves(out), jax.tree.leaves(v), strict=True)
    )
    if not same:
        raise ValueError(
            f"velocity: got {_described(out)} from a configuration {_described(x)}, expected a tangent vector "
            f"{_described(v)}; the divergence is not part of it."
        )


def _described(x: Any) -> Any:
    return jax.tree.map(lambda a: f"{a.dtype}{a.shape}" if hasattr(a, "dtype") else a, x)
