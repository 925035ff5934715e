"""Rescaling of scalar fields, globally and by momentum."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact

from .._checks import integers, positive
from ..lattice import hartley, hypercubic_orbits, site_sum, squared_momentum
from ..manifolds import AbstractManifold, RealField, scalar_field
from ._base import AbstractFlow


class Rescaling(AbstractFlow):
    r"""Multiplies the field by a learned positive number, or every momentum by its own: $\phi(k) \to e^{s(k)} \phi(k)$.

    **Arguments:** `manifold`: a `RealField`. `momenta`: one number for each orbit of momenta under the symmetries of the
    lattice, not one in all. `dtype`: precision of the parameters, zeros at first.

    **Raises:** `TypeError` for links.

        >>> flow = tm.flows.Rescaling(scalar.manifold)
        >>> x, log_det = flow.forward_and_log_det(phi)
    """

    log_scale: Float[Array, " orbits"]
    manifold: RealField = eqx.field(static=True)
    momenta: bool = eqx.field(static=True)

    def __init__(self, manifold: AbstractManifold, *, momenta: bool = False, dtype: DTypeLike | None = None):
        self.manifold = _scalar("Rescaling", manifold)
        self.momenta = momenta
        orbits = int(hypercubic_orbits(manifold.lattice).max()) + 1 if momenta else 1
        self.log_scale = jnp.zeros(orbits, dtype)

    @property
    def evaluations(self) -> int:
        return 1

    def forward_and_log_det(self, z: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        return self._scaled(z, 1)

    def inverse_and_log_det(self, x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        return self._scaled(x, -1)

    def on(self, manifold: AbstractManifold) -> "Rescaling":
        """The same factor on another lattice.

        **Raises:** `ValueError` for factors per momentum, which belong to one lattice.
        """
        if self.momenta:
            raise ValueError("Rescaling.on: factors of single momenta belong to their lattice; FourierFlow is free of it.")
        return eqx.tree_at(lambda flow: flow.log_scale, Rescaling(manifold), self.log_scale)

    def _scaled(self, x: Array, sign: int) -> tuple[Array, Array]:
        self.manifold.check(x)
        if not self.momenta:
            log_scale = sign * self.log_scale[0]
            return jnp.exp(log_scale.astype(x.dtype)) * x, x.size * log_scale.astype(jnp.result_type(float))
        return _scale_momenta(x, sign * self.log_scale[hypercubic_orbits(self.manifold.lattice)])


class FourierFlow(AbstractFlow):
    r"""Gives momenta a learned power spectrum: $\phi(k) \to \phi(k)\, e^{c(\hat k^2)} / \sqrt{2(\hat k^2 + m^2)}$.

    c interpolates linearly between knots over $[0, 4 d]$, and the zero mode has a factor of its own besides. With c = 0,
    a normal prior of width one becomes the free field of mass m in the convention of `FreeScalarAction`. The parameters do
    not depend on the lattice. Similar to the power-spectrum layer of arXiv:2301.01504.

    **Arguments:** `manifold`: a `RealField`. `mass`: initial mass m in lattice units. `knots`: how many, two or more.
    `dtype`: precision of the parameters.

    **Raises:** `TypeError` for links, `ValueError` for a mass that is not positive or too few knots.

        >>> flow = tm.flows.FourierFlow(scalar.manifold, mass=0.5)
        >>> x, log_det = flow.forward_and_log_det(phi)
    """

    log_mass: Float[Array, ""]
    knots: Float[Array, " knots"]
    zero_mode: Float[Array, ""]
    manifold: RealField = eqx.field(static=True)

    def __init__(self, manifold: AbstractManifold, *, mass: float = 1.0, knots: int = 8, dtype: DTypeLike | None = None):
        positive("FourierFlow: mass", mass)
        integers("FourierFlow", 2, knots=knots)
        self.manifold = _scalar("FourierFlow", manifold)
        dtype = jnp.zeros(0).dtype if dtype is None else dtype
        self.log_mass = jnp.log(jnp.asarray(mass, dtype))
        self.knots = jnp.zeros(knots, dtype)
        self.zero_mode = jnp.zeros((), dtype)

    @property
    def log_scale(self) -> Float[Array, "*lattice"]:
        """The logarithm of the factor of each momentum."""
        lattice = self.manifold.lattice
        momentum = squared_momentum(lattice)
        position = np.arange(self.knots.size) * 4 * len(lattice) / (self.knots.size - 1)
        # Values of the tent functions of the knots, constants of the lattice.
        tents = np.stack([np.interp(momentum, position, row) for row in np.eye(self.knots.size)], axis=-1)
        accumulate = jnp.result_type(float)
        spectrum = jnp.asarray(tents, accumulate) @ self.knots.astype(accumulate)
        mass = jnp.exp(2 * self.log_mass.astype(accumulate))
        free = -0.5 * jnp.log(2 * (jnp.asarray(momentum, accumulate) + mass))
        zero = jnp.asarray(momentum < 1e-12, accumulate) * self.zero_mode.astype(accumulate)
        return spectrum + free + zero

    def forward_and_log_det(self, z: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        self.manifold.check(z)
        return _scale_momenta(z, self.log_scale)

    def inverse_and_log_det(self, x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        self.manifold.check(x)
        return _scale_momenta(x, -self.log_scale)

    @property
    def evaluations(self) -> int:
        return 1

    def on(self, manifold: AbstractManifold) -> "FourierFlow":
        """The same spectrum on another lattice."""
        new = FourierFlow(manifold, knots=self.knots.size)
        learned = (self.log_mass, self.knots, self.zero_mode)
        return eqx.tree_at(lambda flow: (flow.log_mass, flow.knots, flow.zero_mode), new, learned)


def _scale_momenta(x: Array, log_scale: Array) -> tuple[Array, Array]:
    # The Hartley transform is orthonormal, with one real amplitude per momentum.
    amplitudes = hartley(x, x.ndim) * jnp.exp(log_scale.astype(x.dtype))
    return hartley(amplitudes, x.ndim), site_sum(log_scale)


def _scalar(name: str, manifold: AbstractManifold) -> RealField:
    return scalar_field(manifold, f"{name}: got {manifold}, expected a RealField: links have no linear momenta.")
