"""The Gaussian conditional density of a region of a scalar field, given the sites around it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Int, Key

from .. import _linalg as linalg
from .._checks import positive
from ..lattice import Region, accumulator_dtype
from ..manifolds import RealField, RegionField
from ..statistics import StoredConfigurations
from ._base import AbstractPrior


class GaussianRegionPrior(AbstractPrior):
    r"""Configurations of a scalar field of which a region is redrawn by a free field, given all other sites.

    $$ r(\phi_R | \phi_B) \propto \exp\Big(-a \sum_{x\mu} (\phi_{x+\mu} - \phi_x)^2 - m^2 \sum_{x \in R} \phi_x^2\Big) $$

    is a Gaussian around the solution of $(-\Delta + m^2/a)\phi = 0$ in the region. The sites outside come from stored
    configurations; `log_prob` is the density of the region alone. Behind it stands a flow of the region, for
    `kernels.RegionMetropolis`.

    **Arguments:**

    - `region`: sites of the lattice. `data`: a `Chain`, an `Ensemble` or an array of configurations on this lattice.
    - `stiffness`, `mass2`: a and m^2 at the start, positive; learned.

    **Raises:** `TypeError` for other fields, `ValueError` for regions of links or numbers that are not positive.

        >>> fields = tm.hmc(key, scalar, 10, steps=4)
        >>> prior = tm.priors.GaussianRegionPrior(tm.lattice.slab((4, 4), 0, 1, 3), fields)
        >>> prior.log_prob(prior.sample(key))
    """

    data: StoredConfigurations
    log_stiffness: Float[Array, ""]
    log_mass2: Float[Array, ""]
    region: Region = eqx.field(static=True)

    def __init__(self, region: Any, data: Any, *, stiffness: float = 1.0, mass2: float = 0.5):
        positive("GaussianRegionPrior: stiffness", stiffness)
        positive("GaussianRegionPrior: mass2", mass2)
        self.region = region if isinstance(region, Region) else Region(region)
        if self.region.links:
            raise ValueError("GaussianRegionPrior: got a region of links, expected sites.")
        self.data = StoredConfigurations(data, type(self).__name__)
        RealField(self.region.lattice).check(self.data.configurations[0])
        self.log_stiffness, self.log_mass2 = (jnp.log(jnp.asarray(value, float)) for value in (stiffness, mass2))

    @property
    def manifold(self) -> RegionField:
        return RegionField(RealField(self.region.lattice), self.region)

    def frozen_fields(self) -> tuple[str, ...]:
        """Stored configurations are not learned."""
        return ("data",)

    @property
    def source_shape(self) -> tuple[int, int] | None:
        return self.data.source_shape

    def source_index(self, key: Key[Array, ""]) -> Int[Array, " 2"] | None:
        return self.data.source(self.data.indices(jax.random.split(key)[0], 1)[0])

    def sample(self, key: Key[Array, ""], dtype: DTypeLike | None = None) -> Array:
        draw, normal = jax.random.split(key)
        return self.redrawn(normal, self.data.draw(draw, 1, float if dtype is None else dtype)[0])

    def redrawn(self, key: Key[Array, ""], x: Float[Array, "*lattice"]) -> Float[Array, "*lattice"]:
        """A configuration with the region drawn anew."""
        factor, mean = self._conditional(x)
        normal = jax.random.normal(key, mean.shape, x.dtype)
        inside = mean + linalg.inverse(factor).T @ normal
        return x.reshape(-1).at[self.region.indices].set(inside).reshape(x.shape)

    def log_prob(self, x: Float[Array, "*lattice"]) -> Float[Array, ""]:
        """The log density of the region, given the sites outside."""
        factor, mean = self._conditional(x)
        normal = factor.T @ (x.reshape(-1)[self.region.indices] - mean)
        square = jnp.sum(normal.astype(accumulator_dtype()) ** 2)
        log_det = jnp.sum(jnp.log(jnp.diagonal(factor)).astype(accumulator_dtype()))
        return log_det - square / 2 - len(mean) * float(np.log(2 * np.pi)) / 2

    def _conditional(self, x: Array) -> tuple[Array, Array]:
        """Cholesky factor of the matrix K of the action phi K phi/2 in the region, and the mean there."""
        laplacian, beside = _laplacian(self.region)
        a, m2 = jnp.exp(self.log_stiffness).astype(x.dtype), jnp.exp(self.log_mass2).astype(x.dtype)
        matrix = 2 * a * jnp.asarray(laplacian, x.dtype) + 2 * m2 * jnp.eye(len(laplacian), dtype=x.dtype)
        factor = linalg.cholesky(matrix)
        source = 2 * a * (jnp.asarray(beside, x.dtype) @ x.reshape(-1))
        return factor, linalg.inverse(matrix) @ source


def _laplacian(region: Region) -> tuple[np.ndarray, np.ndarray]:
    """-Delta within the region, and the couplings of its sites to all sites outside."""
    lattice, inside = region.lattice, region.indices
    volume = int(np.prod(lattice))
    neighbours = np.zeros((volume, volume))
    sites = np.arange(volume).reshape(lattice)
    for axis in range(len(lattice)):
        for step in (1, -1):
            np.add.at(neighbours, (sites.reshape(-1), np.roll(sites, step, axis).reshape(-1)), 1.0)
    diagonal = 2.0 * len(lattice) * np.eye(len(inside))
    outside = np.where(region.mask.reshape(-1), 0.0, 1.0)
    return diagonal - neighbours[np.ix_(inside, inside)], neighbours[inside] * outside[None]
