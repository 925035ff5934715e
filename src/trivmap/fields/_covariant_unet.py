"""A network of matrices that transform like plaquettes, as a local velocity of gauge links."""

import functools
import itertools
from collections.abc import Callable, Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact, Key

from .._checks import integers
from ..gauge import link_matrices, oriented_links
from ..groups import adjoint, anti_hermitian_traceless, conjugate, matrix_product, trace
from ..lattice import shift
from ..manifolds import AbstractManifold, LinkField
from ..theories import WilsonAction
from ._covariant_convolution import check_links
from ._time import cosine_basis


class CovariantUNet(eqx.Module):
    r"""A U-Net of gauge-covariant convolutions as a velocity of links, for `LocalField`: a score for any dimension.

    Features are matrices $W^c_{ab}(x)$ that transform like the plaquettes $P_{ab}(x)$ which leave x in direction a and return
    from direction b (both signs), and start as these. A layer of scale s takes linear combinations A of all features at x and
    of those at the sites $x \pm s \hat\mu$, brought to x by parallel transport along the axis, and B of those at x,

    $$ W' \propto A\, [\tanh(g \cdot \mathrm{Re}\,\mathrm{tr} A / N + h(t)) + B], $$

    with gates from the traces of all features, divided by $\sqrt{1 + \langle \mathrm{tr} W W^\dagger / N \rangle}$ of the
    site. Scales grow, 1, 2, 4, ..., and shrink again; layers then also see the output of the earlier layer of their scale.
    All sites keep their features at all scales, so that the network commutes with every translation, not only with those by
    the largest scale. The velocity of a link is

    $$ v_\mu(x) = [F_\mu(x) - U_\mu(x) F_{-\mu}(x + \hat\mu) U_\mu^\dagger(x)]_{\text{traceless anti-Hermitian}} $$

    with linear combinations F of features and plaquettes that depend on time. Weights are real and tied by the
    rotations and reflections of the lattice: the velocity commutes with them, with gauge transformations and with charge
    conjugation. It is no gradient. Covariant convolutions: arXiv:2012.12901; as scores arXiv:2605.06134.

    Use `LocalField(network, manifold, network.reach)`. Its divergence takes one derivative per link and generator where all
    links are within reach: score matching by denoising and the weights of a `ScoreDiffusion` do without it (and compiled
    programs then leave it out), probability flows and implicit score matching do not.

    **Arguments:**

    - `key`: draws the weights of the layers.
    - `manifold`: a `LinkField` of dimension two or more.
    - `channels`: c, number of matrices for each pair of directions.
    - `levels`: number of scales; there are 2 levels - 1 layers.
    - `theory`: Wilson's action to start from: a new velocity is minus its gradient; zero by default.
    - `times`: number of time functions cos(pi k t) in the gates and in the last layer.
    - `dtype`: precision of the parameters; the network computes in the precision of the links.

    **Raises:** `TypeError` for scalar fields and for other theories, `ValueError` for sizes below one.

        >>> network = tm.fields.CovariantUNet(key, theory.manifold, channels=2, levels=1)
        >>> network(jnp.zeros(()), links).shape
    """

    layers: tuple["_Layer", ...]
    last: Float[Array, "times orbits channels"]
    manifold: LinkField = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        manifold: AbstractManifold,
        *,
        channels: int = 4,
        levels: int = 2,
        theory: WilsonAction | None = None,
        times: int = 4,
        dtype: DTypeLike | None = None,
    ):
        self.manifold = check_links(type(self).__name__, manifold)
        integers("CovariantUNet", 1, channels=channels, levels=levels, times=times)
        if theory is not None and not (isinstance(theory, WilsonAction) and theory.manifold == manifold):
            raise TypeError(f"CovariantUNet starts from a WilsonAction on {manifold}, but was given {theory}.")
        dim = len(self.manifold.lattice)
        inputs = [1] + [channels] * (2 * levels - 2)
        keys = jax.random.split(key, len(inputs))
        self.layers = tuple(_Layer(k, dim, n, channels, times, dtype) for k, n in zip(keys, inputs, strict=True))
        self.last = jnp.zeros((times, int(_directions(dim).max()) + 1, channels + 1), dtype)
        if theory is not None:
            n = self.manifold.group.n
            # -dS = -beta Im P of U(1), -beta/(2N) times the algebra part of SU(N); both ends of the link give the same.
            start = -theory.beta / (2 if n == 1 else 4 * n)
            self.last = self.last.at[0, 0, channels].set(start.astype(self.last.dtype))

    @property
    def levels(self) -> int:
        return (len(self.layers) + 1) // 2

    @property
    def reach(self) -> int:
        """The reach of the velocity, for `LocalField`."""
        return 3 * 2 ** (self.levels - 1)

    def __call__(self, t: Float[Array, ""], x: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        self.manifold.check(x)
        links = link_matrices(x)
        t = t.astype(links.real.dtype)
        plaquettes = _plaquettes(links)[None]
        ends = self._ends(t, jnp.concatenate([self._features(t, links, plaquettes), plaquettes]))
        dim = len(links)
        back = [_transported(u, shift(ends[dim + mu], mu, 1, dim)) for mu, u in enumerate(links)]
        velocity = ends[:dim] - jnp.stack(back)
        return jax.vmap(anti_hermitian_traceless)(velocity) if jnp.iscomplexobj(x) else velocity.imag[:, 0, 0]

    def _features(self, t: Array, links: Array, features: Array) -> Array:
        """The output of the last layer."""
        long, kept = [links], []
        for level in range(1, self.levels):
            long.append(_doubled(long[-1], 2 ** (level - 1)))
        for level in range(self.levels):
            features = self.layers[level](t, features, long[level], 2**level)
            kept.append(features)
        for level in reversed(range(self.levels - 1)):
            features = self.layers[-1 - level](t, features + kept[level], long[level], 2**level)
        return features

    def _ends(self, t: Array, features: Array) -> Array:
        """F in all directions, forwards and then backwards."""
        weights = _at_time(t, self.last)[_directions(len(self.manifold.lattice))]
        return _mixed(jnp.swapaxes(weights, 1, 2), features, 2)


class _Layer(eqx.Module):
    around: Float[Array, "orbits outputs inputs"]
    local: Float[Array, "orbits outputs inputs"]
    gates: Float[Array, "orbits outputs outputs"]
    biases: Float[Array, "times outputs"]

    def __init__(self, key: Array, dim: int, inputs: int, outputs: int, times: int, dtype: DTypeLike | None):
        keys = jax.random.split(key, 4)

        def weights(key: Array, table: np.ndarray, inputs: int) -> Array:
            scale = 1 / float(np.sqrt(table[0].size * inputs))
            return scale * jax.random.normal(key, (int(table.max()) + 1, outputs, inputs), dtype)

        self.around = weights(keys[0], _neighbours(dim), inputs)
        self.local = weights(keys[1], _two_pairs(dim), inputs)
        self.gates = weights(keys[2], _two_pairs(dim), outputs)
        self.biases = jnp.zeros((times, outputs), dtype).at[0].set(jax.random.normal(keys[3], (outputs,), dtype))

    def __call__(self, t: Array, features: Array, long: Array, scale: int) -> Array:
        """The next features; `long`: products of `scale` links."""
        dim = len(long)
        # (pair, neighbour, its pair, output, input) to (output, pair) and (neighbour, input, its pair).
        weights = jnp.transpose(self.around.astype(t.dtype)[_neighbours(dim)], (3, 0, 1, 4, 2))
        a = _mixed(weights, _around(features, long, scale), 3)
        b = _mixed(self._of_pairs(t, self.local, dim), features, 2)
        gates = jnp.tensordot(self._of_pairs(t, self.gates, dim), _each(trace, a).real / a.shape[2], 2)
        bias = _at_time(t, self.biases).reshape(-1, *(1 for _ in gates.shape[1:]))
        gates = jnp.tanh(gates + bias)[:, :, None, None].astype(a.dtype)
        unit = jnp.eye(a.shape[2], dtype=a.dtype).reshape(a.shape[2], -1, *(1 for _ in range(dim)))
        return _normalised(_each(matrix_product, a, gates * unit[None, None] + b))

    @staticmethod
    def _of_pairs(t: Array, weights: Array, dim: int) -> Array:
        """(pair, pair, output, input) to (output, pair) and (input, pair)."""
        return jnp.transpose(weights.astype(t.dtype)[_two_pairs(dim)], (2, 0, 3, 1))


# --- matrices ------------------------------------------------------------------------------------------------------------


def _each(function: Callable[..., Array], *matrices: Array) -> Array:
    """A function of matrices `(n, n, *lattice)` for all channels and pairs of directions."""
    return jax.vmap(jax.vmap(function))(*matrices)


def _normalised(matrices: Array) -> Array:
    """Root mean square entries at a site at most those of a unit matrix: products of products would grow without bound."""
    squares = jnp.sum(matrices.real**2 + matrices.imag**2, axis=(0, 1, 2, 3), keepdims=True)
    channels, pairs, n, *_ = matrices.shape
    return matrices * jax.lax.rsqrt(1 + squares / (channels * pairs * n)).astype(matrices.dtype)


def _mixed(weights: Array, features: Array, axes: int) -> Array:
    """Real linear combinations of matrices: the last axes of the weights are the first ones of the features."""
    return jax.lax.complex(jnp.tensordot(weights, features.real, axes), jnp.tensordot(weights, features.imag, axes))


def _transported(u: Array, matrices: Array) -> Array:
    """u W u^dagger, the same for all leading axes of W."""
    if len(u) == 1:
        return matrices
    return conjugate(u, matrices)


def _around(features: Array, long: Array, scale: int) -> Array:
    """The features of a site, and those of the sites `scale` steps away in all directions, brought to it."""
    dim = len(long)
    moved = jnp.stack([shift(features, mu, s, dim) for s in (scale, -scale) for mu in range(dim)])
    oriented = oriented_links(long, scale)
    brought = jax.vmap(lambda u, w: _each(functools.partial(_transported, u), w))(oriented, moved)
    return jnp.concatenate([features[None], brought])


def _doubled(long: Array, length: int) -> Array:
    """Products of twice as many links."""
    return jnp.stack([matrix_product(u, shift(u, mu, length, len(long))) for mu, u in enumerate(long)])


def _plaquettes(links: Array) -> Array:
    """P_ab for all pairs of directions."""
    dim = len(links)
    oriented = dict(zip(_steps(dim), oriented_links(links), strict=True))

    def half(a: int, b: int) -> Array:
        return matrix_product(oriented[a], shift(oriented[b], abs(a) - 1, 1 if a > 0 else -1, dim))

    return jnp.stack([matrix_product(half(a, b), adjoint(half(b, a))) for a, b in _pairs(dim)])


def _at_time(t: Array, parameters: Array) -> Array:
    return jnp.tensordot(cosine_basis(t, len(parameters)), parameters.astype(t.dtype), 1)


# --- symmetry ------------------------------------------------------------------------------------------------------------


def _steps(dim: int) -> tuple[int, ...]:
    forwards = range(1, dim + 1)
    return (*forwards, *(-step for step in forwards))


def _pairs(dim: int) -> list[tuple[int, int]]:
    """Directions in which plaquettes leave, and from which they return."""
    return [(a, b) for a, b in itertools.product(_steps(dim), repeat=2) if abs(a) != abs(b)]


@functools.cache
def _neighbours(dim: int) -> np.ndarray:
    """Orbits of (pair, step to a neighbour or none, pair there) under rotations and reflections."""
    return _orbits([[[(*p, e, *q) for q in _pairs(dim)] for e in (0, *_steps(dim))] for p in _pairs(dim)])


@functools.cache
def _two_pairs(dim: int) -> np.ndarray:
    """Orbits of two pairs."""
    return _orbits([[(*p, *q) for q in _pairs(dim)] for p in _pairs(dim)])


@functools.cache
def _directions(dim: int) -> np.ndarray:
    """Orbits of (direction of a link, pair); the first one is that of the plaquettes that leave along the link."""
    return _orbits([[(m, *p) for p in _pairs(dim)] for m in _steps(dim)])


def _orbits(steps: list) -> np.ndarray:
    """Labels for an array of lists of steps: two have the same if a rotation or reflection maps one to the other."""
    array = np.array(steps, int)
    labels: dict[tuple[int, ...], int] = {}
    flat = [labels.setdefault(_named(row), len(labels)) for row in array.reshape(-1, array.shape[-1]).tolist()]
    return np.array(flat, np.int32).reshape(array.shape[:-1])


def _named(steps: Iterable[int]) -> tuple[int, ...]:
    """Axes numbered in the order in which they occur, and directed as they first do."""
    names: dict[int, int] = {}
    found = []
    for step in steps:
        if step and abs(step) not in names:
            names[abs(step)] = (len(names) + 1) * (1 if step > 0 else -1)
        found.append(names[abs(step)] * (1 if step > 0 else -1) if step else 0)
    return tuple(found)
