"""Spectral flows of SU(n): maps of eigenvalues that commute with conjugation."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, DTypeLike, Float, Inexact, Key

from .._checks import integers
from ..groups import SU
from ..lattice import accumulator_dtype, site_sum
from ..manifolds import AbstractManifold, LinkField, links_of
from ._base import AbstractFlow
from ._matrix import checked, flat_links, put_links, shaped_links, take_links
from ._networks import extended
from ._spectral_cell import AlcoveMap, spectral_map
from ._spectral_loops import LoopFeatures, active_loops, loop_features, loop_masks


class SpectralFlow(AbstractFlow):
    """A flow of one SU(n) matrix by its eigenphases: h(W) = V diag(exp(i theta')) V^dagger.

    Commutes with conjugation W -> Omega W Omega^dagger and with permutations of the eigenvalues. Phases are brought to the
    Weyl alcove, which becomes a box, on which monotone rational-quadratic splines act, every coordinate with parameters that
    depend on the outer ones (`autoregressive`) or on nothing. The log-det is that with respect to Haar measure.

    **Arguments:**

    - `key`: initial weights; the initial flow is nearly the identity.
    - `manifold`: `LinkField(SU(n), (1,))`, one matrix.
    - `bins`: of the splines. `hidden`: widths of the layers of their conditioners.
    - `autoregressive`: every density of the eigenphases can be reached; otherwise products of one-dimensional maps.
    - `dtype`: precision of the parameters.

    **Raises:** `TypeError` for other groups, `ValueError` for lattices of more than one link, whose links are no closed
    loops (use `SpectralCouplingFlow`). Source: arXiv:2008.05456.

        >>> flow = tm.flows.SpectralFlow(key, tm.theories.MatrixAction(tm.SU(2), 1.0, (1.0,)).manifold, hidden=(4,))
        >>> x, log_det = flow.forward_and_log_det(flow.manifold.reference_sample(key))
    """

    alcove_map: AlcoveMap
    manifold: LinkField = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        manifold: AbstractManifold,
        *,
        bins: int = 16,
        hidden: tuple[int, ...] = (32, 32),
        autoregressive: bool = True,
        dtype: DTypeLike | None = None,
    ):
        manifold = _su_links("SpectralFlow", manifold)
        if manifold.lattice != (1,):
            raise ValueError(
                f"SpectralFlow maps one matrix, on the lattice (1,), but was given {manifold.lattice}; links of larger "
                "lattices are no closed loops: use SpectralCouplingFlow."
            )
        self.manifold = manifold
        n = manifold.group.n
        self.alcove_map = AlcoveMap(key, n, context=0, bins=bins, hidden=hidden, autoregressive=autoregressive, dtype=dtype)

    def forward_and_log_det(self, z: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        return self._run(z, inverse=False)

    def inverse_and_log_det(self, x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        return self._run(x, inverse=True)

    @property
    def evaluations(self) -> int:
        return 1

    def _run(self, x: Array, *, inverse: bool) -> tuple[Array, Array]:
        w = checked(self.manifold, x)[0]
        moved, log_det = spectral_map(self.alcove_map, w, jnp.zeros((1, 0), w.real.dtype), inverse=inverse)
        return moved[None], site_sum(log_det)


class SpectralCouplingFlow(AbstractFlow):
    r"""Gauge-equivariant coupling layers for SU(n) links: a spectral map moves one loop through every active link.

    W = U A,   U' = h(W; c) A^dagger,   h(W) = V diag(exp(i theta')) V^dagger,

    with A a product of frozen links from x + mu to x, and c features of frozen loops: real and imaginary parts of the traces
    of plaquettes and 2x1 rectangles near the link, and of the products of its own staples. Active links of one layer share no
    plaquette, so that every active loop contains one of them. In any dimension; masks come from a colouring, for any extents.

    **Arguments:**

    - `key`: initial weights; the initial flow is nearly the identity.
    - `manifold`: links of SU(n), two dimensions or more, extents of two or more.
    - `sweeps`: how often every link moves.
    - `loop`: `"staples"`: A is the unitary matrix nearest to a sum of the 2 (d - 1) staples with learned weights, with the
      phase that takes it into SU(n) next to one staple, another one in each sweep (arXiv:2502.00263); `"plaquette"`: A is
      that staple.
    - `bins`, `hidden`, `autoregressive`, `dtype`: as for `SpectralFlow`.
    - `reach`: frozen loops at most as far away along every axis are features.
    - `checkpoint`: recompute a layer in the backward pass.

    **Raises:** `TypeError` for other groups, `ValueError` for lattices that are too small. Sources: arXiv:2008.05456,
    2305.02402.

        >>> flow = tm.SpectralCouplingFlow(key, tm.LinkField(tm.SU(2), (4, 4)), 1, hidden=(4,))
        >>> x, log_det = flow.forward_and_log_det(flow.manifold.reference_sample(key))
    """

    alcove_map: AlcoveMap
    weights: Float[Array, "layers staples"]
    manifold: LinkField = eqx.field(static=True)
    sweeps: int = eqx.field(static=True)
    loop: str = eqx.field(static=True)
    reach: int = eqx.field(static=True)
    checkpoint: bool = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        manifold: AbstractManifold,
        sweeps: int = 4,
        *,
        loop: str = "staples",
        bins: int = 8,
        hidden: tuple[int, ...] = (32,),
        reach: int = 1,
        autoregressive: bool = True,
        checkpoint: bool = False,
        dtype: DTypeLike | None = None,
    ):
        manifold = _su_links("SpectralCouplingFlow", manifold)
        if len(manifold.lattice) < 2 or min(manifold.lattice) < 2:
            raise ValueError(
                f"SpectralCouplingFlow: got extents {manifold.lattice}, expected two or more, each at least 2: plaquettes "
                "around shorter axes contain a link twice."
            )
        if loop not in ("staples", "plaquette"):
            raise ValueError(f"SpectralCouplingFlow: got loop={loop!r}, expected 'staples' or 'plaquette'.")
        integers("SpectralCouplingFlow", 1, sweeps=sweeps)
        integers("SpectralCouplingFlow", 0, reach=reach)
        self.manifold, self.sweeps, self.loop = manifold, sweeps, loop
        self.reach, self.checkpoint = reach, checkpoint
        layers, staples = sweeps * self._features.masks.count, 2 * (len(manifold.lattice) - 1)

        def layer(k: Array) -> AlcoveMap:
            context = self._features.size
            return AlcoveMap(
                k, manifold.group.n, context=context, bins=bins, hidden=hidden, autoregressive=autoregressive, dtype=dtype
            )

        self.alcove_map = eqx.filter_vmap(layer)(jax.random.split(key, layers))
        self.weights = jnp.ones((layers, staples), dtype)

    def on(self, manifold: AbstractManifold) -> "SpectralCouplingFlow":
        """The same layers on another lattice of the same number of dimensions.

        **Raises:** `ValueError` for extents that need other masks, or so small that fewer loops are within reach.
        """
        new = SpectralCouplingFlow(
            jax.random.key(0), manifold, self.sweeps, loop=self.loop, reach=self.reach, checkpoint=self.checkpoint
        )
        if new._features.layout != self._features.layout:
            raise ValueError(
                f"SpectralCouplingFlow: got extents {manifold.lattice}, which have other masks or loops within reach than "
                f"{self.manifold.lattice}; both need even extents of at least {2 * self.reach + 3}."
            )
        return eqx.tree_at(lambda f: (f.alcove_map, f.weights), new, (self.alcove_map, self.weights))

    @property
    def evaluations(self) -> int:
        return self.weights.shape[0]

    @property
    def deepenable(self) -> bool:
        return True

    def deeper(self, key: Key[Array, ""], sweeps: int) -> "SpectralCouplingFlow":
        """The flow with new sweeps behind the ones it has, nearly the identity as those of a new flow."""
        layers = sweeps * self._features.masks.count
        keys = jax.random.split(key, len(self.alcove_map.networks))
        networks = tuple(extended(k, stack, layers) for k, stack in zip(keys, self.alcove_map.networks, strict=True))
        weights = jnp.concatenate([self.weights, jnp.ones((layers, self.weights.shape[1]), self.weights.dtype)])
        alcove_map = eqx.tree_at(lambda m: m.networks, self.alcove_map, networks)
        new = SpectralCouplingFlow(
            key, self.manifold, self.sweeps + sweeps, loop=self.loop, reach=self.reach, checkpoint=self.checkpoint
        )
        return eqx.tree_at(lambda f: (f.alcove_map, f.weights), new, (alcove_map, weights))

    @property
    def _features(self) -> LoopFeatures:
        return loop_masks(self.manifold, self.reach)

    def forward_and_log_det(self, z: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        return self._run(z, inverse=False)

    def inverse_and_log_det(self, x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        return self._run(x, inverse=True)

    def _run(self, x: Array, *, inverse: bool) -> tuple[Array, Array]:
        group, features = self.manifold.group, self._features
        flat = flat_links(self.manifold, checked(self.manifold, x))
        tables = jax.tree.map(jnp.asarray, features.tables)
        arrays, static = eqx.partition(self.alcove_map, eqx.is_inexact_array)
        layers = jnp.arange(self.weights.shape[0])

        def body(carry, xs):
            links, log_det = carry
            parameters, weights, layer = xs
            table = jax.tree.map(lambda leaf: leaf[layer % features.masks.count], tables)
            reference = layer // features.masks.count % weights.shape[0]
            a, own = active_loops(group, links, table, self._staple_weights(weights, reference), reference)
            context = loop_features(self.manifold, links, table, own)
            u = take_links(links, table.active)
            w, change = spectral_map(eqx.combine(parameters, static), group.multiply(u, a), context, inverse=inverse)
            links = put_links(links, table.active, group.multiply(w, group.adjoint(a)))
            return (links, log_det + site_sum(jnp.where(table.used, change, jnp.zeros_like(change)))), None

        body = jax.checkpoint(body) if self.checkpoint else body  # pyright: ignore[reportPrivateImportUsage]
        start = (flat, jnp.zeros((), accumulator_dtype()))
        (flat, log_det), _ = lax.scan(body, start, (arrays, self.weights, layers), reverse=inverse)
        return shaped_links(self.manifold, flat), log_det

    def _staple_weights(self, weights: Array, reference: Array) -> Array:
        if self.loop == "staples":
            return weights
        return (jnp.arange(weights.shape[0]) == reference).astype(weights.dtype)


def _su_links(name: str, manifold: AbstractManifold) -> LinkField:
    message = f"{name} acts on links of SU(n), but was given {manifold}; for U(1) use GaugeCouplingFlow."
    return links_of(SU, manifold, message)
