"""Residual flows: masked gradient steps of a potential with exact Jacobians."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact, Key

from .._checks import integers, positive
from .._parameters import fixed_numbers
from ..fields import AbstractPotential, Reach, check_reach
from ..gauge import staples
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ._base import AbstractFlow
from ._matrix import checked, flat_links, put_links, shaped_links, take_links, weighted_sum
from ._networks import PointwiseNetwork
from ._residual_algebra import jacobian, log_abs_det, solve
from ._residual_layer import AbstractResidualLayer, LinearLayer, PlaquetteLayer, PotentialLayer
from ._residual_tables import Masks, active_staples, make_masks
from ._spectral_loops import LayerTable, loop_features, loop_masks, staple_traces

# Fixed points converge like bound^k: 0.9^400 = 5e-19.
_ITERATIONS = 1000
# Frozen loops at most as far away are read.
_FEATURE_REACH = 1


class ResidualFlow(AbstractFlow):
    r"""Gradient steps of a potential on subsets of links (sites) that do not see each other, with exact Jacobian.

    U' = exp(-eps dS~(t, U)) U on the active links, one mask after the other; eps = 1/sweeps, t the middle of the sweep.

    These are Euler steps of the continuous flow of the same potential, but the map itself is exact. Active links share no
    term of the potential, so that the Jacobian is a product of (N^2-1)-dimensional determinants (one number for angles and
    scalars). Masks come from a colouring of the links: direction times parity for plaquettes, sparser where terms are larger,
    and any extents.

    **Step bound.** As a function of its own link the velocity has the Lipschitz constant kappa <= eps sum_k |c_k| B_k, B_k a
    bound of second derivatives (for plaquettes kappa = eps c (d - 1)/N). It is scaled by bound tanh(kappa/bound)/kappa, so
    that kappa < bound < 1 whatever the parameters, and U = exp(-Z(U)) U' is a contraction: every layer is a bijection, and
    the inverse converges from everywhere.

    The inverse iterates to rounding and ends with one Newton step, through which derivatives are those of the implicit
    function. It is NaN where the iteration does not converge, which only a wrong `curvature` can cause.

    **Arguments:**

    - `potential`: an `AbstractPotential`; `LoopPotential` on links, `NeighbourPotential` on real fields.
    - `sweeps`: how often every link moves.
    - `tied`: one set of parameters for all layers, with the time dependence of the potential; otherwise each layer (one mask
      of one sweep) has a copy of the parameters of its own, equal at the start.
    - `bound`: largest Lipschitz constant of a layer, in (0, 1).
    - `curvature`: a bound of the second derivatives of the potential with respect to one link, which the caller vouches for,
      where the potential has no `curvature_bound`.
    - `reach`: as for `LocalPotential`, where the potential has no `receptive_field`.
    - `checkpoint`: recompute a layer in the backward pass.
    - `hidden`: for a `LoopPotential` of plaquettes on SU(n): coefficients depend on frozen loops. A network of every layer
      with these hidden widths reads their traces near the link, as in `SpectralCouplingFlow`, and multiplies the coefficient
      of each staple by a number in (0, 2), for which the step bound allows. `key`: its initial weights.

    **Raises:** `ValueError` for `sweeps` < 1, a bound outside of (0, 1), or a potential that `hidden` does not apply to;
    `TypeError` for a potential of unknown curvature or reach, and for other fields than scalars and links.
    Source: arXiv:0907.5491 (invertible steps), arXiv:2401.10874.

        >>> flow = tm.ResidualFlow(tm.LoopPotential(theory.manifold, time="constant", times=None), sweeps=1)
        >>> x, log_det = flow.forward_and_log_det(links)
    """

    potential: AbstractPotential
    network: PointwiseNetwork | None
    manifold: AbstractManifold = eqx.field(static=True)
    sweeps: int = eqx.field(static=True)
    tied: bool = eqx.field(static=True)
    bound: float = eqx.field(static=True)
    curvature: float | None = eqx.field(static=True)
    reach: Reach = eqx.field(static=True)
    checkpoint: bool = eqx.field(static=True)

    def __init__(
        self,
        potential: AbstractPotential,
        sweeps: int,
        *,
        tied: bool = False,
        bound: float = 0.9,
        curvature: float | None = None,
        reach: Any = None,
        checkpoint: bool = True,
        hidden: tuple[int, ...] | None = None,
        key: Key[Array, ""] | None = None,
    ):
        integers("ResidualFlow", 1, sweeps=sweeps)
        if curvature is not None:
            positive("ResidualFlow: curvature", curvature)
        if not 0 < bound < 1:
            raise ValueError(f"ResidualFlow: got bound={bound}, expected a Lipschitz constant in (0, 1), such as 0.9.")
        _ = potential.manifold.local_group  # raises where steps of single links are not known
        if curvature is None:
            _ = potential.curvature_bound(jnp.zeros(()))  # likewise
        self.manifold = potential.manifold
        self.sweeps, self.tied, self.bound, self.checkpoint = sweeps, tied, float(bound), checkpoint
        self.curvature = curvature
        self.reach = potential.receptive_field() if reach is None else check_reach(reach, potential.manifold)
        self.potential = potential if tied else _repeated(potential, self.layers)
        key = jax.random.key(0) if key is None else key
        self.network = None if hidden is None else self._networks(key, self.layers, hidden)

    def on(self, manifold: AbstractManifold) -> "ResidualFlow":
        """The same layers on another lattice of the same number of dimensions.

        **Raises:** `TypeError` for a potential that belongs to its lattice or has no `receptive_field`; `ValueError` for
        extents that need other masks.
        """
        moved = self._potential_on(manifold)
        one = moved if self.tied else _first(moved)
        options = {"tied": self.tied, "bound": self.bound, "curvature": self.curvature, "checkpoint": self.checkpoint}
        new = ResidualFlow(one, self.sweeps, **options)
        if new._masks.count != self._masks.count:
            raise ValueError(
                f"ResidualFlow: got extents {manifold.lattice}, which need {new._masks.count} masks, expected extents with "
                f"{self._masks.count} as {self.manifold.lattice} has; even numbers, or multiples of the old extents."
            )
        new = eqx.tree_at(lambda f: f.potential, new, moved)
        return eqx.tree_at(lambda f: f.network, new, self.network, is_leaf=lambda leaf: leaf is None)

    def _potential_on(self, manifold: AbstractManifold) -> AbstractPotential:
        if self.tied:
            return self.potential.on(manifold)
        axes = jax.tree.map(lambda leaf: 0 if eqx.is_inexact_array(leaf) else None, self.potential)
        moved = eqx.filter_vmap(
            lambda potential: potential.on(manifold),
            in_axes=(axes,),
            out_axes=lambda leaf: 0 if eqx.is_inexact_array(leaf) else None,
        )
        return moved(self.potential)

    @property
    def layers(self) -> int:
        """Number of layers: one for each mask of each sweep."""
        return self.sweeps * self._masks.count

    @property
    def evaluations(self) -> int:
        return self.layers

    @property
    def _masks(self) -> Masks:
        return make_masks(self.manifold, self.reach)

    def forward_and_log_det(self, z: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        return self._run(_forward, z, reverse=False)

    def inverse_and_log_det(self, x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        return self._run(_inverse, x, reverse=True)

    def layer_bounds(self) -> Float[Array, " layers"]:
        """The Lipschitz constant kappa < `bound` that each layer is guaranteed to keep."""
        (arrays, _), times, _ = self._inputs()

        def kept(xs: tuple[Any, Array]) -> Array:
            return self.bound * jnp.tanh(self._kappa(self._layer(xs[0]), xs[1]) / self.bound)

        return lax.map(kept, (arrays, times))

    def _run(self, step: Callable, x: Array, *, reverse: bool) -> tuple[Array, Array]:
        group = self.manifold.local_group
        flat = flat_links(self.manifold, checked(self.manifold, x))
        tables = self._tables()

        def body(carry, xs):
            links, log_det = carry
            (arrays, network), t, mask = xs
            active, used = tables.active[mask], tables.used[mask]
            table = jax.tree.map(lambda leaf: leaf[mask], tables)
            update = self._update(self._layer(arrays), t, links, table, network)
            moved, change = step(group, update, take_links(links, active))
            return (put_links(links, active, moved), log_det + weighted_sum(change, used)), None

        body = jax.checkpoint(body) if self.checkpoint else body  # pyright: ignore[reportPrivateImportUsage]
        start = (flat, jnp.zeros((), accumulator_dtype()))
        (flat, log_det), _ = lax.scan(body, start, self._inputs(), reverse=reverse)
        return shaped_links(self.manifold, flat), log_det

    def _inputs(self) -> tuple[Any, Array, Array]:
        """Parameters, time and mask of every layer."""
        count = self._masks.count
        layers = jnp.arange(self.layers)
        times = ((layers // count).astype(float) + 0.5) / self.sweeps
        arrays = None if self.tied else eqx.filter(self.potential, eqx.is_inexact_array)
        return (arrays, self.network), times, layers % count

    def _layer(self, arrays: Any) -> AbstractPotential:
        if arrays is None:
            return self.potential
        return eqx.combine(arrays, eqx.filter(self.potential, eqx.is_inexact_array, inverse=True))

    def _tables(self) -> LayerTable:
        masks = self._masks
        if self.network is not None:
            return jax.tree.map(jnp.asarray, loop_masks(self.manifold, _FEATURE_REACH).tables)
        links = jnp.asarray(active_staples(self.manifold.lattice, masks)) if self._is_plaquette else None
        return LayerTable(jnp.asarray(masks.active), jnp.asarray(masks.used), links, None, None)

    def _networks(self, key: Array, layers: int, hidden: tuple[int, ...]) -> PointwiseNetwork:
        manifold = self.manifold
        if not self._is_plaquette or not manifold.local_group.complex_elements:
            raise ValueError(
                "ResidualFlow: hidden= needs a LoopPotential of plaquettes on SU(n), the default of LoopPotential."
            )
        features = loop_masks(manifold, _FEATURE_REACH)
        sizes = (features.size, *hidden, 2 * (len(manifold.lattice) - 1))
        return eqx.filter_vmap(lambda k: PointwiseNetwork(k, sizes))(jax.random.split(key, layers))

    @property
    def _is_plaquette(self) -> bool:
        one = self.potential if self.tied else _first(self.potential)
        return one.plaquette_coefficient(jnp.zeros(())) is not None

    def _kappa(self, potential: AbstractPotential, t: Array) -> Array:
        bound = potential.curvature_bound(t) if self.curvature is None else jnp.asarray(self.curvature, float)
        return bound / self.sweeps * (1 if self.network is None else 2)

    def _update(
        self, potential: AbstractPotential, t: Array, links: Array, table: LayerTable, network: PointwiseNetwork | None
    ) -> AbstractResidualLayer:
        kappa = self._kappa(potential, t)
        scale = _saturation(kappa / self.bound) / self.sweeps
        coefficient = potential.plaquette_coefficient(t)
        if coefficient is not None and table.staples is not None:
            return self._plaquette_layer(scale * coefficient, links, table, network)
        group = self.manifold.local_group
        matrices = potential.link_staples(t, shaped_links(self.manifold, links))
        if matrices is not None:
            chosen = take_links(flat_links(self.manifold, matrices), table.active)
            return LinearLayer(group, chosen * scale.astype(links.dtype))
        t = t.astype(links.real.dtype)
        return PotentialLayer(group, self.manifold, potential, t, scale, links, table.active)

    def _plaquette_layer(
        self, coefficient: Array, links: Array, table: LayerTable, network: PointwiseNetwork | None
    ) -> AbstractResidualLayer:
        group = self.manifold.local_group
        found = staples(group, links, table.staples)
        weights = jnp.broadcast_to(coefficient.astype(links.real.dtype), (found.shape[0], table.active.shape[0]))
        if network is not None:
            manifold: Any = self.manifold  # links, as the network was built for
            features = loop_features(manifold, links, table, staple_traces(group, found))
            weights = weights * (1 + jnp.tanh(network(features).T.astype(weights.dtype)))
        return PlaquetteLayer(group, found, weights)


def _saturation(r: Array) -> Array:
    """tanh(r)/r, smooth at zero."""
    small = r < 1e-2
    safe = jnp.where(small, 1.0, r)
    return jnp.where(small, 1 - r**2 / 3 + 2 * r**4 / 15, jnp.tanh(safe) / safe)


def _repeated(potential: AbstractPotential, layers: int) -> AbstractPotential:
    def repeat(leaf: Any) -> Any:
        return jnp.broadcast_to(leaf, (layers, *leaf.shape)) if eqx.is_inexact_array(leaf) else leaf

    return jax.tree.map(repeat, potential)


def _first(repeated: AbstractPotential) -> AbstractPotential:
    return jax.tree.map(lambda leaf: leaf[0] if eqx.is_inexact_array(leaf) else leaf, repeated)


def _moved(group: Any, z: Array, u: Array) -> Array:
    return group.multiply(group.exp(group.from_coordinates(z)), u)


def _forward(group: Any, update: AbstractResidualLayer, u: Array) -> tuple[Array, Array]:
    z, curvature = update.velocity_and_curvature(u)
    return _moved(group, z, u), log_abs_det(group, z, curvature)


def _inverse(group: Any, update: AbstractResidualLayer, moved: Array) -> tuple[Array, Array]:
    """u with exp(Z(u)) u = moved; one Newton step from the fixed point carries the derivatives."""
    fixed = _fixed_point(group, fixed_numbers(update), lax.stop_gradient(moved))
    z, curvature = update.velocity_and_curvature(fixed)
    error = group.multiply(moved, group.adjoint(_moved(group, z, fixed)))
    residual = group.coordinates(group.project_algebra(error))
    step = solve(lax.stop_gradient(jacobian(group, z, curvature)), residual)
    u = _moved(group, step, fixed)
    z, curvature = update.velocity_and_curvature(u)
    return u, -log_abs_det(group, z, curvature)


def _fixed_point(group: Any, update: AbstractResidualLayer, moved: Array) -> Array:
    # Angles may be large numbers, whose rounding the fixed point cannot beat; matrices have entries of order one.
    tolerance = 32 * float(jnp.finfo(moved.dtype).eps) * jnp.maximum(jnp.max(jnp.abs(moved)), 1)

    def step(u: Array) -> Array:
        return _moved(group, -update.velocity(u), moved)

    def unfinished(state):
        _, change, iteration = state
        return (change > tolerance) & (iteration < _ITERATIONS)

    def body(state):
        u, _, iteration = state
        new = step(u)
        return new, jnp.max(jnp.abs(new - u)), iteration + 1

    start = (moved, jnp.asarray(jnp.inf, moved.real.dtype), jnp.zeros((), jnp.int32))
    u, change, _ = lax.while_loop(unfinished, body, start)
    return jnp.where(change <= tolerance, u, jnp.asarray(jnp.nan, u.dtype))
