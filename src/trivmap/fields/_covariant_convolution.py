"""Gated convolutions of the traces of loops: non-local and gauge covariant fields with an exact divergence."""

import math
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact

from .._checks import integers, positive
from ..gauge import Path
from ..groups import AbstractGroup
from ..lattice import displacements, hypercubic_orbits, site_sum, squared_momentum
from ..manifolds import AbstractManifold, LinkField, links_of
from ._base import AbstractVectorField
from ._loop_frame import combine, inner_products, laplacians, loop_functions, windows
from ._loop_symmetry import centre, tied_displacements
from ._loop_tables import LoopTables, Windows, all_images, make_tables
from ._regrid import regrid_momenta, regrid_orbits
from ._time import cosine_basis


class CovariantConvolutionField(AbstractVectorField):
    r"""Features of traces, convolutions and local gates on gauge links, with exact divergence.

    velocity_e = sum_{k,x} Lambda^k_x d_e W^k_x,   W^k_x = (1/N) Re tr of loop k at x,   Lambda^k = K * u^k,
    u^k = sum_{l,j} c^{kl}_j * h_j(W^l) + sum_g g(W^k) sum_{l,j} D^{kl}_{gj} * h_j(W^l),

    for all orientations k, l of the given loops, with h_j = U_{j-1}(W)/j^2, j >= 1, and g = U_l(W)/(l + 1), l >= 1
    (Chebyshev polynomials of the second kind). Kernels depend on time and are tied on orbits of pairs of loops: the field
    commutes with translations, rotations, reflections, charge conjugation and gauge transformations. With
    G^{kl}_r(x) = <dW^k_x, dW^l_{x+r}>, non-zero for the few r at which loops share links,

    divergence = sum_{k,x} Lambda^k_x Lap W^k_x + sum_{k,l,r,x} G^{kl}_r(x) dLambda^k_x/dW^l_{x+r},

    all offsets r stacked. K = [1 + kappa(t, k)]/(khat^2 + mass^2) with kappa learned, or K = 1 without `mass`: then the
    divergence needs no convolution beyond those of the velocity. A new field is zero.

    **Arguments:**

    - `manifold`: a `LinkField` of dimension two or more.
    - `loops`: closed paths that meet no link twice, such as `(1, 2, -1, -2)` (steps +-(mu + 1)), one per symmetry class;
      default: the plaquette. Rectangles are `(1, 1, 2, -1, -1, -2)`.
    - `features`, `gates`: numbers of h_j and of g; without gates the field is linear in convolved features.
    - `radius`: of the kernels c and D, largest distance of the centres of two loops along any axis; default: the lattice.
    - `mass`: of the smoothing kernel K, in inverse lattice units; `None` for K = 1.
    - `times`: number of time functions cos(pi k t) in each coefficient.
    - `dtype`: precision of the parameters; the field computes in the precision of the configuration.

    **Raises:** `TypeError` for scalar fields, `ValueError` for sizes out of range and loops that are not closed, repeated or
    meet a link twice.

        >>> field = tm.fields.CovariantConvolutionField(theory.manifold, features=2)
        >>> flow = tm.ContinuousFlow(field, steps=4)
    """

    linear: Float[Array, "times features orbits"]
    gate: Float[Array, "times gates features orbits"]
    smoothing: Float[Array, "times momenta"] | None
    manifold: LinkField = eqx.field(static=True)
    loops: tuple[Path, ...] = eqx.field(static=True)
    radius: int | None = eqx.field(static=True)
    mass: float | None = eqx.field(static=True)

    def __init__(
        self,
        manifold: AbstractManifold,
        *,
        loops: Sequence[Path] = ((1, 2, -1, -2),),
        features: int = 4,
        gates: int = 2,
        radius: int | None = None,
        mass: float | int | None = None,
        times: int = 4,
        dtype: DTypeLike | None = None,
    ):
        manifold = check_links(type(self).__name__, manifold)
        integers("CovariantConvolutionField", 1, features=features, times=times)
        integers("CovariantConvolutionField", 0, gates=gates, radius=0 if radius is None else radius)
        if mass is not None:
            positive("CovariantConvolutionField: mass", mass)
        self.manifold = manifold
        self.loops = all_images(loops, len(manifold.lattice))
        make_tables(manifold.lattice, self.loops, False)  # refuses loops that do not fit on the lattice
        self.radius, self.mass = radius, None if mass is None else float(mass)
        orbits = self._labels[1]
        self.linear = jnp.zeros((times, features, orbits), dtype)
        self.gate = jnp.zeros((times, gates, features, orbits), dtype)
        momenta = int(hypercubic_orbits(manifold.lattice).max()) + 1
        self.smoothing = None if mass is None else jnp.zeros((times, momenta), dtype)

    @property
    def tables(self) -> LoopTables:
        """Index tables of the loops on this lattice, shared by all fields with the same loops."""
        return make_tables(self.manifold.lattice, self.loops, False)

    def on(self, manifold: AbstractManifold) -> "CovariantConvolutionField":
        """The field with the kernels of this one on a lattice of other extents, zero at displacements that are new."""
        times, gates, features, _ = self.gate.shape
        new = CovariantConvolutionField(
            manifold,
            loops=self.loops,
            features=features,
            gates=gates,
            radius=self.radius,
            mass=self.mass,
            times=times,
            dtype=self.linear.dtype,
        )
        before, after = (np.where(f._labels[0] < f._labels[1], f._labels[0], -1) for f in (self, new))
        paths, origin = self.loops, (0,) * len(self.manifold.lattice)
        between = np.array([centre(q, origin) - centre(p, origin) for p in paths for q in paths])
        pairs = len(paths) ** 2
        matrix = regrid_orbits(before.reshape(pairs, *before.shape[2:]), after.reshape(pairs, *after.shape[2:]), between)
        moved = [kernel @ jnp.asarray(matrix.T, kernel.dtype) for kernel in (self.linear, self.gate)]
        new = eqx.tree_at(lambda f: (f.linear, f.gate), new, moved)
        if self.smoothing is None:
            return new
        smoothing = regrid_momenta(self.smoothing, self.manifold.lattice, new.manifold.lattice)
        return eqx.tree_at(lambda f: f.smoothing, new, smoothing)

    def __call__(self, t: Float[Array, ""], x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        self.manifold.check(x)
        tables, group, dim = self.tables, self.manifold.group, len(self.manifold.lattice)
        w, gradients = loop_functions(tables, group, x)
        h, dh, g, dg = chebyshev_features(w, self.linear.shape[1], self.gate.shape[1])
        kernels = self._kernels(t, w.dtype)
        spectra = jnp.einsum("gjkl...,jl...->gk...", _fourier(kernels, dim).conj(), _fourier(h, dim))
        convolved = _inverse(spectra, tables.lattice)
        weights, gated = convolved[0] + jnp.sum(g * convolved[1:], axis=0), jnp.sum(dg * convolved[1:], axis=0)
        first, _, third = self._entries
        seen = windows(dh, third, dim)
        if self.smoothing is None:
            slopes = self._at_pairs(kernels[0]) + jnp.sum(self._at_pairs(kernels[1:]) * g[:, None, first], axis=0)
            same = [p for p, (k, m, r) in enumerate(tables.pairs) if k == m and not any(r)]
            order = [tables.pairs[p][0] for p in same]
            slope = jnp.sum(slopes * seen, axis=0).at[np.array(same)].add(gated[np.array(order)])
        else:
            symbol = self._symbol(self.smoothing, t, w.dtype)
            weights = _filtered(symbol, weights)
            slopes = self._at_pairs(_filtered(symbol, kernels[0])) + self._gate_slopes(symbol, kernels[1:], g)
            slope = jnp.sum(slopes * seen, axis=0) + self._smoothed(symbol, gated)
        divergence = site_sum(weights * laplacians(tables, group, w)) + site_sum(slope * inner_products(tables, gradients))
        return combine(tables, group, gradients, weights), divergence

    @property
    def _labels(self) -> tuple[np.ndarray, int]:
        return tied_displacements(self.manifold.lattice, self.loops, self.radius)

    @property
    def _entries(self) -> tuple[np.ndarray, np.ndarray, Windows]:
        """Of all pairs: k, the flat index of (k, l, r) in a table of kernels, and the window of l displaced by r."""
        kinds, lattice = len(self.loops), self.manifold.lattice
        first = np.array([k for k, _, _ in self.tables.pairs])
        second = np.array([m for _, m, _ in self.tables.pairs])
        offsets = np.array([r for _, _, r in self.tables.pairs])
        flat = np.ravel_multi_index((first, second, *offsets.T), (kinds, kinds, *lattice))
        return first, flat, Windows(second, offsets)

    def _kernels(self, t: Array, dtype: DTypeLike) -> Array:
        """c_j and behind it D_gj at the displacements, `(1 + gates, features, k, l, *lattice)`."""
        parameters = jnp.concatenate([self.linear[:, None], self.gate], axis=1).astype(dtype)
        values = jnp.tensordot(cosine_basis(t.astype(dtype), parameters.shape[0]), parameters, 1)
        padded = jnp.concatenate([values, jnp.zeros((*values.shape[:-1], 1), dtype)], axis=-1)
        return jnp.take(padded, jnp.asarray(self._labels[0]), axis=-1, mode="clip")

    def _at_pairs(self, kernels: Array) -> Array:
        """Kernels `(..., k, l, *lattice)` at the offsets of all pairs, `(..., pairs, 1, ..., 1)`."""
        dim = len(self.manifold.lattice)
        flat = kernels.reshape(*kernels.shape[: kernels.ndim - dim - 2], math.prod(kernels.shape[-dim - 2 :]))
        found = jnp.take(flat, jnp.asarray(self._entries[1]), axis=-1, mode="clip")
        return found.reshape(*found.shape, *(1 for _ in range(dim)))

    def _symbol(self, smoothing: Array, t: Array, dtype: DTypeLike) -> Array:
        """Eigenvalues of K on the momenta of the lattice."""
        lattice = self.manifold.lattice
        kappa = 1 + cosine_basis(t.astype(dtype), smoothing.shape[0]) @ smoothing.astype(dtype)
        propagator = 1 / (squared_momentum(lattice) + (self.mass or 0.0) ** 2)
        return kappa[hypercubic_orbits(lattice)] * jnp.asarray(propagator, dtype)

    def _smoothed(self, symbol: Array, gated: Array) -> Array:
        """K(r) g'(W^k) m^k at x + r for the pairs of a loop with its own translates, zero for the others."""
        dim = len(self.manifold.lattice)
        first, _, window = self._entries
        kernel = displacements(symbol, dim)[tuple(window.shifts.T)] * jnp.asarray(first == window.channels, symbol.dtype)
        return kernel.reshape(-1, *(1 for _ in range(dim))) * windows(gated, window, dim)

    def _gate_slopes(self, symbol: Array, gate: Array, g: Array) -> Array:
        """sum_{g,s} K(s) D_gj(r - s) g(W^k_{x+s}) for all pairs (k, l, r): one correlation each, stacked."""
        if not gate.shape[0]:
            return jnp.zeros((), symbol.dtype)
        lattice, dim = self.manifold.lattice, len(self.manifold.lattice)
        first, _, window = self._entries
        grid = np.stack(np.meshgrid(*map(np.arange, lattice), indexing="ij"))
        columns, kinds = (-1, *(1 for _ in lattice)), len(self.loops)
        sites = zip(window.shifts.T, grid, lattice, strict=True)
        reflected = [(r.reshape(columns) - s[None]) % extent for r, s, extent in sites]
        both = first.reshape(columns), window.channels.reshape(columns)
        index = np.ravel_multi_index((*both, *reflected), (kinds, kinds, *lattice))
        flat = gate.reshape(*gate.shape[:2], math.prod(gate.shape[2:]))
        kernels = jnp.take(flat, jnp.asarray(index), axis=-1, mode="clip") * displacements(symbol, dim)[None, None, None]
        spectra = jnp.einsum("gjp...,gp...->jp...", _fourier(kernels, dim).conj(), _fourier(g, dim)[:, first])
        return _inverse(spectra, lattice)


def chebyshev_features(w: Float[Array, "*shape"], features: int, gates: int) -> tuple[Array, Array, Array, Array]:
    """h_j = U_{j-1}(w)/j^2, their derivatives, g_l = U_l(w)/(l + 1) (bounded by one) and their derivatives, stacked."""
    u, du = [jnp.ones_like(w), 2 * w], [jnp.zeros_like(w), jnp.full_like(w, 2)]
    for _ in range(max(features, gates + 1) - 2):
        u, du = [*u, 2 * w * u[-1] - u[-2]], [*du, 2 * u[-1] + 2 * w * du[-1] - du[-2]]
    values, slopes = jnp.stack(u), jnp.stack(du)
    column = (-1, *(1 for _ in w.shape))
    falling = jnp.asarray(1.0 / np.arange(1, features + 1).reshape(column) ** 2, w.dtype)
    bound = jnp.asarray(1.0 / np.arange(2, gates + 2).reshape(column), w.dtype)
    return (
        values[:features] * falling,
        slopes[:features] * falling,
        values[1 : gates + 1] * bound,
        slopes[1 : gates + 1] * bound,
    )


def check_links(name: str, manifold: AbstractManifold) -> LinkField:
    """Refuses scalars and lattices without plaquettes."""
    message = f"{name} acts on gauge links, but was given {manifold}. For scalars use GatedConvolutionField."
    links = links_of(AbstractGroup, manifold, message)
    if len(links.lattice) < 2:
        raise ValueError(f"{name} needs two dimensions or more, but the lattice is {links.lattice}.")
    return links


def _fourier(x: Array, dim: int) -> Array:
    spectrum = jnp.fft.rfft(x, axis=-1)
    return jnp.fft.fftn(spectrum, axes=tuple(range(-dim, -1)))


def _inverse(spectrum: Array, lattice: tuple[int, ...]) -> Array:
    return jnp.fft.irfft(jnp.fft.ifftn(spectrum, axes=tuple(range(-len(lattice), -1))), n=lattice[-1], axis=-1)


def _filtered(symbol: Array, x: Array) -> Array:
    """The convolution of x with the even kernel of the given eigenvalues."""
    half = symbol[..., : symbol.shape[-1] // 2 + 1]
    spectrum = _fourier(x, symbol.ndim)
    half = half.astype(spectrum.dtype).reshape(*(1 for _ in x.shape[: x.ndim - symbol.ndim]), *half.shape)
    return _inverse(half * spectrum, symbol.shape)
