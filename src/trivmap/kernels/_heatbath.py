"""Heatbath and overrelaxation of gauge links."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact, Key

from .._checks import integers
from ..groups import AbstractGroup
from ..theories import AbstractTheory
from ._base import AbstractMove
from ._conditional import quaternion, von_mises
from ._sweep import sweep, wilson


class HeatbathKernel(AbstractMove):
    r"""A sweep in which every link is drawn anew from its distribution given all others.

    U(1): von Mises distribution around the phase of the staples. SU(2): Kennedy-Pendleton and Creutz; SU(N): in turn for each
    SU(2) subgroup (Cabibbo and Marinari, Phys. Lett. B 119 (1982) 387). For every beta, negative ones too. Half sweeps (a
    direction, sites of one colour) and subgroups come in random order, which makes the sweep reversible; in a fixed order it
    would only be invariant. Rejection stops after `attempts`; a link without an accepted proposal stays, which is exact
    because the chance of it depends on the other links only. Gradients do not pass: to `AnnealedFlow` its results are
    constants.

    **Arguments:** `attempts`: proposals per link; at least 0.66 of them are accepted.

    **Raises:** `TypeError` for theories other than `WilsonAction` and `WeightedWilsonAction`, `ValueError` for extents of 1.

        >>> chain = tm.run_chain(key, theory, tm.kernels.HeatbathKernel(), 10)
    """

    attempts: int = eqx.field(static=True)

    def __init__(self, attempts: int = 3):
        integers("HeatbathKernel", 1, attempts=attempts)
        self.attempts = attempts

    def move(self, key: Key[Array, ""], theory: AbstractTheory, x: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        theory, x = lax.stop_gradient((theory, x))

        def redraw(key, group, links, staples):
            # The sign of beta goes to the direction of the staples: concentrations are never negative.
            weighted = (wilson(theory).beta / group.n).astype(staples.dtype) * staples
            if not group.complex_elements:
                angle, valid = von_mises(key, jnp.abs(weighted), self.attempts)
                return jnp.where(valid, angle - jnp.angle(weighted), links)
            draw = lambda key, size, _: quaternion(key, 2 * size, self.attempts)  # noqa: E731
            return _by_subgroups(key, group, links, weighted, draw)

        return sweep(key, theory, x, redraw)


class OverrelaxationKernel(AbstractMove):
    r"""Sweeps that reflect every link at its staples: large moves which leave the action as it is.

    U(1): $\theta \to 2\alpha - \theta$ with minus the phase $\alpha$ of the staples; SU(2): $U \to W^\dagger U^\dagger
    W^\dagger$ with the staples $V = k W$ (Creutz, Phys. Rev. D 36 (1987) 515); SU(N): in turn for each SU(2) subgroup. In
    random order as in `HeatbathKernel`, hence reversible. Not ergodic: combine it with a kernel that changes the action.

    **Arguments:** `sweeps`: number of sweeps.

    **Raises:** `TypeError` for theories other than `WilsonAction` and `WeightedWilsonAction`, `ValueError` for extents of 1.

        >>> kernel = tm.kernels.KernelSequence(tm.kernels.HeatbathKernel(), tm.kernels.OverrelaxationKernel(4))
    """

    sweeps: int = eqx.field(static=True)

    def __init__(self, sweeps: int = 1):
        integers("OverrelaxationKernel", 1, sweeps=sweeps)
        self.sweeps = sweeps

    def move(self, key: Key[Array, ""], theory: AbstractTheory, x: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        theory, x = lax.stop_gradient((theory, x))

        def turned(key, group, links, staples):
            if not group.complex_elements:
                return -2 * jnp.angle(staples) - links
            reflect = lambda key, size, r: (_conjugate(r), size > 0)  # noqa: E731
            return _by_subgroups(key, group, links, staples, reflect)

        def once(x, key):
            return sweep(key, theory, x, turned), None

        return lax.scan(once, x, jax.random.split(key, self.sweeps))[0]


def _by_subgroups(key: Array, group: AbstractGroup, links: Array, staples: Array, draw) -> Array:
    r"""Multiplies links from the left by elements of the SU(2) subgroups, one after the other in random order.

    The rows i, j of M = U V span the part of the weight that a subgroup sees: Re tr(a M) = 2 k (a r)_0 + const, k r being
    the quaternion part of the 2 x 2 block. `draw(key, k, r)` gives the new quaternion q = a r; with staples that carry the
    factor beta/N its density is exp(2 k q_0).
    """
    pairs = jnp.asarray(np.array(list(itertools.combinations(range(group.n), 2)), np.int32))
    order_key, key = jax.random.split(key)
    order = jax.random.permutation(order_key, len(pairs))

    def one(carry, inputs):
        links, product = carry
        pair, key = inputs
        block = product[pair][:, pair]
        k, r = _quaternion_part(block)
        q, valid = draw(key, k, r)
        a = _multiply(q, _conjugate(r))
        a = jnp.where(valid[None], a, jnp.asarray([1.0, 0, 0, 0], a.dtype)[:, None])
        matrix = _matrix(a)
        rotate = lambda m: m.at[pair].set(group.multiply(matrix, m[pair]))  # noqa: E731
        return (rotate(links), rotate(product)), None

    carry = (links, group.multiply(links, staples))
    return lax.scan(one, carry, (pairs[order], jax.random.split(key, len(pairs))))[0][0]


def _quaternion_part(m: Array) -> tuple[Array, Array]:
    """k and the unit quaternion r with (m + adjugate of m^dagger)/2 = k (r_0 + i r . sigma); r = 1 where k vanishes."""
    parts = (
        jnp.stack(
            [
                m[0, 0].real + m[1, 1].real,
                m[0, 1].imag + m[1, 0].imag,
                m[0, 1].real - m[1, 0].real,
                m[0, 0].imag - m[1, 1].imag,
            ]
        )
        / 2
    )
    # The largest component first: the squares of small ones would underflow, and r would not be of unit length.
    largest = jnp.max(jnp.abs(parts), axis=0)
    vanishes = largest < jnp.finfo(parts.dtype).tiny
    scaled = parts / jnp.where(vanishes, 1, largest)[None]
    length = jnp.sqrt(jnp.sum(scaled**2, axis=0))
    unit = jnp.asarray([1.0, 0, 0, 0], parts.dtype)[:, None]
    k = jnp.where(vanishes, 0, largest * length)
    return k, jnp.where(vanishes[None], unit, scaled / jnp.where(vanishes, 1, length)[None])


def _conjugate(q: Array) -> Array:
    return jnp.concatenate([q[:1], -q[1:]])


def _multiply(p: Array, q: Array) -> Array:
    """The product of p_0 + i p . sigma and q_0 + i q . sigma."""
    a, b = p[1:], q[1:]
    cross = jnp.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
    vector = p[:1] * b + q[:1] * a - cross
    return jnp.concatenate([(p[0] * q[0] - jnp.sum(a * b, axis=0))[None], vector])


def _matrix(q: Array) -> Array:
    """q_0 + i q . sigma as a matrix of SU(2)."""
    return jnp.stack(
        [
            jnp.stack([lax.complex(q[0], q[3]), lax.complex(q[2], q[1])]),
            jnp.stack([lax.complex(-q[2], q[1]), lax.complex(q[0], -q[3])]),
        ]
    )
