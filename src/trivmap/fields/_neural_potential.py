"""A pointwise network of local traces as a potential, with exact gradient and Laplacian."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact

from .._checks import at_least, integer
from .._types import PRNGKey
from ..gauge import Path
from ..lattice import site_sum
from ..manifolds import AbstractManifold, LinkField
from ._base import AbstractPotential
from ._covariant_convolution import check_links
from ._loop_frame import combine, inner_products, laplacians, loop_functions, windows
from ._loop_symmetry import Surroundings, surroundings
from ._loop_tables import LoopTables, Windows, all_images, make_tables, wrap
from ._time import cosine_basis


class NeuralPotential(AbstractPotential):
    r"""A network of the traces around every loop, summed over the lattice, beside an optional base potential.

    S~(t, U) = S~_base + sum_p (1/|g|) sum_g F(t, g z_p),   z_p = {Re w_q, Im w_q : |c_q - c_p| <= stencil},

    where p runs over all translates and orientations of the first loop, q over all loops with centres c_q near that of p
    (sum of the distances along the axes), w = (1/N) tr, and g over the reflections and rotations that keep p and charge
    conjugation: they permute the inputs and flip signs of imaginary parts, and make S~ invariant. F is a network with tanh
    layers; its first layer has a bias that depends on time, its last one is linear with time-dependent weights that start at
    zero, so that a new potential is its base.

    Lap S~ = sum_p [F_i Lap z_i + F_ij <dz_i, dz_j>] with the inner products of the gradients of loops on common links:
    values, Laplacians and inner products of gradients pass forward through the layers.

    **Arguments:**

    - `key`: draws the hidden layers.
    - `manifold`: a `LinkField` of dimension two or more.
    - `loops`: closed paths that meet no link twice, such as `(1, 2, -1, -2)` (steps +-(mu + 1)), one per symmetry class;
      default: the plaquette.
    - `stencil`: in lattice units. In two dimensions 1 takes in the four neighbours of a plaquette.
    - `hidden`: widths of the hidden layers.
    - `imaginary`: whether imaginary parts are inputs; default: wherever they exist.
    - `times`: number of time functions cos(pi k t) in the biases of the first layer and in the last layer.
    - `base`: a potential on the same manifold to add, for example a `LoopPotential`.
    - `dtype`: precision of the parameters; the potential computes in the precision of the configuration.

    **Raises:** `TypeError` for scalar fields, `ValueError` for sizes out of range, loops that are not closed or meet a link
    twice, and a base on another manifold.

        >>> potential = tm.fields.NeuralPotential(key, theory.manifold, hidden=(4,))
        >>> flow = tm.ContinuousFlow(tm.GradientField(potential), steps=4)
    """

    first: Float[Array, "width inputs"]
    bias: Float[Array, "times width"]
    layers: tuple[tuple[Array, Array], ...]
    last: Float[Array, "times outputs"]
    base: AbstractPotential | None
    manifold: LinkField = eqx.field(static=True)
    loops: tuple[Path, ...] = eqx.field(static=True)
    imaginary: bool = eqx.field(static=True)
    stencil: float = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKey,
        manifold: AbstractManifold,
        *,
        loops: Sequence[Path] = ((1, 2, -1, -2),),
        stencil: float | int = 1,
        hidden: Sequence[int] = (8,),
        imaginary: bool | None = None,
        times: int = 4,
        base: AbstractPotential | None = None,
        dtype: DTypeLike | None = None,
    ):
        manifold = check_links(type(self).__name__, manifold)
        if not hidden:
            raise ValueError("NeuralPotential: got no hidden layer, expected the width of one or more, such as (8,).")
        for width in hidden:
            integer("NeuralPotential: width of a hidden layer", width, 1)
        integer("NeuralPotential: times", times, 1)
        at_least("NeuralPotential: stencil", stencil, 0)
        if base is not None and base.manifold != manifold:
            raise ValueError(f"NeuralPotential on {manifold}: got a base on {base.manifold}, expected the same manifold.")
        # Traces of SU(2) are real.
        imaginary = manifold.group.n != 2 if imaginary is None else imaginary
        self.manifold = manifold
        self.loops, self.imaginary = all_images(loops, len(manifold.lattice)), imaginary
        make_tables(manifold.lattice, self.loops, imaginary)  # refuses loops that do not fit on the lattice
        self.stencil, self.base = float(stencil), base
        inputs = self._surroundings.loops.shape[1] * (2 if imaginary else 1)
        keys = iter(jax.random.split(key, len(hidden) + 1))
        self.first = _normal(next(keys), (hidden[0], inputs), dtype)
        self.bias = jnp.zeros((times, hidden[0]), dtype).at[0].set(jax.random.normal(next(keys), (hidden[0],), dtype))
        self.layers = tuple(
            (_normal(next(keys), (b, a), dtype), jnp.zeros(b, dtype)) for a, b in zip(hidden, hidden[1:], strict=False)
        )
        self.last = jnp.zeros((times, hidden[-1]), dtype)

    @property
    def tables(self) -> LoopTables:
        """Index tables of the loops on this lattice, shared by all potentials with the same loops."""
        return make_tables(self.manifold.lattice, self.loops, self.imaginary)

    def on(self, manifold: AbstractManifold) -> "NeuralPotential":
        """The potential with the same network on a lattice of other extents."""
        new = NeuralPotential(
            jax.random.key(0),
            manifold,
            loops=self.loops,
            stencil=self.stencil,
            hidden=(self.first.shape[0], *(weights.shape[0] for weights, _ in self.layers)),
            imaginary=self.imaginary,
            times=self.last.shape[0],
            base=None if self.base is None else self.base.on(manifold),
        )
        learned = (self.first, self.bias, self.layers, self.last)
        return eqx.tree_at(lambda p: (p.first, p.bias, p.layers, p.last), new, learned)

    def __call__(self, t: Float[Array, ""], x: Inexact[Array, "*shape"]) -> Float[Array, ""]:
        self.manifold.check(x)
        w, _ = loop_functions(self.tables, self.manifold.group, x)
        network = self._network(t, w.dtype)
        value = site_sum(jnp.einsum("a,ias->is", network.last, _hidden(network, self._inputs(w))[-1])) / network.images
        return value if self.base is None else value + self.base(t, x)

    def gradient_and_laplacian(
        self, t: Float[Array, ""], x: Inexact[Array, "*shape"]
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        self.manifold.check(x)
        tables, group = self.tables, self.manifold.group
        w, gradients = loop_functions(tables, group, x)
        network = self._network(t, w.dtype)
        i, j, gram = self._gram(inner_products(tables, gradients))
        slopes, curvature = _slopes_and_curvature(network, self._inputs(w), i, j, gram)
        weights = self._collect(slopes / network.images)
        gradient = combine(tables, group, gradients, weights)
        laplacian = site_sum(curvature) / network.images + site_sum(weights * laplacians(tables, group, w))
        if self.base is None:
            return gradient, laplacian
        base_gradient, base_laplacian = self.base.gradient_and_laplacian(t, x)
        return gradient + base_gradient, laplacian + base_laplacian

    @property
    def _surroundings(self) -> Surroundings:
        return surroundings(self.loops, len(self.manifold.lattice), self.stencil, self.imaginary)

    def _network(self, t: Array, dtype: DTypeLike) -> "_Network":
        """The layers at time t, the first one with a copy for every symmetry."""
        around, basis = self._surroundings, cosine_basis(t.astype(dtype), self.bias.shape[0])
        # All symmetries share the inputs and differ by a permutation of the columns of the first layer, a small array: the
        # gather over sites, which costs most, is done once.
        # F(g z) with (g z)_c = flip_c z_{order_c}: the weight of z_d is that of c = order^{-1}_d.
        inverse = np.argsort(around.order, axis=1)
        columns, flips = [inverse], [np.ones(inverse.shape)]
        if self.imaginary:
            columns.append(inverse + inverse.shape[1])
            flips.append(np.take_along_axis(around.flips, inverse, axis=1))
        weights = self.first.astype(dtype)[:, np.concatenate(columns, axis=1)]
        weights = jnp.moveaxis(weights * jnp.asarray(np.concatenate(flips, axis=1), dtype)[None], 0, 1)
        layers = tuple((w.astype(dtype), b.astype(dtype)) for w, b in self.layers)
        return _Network(weights, basis @ self.bias.astype(dtype), layers, basis @ self.last.astype(dtype))

    @property
    def _members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Function, displacement and sign of every input, `(inputs, orientations, ...)`."""
        around = self._surroundings
        loops, shifts, signs = around.loops.T, np.swapaxes(around.shifts, 0, 1), around.signs.T
        if not self.imaginary:
            return loops, shifts, np.ones_like(signs)
        both = np.concatenate([loops, loops + len(self.loops)])
        return both, np.concatenate([shifts, shifts]), np.concatenate([np.ones_like(signs), signs])

    def _inputs(self, w: Array) -> Float[Array, "inputs sites"]:
        """z of all loops in the middle."""
        functions, shifts, signs = self._members
        found = windows(w, Windows(functions.ravel(), shifts.reshape(-1, w.ndim - 1)), w.ndim - 1)
        return _signed(found, signs).reshape(len(functions), -1)

    def _gram(self, products: Array) -> tuple[np.ndarray, np.ndarray, Float[Array, "pairs sites"]]:
        """Pairs of inputs i <= j with <dz_i, dz_j>, those with i < j counted twice."""
        functions, shifts, signs = self._members
        number, lattice = {key: p for p, key in enumerate(self.tables.pairs)}, self.manifold.lattice
        chosen = []
        for i in range(len(functions)):
            for j in range(i, len(functions)):
                offsets = [wrap(o, lattice) for o in (shifts[j] - shifts[i]).tolist()]
                rows = [number.get(key, len(number)) for key in zip(functions[i], functions[j], offsets, strict=True)]
                if min(rows) < len(number):
                    chosen.append((i, j, rows, shifts[i], signs[i] * signs[j] * (1 + (i < j))))
        i, j, rows, at, factors = (np.array(column) for column in zip(*chosen, strict=True))
        # Around a short lattice only some orientations of a pair may meet: the others take a row of zeros.
        padded = jnp.concatenate([products, jnp.zeros_like(products[:1])])
        found = windows(padded, Windows(rows.ravel(), at.reshape(-1, len(lattice))), len(lattice))
        return i, j, _signed(found, factors).reshape(len(chosen), -1)

    def _collect(self, slopes: Float[Array, "inputs sites"]) -> Float[Array, "functions *lattice"]:
        """Transpose of `_inputs`: weights_f(y) = sum of the slopes of all inputs that are w_f(y)."""
        # A gather of the transposed table: XLA turns the transpose of the windows into scatters, which are slow on CPUs.
        functions, shifts, signs = self._members
        lattice = self.manifold.lattice
        flat = [np.flatnonzero(functions.ravel() == f) for f in range(self.tables.size)]
        # Lists of the same length: rows of zeros fill up.
        size = max(map(len, flat))
        padding, zero = functions.size, np.zeros((1, len(lattice)), shifts.dtype)
        table = np.array([np.concatenate([f, np.full(size - len(f), padding)]) for f in flat]).astype(np.int32)
        signed = _signed(slopes.reshape(-1, *lattice), signs)
        padded = jnp.concatenate([signed, jnp.zeros_like(signed[:1])])
        back = -np.concatenate([shifts.reshape(-1, len(lattice)), zero])[table.ravel()]
        return jnp.sum(windows(padded, Windows(table.ravel(), back), len(lattice)).reshape(-1, size, *lattice), axis=1)


class _Network(NamedTuple):
    """The network at one time; `first` `(images, width, inputs)`."""

    first: Array
    bias: Array
    layers: tuple[tuple[Array, Array], ...]
    last: Array

    @property
    def images(self) -> int:
        return self.first.shape[0]


def _hidden(network: _Network, z: Float[Array, "inputs sites"]) -> list[Float[Array, "images width sites"]]:
    """The outputs of all hidden layers."""
    values = [jnp.tanh(jnp.tensordot(network.first, z, 1) + network.bias[None, :, None])]
    for weight, bias in network.layers:
        values.append(jnp.tanh(jnp.einsum("ba,ias->ibs", weight, values[-1]) + bias[None, :, None]))
    return values


def _slopes_and_curvature(network: _Network, z: Array, i: np.ndarray, j: np.ndarray, gram: Array) -> tuple[Array, Array]:
    """sum_g dF(g z)/dz_i, `(inputs, sites)`, and sum_g sum_{i <= j} F_ij gram_ij, `(sites,)`."""
    values = _hidden(network, z)
    first = [1 - h**2 for h in values]
    second = [-2 * h * d for h, d in zip(values, first, strict=True)]
    # The Gram matrix of the gradients passes through the layers instead of the Jacobian: all of it is matrix products.
    laplacian = second[0] * jnp.tensordot(network.first[..., i] * network.first[..., j], gram, 1)
    # Behind the first layer all pairs of units may have a gradient in common.
    previous = network.first
    for k, (weight, _) in enumerate(network.layers):
        gram = _gram_of_layer(previous, i, j, gram, first[k])
        i, j = (index.ravel() for index in np.indices((weight.shape[1], weight.shape[1])))
        quadratic = jnp.einsum("bp,ips->ibs", weight[:, i] * weight[:, j], gram)
        laplacian = first[k + 1] * jnp.einsum("ba,ias->ibs", weight, laplacian) + second[k + 1] * quadratic
        previous = weight
    curvature = jnp.einsum("a,ias->s", network.last, laplacian)
    slopes = jnp.broadcast_to(network.last[None, :, None], values[-1].shape)
    for k in reversed(range(len(network.layers))):
        slopes = jnp.einsum("ba,ibs->ias", network.layers[k][0], first[k + 1] * slopes)
    return jnp.einsum("ian,ias->ns", network.first, first[0] * slopes), curvature


def _gram_of_layer(weight: Array, i: np.ndarray, j: np.ndarray, gram: Array, slope: Array) -> Array:
    """Inner products of the gradients of all outputs of a layer, `(images, width^2, sites)`, from those of its inputs."""
    width = weight.shape[-2]
    table = weight[..., :, None, i] * weight[..., None, :, j]
    table = (table + jnp.swapaxes(table, -2, -3)).reshape(*weight.shape[:-2], width**2, len(i)) / 2
    total = jnp.tensordot(table, gram, 1) if gram.ndim == 2 else jnp.einsum("bp,ips->ibs", table, gram)
    both = slope[:, :, None] * slope[:, None]
    return total * both.reshape(total.shape)


def _signed(x: Array, signs: np.ndarray) -> Array:
    """x times one number per row; nothing to do if all are one."""
    if np.all(signs == 1):
        return x
    return x * jnp.asarray(signs.reshape(-1, *(1 for _ in x.shape[1:])), x.dtype)


def _normal(key: PRNGKey, shape: tuple[int, int], dtype: DTypeLike | None) -> Array:
    """Outputs of order one for inputs of order one."""
    return jax.random.normal(key, shape, dtype) / float(np.sqrt(shape[1]))
