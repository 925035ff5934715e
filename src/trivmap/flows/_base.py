"""The interface of bijections between prior and theory."""

import abc

import equinox as eqx
from jaxtyping import Array, Float, Inexact

from ..manifolds import AbstractManifold


class AbstractFlow(eqx.Module):
    """An invertible map of configurations; `forward` leads from the prior to the theory."""

    manifold: eqx.AbstractVar[AbstractManifold]

    @abc.abstractmethod
    def forward_and_log_det(self, z: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        """x = f(z) and log |det df/dz|, in tangent coordinates on groups."""

    @abc.abstractmethod
    def inverse_and_log_det(self, x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        """z = f^{-1}(x) and log |det df^{-1}/dx|."""

    def forward(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """x = f(z)."""
        return self.forward_and_log_det(z)[0]

    def inverse(self, x: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """z = f^{-1}(x)."""
        return self.inverse_and_log_det(x)[0]
