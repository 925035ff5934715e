import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._types import Array, PRNGKey, RealScalar, Shape
from ..lattice import shift
from ..manifolds import RealField
from ._hopping import hopping
from ._wilson_dirac import WilsonDirac


class EvenOddDirac(eqx.Module):
    r"""The Schur complement of the Wilson-Dirac operator on odd sites,

    $$\hat D = R - \kappa^2 H_{oe} R^{-1} H_{eo}, \qquad R = 1 + i\mu\gamma_5, \qquad
    \det D = (1 + \mu^2)^{\text{size}/4} \det \hat D,$$

    which has half the size of D, a smaller condition number, and costs one hop per application. Sites are even or odd as
    the sum of their coordinates. Half spinors are `(spin, colour, *half)`: the last axis keeps every second site, in order.

    **Arguments:** `dirac`: the operator on the whole lattice.

    **Raises:** `ValueError` for odd extents, on which sites of one parity are neighbours.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> tm.fermions.EvenOddDirac(dirac).dense(links).shape
        (16, 16)
    """

    dirac: WilsonDirac

    def __init__(self, dirac: Any):
        if any(extent % 2 for extent in dirac.lattice):
            raise ValueError(
                f"EvenOddDirac: got the extents {dirac.lattice}, expected even ones: across the boundary of an odd extent "
                "sites of the same parity are neighbours. Use WilsonDirac itself."
            )
        self.dirac = dirac

    @property
    def kappa(self) -> RealScalar:
        """The hopping parameter."""
        return self.dirac.kappa

    @property
    def half_shape(self) -> Shape:
        """Shape of half spinors, `(spin, colour, *half)`."""
        *shape, last = self.dirac.spinor_shape
        return (*shape, last // 2)

    @property
    def size(self) -> int:
        """Number of rows of the matrix."""
        return math.prod(self.half_shape)

    @property
    def spinor_field(self) -> RealField:
        """Half spinors as a component of a `ProductManifold`, `(spin * colour, *lattice)`: half as many real numbers as of
        spinors on the whole lattice. The even site of a pair holds the real part, the odd one the imaginary part."""
        return RealField(self.dirac.lattice, components=self.dirac.spins * self.dirac.group.n)

    def to_spinor(self, phi: Array) -> Array:
        """The complex half spinor of an element of `spinor_field`."""
        return jax.lax.complex(*self.split(phi.reshape(self.dirac.spinor_shape)))

    def from_spinor(self, psi: Array) -> Array:
        """The element of `spinor_field`, inverse of `to_spinor`."""
        return self.join(psi.real, psi.imag).reshape(self.spinor_field.shape)

    def random_spinor(self, key: PRNGKey, dtype: Any = None) -> Array:
        r"""Independent complex normal components, $\langle |\eta|^2 \rangle = 1$ each; `dtype` is the real one."""
        return self.to_spinor(self.spinor_field.random_tangent(key, dtype) * np.sqrt(0.5).item())

    @property
    def sites(self) -> np.ndarray:
        """Coordinates of the odd sites, `(sites, d)`, in the order of half spinors."""
        sites = self.dirac.sites
        return sites[sites.sum(axis=1) % 2 == 1]

    @property
    def range(self) -> int:
        """Largest distance (sum of steps along the axes) between sites that the operator connects."""
        return 2

    def split(self, field: Array) -> tuple[Array, Array]:
        """The values of a field `(..., *lattice)` at even and at odd sites, `(..., *half)` each."""
        pairs = field.reshape(*field.shape[:-1], -1, 2)
        odd_first = self._odd_rows()[..., None]
        first, second = pairs[..., 0], pairs[..., 1]
        return _select(odd_first, second, first), _select(odd_first, first, second)

    def join(self, even: Array, odd: Array) -> Array:
        """The field on the whole lattice, inverse of `split`."""
        odd_first = self._odd_rows()[..., None]
        pairs = jnp.stack([_select(odd_first, odd, even), _select(odd_first, even, odd)], axis=-1)
        return pairs.reshape(*even.shape[:-1], -1)

    def transporters(self, x: Array) -> tuple[Array, Array]:
        """The links with the signs of the boundary at even and at odd sites, `(dim, n, n, *half)` each."""
        return self.split(self.dirac.transporters(x))

    def hop_to(self, parity: int, u: tuple[Array, Array], psi: Array, dagger: bool = False) -> Array:
        r"""$H_{eo}\psi$ at even (`parity` 0) or $H_{oe}\psi$ at odd sites (1) from a half spinor at the others."""

        def moved(h: Array, mu: int, steps: int) -> Array:
            # Here psi lives on the other parity. Along the last axis pairs of sites share an index: in half of the rows the
            # neighbour has the same one. The backward transport runs from there to here as well.
            return self._shift(h, mu, steps, parity)

        return hopping(u[parity], u[1 - parity], psi, moved, dagger)

    def apply_with(self, u: tuple[Array, Array], psi: Array, dagger: bool = False) -> Array:
        r"""$\hat D\psi$ or $\hat D^\dagger\psi$ of a half spinor at odd sites, from the transporters."""
        kappa = self.dirac.kappa.astype(psi.dtype)
        even = self.over_diagonal(self.hop_to(0, u, psi, dagger), dagger)
        return self.dirac.diagonal(psi, dagger) - kappa**2 * self.hop_to(1, u, even, dagger)

    def over_diagonal(self, psi: Array, dagger: bool = False) -> Array:
        r"""$R^{-1}\psi = (1 - i\mu\gamma_5)\psi / (1 + \mu^2)$."""
        if self.dirac.twisted_mass is None:
            return psi
        norm = 1 + self.dirac.twisted_mass.astype(psi.dtype) ** 2
        return self.dirac.diagonal(psi, not dagger) / norm

    def even_log_det(self) -> Array:
        r"""$\log |\det R|$ of the even sites, $\frac{\text{size}}{4} \log(1 + \mu^2)$, in float64 when x64 is on."""
        if self.dirac.twisted_mass is None:
            return jnp.zeros(())
        return self.size / 2 * jnp.log1p(self.dirac.twisted_mass.astype(float) ** 2)

    def dense(self, x: Array) -> Array:
        """The matrix on odd sites, `(size, size)`, indices in the order (spin, colour, site)."""
        u = self.transporters(x)
        basis = jnp.eye(self.size, dtype=u[0].dtype).reshape(self.size, *self.half_shape)
        return jax.vmap(lambda psi: self.apply_with(u, psi).reshape(-1))(basis).T

    def _odd_rows(self) -> np.ndarray:
        """Whether the first site of a row along the last axis is odd, `(*lattice[:-1])`."""
        return np.indices(self.dirac.lattice[:-1], dtype=np.int32).sum(axis=0) % 2 == 1

    def _shift(self, h: Array, mu: int, steps: int, parity: int) -> Array:
        dim = len(self.dirac.lattice)
        moved = shift(h, mu, steps, dim)
        if mu < dim - 1:
            return moved
        # A site of the result stands first in its pair where its row starts with its parity: then the neighbour ahead
        # shares its index, and the one behind does not.
        first = self._odd_rows() == (parity == 1)
        return _select((first if steps > 0 else ~first)[..., None], h, moved)


def _select(rows: np.ndarray, a: Array, b: Array) -> Array:
    mask = rows.reshape((1,) * (a.ndim - rows.ndim) + rows.shape)
    return jnp.where(mask, a, b)
