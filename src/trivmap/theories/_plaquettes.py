"""Sums of plaquettes with a closed-form derivative."""

import functools
import itertools

import jax
import jax.numpy as jnp

from .._types import Array
from ..groups import AbstractGroup
from ..lattice import shift, site_sum


def planes(dim: int) -> list[tuple[int, int]]:
    """All pairs of directions mu < nu."""
    return list(itertools.combinations(range(dim), 2))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def plaquette_sum(group: AbstractGroup, links: Array) -> Array:
    """Sum over sites and planes of `Re tr(U_P) / n`; its derivative is the staple formula.

    Reverse mode of the tangent below is the sum of staples itself: nothing but the links is kept or recomputed.
    """
    if group.complex_elements:
        return _matrix_sum(group, links)
    return _angle_sum(links)


@plaquette_sum.defjvp
def _plaquette_sum_jvp(group, primals, tangents):
    (links,), (velocity,) = primals, tangents
    if group.complex_elements:
        staples = jnp.swapaxes(staple_sum(group, links), 1, 2)
        tangent = site_sum(staples.real * velocity.real - staples.imag * velocity.imag) / group.n
    else:
        tangent = site_sum(_angle_derivative(links) * velocity)
    return plaquette_sum(group, links), tangent


def _matrix_sum(group: AbstractGroup, links: Array) -> Array:
    dim = links.shape[0]
    total = 0.0
    for mu, nu in planes(dim):
        # Re tr(a b^dagger) of the two corners of the plaquette needs no third product.
        a = group.multiply(links[mu], shift(links[nu], mu, 1, dim))
        b = group.multiply(links[nu], shift(links[mu], nu, 1, dim))
        total = total + site_sum(a.real * b.real + a.imag * b.imag)
    return total / group.n


def staple_sum(group: AbstractGroup, links: Array) -> Array:
    r"""Staples $V_\mu(x)$, the derivative of the plaquette sum: `sum_P Re tr U_P` changes by `Re tr(dU_mu V_mu)`.

    **Arguments:** `group`: SU(n); `links`: `(dim, n, n, *lattice)`. The result has the same shape.
    """
    dim = links.shape[0]
    multiply, adjoint = group.multiply, group.adjoint
    terms: list[list[Array]] = [[] for _ in range(dim)]
    for mu, nu in planes(dim):
        u, v = links[mu], links[nu]
        u_shifted, v_shifted = shift(u, nu, 1, dim), shift(v, mu, 1, dim)
        # With corners a = u v' and b = v u', the plaquette is a b^dagger: six products serve all four of its links.
        a, b = adjoint(multiply(u, v_shifted)), adjoint(multiply(v, u_shifted))
        terms[mu] += [multiply(v_shifted, b), shift(multiply(a, v), nu, -1, dim)]
        terms[nu] += [multiply(u_shifted, a), shift(multiply(b, u), mu, -1, dim)]
    return jnp.stack([sum(terms[mu][1:], terms[mu][0]) for mu in range(dim)])


def _angle_sum(angles: Array) -> Array:
    dim = angles.shape[0]
    return site_sum(sum(jnp.cos(plaquette_angle(angles, mu, nu)) for mu, nu in planes(dim)))


def plaquette_angle(angles: Array, mu: int, nu: int) -> Array:
    r"""$\theta_\mu(x) + \theta_\nu(x+\mu) - \theta_\mu(x+\nu) - \theta_\nu(x)$, not wrapped."""
    dim = angles.shape[0]
    u, v = angles[mu], angles[nu]
    return u + shift(v, mu, 1, dim) - shift(u, nu, 1, dim) - v


def _angle_derivative(angles: Array) -> Array:
    dim = angles.shape[0]
    terms: list[list[Array]] = [[] for _ in range(dim)]
    for mu, nu in planes(dim):
        sine = jnp.sin(plaquette_angle(angles, mu, nu))
        terms[mu].append(shift(sine, nu, -1, dim) - sine)
        terms[nu].append(sine - shift(sine, mu, -1, dim))
    return jnp.stack([sum(terms[mu][1:], terms[mu][0]) for mu in range(dim)])
