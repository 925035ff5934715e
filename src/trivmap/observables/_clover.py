import jax.numpy as jnp

from .._types import Array, RealScalar
from ..groups import AbstractGroup
from ..lattice import shift, site_sum
from ._links import link_group


def clover_charge(x: Array) -> RealScalar:
    r"""Topological charge of SU(N) links in four dimensions by the clover definition,

    $$Q = \frac{1}{32\pi^2} \sum_x \epsilon_{\mu\nu\rho\sigma} \mathrm{tr}\, F_{\mu\nu} F_{\rho\sigma}$$

    with the Hermitian field strength $F_{\mu\nu}$ averaged over the four plaquettes that meet at a site (their traceless
    anti-Hermitian part over i). It is not an integer: smear or flow the configuration first.

        >>> tm.observables.clover_charge(tm.LinkField(tm.SU(2), (2, 2, 2, 2)).reference_sample(key))
    """
    group = link_group(x)
    if not group.complex_elements or x.shape[0] != 4:
        raise ValueError(
            f"clover_charge: got {x.shape[0]}-dimensional links of {group.name}, expected SU(n) in four dimensions; "
            "for U(1) in two dimensions use topological_charge."
        )
    density = 0.0
    # The 24 terms of the epsilon tensor are 8 times three pairs of dual planes.
    for sign, plane, dual in ((1, (0, 1), (2, 3)), (-1, (0, 2), (1, 3)), (1, (0, 3), (1, 2))):
        # inner = -2 tr(v w) with v = i F: tr F F = inner / 2.
        density = density + sign * group.inner(_field_strength(group, x, *plane), _field_strength(group, x, *dual))
    return site_sum(density) / (8 * jnp.pi**2)


def _field_strength(group: AbstractGroup, x: Array, mu: int, nu: int) -> Array:
    """`i F` in the algebra: a quarter of the four leaves."""
    dim = x.shape[0]
    lower = group.multiply(x[mu], shift(x[nu], mu, 1, dim))
    upper = group.multiply(x[nu], shift(x[mu], nu, 1, dim))
    leaf = group.multiply(lower, group.adjoint(upper))
    # Each leaf is the plaquette of a neighbouring corner, transported to the site.
    half = leaf + _transport(group, x, nu, leaf)
    return group.project_algebra(half + _transport(group, x, mu, half)) / 4


def _transport(group: AbstractGroup, x: Array, mu: int, field: Array) -> Array:
    """`U_mu(x-mu)^dagger field(x-mu) U_mu(x-mu)`."""
    moved = group.multiply(group.adjoint(x[mu]), group.multiply(field, x[mu]))
    return shift(moved, mu, -1, x.shape[0])
