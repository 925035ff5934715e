r"""Ridge functions of convolutions: velocities and potentials of scalars that move blocks of all sizes.

A ridge function is a function of one linear combination of the fields, here tanh(k * phi) for a convolution k. Kernels are
combinations of a few functions of the lattice momentum, local ones, heat kernels of all widths and the zero mode, so that a
field has a few hundred numbers on any lattice and keeps its meaning on another one. Trained by reverse KL and finished by
`gauss_newton`, a few dozen of these functions carry a free field to critical phi^4.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact, Key

from .._checks import integers, positive
from ..lattice import accumulator_dtype, hartley_reversed, site_sum, squared_momentum
from ..manifolds import AbstractManifold, RealField
from ._base import AbstractPotential, AbstractVectorField
from ._time import chebyshev_basis

# Frequencies of the first channels: local ones in units of the field, others in units of the spread of the smoothed field.
_LOCAL, _SMOOTH, _MIXING = (1.5, 3.0, 4.5), (0.8, 1.8), 0.15
# The narrowest heat kernel; half of it differs from the local functions by little.
_LEAST_WIDTH = 0.05


def _heat_kernels(lattice: tuple[int, ...]) -> tuple[float, ...]:
    """Squared widths s of heat kernels exp(-s khat^2), from narrow to as wide as the lattice, each four times the last."""
    widest = (max(lattice) / (2 * math.pi)) ** 2
    count = max(1, 1 + int(math.log(max(widest / _LEAST_WIDTH, 1.0), 4)))
    return tuple(widest / 4.0**j for j in reversed(range(count)))


def _symbols(lattice: tuple[int, ...], heat: tuple[float, ...]) -> np.ndarray:
    """Eigenvalues `(functions, *lattice)` of all kernel functions, from the local ones to the zero mode."""
    k2 = squared_momentum(lattice)
    cosines = [1 - squared_momentum(lattice, (axis,)) / 2 for axis in range(len(lattice))]
    zero = np.zeros(lattice)
    zero[(0,) * len(lattice)] = 1.0
    return np.stack([np.ones(lattice), math.prod(cosines[1:], start=cosines[0]), *(np.exp(-s * k2) for s in heat), zero])


class _Kernels(eqx.Module):
    """Ridge functions u_n = sum_c k_nc * phi_c of fields `(components, *lattice)`, by coefficients of kernel functions."""

    coefficients: Float[Array, "channels components functions"]
    heat: tuple[float, ...] = eqx.field(static=True)
    lattice: tuple[int, ...] = eqx.field(static=True)

    @property
    def symbols(self) -> np.ndarray:
        """Eigenvalues of the kernel functions, with the axes of the momenta in the order of `hartley_reversed`."""
        return _symbols(self.lattice[::-1], self.heat)

    @property
    def gram(self) -> np.ndarray:
        """sum_r B_a(r) B_b(r) of the kernel functions B, by Parseval's theorem."""
        rows = self.symbols.reshape(len(self.symbols), -1)
        return rows @ rows.T / rows.shape[1]

    def trace(self, coefficients: Float[Array, " functions"]) -> Float[Array, ""]:
        """The sum of the eigenvalues of a kernel, the number of sites times its value at zero displacement."""
        totals = self.symbols.reshape(len(self.symbols), -1).sum(axis=1)
        return jnp.sum(coefficients * jnp.asarray(totals, coefficients.dtype))

    def combined(self, coefficients: Array, dtype: DTypeLike) -> Array:
        """Eigenvalues of kernels with the given coefficients along the last axis."""
        return jnp.tensordot(coefficients.astype(dtype), jnp.asarray(self.symbols, dtype), 1)

    def ridges(self, spectrum: Float[Array, "components *momenta"]) -> Float[Array, "channels *lattice"]:
        kernels = self.combined(self.coefficients, spectrum.dtype)
        return hartley_reversed(jnp.sum(kernels * spectrum[None], axis=1), len(self.lattice))

    def moved(self, lattice: tuple[int, ...], spread: float) -> "tuple[_Kernels, Callable[[Array], Array]]":
        """The kernels on another lattice, and how coefficients of the same functions follow them there.

        On a larger one the mean over the old lattice becomes the widest heat kernel there, a mean over blocks of that size,
        and there are new ridge functions of the new zero mode, in units of its spread.
        """
        widest = (max(lattice) / (2 * math.pi)) ** 2
        grows = widest > 1.5 * self.heat[-1]
        heat = (*self.heat, widest) if grows else self.heat

        def follow(coefficients: Array) -> Array:
            return jnp.pad(coefficients, [(0, 0)] * (coefficients.ndim - 1) + [(0, int(grows))])

        kept = follow(self.coefficients)
        if grows:
            components = kept.shape[1]
            unit = np.zeros((len(_SMOOTH), components, components, kept.shape[2]))
            for c in range(components):
                unit[:, c, c, -1] = np.asarray(_SMOOTH) / spread
            new = jnp.asarray(unit.reshape(-1, components, kept.shape[2]), kept.dtype)
            kept = jnp.concatenate([kept, new])
        return _Kernels(kept, heat, lattice), follow


def _first_kernels(key: Array, manifold: RealField, mass: float, dtype: DTypeLike | None) -> _Kernels:
    """Local functions at three frequencies, and two of every smoothed field in units of its spread in a free field."""
    lattice, components = manifold.lattice, manifold.components or 1
    heat = _heat_kernels(lattice)
    symbols = _symbols(lattice, heat)
    spread = _spread(symbols, lattice, mass)
    unit = np.eye(len(symbols))
    rows = [w * unit[0] for w in _LOCAL] + [w / spread[b] * unit[b] for b in range(2, len(symbols)) for w in _SMOOTH]
    table = np.stack([np.stack([row * (c == d) for d in range(components)]) for c in range(components) for row in rows])
    noise = jax.random.normal(key, table.shape, dtype)
    return _Kernels(
        jnp.asarray(table, noise.dtype) + noise * jnp.asarray(_MIXING / spread, noise.dtype)[None, None], heat, lattice
    )


def _spread(symbols: np.ndarray, lattice: tuple[int, ...], mass: float) -> np.ndarray:
    """Standard deviations of smoothed free fields, of the action of `FreeScalarAction`."""
    free = 1 / (2 * (squared_momentum(lattice) + mass**2))
    return np.sqrt(np.mean(symbols**2 * free, axis=tuple(range(1, symbols.ndim))))


class RidgeField(AbstractVectorField):
    r"""Velocities of real fields from ridge functions of convolutions, with an exact divergence at O(V log V).

    $$ v_c = A_0(t) * \phi_c + \sum_n A_{nc}(t) * \tanh\Big(\sum_d k_{nd} * \phi_d\Big), $$
    $$ \mathrm{div}\, v = C V A_0(0) + \sum_n \Big[\sum_{c, r} A_{nc}(r)\, k_{nc}(r)\Big] \sum_y (1 - \tanh^2)_n(y), $$

    for C components, with even kernels: combinations of a delta, the diagonal neighbours, heat kernels $e^{-s \hat k^2}$
    whose widths double up to the lattice, and the zero mode. The field is odd and has all lattice symmetries. It starts at
    zero, as the identity; the first channels see the field at a site, its blocks of all sizes, and its mean.

    Kernels are functions of the momentum: `on` another lattice they stay what they are, on a larger one the zero mode becomes
    the widest heat kernel and new channels of the new zero mode start at zero (`transfer`). Behind a `FourierFlow`, 150 - 300
    steps of `fit` and a few of `gauss_newton` are a good training.

    **Arguments:** `key`: mixes the first kernels; `manifold`: `RealField`, any dimension and number of components; `mass`: of
    the free field in whose units the smoothed fields are seen, by default four over the largest extent; `times`: number of
    Chebyshev polynomials in t of every A.

    **Raises:** `TypeError` for other manifolds, `ValueError` for a mass that is not positive.

        >>> flow = tm.FlowSequence(
        ...     tm.flows.FourierFlow(scalar.manifold),
        ...     tm.ContinuousFlow(tm.fields.RidgeField(key, scalar.manifold), steps=4),
        ... )
    """

    kernels: _Kernels
    amplitudes: Float[Array, "times channels components functions"]
    linear: Float[Array, "times functions"]
    mass: float = eqx.field(static=True)
    manifold: RealField = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        manifold: AbstractManifold,
        *,
        mass: float | None = None,
        times: int = 4,
        dtype: DTypeLike | None = None,
    ):
        self.manifold, self.mass = _checked("RidgeField", manifold, mass)
        integers("RidgeField", 2, times=times)
        self.kernels = _first_kernels(key, self.manifold, self.mass, dtype)
        shape = self.kernels.coefficients.shape
        self.amplitudes = jnp.zeros((times, *shape), dtype)
        self.linear = jnp.zeros((times, shape[-1]), dtype)

    def on(self, manifold: AbstractManifold) -> "RidgeField":
        """The field on a lattice of other extents; what a larger zero mode adds starts at zero."""
        mass = _moved_mass(self.manifold, manifold, self.mass)
        kernels, follow = self.kernels.moved(manifold.lattice, _mean_spread(manifold, mass))
        new = kernels.coefficients.shape[0] - self.amplitudes.shape[1]
        amplitudes = jnp.pad(follow(self.amplitudes), [(0, 0), (0, new), (0, 0), (0, 0)])
        start = RidgeField(jax.random.key(0), manifold, mass=mass, times=len(self.linear))
        return eqx.tree_at(lambda f: (f.kernels, f.amplitudes, f.linear), start, (kernels, amplitudes, follow(self.linear)))

    def __call__(self, t: Float[Array, ""], x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        self.manifold.check(x)
        dim, wide = len(self.manifold.lattice), accumulator_dtype()
        fields = x.reshape(-1, *self.manifold.lattice)
        time = chebyshev_basis(t.astype(wide), self.linear.shape[0])
        amplitudes, linear = (jnp.tensordot(time, p.astype(wide), 1) for p in (self.amplitudes, self.linear))
        spectrum = hartley_reversed(fields, dim)
        response = jnp.tanh(self.kernels.ridges(spectrum))
        outgoing = self.kernels.combined(amplitudes, x.dtype)
        v = self.kernels.combined(linear, x.dtype)[None] * spectrum + jnp.sum(
            outgoing * hartley_reversed(response, dim)[:, None], axis=0
        )
        slopes = _slopes(response)
        overlap = jnp.einsum(
            "nca,ab,ncb->n", amplitudes, jnp.asarray(self.kernels.gram, wide), self.kernels.coefficients.astype(wide)
        )
        return hartley_reversed(v, dim).reshape(x.shape), len(fields) * self.kernels.trace(linear) + jnp.sum(overlap * slopes)


class RidgePotential(AbstractPotential):
    r"""A potential of ridge functions of convolutions, of which the gradient is a `RidgeField` with equal kernels in and out.

    $$ \varphi(t, \phi) = \tfrac12 \sum_c \phi_c \cdot A_0(t) * \phi_c + \sum_n a_n(t) \sum_y \log\cosh
       \Big(\sum_d k_{nd} * \phi_d\Big)(y) $$

    It drives continuous flows (`GradientField`), drifts of `LangevinFlow` and, on lattices as small as its kernels are wide,
    residual flows, whose steps need a bound of the second derivative by one site: $|A_0(0)| + \sum_n |a_n| \sum_r k_n(r)^2$.

    **Arguments:** as for `RidgeField`.

        >>> potential = tm.fields.RidgePotential(key, scalar.manifold)
        >>> gradient, laplacian = potential.gradient_and_laplacian(jnp.zeros(()), phi)
    """

    kernels: _Kernels
    strengths: Float[Array, "times channels"]
    linear: Float[Array, "times functions"]
    mass: float = eqx.field(static=True)
    manifold: RealField = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        manifold: AbstractManifold,
        *,
        mass: float | None = None,
        times: int = 4,
        dtype: DTypeLike | None = None,
    ):
        self.manifold, self.mass = _checked("RidgePotential", manifold, mass)
        integers("RidgePotential", 2, times=times)
        self.kernels = _first_kernels(key, self.manifold, self.mass, dtype)
        channels, _, functions = self.kernels.coefficients.shape
        self.strengths, self.linear = jnp.zeros((times, channels), dtype), jnp.zeros((times, functions), dtype)

    def on(self, manifold: AbstractManifold) -> "RidgePotential":
        """The potential on a lattice of other extents, see `RidgeField.on`."""
        mass = _moved_mass(self.manifold, manifold, self.mass)
        kernels, follow = self.kernels.moved(manifold.lattice, _mean_spread(manifold, mass))
        new = kernels.coefficients.shape[0] - self.strengths.shape[1]
        strengths = jnp.pad(self.strengths, [(0, 0), (0, new)])
        start = RidgePotential(jax.random.key(0), manifold, mass=mass, times=len(self.linear))
        return eqx.tree_at(lambda f: (f.kernels, f.strengths, f.linear), start, (kernels, strengths, follow(self.linear)))

    def __call__(self, t: Float[Array, ""], x: Inexact[Array, "*shape"]) -> Float[Array, ""]:
        self.manifold.check(x)
        spectrum, (strengths, linear) = self._spectrum(x), self._coefficients(t)
        ridges = self.kernels.ridges(spectrum)
        # |u| would have no derivative at zero.
        log_cosh = jnp.logaddexp(ridges, -ridges) - math.log(2)
        quadratic = site_sum(spectrum**2 * self.kernels.combined(linear, x.dtype)[None]) / 2
        return quadratic + jnp.sum(strengths * _sums(log_cosh))

    def gradient_and_laplacian(
        self, t: Float[Array, ""], x: Inexact[Array, "*shape"]
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        self.manifold.check(x)
        dim, wide = len(self.manifold.lattice), accumulator_dtype()
        spectrum, (strengths, linear) = self._spectrum(x), self._coefficients(t)
        response = jnp.tanh(self.kernels.ridges(spectrum))
        outgoing = self.kernels.combined(strengths[:, None, None] * self.kernels.coefficients.astype(wide), x.dtype)
        back = jnp.sum(outgoing * hartley_reversed(response, dim)[:, None], axis=0)
        gradient = hartley_reversed(self.kernels.combined(linear, x.dtype)[None] * spectrum + back, dim)
        laplacian = len(spectrum) * self.kernels.trace(linear) + jnp.sum(strengths * self._squares() * _slopes(response))
        return gradient.reshape(x.shape), laplacian

    def curvature_bound(self, t: Float[Array, ""]) -> Float[Array, ""]:
        strengths, linear = self._coefficients(t)
        local = self.kernels.trace(linear) / math.prod(self.manifold.lattice)
        return jnp.abs(local) + jnp.sum(jnp.abs(strengths) * self._squares())

    def receptive_field(self) -> int:
        """All of the lattice: heat kernels have no end."""
        return max(self.manifold.lattice) // 2

    def _coefficients(self, t: Array) -> tuple[Array, Array]:
        """a_n and the coefficients of A_0 at time t, in the precision of sums."""
        wide = accumulator_dtype()
        time = chebyshev_basis(t.astype(wide), self.linear.shape[0])
        return jnp.tensordot(time, self.strengths.astype(wide), 1), jnp.tensordot(time, self.linear.astype(wide), 1)

    def _spectrum(self, x: Array) -> Array:
        return hartley_reversed(x.reshape(-1, *self.manifold.lattice), len(self.manifold.lattice))

    def _squares(self) -> Array:
        """sum_{c, r} k_nc(r)^2 of every channel."""
        wide = accumulator_dtype()
        k = self.kernels.coefficients.astype(wide)
        return jnp.einsum("nca,ab,ncb->n", k, jnp.asarray(self.kernels.gram, wide), k)


def _checked(name: str, manifold: AbstractManifold, mass: float | None) -> tuple[RealField, float]:
    if not isinstance(manifold, RealField):
        raise TypeError(f"{name} acts on real fields, but was given {manifold}; links have fields of their own.")
    mass = 4 / max(manifold.lattice) if mass is None else mass
    positive(f"{name}: mass", mass)
    return manifold, float(mass)


def _moved_mass(old: RealField, new: AbstractManifold, mass: float) -> float:
    """The mass at the same ratio of correlation length and extent. **Raises:** `TypeError` for another kind of field."""
    if getattr(new, "components", "none") != old.components:
        raise TypeError(f"on: got {new}, expected a RealField with components={old.components}, on any lattice.")
    return mass * max(old.lattice) / max(new.lattice)


def _mean_spread(manifold: AbstractManifold, mass: float) -> float:
    """Standard deviation of the mean of a free field."""
    return float(np.sqrt(1 / (2 * mass**2 * math.prod(manifold.lattice))))


def _slopes(response: Float[Array, "channels *lattice"]) -> Float[Array, " channels"]:
    """sum_y (1 - tanh^2) of every channel, in the precision of sums."""
    return math.prod(response.shape[1:]) - _sums(response**2)


def _sums(x: Float[Array, "channels *lattice"]) -> Float[Array, " channels"]:
    return jax.vmap(site_sum)(x)
