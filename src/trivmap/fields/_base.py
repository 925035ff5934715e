"""Interfaces of vector fields and potentials; divergences and Laplacians are exact."""

import abc

import equinox as eqx
from jaxtyping import Array, Float

from .._types import Configuration, Tangent
from ..manifolds import AbstractManifold
from ..theories import AbstractTheory
from ._reach import Reach


class AbstractVectorField(eqx.Module):
    """A time-dependent tangent vector field with its exact divergence.

    A field provides `manifold` and `__call__(t, x) -> (velocity, divergence)`, where `velocity` is a tangent vector at
    `x` (an su(N) matrix on links, a real number on angles and scalars, coordinates of so(n) on spheres; the flow is
    dx/dt = velocity, on links dU/dt = velocity U) and `divergence` is sum_i d_i velocity^i, a scalar in the accumulator
    precision.

        >>> field = tm.GatedConvolutionField(theory.manifold)
        >>> velocity, divergence = field(jnp.zeros(()), links)
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
    """A time-dependent scalar function of a configuration with exact gradient and Laplacian.

    A potential gives `manifold`, `__call__(t, x)` and `gradient_and_laplacian(t, x)`, and `gradient` where that alone costs
    less. The other methods are capabilities: those that a class does not give raise an error that says what needs them, or
    are `None` where there is another way.

        >>> potential = tm.LoopPotential(theory.manifold)
        >>> gradient, laplacian = potential.gradient_and_laplacian(jnp.zeros(()), links)
    """

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

    def receptive_field(self) -> Reach:
        """What the gradient on one link (site) depends on: a radius in the maximum norm, or the entries
        (mu, nu, *displacement) of the pairs of links that a term contains, mu = nu = 0 for fields on the sites.

        **Raises:** `TypeError` where it is not known.
        """
        raise TypeError(
            f"The gradient of a {type(self).__name__} may depend on the whole lattice, as far as is known; give its class a "
            "method `receptive_field()`, or reach= where that is an argument, for example trivmap.fields.dependence(...)."
        )

    def curvature_bound(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """A bound of the second derivatives with respect to one link (site) at time t, which holds for all configurations.

        **Raises:** `TypeError` where none is known.
        """
        raise TypeError(
            f"The second derivatives of a {type(self).__name__} may be arbitrarily large, as far as is known; give its class "
            "a method `curvature_bound(t)`, or curvature= where that is an argument."
        )

    def plaquette_coefficient(self, t: Float[Array, ""]) -> Float[Array, ""] | None:
        """c(t) of a potential -c(t) sum_p Re tr U_p / N of all plaquettes with equal weights; `None` for all others."""
        return None

    def link_staples(self, t: Float[Array, ""], x: Configuration) -> Array | None:
        """Matrices A with potential = -Re tr U A + constant as a function of each single link of SU(n), `None` where a link
        enters in another way. A does not depend on the link itself."""
        return None
