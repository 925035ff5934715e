"""Couplings between two colours of odd sites: linear maps of spinors with numbers to learn and determinant one, but for a
scale."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact

from .._checks import integers
from ..gauge import oriented_links
from ..lattice import shift
from ._even_odd import EvenOddDirac
from ._gamma import gamma_matrices
from ._preconditioner import AbstractPreconditioner, AbstractSpinorMap


class AbstractHops(eqx.Module):
    """A gauge covariant linear map of half spinors with numbers to learn: what a layer adds to one colour from the other.

    Its arrays may have an axis in front, for layers; `apply` sees one of them. A new map gives the method `apply`.

        >>> class NoHops(tm.fermions.AbstractHops):
        ...     def apply(self, operator, u, psi, dagger): return jnp.zeros_like(psi)
        ...
        >>> hops = NoHops()
    """

    @abc.abstractmethod
    def apply(self, operator: EvenOddDirac, u: Any, psi: Array, dagger: bool) -> Array:
        """The map, or its adjoint, on the transporters u."""


class PolynomialHops(AbstractHops):
    r"""$\sum_{k=1}^{\text{degree}} c_k N^k$ with $N = 1 - \hat D = \kappa^2 H_{oe} H_{eo}$.

    **Arguments:** `coefficients`: c, `(degree,)`, with a further axis in front for layers.

        >>> hops = tm.fermions.PolynomialHops(jnp.zeros((6, 4)))
    """

    coefficients: Float[Array, "*layers degree"]

    def apply(self, operator: EvenOddDirac, u: Any, psi: Array, dagger: bool) -> Array:
        def horner(y: Array, c: Array) -> tuple[Array, None]:
            y = y + c.astype(psi.dtype) * psi
            return y - operator.apply_with(u, y, dagger), None

        return lax.scan(horner, jnp.zeros_like(psi), self.coefficients[::-1])[0]


class TransportHops(AbstractHops):
    r"""A parallel-transport convolution of range two, $\sum_c B_c A_c$, with spin matrices for every direction
    (arXiv:2207.08945):

    $$ (A\psi)(x) = \sum_{\pm\mu} A_{\pm\mu} U_{\pm\mu}(x) \psi(x \pm \mu) $$

    from odd to even sites, B likewise back. With $A_{\pm\mu} = 1 \mp \gamma_\mu$ this is the hopping term.

    **Arguments:** `first`, `second`: A and B, `(channels, 2 d, spin, spin, 2)` with real and imaginary parts, forward
    directions before backward ones; a further axis in front for layers.

        >>> hops = tm.fermions.TransportHops(jnp.zeros((6, 2, 4, 2, 2, 2)), jnp.zeros((6, 2, 4, 2, 2, 2)))
    """

    first: Float[Array, "*layers channels directions spin spin 2"]
    second: Float[Array, "*layers channels directions spin spin 2"]

    def apply(self, operator: EvenOddDirac, u: Any, psi: Array, dagger: bool) -> Array:
        links = oriented_links(operator.join(*u))
        whole = operator.join(jnp.zeros_like(psi), psi)[None]
        first, second = (_complex(m, psi.dtype) for m in (self.first, self.second))
        if dagger:
            first, second = (_adjoint(m) for m in (second, first))
        # Of one spinor to every channel, and back to one.
        middle = _transported(first, links, jnp.broadcast_to(whole, (len(first), *whole.shape[1:])))
        return operator.split(jnp.sum(_transported(second, links, middle), axis=0))[1]


class ColourCouplings(AbstractPreconditioner):
    r"""Layers of couplings between two colours of odd sites as both factors, $L = e^{s} \prod_i (1 + P_i X_i P_i')$.

    $P_i$ picks the sites of one colour, $P_i'$ those of the other one, in turn; every layer is triangular with ones on the
    diagonal, so that the determinant is that of the scale and inverses are exact. $X_i$ are `PolynomialHops`
    (`polynomial`) or `TransportHops` (`transport`), with numbers to learn, zero or small at the start. Colours are the
    parities of half the sum of coordinates, rounded down.

    **Arguments:** `operator`: an `EvenOddDirac`; `left`, `right`: hops of the factors L and R, with an axis of layers.

        >>> schur = tm.fermions.EvenOddDirac(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
        >>> couplings = tm.fermions.ColourCouplings.polynomial(schur, layers=4, degree=2)
    """

    operator: EvenOddDirac
    left: AbstractHops
    right: AbstractHops
    scales: Float[Array, " 2"]

    def __init__(self, operator: Any, left: Any, right: Any):
        if not isinstance(operator, EvenOddDirac):
            raise TypeError(
                f"ColourCouplings: got a {type(operator).__name__}, expected an EvenOddDirac: colours of odd sites."
            )
        self.operator, self.left, self.right, self.scales = operator, left, right, jnp.zeros(2)

    @staticmethod
    def polynomial(operator: EvenOddDirac, layers: int = 6, degree: int = 4) -> "ColourCouplings":
        r"""Polynomials of the hopping term, `2 layers degree` numbers, all zero at first: the identity."""
        integers("ColourCouplings", 1, layers=layers, degree=degree)
        hops = PolynomialHops(jnp.zeros((layers, degree)))
        return ColourCouplings(operator, hops, hops)

    @staticmethod
    def transport(key: Any, operator: EvenOddDirac, layers: int = 6, channels: int = 1) -> "ColourCouplings":
        """Parallel-transport convolutions: A of the hopping term with small changes at random, B zero."""
        integers("ColourCouplings", 1, layers=layers, channels=channels)
        gammas = gamma_matrices(len(operator.dirac.lattice))
        one = np.eye(operator.dirac.spins)
        term = np.concatenate([one - gammas, one + gammas])
        start = jnp.asarray(np.stack([term.real, term.imag], axis=-1))
        shape = (layers, channels, *start.shape)
        first = jnp.broadcast_to(start, (2, *shape)) + 0.1 * jax.random.normal(key, (2, *shape))
        zero = jnp.zeros(shape)
        return ColourCouplings(operator, TransportHops(first[0], zero), TransportHops(first[1], zero))

    def factors(self, x: Array) -> tuple["CouplingMap", "CouplingMap"]:
        u = self.operator.transporters(x)
        return (
            CouplingMap(self.operator, u, self.left, self.scales[0]),
            CouplingMap(self.operator, u, self.right, self.scales[1]),
        )


class CouplingMap(AbstractSpinorMap):
    """One factor of `ColourCouplings` on given links."""

    operator: EvenOddDirac
    transporters: tuple[Inexact[Array, "..."], Inexact[Array, "..."]]
    hops: AbstractHops
    scale: Float[Array, ""]

    def apply(self, psi: Array, dagger: bool = False) -> Array:
        return jnp.exp(self.scale).astype(psi.dtype) * self._layers(psi, dagger, 1.0)

    def solve(self, psi: Array, dagger: bool = False) -> Array:
        return jnp.exp(-self.scale).astype(psi.dtype) * self._layers(psi, dagger, -1.0)

    def log_det(self) -> Array:
        return self.operator.size * self.scale.astype(float)

    def _layers(self, psi: Array, dagger: bool, sign: float) -> Array:
        """The product of all layers, the last one applied first, or that of the inverses in the opposite order."""
        layers = jax.tree.leaves(self.hops)[0].shape[0]
        odd = _colour(self.operator) == 1

        def layer(psi: Array, this: tuple) -> tuple[Array, None]:
            hops, index = this
            goal = odd == ((index % 2 == 1) != dagger)
            moved = hops.apply(self.operator, self.transporters, jnp.where(goal, 0, psi), dagger)
            return psi + sign * jnp.where(goal, moved, 0), None

        # A = E_1 E_2 ... applies the last one first; its adjoint and its inverse the first one first.
        reverse = (sign > 0) != dagger
        return lax.scan(layer, psi, (self.hops, jnp.arange(layers)), reverse=reverse)[0]


def _colour(operator: EvenOddDirac) -> np.ndarray:
    """0 or 1 for each odd site, in the shape of half spinors without spin and colour."""
    colour = operator.sites.sum(axis=1) // 2 % 2
    return colour.reshape(operator.half_shape[2:])


def _complex(matrices: Array, dtype: Any) -> Array:
    return lax.complex(matrices[..., 0], matrices[..., 1]).astype(dtype)


def _adjoint(matrices: Array) -> Array:
    """Spin matrices of the adjoint hops: backward ones are the adjoints of forward ones."""
    forward, backward = jnp.split(matrices, 2, axis=1)
    return jnp.swapaxes(jnp.concatenate([backward, forward], axis=1).conj(), -1, -2)


def _transported(matrices: Array, links: Array, psi: Array) -> Array:
    """Sum over directions of spin matrices on transported spinors: `(channels, 2 d, s, s)`, `(2 d, n, n, *lattice)`,
    `(channels, s, n, *lattice)`."""
    dim = len(links) // 2
    moved = [shift(psi, mu, steps, dim) for steps in (1, -1) for mu in range(dim)]
    carried = [jnp.einsum("ij...,csj...->csi...", link, m) for link, m in zip(links, moved, strict=True)]
    return jnp.einsum("cdst,dctn...->csn...", matrices, jnp.stack(carried))
