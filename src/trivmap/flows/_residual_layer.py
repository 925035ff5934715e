"""One masked update U' = exp(Z(U)) U of a residual flow: velocity and curvature on the active links."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from ..fields import AbstractPotential
from ..groups import AbstractGroup
from ..manifolds import AbstractManifold
from ._matrix import flat_links, put_links, shaped_links
from ._residual_algebra import trace_curvature


class AbstractResidualLayer(eqx.Module):
    """Z = -dS on the active links as a function of these links, all others frozen."""

    group: eqx.AbstractVar[AbstractGroup]

    @abc.abstractmethod
    def velocity(self, u: Inexact[Array, "..."]) -> Float[Array, "dimension active"]:
        """Coordinates of Z."""

    @abc.abstractmethod
    def velocity_and_curvature(
        self, u: Inexact[Array, "..."]
    ) -> tuple[Float[Array, "dimension active"], Float[Array, "dimension dimension active"]]:
        """Z and the symmetric part of its derivatives, -d_a d_b S."""


class PlaquetteLayer(AbstractResidualLayer):
    """S = -sum_k weights_k (1/n) Re tr U V_k with frozen staples V_k."""

    group: AbstractGroup = eqx.field(static=True)
    staples: Inexact[Array, "..."]
    weights: Float[Array, "staples active"]

    def velocity(self, u: Array) -> Array:
        if not self.group.complex_elements:
            return -jnp.sum(self.weights * jnp.sin(u[None] + self.staples), axis=0)[None]
        return self._velocity(self._loops(u))

    def velocity_and_curvature(self, u: Array) -> tuple[Array, Array]:
        if not self.group.complex_elements:
            curvature = -jnp.sum(self.weights * jnp.cos(u[None] + self.staples), axis=0)
            return self.velocity(u), curvature[None, None]
        loops = self._loops(u)
        return self._velocity(loops), trace_curvature(self.group, loops)

    def _loops(self, u: Array) -> Array:
        staples = jnp.sum(self.weights[:, None, None].astype(self.staples.dtype) * self.staples, axis=0)
        return self.group.multiply(u, staples)

    def _velocity(self, loops: Array) -> Array:
        return self.group.coordinates(self.group.project_algebra(loops)) / (-2 * self.group.n)


class LinearLayer(AbstractResidualLayer):
    """S = -Re tr U A on SU(n) with frozen A: every potential whose terms contain each active link once."""

    group: AbstractGroup = eqx.field(static=True)
    staples: Inexact[Array, "n n active"]

    def velocity(self, u: Array) -> Array:
        return self._velocity(self.group.multiply(u, self.staples))

    def velocity_and_curvature(self, u: Array) -> tuple[Array, Array]:
        loops = self.group.multiply(u, self.staples)
        return self._velocity(loops), self.group.n * trace_curvature(self.group, loops)

    def _velocity(self, loops: Array) -> Array:
        return self.group.coordinates(self.group.project_algebra(loops)) / -2


class PotentialLayer(AbstractResidualLayer):
    """Any potential, by its gradient and forward derivatives of it along every generator."""

    group: AbstractGroup = eqx.field(static=True)
    manifold: AbstractManifold = eqx.field(static=True)
    potential: AbstractPotential
    t: Float[Array, ""]
    scale: Float[Array, ""]
    links: Inexact[Array, "..."]
    active: Array

    def velocity(self, u: Array) -> Array:
        x = shaped_links(self.manifold, put_links(self.links, self.active, u))
        gradient = flat_links(self.manifold, self.potential.gradient(self.t, x))
        chosen = jnp.take(gradient, self.active, axis=-1, mode="clip")
        return -self.scale.astype(chosen.real.dtype) * self.group.coordinates(chosen)

    def velocity_and_curvature(self, u: Array) -> tuple[Array, Array]:
        z, push = jax.linearize(self.velocity, u)

        def column(unit: Array) -> Array:
            motion = self.group.from_coordinates(jnp.broadcast_to(unit[:, None], z.shape))
            return push(self.group.multiply(motion, u) if self.group.complex_elements else motion)

        derivatives = jnp.moveaxis(jax.vmap(column)(jnp.eye(z.shape[0], dtype=z.dtype)), 0, 1)
        return z, (derivatives + jnp.swapaxes(derivatives, 0, 1)) / 2
