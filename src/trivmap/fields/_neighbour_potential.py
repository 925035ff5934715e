"""Potentials of real fields with bounded second derivatives."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact

from .._checks import integers
from .._types import PRNGKey
from ..lattice import shift, site_sum
from ..manifolds import AbstractManifold, RealField, scalar_field
from ._base import AbstractPotential
from ._reach import Reach
from ._time import cosine_basis


class NeighbourPotential(AbstractPotential):
    r"""A potential of sites and pairs of neighbours, even in phi, whose second derivatives are bounded.

    V = sum_x sum_j a_j(t) h(w_j phi_x) + sum_x sum_{+-mu} sum_j b_j(t) h(u_j (phi_x + v_j phi_{x+mu})),   h = log cosh,

    with a_j(t) = sum_k a_kj cos(pi k t). Each second derivative h'' lies in (0, 1], so that
    |d^2 V/d phi_x^2| <= sum_j |a_j| w_j^2 + 2 d sum_j |b_j| u_j^2 (1 + v_j^2) for all fields. Along an extent of one a site
    is its own neighbour, and (1 + v_j)^2 stands for 1 + v_j^2; along an extent of two both neighbours are the same site.

    **Arguments:** `key`: draws frequencies w, u and ratios v; `manifold`: a `RealField`; `sites`, `bonds`: how many terms of
    either kind; `times`: time functions of their strengths, which start at zero; `dtype`: precision of the parameters.

    **Raises:** `TypeError` for links; `ValueError` for sizes under one.

        >>> potential = tm.fields.NeighbourPotential(key, scalar.manifold)
        >>> flow = tm.ResidualFlow(potential, sweeps=1)
    """

    site_strengths: Float[Array, "times sites"]
    bond_strengths: Float[Array, "times bonds"]
    site_frequencies: Float[Array, " sites"]
    bond_frequencies: Float[Array, " bonds"]
    ratios: Float[Array, " bonds"]
    manifold: RealField = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKey,
        manifold: AbstractManifold,
        *,
        sites: int = 4,
        bonds: int = 4,
        times: int = 1,
        dtype: DTypeLike | None = None,
    ):
        message = f"NeighbourPotential acts on real fields, but was given {manifold}. For links use LoopPotential."
        manifold = scalar_field(manifold, message)
        integers("NeighbourPotential", 1, sites=sites, bonds=bonds, times=times)
        keys = jax.random.split(key, 3)
        self.manifold = manifold
        self.site_strengths, self.bond_strengths = jnp.zeros((times, sites), dtype), jnp.zeros((times, bonds), dtype)
        self.site_frequencies = jax.random.uniform(keys[0], (sites,), dtype, 0.5, 2.0)
        self.bond_frequencies = jax.random.uniform(keys[1], (bonds,), dtype, 0.5, 1.5)
        self.ratios = jax.random.normal(keys[2], (bonds,), dtype)

    def on(self, manifold: AbstractManifold) -> "NeighbourPotential":
        """The potential with the same numbers on a lattice of other extents."""
        times, sites = self.site_strengths.shape
        bonds = self.bond_strengths.shape[1]
        new = NeighbourPotential(jax.random.key(0), manifold, sites=sites, bonds=bonds, times=times)
        return jax.tree.unflatten(jax.tree.structure(new), jax.tree.leaves(self))

    def __call__(self, t: Float[Array, ""], x: Inexact[Array, "*shape"]) -> Float[Array, ""]:
        self.manifold.check(x)
        a, b, w, u, v = self._at(t, x)
        total = site_sum(a * _log_cosh(w * x[None]))
        for mu in range(x.ndim):
            for steps in (1, -1):
                other = shift(x, mu, steps, x.ndim)
                total = total + site_sum(b * _log_cosh(u * (x[None] + v * other[None])))
        return total

    def gradient_and_laplacian(
        self, t: Float[Array, ""], x: Inexact[Array, "*shape"]
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        self.manifold.check(x)
        a, b, w, u, v = self._at(t, x)
        slope = jnp.tanh(w * x[None])
        gradient = jnp.sum(a * w * slope, axis=0)
        curvature = a * w**2 * (1 - slope**2)
        laplacian = site_sum(curvature)
        for mu in range(x.ndim):
            for steps in (1, -1):
                slope = jnp.tanh(u * (x[None] + v * shift(x, mu, steps, x.ndim)[None]))
                force = b * u * slope
                gradient = gradient + jnp.sum(force, axis=0) + shift(jnp.sum(v * force, axis=0), mu, -steps, x.ndim)
                laplacian = laplacian + site_sum(b * u**2 * _derivatives(v, x.shape[mu]) * (1 - slope**2))
        return gradient, laplacian

    def receptive_field(self) -> Reach:
        dim = len(self.manifold.lattice)
        steps = np.concatenate([np.eye(dim, dtype=int), -np.eye(dim, dtype=int)])
        return tuple((0, 0, *map(int, step)) for step in steps)

    def curvature_bound(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """A bound of |d^2 V/d phi_x^2| over all fields."""
        a, b, w, u, v = self._at(t, jnp.zeros((1,) * len(self.manifold.lattice), self.ratios.dtype))
        around = sum(2 * _derivatives(v, extent) for extent in self.manifold.lattice)
        return jnp.sum(jnp.abs(a) * w**2) + jnp.sum(jnp.abs(b) * u**2 * around)

    def _at(self, t: Array, x: Array) -> tuple[Array, ...]:
        """Strengths and frequencies as columns in the precision of the field."""
        basis = cosine_basis(t.astype(x.dtype), self.site_strengths.shape[0])
        strengths = [basis @ s.astype(x.dtype) for s in (self.site_strengths, self.bond_strengths)]
        others = [p.astype(x.dtype) for p in (self.site_frequencies, self.bond_frequencies, self.ratios)]
        return tuple(p.reshape(-1, *(1 for _ in range(x.ndim))) for p in (*strengths, *others))


def _derivatives(v: Array, extent: int) -> Array:
    """Squared derivatives of phi_x + v phi_{x+mu} with respect to its fields, along an axis of this extent."""
    return (1 + v) ** 2 if extent == 1 else 1 + v**2


def _log_cosh(x: Array) -> Array:
    # |x| would have no derivative at zero.
    return jnp.logaddexp(x, -x) - math.log(2)
