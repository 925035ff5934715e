"""Uniform shifts of the links of one direction, driven by loops that wind around the lattice."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Key

from .._checks import integers
from ..gauge import plaquette_angle
from ..groups import U1
from ..lattice import accumulator_dtype, shift
from ..manifolds import AbstractManifold, LinkField, links_of
from ._base import AbstractVectorField
from ._sincos import sincos
from ._time import cosine_basis

# Length and depth of the detours of the bent lines, and distances of the pairs of lines.
_DETOURS = ((1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (2, 2), (3, 2), (1, 3), (2, 3))
_DISTANCES = range(5)
_PRODUCTS = 8  # of bounded functions of each ridge


class WindingLoops(NamedTuple):
    """Means over the lattice of loops that wind around a direction, `single` once, `double` twice: real, imaginary parts."""

    single: Float[Array, "2 loops"]
    double: Float[Array, "2 pairs"]

    def turned(self) -> "WindingLoops":
        """The derivative when all links of this direction turn by the same angle, one in all along a line."""
        return WindingLoops(_times_i(self.single), 2 * _times_i(self.double))


class HolonomyField(AbstractVectorField):
    r"""Uniform shifts of the links of every direction, driven by loops that wind around the lattice, for U(1).

    $$ v_\mu(x) = c_\mu / L_\mu \text{ for all } x, \qquad \mathrm{div}\, v = \sum_\mu \frac{d c_\mu}{d \alpha_\mu} $$

    A uniform twist of all links of direction mu changes no plaquette and multiplies loops of winding n by $e^{i n
    \alpha_\mu}$: $c_\mu$ may be any function of plaquettes and winding loops, and its divergence is one derivative along
    $dZ = i n Z$ per direction. Here $c_\mu$ is linear in the imaginary parts of loops of winding one and two, plus bounded
    functions of `ridges` combinations of them (and of those of the other directions). The loops: straight lines; lines with
    detours; lines weighted by cos P and sin P of the rows beside them, or by means over the lattice; pairs of lines. The
    field starts at zero, commutes with translations, reflections, rotations, charge conjugation and gauge transformations,
    and moves to any lattice.

    Plaquettes of the pure gauge theory do not know the holonomies, quarks do: it is meant to be added, by `SumField`, to a
    field that moves plaquettes.

    **Arguments:**

    - `key`: of the first ridges. `manifold`: U(1) links of two or more dimensions.
    - `times`: number of time functions cos(pi k t) in each coefficient. `ridges`: number of nonlinear combinations.
    - `boundary`: +1 or -1 for each direction, the boundary condition of the quarks; a line changes its sign with it.
    - `network`: another map `(t, own, others) -> c_mu`, real and odd in the imaginary parts, of the `WindingLoops` of the
      direction and a list of those of all others; an Equinox module, the learned one by default.

    **Raises:** `TypeError` for other manifolds. On SU(N) no motion of all links of a direction leaves the plaquettes alone: a
    shift along the algebra direction of the Polyakov loop through each link is covariant, and differs from line to line.

        >>> field = tm.fields.HolonomyField(key, theory.manifold, times=2)
        >>> velocity, divergence = field(jnp.zeros(()), links)
    """

    network: Callable[..., Array]
    manifold: LinkField = eqx.field(static=True)
    boundary: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        manifold: AbstractManifold,
        *,
        times: int = 4,
        ridges: int = 4,
        boundary: tuple[int, ...] | None = None,
        network: Callable[..., Array] | None = None,
        dtype: DTypeLike | None = None,
    ):
        self.manifold = _checked(manifold)
        dimension = len(manifold.lattice)
        self.boundary = (1,) * dimension if boundary is None else tuple(boundary)
        if len(self.boundary) != dimension or not set(self.boundary) <= {1, -1}:
            raise ValueError(f"HolonomyField: boundary={boundary}; expected {dimension} signs, +1 or -1, one per direction.")
        integers("HolonomyField", 1, times=times)
        integers("HolonomyField", 0, ridges=ridges)
        self.network = _Network(key, times, ridges, dtype) if network is None else network

    def on(self, manifold: AbstractManifold) -> "HolonomyField":
        """The same function of the loops on a lattice of other extents."""
        if len(manifold.lattice) != len(self.manifold.lattice):
            raise ValueError(f"The field lives on {self.manifold}, the new manifold is {manifold}: only extents may change.")
        return HolonomyField(jax.random.key(0), manifold, boundary=self.boundary, network=self.network)

    def __call__(self, t: Float[Array, ""], x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Float[Array, ""]]:
        lattice = self.manifold.lattice
        loops = [winding_loops(x, mu, sign) for mu, sign in enumerate(self.boundary)]
        velocities, divergence = [], jnp.zeros((), accumulator_dtype())
        for mu, own in enumerate(loops):
            others = loops[:mu] + loops[mu + 1 :]
            c, slope = jax.jvp(lambda z, others=others: self.network(t, z, others), (own,), (own.turned(),))
            velocities.append(jnp.broadcast_to((c / lattice[mu]).astype(x.dtype), lattice))
            divergence = divergence + slope.astype(divergence.dtype)
        return jnp.stack(velocities), divergence


class _Network(eqx.Module):
    """c = sum_j a_j Im Z_j + sum_j b_j Im Z2_j + products of bounded functions of Re and Im of ridges sum_j k_j Z_j."""

    single: Float[Array, "times loops"]
    double: Float[Array, "times pairs"]
    products: Float[Array, "times ridges functions"]
    ridges: Float[Array, "ridges loops"]

    def __init__(self, key: Key[Array, ""], times: int, ridges: int, dtype: DTypeLike | None):
        self.single = jnp.zeros((times, _SINGLE), dtype)
        self.double = jnp.zeros((times, len(_DISTANCES)), dtype)
        self.products = jnp.zeros((times, ridges, _PRODUCTS), dtype)
        mixing = 0.5 * jax.random.normal(key, (ridges, _SINGLE), dtype)
        # Straight lines at several strengths, mixed with all others.
        self.ridges = mixing.at[:, 0].add(jnp.linspace(1.0, 3.0, ridges, dtype=mixing.dtype))

    def __call__(self, t: Float[Array, ""], own: WindingLoops, others: list[WindingLoops]) -> Float[Array, ""]:
        dtype = own.single.dtype
        basis = cosine_basis(t.astype(dtype), len(self.single))
        single, double, products = (
            jnp.tensordot(basis, p.astype(dtype), 1) for p in (self.single, self.double, self.products)
        )
        ridges = self.ridges.astype(dtype)
        real, imaginary = ridges @ own.single[0], ridges @ own.single[1]
        elsewhere = sum((jnp.tanh(ridges @ loops.single[0]) for loops in others), jnp.zeros_like(real)) / len(others)
        bounded = jnp.stack(_odd_products(real, imaginary, elsewhere), axis=-1)
        return single @ own.single[1] + double @ own.double[1] + jnp.sum(products * bounded)


def _odd_products(real: Array, imaginary: Array, elsewhere: Array) -> tuple[Array, ...]:
    """Odd in the imaginary part: linear, saturated and resonant, times even functions of what else there is."""
    resonant = imaginary / (1 + real**2 + imaginary**2)
    along = jnp.tanh(real)
    return (
        jnp.tanh(imaginary),
        imaginary * along,
        imaginary * elsewhere,
        imaginary * along * elsewhere,
        resonant,
        resonant * real,
        resonant * elsewhere,
        imaginary * along**2,
    )


_SINGLE = 1 + len(_DETOURS) + 5 + 5


def winding_loops(x: Float[Array, "dim *lattice"], mu: int, sign: int) -> WindingLoops:
    """The loops around direction mu; all other directions count alike."""
    # The direction of the lines is the first one from here on.
    order = [mu, *(nu for nu in range(len(x)) if nu != mu)]
    links = jnp.stack([jnp.moveaxis(x[nu], mu, 0) for nu in order])
    line = jnp.sum(links[0], axis=0) + jnp.asarray(np.pi * (sign < 0), x.dtype)
    straight = _mean(_phase(line))
    beside = [jnp.stack(list(_beside(links, line, straight, nu)), axis=1) for nu in range(1, len(links))]
    pairs = [
        jnp.stack([_mean(_phase(line + shift(line, nu - 1, r, line.ndim))) for r in _DISTANCES], axis=1)
        for nu in range(1, len(links))
    ]
    single = jnp.concatenate([straight[:, None], sum(beside[1:], beside[0]) / len(beside)], axis=1)
    return WindingLoops(single, sum(pairs[1:], pairs[0]) / len(pairs))


def _beside(links: Array, line: Array, straight: Array, nu: int) -> Iterator[Array]:
    """Detours in direction nu, lines weighted by the plaquettes on either side, and by means over the lattice."""
    plaquettes = plaquette_angle(links, 0, nu)
    boxes = _boxes(plaquettes, nu)
    dim = plaquettes.ndim
    for length, depth in _DETOURS:
        box = boxes[length, depth]
        there = _mean(_phase(line[None] - box))
        # From the far side of the box, so that reflections of nu exchange the two.
        back = _mean(_phase(shift(line, nu - 1, depth, dim - 1)[None] + box))
        yield (there + back) / 2
    sine, cosine = sincos(plaquettes)
    double = 2 * cosine**2 - 1

    def row(values: Array, near: int, far: int, parity: int) -> Array:
        """Means over rows of plaquettes ahead of a line, plus or minus those behind it."""
        means = jnp.mean(values, axis=0)
        return shift(means, nu - 1, near, dim - 1) + parity * shift(means, nu - 1, far, dim - 1)

    phase = _phase(line)
    for weight in (row(cosine, 0, -1, 1), row(double, 0, -1, 1), row(cosine, 1, -2, 1)):
        yield _mean(phase * weight[None])
    for weight in (row(sine, 0, -1, -1), row(sine, 1, -2, -1)):
        yield _times_i(_mean(phase * weight[None]))
    rectangles = jnp.mean(sincos(boxes[2, 1])[1]) + jnp.mean(sincos(boxes[1, 2])[1])
    charge = jnp.sum(sine) / (2 * np.pi)
    for mean in (jnp.mean(cosine), jnp.mean(double), rectangles, jnp.mean(sincos(boxes[2, 2])[1]), 1 / (1 + charge**2)):
        yield straight * mean


def _boxes(plaquettes: Array, nu: int) -> dict[tuple[int, int], Array]:
    """Sums of plaquettes over boxes of so many sites along the line and in direction nu."""
    dim, found = plaquettes.ndim, {}
    strip = jnp.zeros_like(plaquettes)
    for length in range(1, 1 + max(length for length, _ in _DETOURS)):
        strip = strip + shift(plaquettes, 0, length - 1, dim)
        box = jnp.zeros_like(plaquettes)
        for depth in range(1, 1 + max(depth for _, depth in _DETOURS)):
            box = box + shift(strip, nu, depth - 1, dim)
            found[length, depth] = box
    return found


def _phase(angle: Array) -> Array:
    """Real and imaginary part of exp(i angle), `(2, *angle.shape)`."""
    sine, cosine = sincos(angle)
    return jnp.stack([cosine, sine])


def _times_i(z: Array) -> Array:
    return jnp.stack([-z[1], z[0]])


def _mean(z: Array) -> Array:
    """Over all sites, of both parts."""
    return jnp.mean(z, axis=tuple(range(1, z.ndim)))


def _checked(manifold: AbstractManifold) -> LinkField:
    message = (
        f"HolonomyField is defined for U(1) links, but was given {manifold}. On SU(N) a shift along the algebra "
        "direction of the Polyakov loop through each link changes plaquettes: use a potential of Polyakov loops."
    )
    manifold = links_of(U1, manifold, message)
    if len(manifold.lattice) < 2:
        raise ValueError(f"HolonomyField: winding loops need two dimensions or more, the lattice is {manifold.lattice}.")
    return manifold
