"""The gated convolution field: non-local, expressive, and still with an exact divergence at O(V log V)."""

import functools
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float

from .._checks import finite, integers
from ..gauge import planes, plaquette_angle
from ..lattice import accumulator_dtype, displacements, hartley, hypercubic_orbits, shift, site_sum, squared_momentum, symbol
from ..manifolds import AbstractManifold, LinkField, RealField, RegionField
from ._base import AbstractVectorField
from ._class_potential import driven_gate, trivializing_harmonics
from ._features import AngleFeatures, RegionFeatures, ScalarFeatures
from ._regrid import regrid_momenta
from ._time import cosine_basis


class _GatedConvolution(eqx.Module):
    r"""The map W -> u of local features, convolutions and gates.

    u_z = sum_j (c_j * h_j(W))(z) + sum_l g_l(W_z) m_l(z),   m_l = sum_j D_lj * h_j(W).

    `linear` and `gate` hold the eigenvalues of c_j(t) and D_lj(t), one per time function and momentum orbit. They start
    at zero, so that a new flow is the identity.
    """

    linear: Float[Array, "times features orbits"]
    gate: Float[Array, "times gates features orbits"]
    features: AngleFeatures | ScalarFeatures | RegionFeatures
    lattice: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, lattice, features, times, dtype):
        orbits = int(hypercubic_orbits(lattice).max()) + 1
        self.linear = jnp.zeros((times, features.size, orbits), dtype)
        self.gate = jnp.zeros((times, features.gates, features.size, orbits), dtype)
        self.features = features
        self.lattice = lattice

    def kernels(self, t: Array, dtype: DTypeLike) -> tuple[Array, Array]:
        """Eigenvalues of c_j and D_lj at time t on the momenta of the lattice."""
        basis = cosine_basis(t.astype(dtype), self.linear.shape[0])
        orbits = hypercubic_orbits(self.lattice)
        linear = jnp.tensordot(basis, self.linear.astype(dtype), 1)
        gate = jnp.tensordot(basis, self.gate.astype(dtype), 1)
        return linear[:, orbits], gate[:, :, orbits]

    def value_and_trace(self, t: Array, w: Array) -> tuple[Array, Array]:
        """u and sum_x du_x/dW_x: only the kernels at zero displacement enter the trace."""
        dim = len(self.lattice)
        (linear, gate), (wide_linear, wide_gate) = self._kernels_twice(t, w.dtype)
        h, dh, g, dg = self.features(w)
        h_k = hartley(h, dim)
        spectra = jnp.concatenate([jnp.sum(linear * h_k, 0)[None], jnp.sum(gate * h_k[None], 1)])
        convolved = hartley(spectra, dim)
        m = convolved[1:]
        sites = tuple(range(-dim, 0))
        c, d = (_columns(jnp.mean(kernel, sites).astype(w.dtype), dim) for kernel in (wide_linear, wide_gate))
        local = c + jnp.sum(d * g[:, None], axis=0)
        moving = self.features.moving
        return moving(convolved[0] + jnp.sum(g * m, axis=0)), site_sum(moving(dg * m)) + site_sum(moving(local * dh))

    def spectrum_and_trace(self, t: Array, w: Array, weight: Array) -> tuple[Array, Array]:
        """Hartley transform of u, and sum_{x,y} M(y - x) du_x/dW_y for the even matrix M with eigenvalues `weight`."""
        dim = len(self.lattice)
        (linear, gate), (wide_linear, wide_gate) = self._kernels_twice(t, w.dtype)
        h, dh, g, dg = self.features(w)
        h_k, dh_k, g_k = jnp.split(hartley(jnp.concatenate([h, dh, g]), dim), [len(h), 2 * len(h)])
        m = hartley(jnp.sum(gate * h_k[None], axis=1), dim)
        u_k = jnp.sum(linear * h_k, axis=0) + hartley(jnp.sum(g * m, axis=0), dim)
        sites = tuple(range(-dim, 0))
        # The gate term is a correlation of g_l with h_j' under the kernel D_lj(r) M(r), diagonal in momentum space.
        weight = weight.astype(wide_gate.dtype)
        gate_weight = symbol(displacements(wide_gate, dim) * displacements(weight, dim)[None, None], dim).astype(w.dtype)
        trace = (
            jnp.sum(jnp.mean(wide_linear * weight[None], sites) * jnp.sum(dh, sites, dtype=weight.dtype))
            + jnp.mean(weight) * site_sum(dg * m)
            + site_sum(g_k * jnp.sum(gate_weight * dh_k[None], axis=1))
        )
        return u_k, trace

    def _kernels_twice(self, t: Array, dtype: DTypeLike) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """The kernels in the precision of the fields, and in that of sums.

        The rounding of a mean over momenta would be the same error at all sites of all configurations: a shift of log Z.
        """
        linear, gate = self.kernels(t, accumulator_dtype())
        return (linear.astype(dtype), gate.astype(dtype)), (linear, gate)


def _columns(x: Array, dimension: int) -> Array:
    return x.reshape(x.shape + (1,) * dimension)


@functools.singledispatch
def _local_features(manifold: Any, features: int | None, gates: int, frequencies: tuple[float, float], dtype: Any) -> Any:
    """Features of a site or plaquette, and whether gradients of plaquettes are smoothed besides."""
    raise TypeError(
        f"GatedConvolutionField is defined for RealField, a region of it, and U(1) links, but was given {manifold}. "
        "For SU(N) links use LadderField or CovariantConvolutionField."
    )


@_local_features.register
def _(manifold: RealField, features, gates, frequencies, dtype):
    if manifold.components is not None:
        return _local_features.dispatch(object)(manifold, features, gates, frequencies, dtype)
    low, high = frequencies
    odd = jnp.linspace(low, high, (8 if features is None else features) - 1, dtype=dtype)
    return ScalarFeatures(odd, jnp.linspace(low, high, gates, dtype=dtype)), False


@_local_features.register
def _(manifold: RegionField, features, gates, frequencies, dtype):
    if not isinstance(manifold.manifold, RealField):
        return _local_features.dispatch(object)(manifold, features, gates, frequencies, dtype)
    local, smoothed = _local_features(manifold.manifold, features, gates, frequencies, dtype)
    return RegionFeatures(local, manifold.region), smoothed


@_local_features.register
def _(manifold: LinkField, features, gates, frequencies, dtype):
    if manifold.group.complex_elements:
        return _local_features.dispatch(object)(manifold, features, gates, frequencies, dtype)
    if len(manifold.lattice) < 2:
        raise ValueError(f"Plaquettes need two dimensions or more, but the lattice is {manifold.lattice}.")
    return AngleFeatures(4 if features is None else features, gates), True


class GatedConvolutionField(AbstractVectorField):
    r"""Features, full-lattice convolutions and local gates, for scalar fields and U(1) links, with exact divergence.

    Scalars: velocity_x = u_x(phi). U(1): velocity_e = sum_x Lambda_x d_e P_x with the plaquette angles P and
    Lambda = K * u(P), K = kappa(k)/khat^2 with learned kappa(k), so that the plaquettes of a plane move as dP/dt = u (on
    two-dimensional lattices, kappa = 1, zero mode removed).

    u_z = sum_j (c_j * h_j)(z) + sum_l g_l(z) sum_j (D_lj * h_j)(z)

    The divergence needs two pointwise terms and one correlation of g_l with h_j', all at O(V log V). The features are odd,
    the gates even and the kernels constant on orbits of the symmetries of the lattice: the field commutes with translations,
    rotations, reflections, phi -> -phi or charge conjugation, and gauge transformations.

    **Arguments:**

    - `manifold`: `RealField` or `LinkField(U1(), lattice)` of dimension two or more; planes share the kernels. Or a
      `RegionField` of scalars: sites outside of the region are read and stay, and the field knows which ones they are.
    - `features`: number of odd features h_j, by default 8 for scalars and 4 for angles. `gates`: number of even gates g_l.
    - `times`: number of time functions cos(pi k t) in each coefficient.
    - `frequency_range`: for scalars, initial frequencies are spread evenly over this interval, in units of 1/phi.
    - `dtype`: precision of the parameters; the field computes in the precision of the configuration.

    **Raises:** `TypeError` for links of another group: their plaquettes do not commute. `ValueError` for sizes below one and
    for links on a one-dimensional lattice.

        >>> field = tm.GatedConvolutionField(theory.manifold)
        >>> flow = tm.ContinuousFlow(field, steps=4)
    """

    convolution: _GatedConvolution
    smoothing: Float[Array, "times orbits"] | None
    manifold: AbstractManifold = eqx.field(static=True)

    def __init__(
        self,
        manifold: AbstractManifold,
        *,
        features: int | None = None,
        gates: int = 2,
        times: int = 4,
        frequency_range: tuple[float, float] = (0.5, 5.0),
        dtype: DTypeLike | None = None,
    ):
        integers("GatedConvolutionField", 1, features=1 if features is None else features, gates=gates, times=times)
        finite("GatedConvolutionField: frequency_range", np.asarray(frequency_range))
        dtype = jnp.zeros(0).dtype if dtype is None else dtype
        self.manifold = manifold
        local, smoothed = _local_features(manifold, features, gates, frequency_range, dtype)
        orbits = int(hypercubic_orbits(manifold.lattice).max()) + 1
        self.smoothing = jnp.zeros((times, orbits), dtype) if smoothed else None
        self.convolution = _GatedConvolution(manifold.lattice, local, times, dtype)

    @classmethod
    def trivializing(
        cls,
        manifold: LinkField,
        beta: float,
        *,
        features: int = 8,
        gates: int = 8,
        times: int = 12,
        largest_gate: float = 7.0,
        dtype: DTypeLike | None = None,
    ) -> "GatedConvolutionField":
        r"""A field for U(1) without learned numbers: plaquettes follow the flow of a single plaquette, gates their sum.

        In two dimensions $dP_x/dt = \beta M_b(P_x)$, $b = \beta t$, carries independent plaquettes from the uniform density
        to $\rho_b(P) \propto \exp(b \cos P)$, but the sum of all plaquettes has to stay zero modulo $2\pi$. The sum of the
        forces is taken back where it costs no weight to leading order in the number of plaquettes: a velocity
        $-\bar M/\rho_b(P_x)$, $\bar M$ the mean force, is a current that is the same at every angle. It moves plaquettes
        through $\pm\pi$, and thereby the topological charge. What exceeds `largest_gate` is subtracted uniformly; the charge
        that then stays behind is moved ahead, by a larger gate at smaller b.

        **Arguments:** as for the class; `beta`: inverse coupling of the Wilson action. The force has `features`
        harmonics, the gate `gates`; `largest_gate`: bound for the mean of the gate over all angles, $I_0(b)^2$ without it.
        """
        field = cls(manifold, features=features, gates=gates, times=times, dtype=dtype)
        t = np.linspace(0.0, 1.0, 8 * times)
        force = np.stack([beta * trivializing_harmonics(beta * s, features) for s in t])
        gate = np.stack([driven_gate(beta * s, beta, gates, largest_gate) for s in t])
        # The features are sin(jP)/j^2 and cos(lP)/l.
        linear = force * np.arange(1, features + 1) ** 2
        product = -(gate * np.arange(1, gates + 1))[:, :, None] * linear[:, None, :]
        basis = np.cos(np.pi * t[:, None] * np.arange(times))
        linear, product = (np.linalg.lstsq(basis, a.reshape(len(t), -1), rcond=None)[0] for a in (linear, product))
        start = field.convolution
        # Kernels at zero displacement have constant eigenvalues, the mean over the lattice only that of zero momentum.
        filled = jnp.broadcast_to(jnp.asarray(linear, start.linear.dtype)[:, :, None], start.linear.shape)
        gated = start.gate.at[..., 0].set(jnp.asarray(product.reshape(start.gate.shape[:-1]), start.gate.dtype))
        return eqx.tree_at(lambda f: (f.convolution.linear, f.convolution.gate), field, (filled, gated))

    def on(self, manifold: AbstractManifold) -> "GatedConvolutionField":
        """The field with the kernels of this one on a lattice of other extents.

        Kernels keep their values at the displacements of this lattice and are zero beyond; a constant all over the lattice
        stays a multiple of the mean over the lattice.
        """
        times, (features, gates) = self.convolution.gate.shape[0], self.convolution.features.counts
        new = GatedConvolutionField(manifold, features=features, gates=gates, times=times, dtype=self.convolution.gate.dtype)
        if new.manifold.shape[: -len(self.lattice)] != self.manifold.shape[: -len(self.lattice)]:
            raise ValueError(f"The field lives on {self.manifold}, the new manifold is {manifold}: only extents may change.")

        def moved(symbols: Array) -> Array:
            return regrid_momenta(symbols, self.lattice, new.lattice)

        learned = (moved(self.convolution.linear), moved(self.convolution.gate), self.convolution.features)
        new = eqx.tree_at(lambda f: (f.convolution.linear, f.convolution.gate, f.convolution.features), new, learned)
        return new if self.smoothing is None else eqx.tree_at(lambda f: f.smoothing, new, moved(self.smoothing))

    def with_mean_gates(self, change: Float[Array, "times gates features"]) -> "GatedConvolutionField":
        """The field with `change` added to the lowest gates that act on means of features over the lattice.

        A few numbers that correct what is collective, such as the distribution of the charge: for `gauss_newton`.
        """
        times, gates, features = change.shape
        gate = self.convolution.gate
        if times > gate.shape[0] or gates > gate.shape[1] or features > gate.shape[2]:
            raise ValueError(f"with_mean_gates: got a change of shape {change.shape}, expected at most {gate.shape[:3]}.")
        raised = gate.at[:times, :gates, :features, 0].add(change.astype(gate.dtype))
        return eqx.tree_at(lambda f: f.convolution.gate, self, raised)

    @property
    def lattice(self) -> tuple[int, ...]:
        return self.convolution.lattice

    def __call__(self, t: Float[Array, ""], x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, ""]]:
        if self.smoothing is None:
            return self.convolution.value_and_trace(t, x)
        velocity, divergence = jnp.zeros_like(x), site_sum(jnp.zeros_like(x[:0]))
        for mu, nu in planes(len(self.manifold.lattice)):
            plane_velocity, plane_divergence = self._plane(t, x, self.smoothing, mu, nu)
            velocity, divergence = velocity + plane_velocity, divergence + plane_divergence
        return velocity, divergence

    def _plane(self, t: Array, x: Array, smoothing: Array, mu: int, nu: int) -> tuple[Array, Array]:
        """Velocity of all links from the plaquettes of one plane, and its divergence."""
        lattice = self.manifold.lattice
        dim = len(lattice)
        momentum = squared_momentum(lattice)
        inverse = np.divide(1.0, momentum, out=np.zeros(lattice), where=momentum > 1e-12)
        kappa = 1 + cosine_basis(t.astype(x.dtype), smoothing.shape[0]) @ smoothing.astype(x.dtype)
        kernel = kappa[hypercubic_orbits(lattice)] * jnp.asarray(inverse, x.dtype)
        # sum_e d_e P_x d_e P_y, the Laplacian in the plane, turns the sum over links into a trace over plaquettes.
        weight = kernel * jnp.asarray(squared_momentum(lattice, (mu, nu)), x.dtype)
        u_k, divergence = self.convolution.spectrum_and_trace(t, plaquette_angle(x, mu, nu), weight)
        flux = hartley(kernel * u_k, dim)
        velocity = jnp.zeros_like(x).at[mu].set(flux - shift(flux, nu, -1, dim))
        return velocity.at[nu].set(shift(flux, mu, -1, dim) - flux), divergence
