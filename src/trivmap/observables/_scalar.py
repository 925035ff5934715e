import jax.numpy as jnp
import numpy as np

from .._checks import integer
from .._types import Array, Float, RealScalar
from ..lattice import accumulator_dtype, shift, site_sum
from ._links import check_axis


def magnetisation(phi: Array) -> RealScalar:
    r"""$M = \frac1V \sum_x \phi_x$.

    >>> tm.magnetisation(phi)
    """
    return site_sum(_check(phi)) / phi.size


def susceptibility(phi: Array) -> RealScalar:
    r"""$V M^2$; its mean is the two-point susceptibility $\sum_x \langle\phi_x \phi_0\rangle$, nothing subtracted.

    >>> tm.expectation(chain, tm.observables.susceptibility)
    """
    return phi.size * magnetisation(phi) ** 2


def moment(phi: Array, power: int) -> RealScalar:
    r"""$\frac1V \sum_x \phi_x^k$ with `power` $k$, an integer of zero or more.

    >>> tm.observables.moment(phi, 4)
    """
    integer("moment: power", power, 0)
    return site_sum(_check(phi) ** power) / phi.size


def ising_energy(phi: Array) -> RealScalar:
    r"""$\frac{1}{dV} \sum_{x,\mu} \phi_x \phi_{x+\mu}$.

    >>> tm.expectation(chain, tm.observables.ising_energy)
    """
    total = sum(shift(_check(phi), mu, 1, phi.ndim) for mu in range(phi.ndim))
    return site_sum(phi * total) / (phi.ndim * phi.size)


def two_point(phi: Array, axis: int = 0) -> Float[Array, " extent"]:
    r"""Zero-momentum two-point function $C(t) = \sum_{x_\perp} \langle\phi(t, x_\perp) \phi(0)\rangle$ along `axis`.

    Averaged over the origin; the full period is returned, so that `sum(two_point(phi)) = susceptibility(phi)`.

        >>> tm.observables.two_point(phi).shape
    """
    check_axis("two_point", axis, _check(phi).ndim)
    others = tuple(mu for mu in range(phi.ndim) if mu != axis)
    slices = jnp.sum(phi, axis=others, dtype=accumulator_dtype())
    extent = slices.shape[0]
    separated = slices[(np.arange(extent)[:, None] + np.arange(extent)[None]) % extent]
    return jnp.sum(separated * slices[None], axis=1) / phi.size


def _check(phi: Array) -> Array:
    if not jnp.issubdtype(phi.dtype, jnp.floating) or phi.ndim == 0:
        raise TypeError(
            f"scalar field: got dtype {phi.dtype} and shape {phi.shape}, expected one real configuration (*lattice); "
            "links have their own observables, batches go through jax.vmap."
        )
    return phi
