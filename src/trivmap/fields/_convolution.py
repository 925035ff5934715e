"""The convolution field of arXiv:2207.00283 for scalar theories."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Key

from .._checks import integers
from ..lattice import convolve, hypercubic_orbits, site_sum, symbol
from ..manifolds import AbstractManifold, RealField, scalar_field
from ._base import AbstractVectorField
from ._regrid import regrid_displacements
from ._sincos import sincos
from ._time import fourier_basis


class ConvolutionField(AbstractVectorField):
    r"""Sine features of the field, mixed in time and convolved with a kernel over the whole lattice (arXiv:2207.00283).

    velocity_x = sum_y sum_{d,f} W^{df}_{x-y} K_d(t) H_f(phi_y),
    divergence = sum_x sum_{d,f} W^{df}_0 K_d(t) H_f'(phi_x):

    only the kernel at zero displacement enters. H are `site_features` learned combinations of phi and sin(w_j phi), K
    `time_features` learned combinations of 1, sin(2 pi k t), cos(2 pi k t). W is tied on orbits of the hypercubic group
    and starts at zero, so that a new flow is the identity. All features are odd: the field commutes with phi -> -phi. The
    fastest time function turns `harmonics` times during the flow: take at least two steps for each turn (the paper takes 50).

    **Arguments:** `key`: for the frequencies, uniform in (0, 5), and the orthogonal mixing matrices; `manifold`: a
    `RealField`; the sizes default to those of the paper (7469 parameters on 8x8); `dtype`: precision of the parameters.

        >>> field = tm.ConvolutionField(key, scalar.manifold)
        >>> flow = tm.ContinuousFlow(field, steps=4)
    """

    frequencies: Float[Array, " sines"]
    mix_sites: Float[Array, "site_features sines+1"]
    mix_times: Float[Array, "time_features 2*harmonics+1"]
    kernel: Float[Array, "time_features site_features orbits"]
    manifold: RealField = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        manifold: AbstractManifold,
        *,
        sines: int = 49,
        site_features: int = 20,
        harmonics: int = 10,
        time_features: int = 20,
        dtype: DTypeLike | None = None,
    ):
        manifold = scalar_field(manifold, f"ConvolutionField acts on a RealField, but was given {manifold}.")
        integers("ConvolutionField", 1, sines=sines, site_features=site_features, time_features=time_features)
        integers("ConvolutionField", 0, harmonics=harmonics)
        dtype = jnp.zeros(0).dtype if dtype is None else dtype
        frequency_key, site_key, time_key = jax.random.split(key, 3)
        orthogonal = jax.nn.initializers.orthogonal()
        orbits = int(hypercubic_orbits(manifold.lattice).max()) + 1
        self.frequencies = jax.random.uniform(frequency_key, (sines,), dtype, 0.0, 5.0)
        self.mix_sites = orthogonal(site_key, (site_features, sines + 1), dtype) / (sines + 1)
        self.mix_times = orthogonal(time_key, (time_features, 2 * harmonics + 1), dtype) / (2 * harmonics + 1)
        self.kernel = jnp.zeros((time_features, site_features, orbits), dtype)
        self.manifold = manifold

    def on(self, manifold: AbstractManifold) -> "ConvolutionField":
        """The field with the kernels of this one on a lattice of other extents, zero at displacements that are new."""
        new = ConvolutionField(
            jax.random.key(0),
            manifold,
            sines=self.frequencies.size,
            site_features=self.mix_sites.shape[0],
            harmonics=(self.mix_times.shape[1] - 1) // 2,
            time_features=self.mix_times.shape[0],
            dtype=self.kernel.dtype,
        )
        kernel = regrid_displacements(self.kernel, self.manifold.lattice, new.manifold.lattice)
        learned = (self.frequencies, self.mix_sites, self.mix_times, kernel)
        return eqx.tree_at(lambda f: (f.frequencies, f.mix_sites, f.mix_times, f.kernel), new, learned)

    def __call__(self, t: Float[Array, ""], x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, ""]]:
        dim = len(self.manifold.lattice)
        column = (-1,) + (1,) * dim
        omega = self.frequencies.astype(x.dtype)
        mix = self.mix_sites.astype(x.dtype)
        harmonics = (self.mix_times.shape[1] - 1) // 2
        times = self.mix_times.astype(x.dtype) @ fourier_basis(t.astype(x.dtype), harmonics)
        kernel = jnp.tensordot(times, self.kernel.astype(x.dtype), 1)[:, hypercubic_orbits(self.manifold.lattice)]
        sine, cosine = sincos(omega.reshape(column) * x[None])
        features = jnp.tensordot(mix[:, :-1], sine, 1) + mix[:, -1].reshape(column) * x[None]
        velocity = convolve(symbol(kernel, dim), features)
        centre = kernel[(slice(None),) + (0,) * dim] @ mix
        slopes = site_sum(jnp.tensordot(centre[:-1] * omega, cosine, 1))
        return velocity, slopes + centre[-1].astype(slopes.dtype) * np.prod(self.manifold.lattice).item()
