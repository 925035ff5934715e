"""Coupling layers for U(1) links."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Inexact, Key

from .._checks import integers
from .._parameters import fixed_numbers
from ..gauge import planes, plaquette_angle
from ..groups import U1
from ..lattice import site_sum
from ..manifolds import AbstractManifold, LinkField, links_of
from ..transforms import AbstractTransform, CircularSpline, Composition, Phase
from ._base import AbstractFlow
from ._masks import PlaquetteTables, gauge_masks, plaquette_tables
from ._networks import Conditioner, extended, require_inputs, scan_layers, stacked_conditioners
from ._score import coupling_score


class GaugeCouplingFlow(AbstractFlow):
    r"""Gauge-equivariant coupling layers for U(1): a map of the circle moves active plaquettes through one link of each.

    The active plaquette P of an active link becomes P' = f(P; p), and the link moves by P' - P (in the orientation of the
    link); other plaquettes with this link follow. log det = sum over layers and active links of log f'. Parameters p come
    from a local network of cos and sin of loops without active links: frozen plaquettes near the active one and, with
    `pairs`, loops of two plaquettes that have an active link between them, which know the sum of the active and the passive
    angle. arXiv:2003.06413, 2101.08176; masks with such loops: 2202.11712.

    **Arguments:**

    - `key`: randomness of the initial weights; the initial flow is nearly the identity.
    - `manifold`: `LinkField(U1(), lattice)`, two dimensions or more, extents multiples of four.
    - `layers`: number of layers; 4 dim of them move every link once.
    - `transform`: a map of the circle, by default `Composition(CircularSpline(8), Phase())`.
    - `mask`: `"columns"` or `"stripes"`, see `gauge_masks`.
    - `pairs`: whether loops of two plaquettes are read.
    - `hidden`, `reach`, `activation`, `checkpoint`, `dtype`: as in `CouplingFlow`; a reach of 2 or more sees plaquettes in
      all directions, and at most (L - 1)/2 is used.
    - `equivariance`: how charge conjugation is kept, as phi -> -phi in `CouplingFlow`.

    **Raises:** `TypeError` for other manifolds and maps of the line, `ValueError` for extents that the masks do not tile.

        >>> flow = tm.GaugeCouplingFlow(key, theory.manifold, 4, hidden=(4,))
        >>> x, log_det = flow.forward_and_log_det(links)
    """

    conditioners: Conditioner
    manifold: LinkField = eqx.field(static=True)
    mask: str = eqx.field(static=True)
    pairs: bool = eqx.field(static=True)
    reach: int = eqx.field(static=True)
    checkpoint: bool = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        manifold: AbstractManifold,
        layers: int = 16,
        transform: AbstractTransform | None = None,
        *,
        mask: str = "columns",
        pairs: bool = True,
        hidden: tuple[int, ...] = (16, 16),
        reach: int = 2,
        activation: Callable[[Array], Array] = jax.nn.silu,
        equivariance: str = "average",
        checkpoint: bool = True,
        dtype: DTypeLike | None = None,
    ):
        transform = Composition(CircularSpline(8), Phase()) if transform is None else transform  # pyright: ignore[reportCallIssue]
        expected = "expected links of U(1); for scalars use CouplingFlow, for SU(n) links SpectralFlow."
        manifold = links_of(U1, manifold, f"GaugeCouplingFlow: got {manifold}, {expected}")
        if not transform.periodic:
            raise TypeError(
                f"GaugeCouplingFlow: got {type(transform).__name__}, a map of the line, expected one of the circle such as "
                "CircularSpline(8), Moebius(4) or NonCompactProjection(4), composed with Phase()."
            )
        integers("GaugeCouplingFlow", 1, layers=layers, reach=reach)
        gauge_masks(manifold.lattice, mask)
        inputs = _inputs(plaquette_tables(manifold.lattice, mask, reach), pairs)
        self.conditioners = stacked_conditioners(key, layers, (inputs, *hidden), transform, equivariance, activation, dtype)
        self.manifold = manifold
        self.mask = mask
        self.pairs = pairs
        self.reach = reach
        self.checkpoint = checkpoint

    def forward_and_log_det(self, z: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        return self._run(z, reverse=False)

    def inverse_and_log_det(self, x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        return self._run(x, reverse=True)

    def on(self, manifold: AbstractManifold) -> "GaugeCouplingFlow":
        """The same layers on another lattice of the same number of dimensions.

        **Raises:** `ValueError` for extents that the masks do not tile, or so small that fewer loops are within reach.
        """
        new = GaugeCouplingFlow(
            jax.random.key(0), manifold, mask=self.mask, pairs=self.pairs, reach=self.reach, checkpoint=self.checkpoint
        )
        require_inputs(self.conditioners, new.conditioners, manifold.lattice)
        return eqx.tree_at(lambda flow: flow.conditioners, new, self.conditioners)

    @property
    def evaluations(self) -> int:
        return self.conditioners.network.biases[0].shape[0]

    @property
    def deepenable(self) -> bool:
        return True

    def deeper(self, key: Key[Array, ""], layers: int) -> "GaugeCouplingFlow":
        """The flow with new layers behind the ones it has, nearly the identity as those of a new flow."""
        network = extended(key, self.conditioners.network, layers)
        return eqx.tree_at(lambda flow: flow.conditioners.network, self, network)

    def forward_and_score(
        self, z: Inexact[Array, "*shape"], score: Inexact[Array, "*shape"]
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""], Inexact[Array, "*shape"]]:
        def step(conditioner: Conditioner, table: PlaquetteTables, state: tuple[Array, Array, Array]):
            links, angles, score = state
            (moved, moved_angles), log_slope = self._layer(conditioner, table, links, angles)
            # The score is a number here, whose own derivative nobody wants.
            fixed, links, score = fixed_numbers((conditioner, links, score))

            def layer(active: Array, frozen: Array) -> tuple[Array, Array]:
                x = frozen.at[table.links].set(active, unique_indices=True)
                (y, _), log_slope = self._layer(fixed, table, x, _plaquettes(x.reshape(z.shape)))
                return y[table.links], log_slope

            moved_score, frozen_score = coupling_score(layer, links[table.links], links, score[table.links], score)
            score = frozen_score.at[table.links].set(moved_score, unique_indices=True)
            return (moved, moved_angles, score), site_sum(log_slope)

        self.manifold.check(z)
        state = (z.reshape(-1), _plaquettes(z), score.reshape(-1))
        (links, _, score), log_det = self._scan(step, state, reverse=False)
        return links.reshape(z.shape), log_det, score.reshape(z.shape)

    def _run(self, x: Array, *, reverse: bool) -> tuple[Array, Array]:
        def step(conditioner: Conditioner, table: PlaquetteTables, state: tuple[Array, Array]):
            state, log_slope = self._layer(conditioner, table, *state, reverse=reverse)
            return state, site_sum(log_slope)

        self.manifold.check(x)
        (links, _), log_det = self._scan(step, (x.reshape(-1), _plaquettes(x)), reverse=reverse)
        return links.reshape(x.shape), log_det

    def _scan(self, step: Callable, state: tuple[Array, ...], *, reverse: bool) -> tuple[tuple[Array, ...], Array]:
        tables = plaquette_tables(self.manifold.lattice, self.mask, self.reach)
        return scan_layers(step, self.conditioners, tables, state, reverse=reverse, checkpoint=self.checkpoint)

    def _layer(
        self, conditioner: Conditioner, table: PlaquetteTables, links: Array, angles: Array, *, reverse: bool = False
    ) -> tuple[tuple[Array, Array], Array]:
        """Links and plaquette angles after one layer, and the logarithm of every slope."""
        touched: Array = jnp.take(angles, table.plaquettes, axis=0, mode="clip")
        signs = jnp.asarray(table.signs, links.dtype)
        oriented = signs * touched
        active = oriented[:, 0]
        parameters = conditioner(*self._features(table, angles, oriented))
        transform = conditioner.transform
        moved, log_slope = (transform.inverse if reverse else transform.forward)(active, parameters)
        change = moved - active
        links = links.at[table.links].add(change, unique_indices=True)
        angles = angles.at[table.plaquettes].add(signs * change[:, None], unique_indices=True)
        return (links, angles), log_slope

    def _features(self, table: PlaquetteTables, angles: Array, oriented: Array) -> tuple[Array, Array]:
        """cos and sin of the loops that the network of every active link sees."""
        # Functions first: every plaquette is near several active links.
        cosines, sines = ([jnp.take(f(angles), table.frozen, axis=0, mode="clip")] for f in (jnp.cos, jnp.sin))
        if self.pairs:
            # The link enters both oriented angles in the same way and drops out of their difference.
            pair = oriented[:, :1] - oriented[:, 1:]
            for values, waves in ((jnp.cos(pair), cosines), (jnp.sin(pair), sines)):
                gathered = jnp.take(values, table.loops, axis=0, mode="clip")
                waves.append(gathered.reshape(gathered.shape[0], -1))
        return jnp.concatenate(cosines, axis=1), jnp.concatenate(sines, axis=1)


def _plaquettes(x: Array) -> Array:
    """The plaquette angles of all planes, in one row."""
    return jnp.stack([plaquette_angle(x, mu, nu) for mu, nu in planes(x.shape[0])]).reshape(-1)


def _inputs(tables: PlaquetteTables, pairs: bool) -> int:
    """Channels of cosines and sines for one active link."""
    loops = tables.frozen.shape[-1]
    if pairs:
        loops += tables.loops.shape[-1] * (tables.plaquettes.shape[-1] - 1)
    return 2 * loops
