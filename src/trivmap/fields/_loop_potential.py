"""Potentials that are linear in traces of Wilson loops."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Inexact

from ..manifolds import AbstractManifold, LinkField
from ..theories import WilsonAction
from ._base import AbstractPotential
from ._time import cosine_basis


class LoopPotential(AbstractPotential):
    r"""The plaquette potential with a learned time-dependent coefficient.

    S~(t, U) = -c(t) sum_p (1/N) Re tr U_p,   c(t) = sum_k c_k cos(pi k t)   (U(1): Re tr/N -> cos theta_p).

    Each link of a plaquette contributes sum_a T_a T_a = -C_F, hence sum_a d_a d_a S~ = -4 C_F S~ in closed form, with
    C_F = (N^2 - 1)/(2N) for SU(N) and 1 for U(1). Lattices with an extent of one, where a plaquette meets a link twice, are
    refused. The leading order of the trivializing map of exp(-S_Wilson) is c = beta/(4 C_F) (arXiv:0907.5491).

    **Arguments:** `manifold`: a `LinkField` of dimension two or more. `coefficient`: initial c_0. `times`: number of
    coefficients c_k. `dtype`: precision of the parameters.
    """

    coefficients: Float[Array, " times"]
    manifold: LinkField = eqx.field(static=True)

    def __init__(
        self, manifold: AbstractManifold, *, coefficient: float = 0.0, times: int = 4, dtype: DTypeLike | None = None
    ):
        if not isinstance(manifold, LinkField):
            raise TypeError(
                f"LoopPotential acts on gauge links, but was given {manifold}. For scalars use GatedConvolutionField."
            )
        if min(manifold.lattice) < 2:
            raise ValueError(f"LoopPotential needs extents of two or more, but the lattice is {manifold.lattice}.")
        dtype = jnp.zeros(0).dtype if dtype is None else dtype
        self.coefficients = jnp.zeros(times, dtype).at[0].set(coefficient)
        self.manifold = manifold

    def _plaquettes(self, t: Array, dtype: DTypeLike) -> WilsonAction:
        basis = cosine_basis(t.astype(dtype), self.coefficients.size)
        return WilsonAction(self.manifold.group, self.manifold.lattice, basis @ self.coefficients.astype(dtype))

    def __call__(self, t: Float[Array, ""], x: Inexact[Array, "*shape"]) -> Float[Array, ""]:
        return self._plaquettes(t, x.real.dtype).action(x)

    def gradient_and_laplacian(
        self, t: Float[Array, ""], x: Inexact[Array, "*shape"]
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        potential = self._plaquettes(t, x.real.dtype)
        n = self.manifold.group.n
        casimir = (n**2 - 1) / (2 * n) if n > 1 else 1.0
        return potential.gradient(x), -4 * casimir * potential.action(x)
