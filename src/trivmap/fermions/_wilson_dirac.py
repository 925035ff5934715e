import math
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._checks import finite
from .._parameters import all_fields
from .._types import Array, PRNGKey, RealScalar, Shape
from ..gauge import link_matrices
from ..groups import AbstractGroup, real_dtype
from ..lattice import shift
from ..manifolds import LinkField, RealField
from ._gamma import apply_gamma_five, chiral_blocks
from ._hopping import hopping


class CriticalKappaWarning(UserWarning):
    """The hopping parameter is at or beyond the value at which free quarks are massless."""


class WilsonDirac(eqx.Module):
    r"""The Wilson-Dirac operator in an even dimension d, $D = 1 - \kappa H + i\mu\gamma_5$ with the hopping term

    $$(H\psi)(x) = \sum_\mu (1 - \gamma_\mu) U_\mu(x) \psi(x+\mu) + (1 + \gamma_\mu) U_\mu(x-\mu)^\dagger \psi(x-\mu),$$

    $\kappa = 1/(2 m_0 + 2d)$. For $\mu = 0$: $\gamma_5 D \gamma_5 = D^\dagger$, so that det D is real. Spinors are complex
    arrays `(spin, colour, *lattice)`, for U(1) with one colour. Gamma matrices are those of `gamma_matrices`.

    **Arguments:** `group`: `U1()` or `SU(n)`, quarks are in the fundamental representation; `lattice`: extents; `kappa`:
    the hopping parameter; `boundary`: one sign per direction, -1 where spinors are antiperiodic, by default along time
    only; `twisted_mass`: $\mu$, which bounds $D^\dagger D = Q^2 + \mu^2$, $Q = \gamma_5 D|_{\mu=0}$, from below.

    **Raises:** `ValueError` for an odd dimension, signs other than 1 and -1, or numbers that are not finite. **Warns:**
    `CriticalKappaWarning` where $|\kappa| \ge 1/(2d)$.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> dirac.apply(links, dirac.random_spinor(key)).shape
        (2, 1, 4, 4)
    """

    manifold: LinkField = eqx.field(static=True)
    boundary: tuple[int, ...] = eqx.field(static=True)
    kappa: RealScalar
    twisted_mass: RealScalar | None

    def __init__(self, group: AbstractGroup, lattice: Shape, kappa: Any, boundary: Any = None, twisted_mass: Any = 0):
        self.manifold = LinkField(group=group, lattice=lattice)
        dim = len(self.manifold.lattice)
        chiral_blocks(dim)
        self.boundary = _signs(dim, boundary)
        self.kappa = _parameter("kappa", kappa)
        # None, not an array of zero: what needs mu = 0 must know it under `jit`.
        untwisted = isinstance(twisted_mass, int | float) and twisted_mass == 0
        self.twisted_mass = None if untwisted else _parameter("twisted_mass", twisted_mass)
        _warn_of_light_quarks(self.kappa, dim)

    @property
    def group(self) -> AbstractGroup:
        return self.manifold.group

    @property
    def lattice(self) -> Shape:
        """Extents, axis 0 is time."""
        return self.manifold.lattice

    @property
    def spins(self) -> int:
        """Number of spin components, $2^{d/2}$."""
        return 2 ** (len(self.lattice) // 2)

    @property
    def spinor_shape(self) -> Shape:
        """`(spin, colour, *lattice)`."""
        return (self.spins, self.group.n, *self.lattice)

    @property
    def size(self) -> int:
        """Number of rows of the matrix: spins times colours times volume."""
        return math.prod(self.spinor_shape)

    @property
    def spinor_field(self) -> RealField:
        """Spinors as a component of a `ProductManifold`, `(2 * spin * colour, *lattice)`.

        Real and imaginary parts are fields of their own, real ones first: priors, momenta and files of real fields serve
        for spinors as well.
        """
        return RealField(self.lattice, components=2 * self.spins * self.group.n)

    def to_spinor(self, phi: Array) -> Array:
        """The complex spinor of an element of `spinor_field`."""
        real, imaginary = phi.reshape(2, *self.spinor_shape)
        return jax.lax.complex(real, imaginary)

    def from_spinor(self, psi: Array) -> Array:
        """The element of `spinor_field`, inverse of `to_spinor`."""
        return jnp.stack([psi.real, psi.imag]).reshape(self.spinor_field.shape)

    @property
    def dirac(self) -> "WilsonDirac":
        """The operator on the whole lattice: itself, as `EvenOddDirac.dirac` is."""
        return self

    @property
    def sites(self) -> np.ndarray:
        """Coordinates of the sites of spinors, `(sites, d)`, in their order."""
        return np.indices(self.lattice).reshape(len(self.lattice), -1).T

    @property
    def range(self) -> int:
        """Largest distance (sum of steps along the axes) between sites that the operator connects."""
        return 1

    def frozen_fields(self) -> frozenset[str]:
        """All of them: couplings are physics, which no training changes."""
        return all_fields(self)

    def transporters(self, x: Array) -> Array:
        """The links as matrices with the signs of the boundary, `(dim, n, n, *lattice)`; the argument `u` of `apply_with`."""
        self.manifold.check(x)
        u = link_matrices(x)
        return u * jnp.asarray(_boundary_signs(self.lattice, self.boundary), u.dtype)

    def apply(self, x: Array, psi: Array) -> Array:
        r"""$D\psi$ on the links `x`.

        **Raises:** `ValueError` for links or spinors of another lattice, `TypeError` for real spinors.
        """
        return self.apply_with(self.transporters(x), psi)

    def adjoint(self, x: Array, psi: Array) -> Array:
        r"""$D^\dagger\psi$ on the links `x`."""
        return self.apply_with(self.transporters(x), psi, dagger=True)

    def normal(self, x: Array, psi: Array) -> Array:
        r"""$D^\dagger D\, \psi$ on the links `x`, Hermitian and positive."""
        u = self.transporters(x)
        return self.apply_with(u, self.apply_with(u, psi), dagger=True)

    def apply_with(self, u: Array, psi: Array, dagger: bool = False) -> Array:
        r"""$D\psi$ or $D^\dagger\psi$ from the transporters, for callers that apply the operator more than once."""
        self.check_spinor(psi)
        dim = len(self.lattice)
        moved = hopping(u, u, psi, lambda h, mu, steps: shift(h, mu, steps, dim), dagger)
        return self.diagonal(psi, dagger) - self.kappa.astype(psi.dtype) * moved

    def diagonal(self, psi: Array, dagger: bool = False) -> Array:
        r"""The site-diagonal part, $(1 \pm i\mu\gamma_5)\psi$."""
        if self.twisted_mass is None:
            return psi
        mu = self.twisted_mass.astype(psi.real.dtype)
        turned = jax.lax.complex(jnp.zeros_like(mu), -mu if dagger else mu) * apply_gamma_five(psi)
        return psi + turned

    def even_log_det(self) -> Array:
        """Zero: no sites are eliminated here, as those of even parity are by `EvenOddDirac`."""
        return jnp.zeros(())

    def dense(self, x: Array) -> Array:
        """The matrix of D, `(size, size)`, indices in the order (spin, colour, site); for small lattices and tests."""
        u = self.transporters(x)
        basis = jnp.eye(self.size, dtype=u.dtype).reshape(self.size, *self.spinor_shape)
        return jax.vmap(lambda psi: self.apply_with(u, psi).reshape(-1))(basis).T

    def random_spinor(self, key: PRNGKey, dtype: Any = None) -> Array:
        r"""Independent complex normal components, $\langle |\eta|^2 \rangle = 1$ each; `dtype` is the real one."""
        parts = jax.random.normal(key, (2, *self.spinor_shape), real_dtype(dtype)) * np.sqrt(0.5).item()
        return jax.lax.complex(parts[0], parts[1])

    def point_source(self, site: Shape, spin: int, colour: int = 0, dtype: Any = None) -> Array:
        """One at a site, spin and colour, zero elsewhere; `dtype` is the real one."""
        source = jnp.zeros(self.spinor_shape, real_dtype(dtype)).at[(spin, colour, *site)].set(1.0)
        return jax.lax.complex(source, jnp.zeros_like(source))

    def check_spinor(self, psi: Array) -> None:
        """Refuses anything but one complex spinor of this lattice."""
        if not jnp.issubdtype(psi.dtype, jnp.complexfloating):
            raise TypeError(f"spinor: got dtype {psi.dtype}, expected a complex one.")
        if psi.shape != self.spinor_shape:
            raise ValueError(
                f"spinor: got shape {psi.shape}, expected {self.spinor_shape} = (spin, colour, *lattice) for "
                f"{self.group.name} on {self.lattice}; U(1) has one colour, batches go through jax.vmap."
            )


def _parameter(name: str, value: Any) -> Array:
    if np.iscomplexobj(value) or getattr(value, "ndim", 0) != 0:
        raise TypeError(f"WilsonDirac: {name}: got {value}, expected a real scalar.")
    finite(f"WilsonDirac: {name}", value)
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def _signs(dim: int, boundary: Any) -> tuple[int, ...]:
    signs = (-1, *(1,) * (dim - 1)) if boundary is None else tuple(boundary)
    if len(signs) != dim or any(sign not in (-1, 1) for sign in signs):
        raise ValueError(
            f"WilsonDirac: got boundary={boundary}, expected one sign for each of the {dim} directions: 1 for periodic, -1 "
            "for antiperiodic spinors, such as (-1, 1) for antiperiodic in time."
        )
    return tuple(int(sign) for sign in signs)


def _boundary_signs(lattice: Shape, boundary: tuple[int, ...]) -> np.ndarray:
    """Factors of the links, `(dim, 1, 1, *lattice)`: the sign on those that leave the last site of their direction."""
    signs = np.ones((len(lattice), 1, 1, *lattice))
    for mu, sign in enumerate(boundary):
        np.moveaxis(signs[mu], 2 + mu, 0)[-1] = sign
    return signs


def _warn_of_light_quarks(kappa: Array, dim: int) -> None:
    value = float("nan") if isinstance(kappa, Tracer) else abs(float(np.asarray(kappa)))
    if value >= 1 / (2 * dim):
        warnings.warn(
            f"WilsonDirac: kappa = {float(np.asarray(kappa)):g} is at or beyond 1/(2 d) = {1 / (2 * dim):g}, where free "
            "quarks are massless: det D can vanish and be negative, solves need many iterations, and HMC does not cross "
            "from one sign to the other. On rough links this may be what you want; measure the sign.",
            CriticalKappaWarning,
            stacklevel=4,  # through the constructor of Equinox
        )
