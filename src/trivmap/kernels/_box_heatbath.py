"""Heatbath of boxes in two-dimensional U(1): all links inside at once, whatever the charge inside."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Key

from .._checks import integers
from ..gauge import plaquette_angle
from ..theories import AbstractTheory, WilsonAction
from ._base import AbstractMove
from ._conditional import von_mises
from ._tiles import cut, paste


class BoxHeatbath(AbstractMove):
    r"""Draws all links inside of boxes anew, given their boundaries: two-dimensional U(1) with Wilson's action.

    Of the links inside a box of b x b plaquettes the action sees $b^2$ angles with the density
    $\prod_i e^{\beta \cos P_i}$ and the sum $\Phi$ modulo $2\pi$, the phase of the loop around the box; the rest is gauge.
    All angles but one are drawn from the von Mises distribution, and the last one, $\Phi$ minus their sum, is accepted with
    probability $e^{\beta(\cos P - 1)}$. The flux through a box changes by multiples of $2\pi$: so does the topological
    charge, by local moves. Boxes tile the lattice from a random origin; where the extents are no multiples of theirs, the
    rest stays where it is in this step. Reversible, and ergodic by itself.

    **Arguments:**

    - `box`: b, at most the extents of the lattice.
    - `attempts`: draws of a box, of which a share of about $1/\sqrt{2 \pi \beta}$ is accepted. A box without an accepted one
      stays, which is exact, since the chance of it depends on its boundary only.

    **Raises:** `TypeError` and `ValueError`, when it is used, for other theories and for lattices that are smaller.

        >>> chain = tm.run_chain(key, theory, tm.kernels.BoxHeatbath(box=4), 10)
    """

    box: int = eqx.field(static=True)
    attempts: int = eqx.field(static=True)

    def __init__(self, box: int = 8, attempts: int = 24):
        integers("BoxHeatbath", 2, box=box)
        integers("BoxHeatbath", 1, attempts=attempts)
        self.box, self.attempts = box, attempts

    def move(self, key: Key[Array, ""], theory: AbstractTheory, x: Float[Array, "2 L0 L1"]) -> Float[Array, "2 L0 L1"]:
        theory, x = lax.stop_gradient((_checked(theory, self.box), x))
        place, draw, gauge = jax.random.split(key, 3)
        lattice, window = x.shape[1:], (self.box, self.box)
        origin = jax.random.randint(place, (2,), 0, jnp.asarray(lattice))
        x = jnp.roll(x, -origin, (1, 2))
        old = cut(plaquette_angle(x, 0, 1), window)
        new, valid = _plaquettes(draw, jnp.sum(old, axis=(1, 2)), theory.beta.astype(x.dtype), self.box, self.attempts)
        change = self._links(jnp.where(valid[:, None, None], new - old, jnp.zeros_like(old)))
        # Gauge transformations at the sites inside; those on the boundary would move links there.
        omega = jax.random.uniform(gauge, old.shape, x.dtype, -jnp.pi, jnp.pi).at[:, 0].set(0).at[:, :, 0].set(0)
        still = jnp.zeros(lattice, x.dtype)
        omega = paste(still, omega, window)
        change = jnp.stack([paste(still, part, window) + omega - jnp.roll(omega, -1, mu) for mu, part in enumerate(change)])
        return theory.manifold.project(jnp.roll(x + change, origin, (1, 2)))

    def _links(self, change: Float[Array, "boxes b b"]) -> tuple[Array, Array]:
        """Changes of the links inside that change the plaquettes by these angles, of sum zero in each box."""
        ahead = jnp.cumsum(change, axis=1)
        # Links along axis 1 take up the sum of the plaquettes before them, the last row of links along axis 0 the rest.
        along = jnp.concatenate([jnp.zeros_like(ahead[:, :1]), ahead[:, :-1]], axis=1)
        sums = jnp.cumsum(ahead[:, -1], axis=1)
        last = jnp.concatenate([jnp.zeros_like(sums[:, :1]), -sums[:, :-1]], axis=1)
        return jnp.zeros_like(change).at[:, -1].set(last), along


def _plaquettes(
    key: Key[Array, ""], total: Float[Array, " boxes"], beta: Float[Array, ""], b: int, attempts: int
) -> tuple[Float[Array, "boxes b b"], Bool[Array, " boxes"]]:
    """Angles with these sums, exactly, and which boxes have got any."""
    draw, decide = jax.random.split(key)
    angles, found = _von_mises(draw, beta, (attempts, len(total)), b * b - 1)
    last = total[None] - jnp.sum(angles, axis=2)
    bound = jnp.log(jax.random.uniform(decide, last.shape, last.dtype)) <= beta * jnp.cos(last) - jnp.abs(beta)
    accepted = bound & found
    chosen = jnp.argmax(accepted, axis=0)
    whole = jnp.concatenate([angles, last[:, :, None]], axis=2)
    first = jnp.take_along_axis(whole, chosen[None, :, None], axis=0)[0]
    return first.reshape(-1, b, b), jnp.any(accepted, axis=0)


def _von_mises(key: Key[Array, ""], beta: Float[Array, ""], shape: tuple[int, int], count: int) -> tuple[Array, Array]:
    """`count` angles for each element, and where so many were found among half as many proposals again, and more."""
    # 0.66 of the proposals are accepted at the least: 1.5 count on average, with four standard deviations of 0.9 sqrt(count).
    proposals = int(1.52 * count + 4 * count**0.5) + 4
    kappa = jnp.full((*shape, proposals), jnp.abs(beta))
    angles, valid = (a.reshape(kappa.shape) for a in von_mises(key, kappa.reshape(-1), 1))
    # The accepted ones in their order; places beyond the last one are dropped.
    place = jnp.where(valid, jnp.cumsum(valid, axis=-1) - 1, count)
    rows, columns = jnp.indices(shape)
    kept = jnp.zeros((*shape, count), angles.dtype).at[rows[..., None], columns[..., None], place].set(angles, mode="drop")
    return kept + jnp.where(beta < 0, jnp.pi, 0.0).astype(kept.dtype), jnp.sum(valid, axis=-1) >= count


def _checked(theory: Any, box: int) -> WilsonAction:
    if not isinstance(theory, WilsonAction) or theory.group.complex_elements or len(theory.lattice) != 2:
        raise TypeError(f"BoxHeatbath: got {theory}, expected a WilsonAction of U1() in two dimensions.")
    if min(theory.lattice) < box:
        raise ValueError(f"BoxHeatbath: got boxes of {box} on {theory.lattice}, expected at most the smaller extent.")
    return theory
