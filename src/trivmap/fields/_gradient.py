"""The vector field that descends a potential."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Configuration, Tangent
from ..manifolds import AbstractManifold
from ._base import AbstractPotential, AbstractVectorField


class GradientField(AbstractVectorField):
    """The downhill gradient of a scalar potential, the trivializing-map ansatz of arXiv:0907.5491.

    velocity = -d S~(t, x),   divergence = -sum_a d_a d_a S~(t, x).

    **Arguments:** `potential`: any `AbstractPotential`; equivariance under a symmetry follows from its invariance.

        >>> field = tm.GradientField(tm.LoopPotential(theory.manifold))
        >>> velocity, divergence = field(jnp.zeros(()), links)
    """

    potential: AbstractPotential

    @property
    def manifold(self) -> AbstractManifold:
        return self.potential.manifold

    def on(self, manifold: AbstractManifold) -> "GradientField":
        """The gradient of the same potential on a lattice of other extents."""
        return GradientField(self.potential.on(manifold))  # pyright: ignore[reportCallIssue]

    def __call__(self, t: Float[Array, ""], x: Configuration) -> tuple[Tangent, Float[Array, ""]]:
        gradient, laplacian = self.potential.gradient_and_laplacian(t, x)
        return jax.tree.map(jnp.negative, gradient), -laplacian
