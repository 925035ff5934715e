"""Coupling layers for scalar fields."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Inexact, Key

from .._checks import integers
from .._parameters import fixed_numbers
from ..lattice import site_sum
from ..manifolds import AbstractManifold, RealField, scalar_field
from ..transforms import AbstractTransform, Affine
from ._base import AbstractFlow
from ._masks import checkerboard, require_multiples
from ._networks import Conditioner, extended, require_inputs, scan_layers, stacked_conditioners
from ._score import coupling_score


class CouplingFlow(AbstractFlow):
    r"""Coupling layers on a checkerboard: $\phi'_x = f(\phi_x; p_x)$ on the active sites, with parameters from the others.

    log det = sum over layers and active sites of log f'. The parities alternate. The parameters are those of a local network
    that sees the frozen sites up to `reach` steps away along every axis, the same network at all sites: layers commute with
    translations by an even number of steps, and with phi -> -phi unless switched off. arXiv:1904.12072, 2101.08176,
    2105.12481.

    **Arguments:**

    - `key`: randomness of the initial weights; the initial flow is nearly the identity.
    - `manifold`: a `RealField` with even extents.
    - `layers`: number of layers. `transform`: a map of the line, `Affine()` by default; `Shift()` makes the flow that of
      NICE, `RationalQuadraticSpline(8, (-3, 3))` a spline flow.
    - `hidden`: channels of the hidden layers. `reach`: of the convolution that they start with. `activation`.
    - `equivariance`: how phi -> -phi is kept, see below; `"none"` for a theory without it.
    - `checkpoint`: recompute each layer in the backward pass: a tenth of the memory, and faster on a CPU, where storing what
      every layer needs costs more than its arithmetic.
    - `dtype`: precision of the parameters; the flow computes in the precision of the configuration.

    With g the network and R the reflection of the transform, `"average"` takes (g(phi) + R g(-phi))/2, a smooth function;
    `"sign"` evaluates g once, on the frozen field with the sign that makes the sum near the site positive.

    **Raises:** `TypeError` for links or a transform of the circle, `ValueError` for odd extents or sizes below one.

        >>> flow = tm.CouplingFlow(key, scalar.manifold, 2, tm.transforms.Affine(), hidden=(4,))
        >>> x, log_det = flow.forward_and_log_det(phi)
    """

    conditioners: Conditioner
    manifold: RealField = eqx.field(static=True)
    reach: int = eqx.field(static=True)
    checkpoint: bool = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        manifold: AbstractManifold,
        layers: int = 8,
        transform: AbstractTransform | None = None,
        *,
        hidden: tuple[int, ...] = (16, 16),
        reach: int = 2,
        activation: Callable[[Array], Array] = jax.nn.silu,
        equivariance: str = "average",
        checkpoint: bool = True,
        dtype: DTypeLike | None = None,
    ):
        transform = Affine() if transform is None else transform
        message = f"CouplingFlow: got {manifold}, expected a RealField; for U(1) links use GaugeCouplingFlow."
        manifold = scalar_field(manifold, message)
        if transform.periodic:
            raise TypeError(
                f"CouplingFlow: got {type(transform).__name__}, a map of the circle, expected one of the line such as "
                "Affine() or RationalQuadraticSpline(8)."
            )
        lattice = require_multiples("CouplingFlow", manifold.lattice, 2, "neighbours must have different colours")
        integers("CouplingFlow", 1, layers=layers, reach=reach)
        neighbours = checkerboard(lattice, reach).neighbours.shape[-1]
        self.conditioners = stacked_conditioners(
            key, layers, (neighbours, *hidden), transform, equivariance, activation, dtype
        )
        self.manifold = manifold
        self.reach = reach
        self.checkpoint = checkpoint

    def forward_and_log_det(self, z: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        return self._run(z, reverse=False)

    def inverse_and_log_det(self, x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        return self._run(x, reverse=True)

    def on(self, manifold: AbstractManifold) -> "CouplingFlow":
        """The same layers on another lattice of the same number of dimensions.

        **Raises:** `ValueError` for extents that are odd or so small that the networks would see a site twice.
        """
        new = CouplingFlow(jax.random.key(0), manifold, reach=self.reach, checkpoint=self.checkpoint)
        require_inputs(self.conditioners, new.conditioners, manifold.lattice)
        return eqx.tree_at(lambda flow: flow.conditioners, new, self.conditioners)

    @property
    def evaluations(self) -> int:
        return self.conditioners.network.biases[0].shape[0]

    @property
    def deepenable(self) -> bool:
        return True

    def deeper(self, key: Key[Array, ""], layers: int) -> "CouplingFlow":
        """The flow with new layers behind the ones it has, nearly the identity as those of a new flow."""
        network = extended(key, self.conditioners.network, layers)
        return eqx.tree_at(lambda flow: flow.conditioners.network, self, network)

    def forward_and_score(
        self, z: Inexact[Array, "*shape"], score: Inexact[Array, "*shape"]
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""], Inexact[Array, "*shape"]]:
        def step(conditioner: Conditioner, neighbours: Array, state: tuple[tuple[Array, Array], tuple[Array, Array]]):
            halves, scores = state
            (frozen, moved), log_slope = _layer(conditioner, neighbours, *halves)
            # The score is a number here, whose own derivative nobody wants.
            fixed, halves, scores = fixed_numbers((conditioner, halves, scores))
            moved_score, frozen_score = coupling_score(
                lambda active, frozen: _moved(fixed, neighbours, active, frozen), *halves, *scores
            )
            return ((frozen, moved), (frozen_score, moved_score)), site_sum(log_slope)

        self.manifold.check(z)
        (x, score), log_det = self._scan(step, (z, score), reverse=False)
        return x, log_det, score

    def _run(self, x: Array, *, reverse: bool) -> tuple[Array, Array]:
        def step(conditioner: Conditioner, neighbours: Array, state: tuple[tuple[Array, Array]]):
            halves, log_slope = _layer(conditioner, neighbours, *state[0], reverse=reverse)
            return (halves,), site_sum(log_slope)

        self.manifold.check(x)
        (x,), log_det = self._scan(step, (x,), reverse=reverse)
        return x, log_det

    def _scan(self, step: Callable, fields: tuple[Array, ...], *, reverse: bool) -> tuple[tuple[Array, ...], Array]:
        """All layers on the halves of each field; the active half comes first."""
        tables = checkerboard(self.manifold.lattice, self.reach)
        layers = self.evaluations
        # The halves change roles after every layer, so that none of them is moved in memory.
        first = (layers - 1) % 2 if reverse else 0
        order = slice(None, None, -1 if first else 1)
        state = tuple(tuple(f.reshape(-1)[jnp.asarray(sites)] for sites in tables.sites)[order] for f in fields)
        state, log_det = scan_layers(
            step, self.conditioners, tables.neighbours, state, reverse=reverse, checkpoint=self.checkpoint
        )
        order = slice(None, None, -1 if (first + layers) % 2 else 1)
        merge = jnp.asarray(tables.merge)
        shape = self.manifold.shape
        return tuple(jnp.concatenate(halves[order])[merge].reshape(shape) for halves in state), log_det


def _moved(conditioner: Conditioner, neighbours: Array, active: Array, frozen: Array, *, reverse: bool = False):
    """The active half after one layer, and the logarithm of every slope."""
    features = jnp.take(frozen, neighbours, axis=0, mode="clip")
    parameters = conditioner(features[:, :0], features)
    transform = conditioner.transform
    return (transform.inverse if reverse else transform.forward)(active, parameters)


def _layer(conditioner: Conditioner, neighbours: Array, active: Array, frozen: Array, *, reverse: bool = False):
    """The halves in the order of the next layer, and the logarithm of every slope."""
    moved, log_slope = _moved(conditioner, neighbours, active, frozen, reverse=reverse)
    return (frozen, moved), log_slope


class PointwiseFlow(AbstractFlow):
    """One transform for all sites, phi'_x = f(phi_x), with parameters of its own; odd unless switched off.

    **Arguments:** `manifold`: a `RealField`; `transform`: a map of the line, such as `RationalQuadraticSpline(16, (-4, 4))`;
    `odd`: keep phi -> -phi; `dtype`: precision of the parameters.

    **Raises:** `TypeError` for links or a map of the circle.

        >>> flow = tm.flows.PointwiseFlow(scalar.manifold, tm.transforms.RationalQuadraticSpline(8))
        >>> x, log_det = flow.forward_and_log_det(phi)
    """

    parameters: Float[Array, " parameters"]
    transform: AbstractTransform
    manifold: RealField = eqx.field(static=True)
    odd: bool = eqx.field(static=True)

    def __init__(
        self, manifold: AbstractManifold, transform: AbstractTransform, *, odd: bool = True, dtype: DTypeLike | None = None
    ):
        if not isinstance(manifold, RealField) or transform.periodic:
            raise TypeError(f"PointwiseFlow: got {manifold} and {transform}, expected a RealField and a map of the line.")
        self.manifold = manifold
        self.transform = transform
        self.odd = odd
        self.parameters = jnp.zeros(transform.parameters, dtype)

    @property
    def evaluations(self) -> int:
        return 1

    def forward_and_log_det(self, z: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        self.manifold.check(z)
        x, log_slope = self.transform.forward(z, self._broadcast(z))
        return x, site_sum(log_slope)

    def inverse_and_log_det(self, x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        self.manifold.check(x)
        z, log_slope = self.transform.inverse(x, self._broadcast(x))
        return z, site_sum(log_slope)

    def on(self, manifold: AbstractManifold) -> "PointwiseFlow":
        """The same map on another lattice."""
        new = PointwiseFlow(manifold, self.transform, odd=self.odd)
        return eqx.tree_at(lambda flow: flow.parameters, new, self.parameters)

    def _broadcast(self, x: Array) -> Array:
        p = self.parameters.astype(x.dtype)
        p = 0.5 * (p + self.transform.reflected(p)) if self.odd else p
        return jnp.broadcast_to(p.reshape(p.shape + (1,) * x.ndim), p.shape + x.shape)
