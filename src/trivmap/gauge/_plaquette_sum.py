"""Sums of plaquettes with a closed-form derivative."""

import functools

import jax
import jax.numpy as jnp

from .._types import Array
from ..groups import AbstractGroup
from ..lattice import accumulator_dtype, shift, site_sum
from ._plaquettes import planes, plaquette_angle
from ._staples import angle_staple_sum, staple_sum


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
        tangent = site_sum(angle_staple_sum(links) * velocity)
    # Not from the staples, although they contain it: their sum would then be evaluated twice (measured).
    return plaquette_sum(group, links), tangent


def _matrix_sum(group: AbstractGroup, links: Array) -> Array:
    dim = links.shape[0]
    trace_of = _entrywise_trace if group.n <= 3 else _trace_of_products
    total = jnp.zeros((), accumulator_dtype())
    for mu, nu in planes(dim):
        u, v = links[mu], links[nu]
        total = total + site_sum(trace_of(group, u, shift(v, mu, 1, dim), shift(u, nu, 1, dim), v))
    return total / group.n


def _trace_of_products(group: AbstractGroup, u: Array, v_shifted: Array, u_shifted: Array, v: Array) -> Array:
    """`Re tr(u v' u'^dagger v^dagger)`."""
    a, b = group.multiply(u, v_shifted), group.multiply(v, u_shifted)
    return jnp.sum(a.real * b.real + a.imag * b.imag, axis=(0, 1))


@functools.partial(jax.jit, static_argnums=0)
def _entrywise_trace(group: AbstractGroup, u: Array, v_shifted: Array, u_shifted: Array, v: Array) -> Array:
    """The same, written out so that XLA makes one loop over sites without intermediate matrices (3 times faster)."""
    colours = range(group.n)
    total = jnp.zeros_like(u[0, 0].real)
    for i in colours:
        for j in colours:
            left = sum(v[k, i].conj() * u[k, j] for k in colours)
            right = sum(v_shifted[j, k] * u_shifted[i, k].conj() for k in colours)
            total = total + (left.real * right.real - left.imag * right.imag)
    return total


def _angle_sum(angles: Array) -> Array:
    dim = angles.shape[0]
    return site_sum(jnp.stack([jnp.cos(plaquette_angle(angles, mu, nu)) for mu, nu in planes(dim)]))
