"""Scalar fields from coarse to fine: a flow on the lattice of twice the spacing, and the details given it."""

import itertools
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact

from .. import _linalg as linalg
from .._checks import positive
from .._types import Shape
from ..lattice import site_sum
from ..manifolds import AbstractManifold, RealField, scalar_field
from ._base import AbstractFlow


class CoarseToFine(AbstractFlow):
    r"""A field from one on every second site in each direction, and free details given that.

    The sites are taken in cells of $2^d$. A coarse variable of each cell (its mean, or one of its sites) is $a\,\psi$, the
    image of a part of z under a flow on the coarse lattice. The other variables d of the cells follow the free field of mass
    m, up to a width s, at the given coarse one: for each coarse momentum, with the matrix $K = 2(\hat k^2 + m^2)$ in
    the variables of a cell and $K_{dd} = L L^\dagger$,

    $$d = -K_{dd}^{-1} K_{dc}\, a \psi + s\, L^{-\dagger} \eta.$$

    The density is exact. a, s and m are learned, and so is the coarse flow, which may be a `CoarseToFine` itself. Put a flow
    on all sites behind it, since details of an interacting theory are neither free nor is a trained coarse flow the
    theory of their means. Similar in spirit to arXiv:2604.10209.

    **Arguments:** `manifold`: a `RealField` with one component and even extents; `coarse`: a flow on the `RealField` of half
    of them; `variable`: "mean" of a cell, times $2^{d/2}$, or its first "site"; `mass`: m at first, in units of the
    fine lattice; `scale`: a at first, by default $2^{d/2}$ for means and 1 for sites; `dtype`: precision of the parameters.

    **Raises:** `TypeError` for links; `ValueError` for odd extents, a coarse flow of another lattice, another variable, a
    mass or scale that is not positive.

        >>> coarse = tm.flows.FourierFlow(tm.RealField((2, 2)), mass=0.5)
        >>> flow = tm.flows.CoarseToFine(tm.RealField((4, 4)), coarse, mass=0.5)
    """

    coarse: AbstractFlow
    log_scale: Float[Array, ""]
    log_width: Float[Array, ""]
    log_mass: Float[Array, ""]
    manifold: RealField = eqx.field(static=True)
    variable: str = eqx.field(static=True)

    def __init__(
        self,
        manifold: AbstractManifold,
        coarse: AbstractFlow,
        *,
        variable: str = "mean",
        mass: float = 1.0,
        scale: float | None = None,
        dtype: DTypeLike | None = None,
    ):
        self.manifold = scalar_field(manifold, f"CoarseToFine: got {manifold}, expected a RealField: links have no means.")
        _check_coarse(self.manifold, coarse)
        if variable not in ("mean", "site"):
            raise ValueError(f"CoarseToFine: got variable={variable!r}, expected 'mean' or 'site'.")
        size = 2.0 ** (len(manifold.lattice) / 2) if variable == "mean" else 1.0
        positive("CoarseToFine: mass", mass)
        positive("CoarseToFine: scale", size if scale is None else scale)
        self.coarse, self.variable = coarse, variable
        dtype = jnp.zeros(0).dtype if dtype is None else dtype
        self.log_scale = jnp.log(jnp.asarray(size if scale is None else scale, dtype))
        self.log_width = jnp.zeros((), dtype)
        self.log_mass = jnp.log(jnp.asarray(mass, dtype))

    def forward_and_log_det(self, z: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        x, log_det, _ = self._forward(z, lambda c: (*self.coarse.forward_and_log_det(c), None))
        return x, log_det

    def forward_with_error(self, z: Array) -> tuple[Array, Float[Array, ""], Float[Array, ""]]:
        """That of the coarse flow; the details are linear."""
        return self._forward(z, self.coarse.forward_with_error)

    def inverse_and_log_det(self, x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        self.manifold.check(x)
        mean, width, log_det = self._details(x.dtype)
        c, d = _split(jnp.tensordot(jnp.asarray(self._basis(), x.dtype), _cells(x), 1))
        # L^dagger is the inverse of what `_details` gives.
        noise = _by_momentum(linalg.inverse(width), d - _by_momentum(mean, c[None]))
        z, coarse = self.coarse.inverse_and_log_det(c / jnp.exp(self.log_scale.astype(x.dtype)))
        return _sites(jnp.concatenate([z[None], noise])), coarse - log_det

    @property
    def refinable(self) -> bool:
        return self.coarse.refinable

    def refined(self, factor: int = 2) -> "CoarseToFine":
        """With `factor` times as many integration steps of the coarse flow."""
        return eqx.tree_at(lambda flow: flow.coarse, self, self.coarse.refined(factor))

    @property
    def evaluations(self) -> int | None:
        return None if self.coarse.evaluations is None else self.coarse.evaluations + 1

    def on(self, manifold: AbstractManifold) -> "CoarseToFine":
        """The same parameters, of the coarse flow as well, on another lattice."""
        fine = scalar_field(manifold, f"CoarseToFine.on: got {manifold}, expected a RealField.")
        coarse: Any = self.coarse.on(RealField(coarse_lattice(fine.lattice)))
        new = CoarseToFine(fine, coarse, variable=self.variable)
        learned = lambda flow: (flow.log_scale, flow.log_width, flow.log_mass)  # noqa: E731
        return eqx.tree_at(learned, new, learned(self))

    def _forward(self, z: Array, coarse: Any) -> tuple[Array, Array, Any]:
        self.manifold.check(z)
        mean, width, log_det = self._details(z.dtype)
        first, noise = _split(_cells(z))
        psi, change, error = coarse(first)
        c = jnp.exp(self.log_scale.astype(z.dtype)) * psi
        d = _by_momentum(mean, c[None]) + _by_momentum(width, noise)
        cells = jnp.tensordot(jnp.asarray(self._basis().T, z.dtype), jnp.concatenate([c[None], d]), 1)
        return _sites(cells), change + log_det, error

    def _basis(self) -> np.ndarray:
        """Orthonormal variables of a cell in rows, the coarse one first."""
        corners = _corners(len(self.manifold.lattice))
        if self.variable == "site":
            return np.eye(len(corners))
        return (-1.0) ** (corners @ corners.T) / np.sqrt(len(corners))

    def _details(self, dtype: Any) -> tuple[Array, Array, Array]:
        r"""$-K_{dd}^{-1} K_{dc}$ and $s L^{-\dagger}$ for each coarse momentum, and the log-det of all linear maps."""
        basis, exact = self._basis(), jnp.result_type(float)
        laplacian = basis @ _laplacian(self.manifold.lattice) @ basis.T
        mass = jnp.exp(2 * self.log_mass.astype(exact)) * jnp.eye(len(basis) - 1, dtype=exact)
        within = 2 * (jnp.asarray(laplacian[:, 1:, 1:]) + mass[None].astype(complex))
        factor = linalg.inverse(linalg.cholesky(within))
        width = jnp.exp(self.log_width.astype(exact))
        upper = jnp.swapaxes(factor.conj(), -1, -2)
        mean = -2 * upper @ (factor @ jnp.asarray(laplacian[:, 1:, :1]))
        number = len(laplacian)
        roots = site_sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1).real))
        scales = self.log_scale.astype(exact) + (len(basis) - 1) * self.log_width.astype(exact)
        kind = np.result_type(dtype, np.complex64)
        return mean.astype(kind), (width.astype(upper.dtype) * upper).astype(kind), number * scales + roots


def coarse_lattice(lattice: Shape) -> Shape:
    return tuple(extent // 2 for extent in lattice)


def _check_coarse(manifold: RealField, coarse: AbstractFlow) -> None:
    if any(extent % 2 for extent in manifold.lattice):
        raise ValueError(f"CoarseToFine: got extents {manifold.lattice}, expected even ones, in cells of two sites.")
    expected = RealField(coarse_lattice(manifold.lattice))
    if coarse.manifold != expected:
        raise ValueError(f"CoarseToFine: got a coarse flow on {coarse.manifold}, expected one on {expected}.")


def _corners(dimension: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=dimension)))


def _cells(x: Array) -> Array:
    """Sites `(*lattice)` as `(2^d, *coarse)`, the corners of a cell in the order of `_corners`."""
    dimension = x.ndim
    pairs = x.reshape([n for extent in x.shape for n in (extent // 2, 2)])
    moved = pairs.transpose([*range(1, 2 * dimension, 2), *range(0, 2 * dimension, 2)])
    return moved.reshape(2**dimension, *moved.shape[dimension:])


def _sites(cells: Array) -> Array:
    coarse = cells.shape[1:]
    dimension = len(coarse)
    pairs = cells.reshape(*(2,) * dimension, *coarse)
    order = [axis for mu in range(dimension) for axis in (dimension + mu, mu)]
    return pairs.transpose(order).reshape([2 * extent for extent in coarse])


def _split(cells: Array) -> tuple[Array, Array]:
    return cells[0], cells[1:]


def _by_momentum(matrices: Array, x: Array) -> Array:
    """Real fields `(in, *coarse)` times `(momenta, out, in)`, conjugate at opposite momenta: `(out, *coarse)`."""
    axes, coarse = tuple(range(1, x.ndim)), x.shape[1:]
    amplitudes = jnp.fft.fftn(x, axes=axes).reshape(len(x), -1)
    result = jnp.einsum("koi,ik->ok", matrices, amplitudes, precision="highest")
    return jnp.fft.ifftn(result.reshape(-1, *coarse), axes=axes).real.astype(x.dtype)


def _laplacian(lattice: Shape) -> np.ndarray:
    """-Delta between the corners of cells at each coarse momentum, `(momenta, 2^d, 2^d)`, Hermitian."""
    corners, coarse = _corners(len(lattice)), coarse_lattice(lattice)
    axes = [2 * np.pi * np.arange(extent) / extent for extent in coarse]
    momenta = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(lattice))
    total = np.zeros((len(momenta), len(corners), len(corners)), complex)
    index = {tuple(c): i for i, c in enumerate(corners)}
    for i, corner in enumerate(corners):
        total[:, i, i] += 2 * len(lattice)
        for mu, step in itertools.product(range(len(lattice)), (1, -1)):
            site = corner + step * np.eye(len(lattice), dtype=int)[mu]
            # The neighbour lies in the cell at this displacement, with the phase of a plane wave between the cells.
            total[:, i, index[tuple(site % 2)]] -= np.exp(1j * momenta[:, mu] * (site[mu] // 2))
    return total
