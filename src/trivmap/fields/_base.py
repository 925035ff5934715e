"""Interfaces of vector fields and potentials; divergences and Laplacians are exact."""

import abc

import equinox as eqx
from jaxtyping import Array, Float

from .._types import Configuration, Tangent
from ..manifolds import AbstractManifold
from ..theories import AbstractTheory


class AbstractVectorField(eqx.Module):
    """A time-dependent tangent vector field with its exact divergence.

    A field provides `manifold` and `__call__(t, x) -> (velocity, divergence)`, where `velocity` is a tangent vector at
    `x` (an su(N) matrix on links, a real number on angles and scalars, coordinates of so(n) on spheres; the flow is
    dx/dt = velocity, on links dU/dt = velocity U) and `divergence` is sum_i d_i velocity^i, a scalar in the accumulator
    precision.
    """

    manifold: eqx.AbstractVar[AbstractManifold]

    @abc.abstractmethod
    def __call__(self, t: Float[Array, ""], x: Configuration) -> tuple[Tangent, Float[Array, ""]]:
        """The velocity at (t, x) and its divergence."""

    def on(self, manifold: AbstractManifold) -> "AbstractVectorField":
        """The field with the same parameters on a lattice of other extents.

        **Raises:** `TypeError` where the parameters belong to one lattice.
        """
        raise TypeError(
            f"The parameters of a {type(self).__name__} belong to its lattice {self.manifold.lattice}; give its class "
            "a method `on(manifold)`."
        )

    def transferred(self, theory: AbstractTheory) -> "AbstractVectorField":
        """A start for another theory: other extents, and the coupling where the field follows it.

        **Raises:** `TypeError` as `on`.
        """
        return self.on(theory.manifold)


class AbstractPotential(eqx.Module):
    """A time-dependent scalar function of a configuration with exact gradient and Laplacian."""

    manifold: eqx.AbstractVar[AbstractManifold]

    @abc.abstractmethod
    def __call__(self, t: Float[Array, ""], x: Configuration) -> Float[Array, ""]:
        """The value of the potential."""

    @abc.abstractmethod
    def gradient_and_laplacian(self, t: Float[Array, ""], x: Configuration) -> tuple[Tangent, Float[Array, ""]]:
        """The right-trivialised gradient and sum_a d_a d_a of the potential."""

    def gradient(self, t: Float[Array, ""], x: Configuration) -> Tangent:
        """The right-trivialised gradient, sum_a T_a d_a of the potential on links."""
        return self.gradient_and_laplacian(t, x)[0]

    def on(self, manifold: AbstractManifold) -> "AbstractPotential":
        """The potential with the same parameters on a lattice of other extents.

        **Raises:** `TypeError` where the parameters belong to one lattice.
        """
        raise TypeError(
            f"The parameters of a {type(self).__name__} belong to its lattice {self.manifold.lattice}; give its class "
            "a method `on(manifold)`."
        )
