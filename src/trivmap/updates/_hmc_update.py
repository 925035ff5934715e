"""Hybrid Monte Carlo as a single update."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .._checks import integers, positive, within
from .._trees import precision, select
from .._types import Configuration
from ..theories import AbstractTheory
from ._base import AbstractUpdate
from ._molecular_dynamics import DEFAULT_SPREAD, energy, molecular_dynamics, random_length
from ._splitting import SPLITTINGS, Splitting


def splitting_of(integrator: str | Splitting) -> Splitting:
    if isinstance(integrator, Splitting):
        return integrator
    if integrator not in SPLITTINGS:
        raise ValueError(f"unknown integrator {integrator!r}: choose one of {sorted(SPLITTINGS)} or give a Splitting")
    return SPLITTINGS[integrator]


class HMCUpdate(AbstractUpdate):
    r"""One trajectory of Hybrid Monte Carlo with fresh momenta and its Metropolis decision.

    With one leapfrog step this is the Metropolis-adjusted Langevin algorithm (MALA) of step $h = \epsilon^2/2$.

    **Arguments:** `length`: mean integration time of a trajectory, a parameter that training adapts; `steps`: per trajectory;
    `integrator`: a name or a `Splitting`, as for `hmc`; `length_spread`: r in [0, 1), lengths are uniform between (1 - r)
    and (1 + r) times `length`. They do not depend on the configuration, so that the update is reversible.

    **Raises:** `ValueError` for fewer than one step or a spread outside of [0, 1).
    """

    length: Float[Array, ""]
    length_spread: float = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    splitting: Splitting = eqx.field(static=True)

    def __init__(
        self,
        length: float | Array = 1.0,
        steps: int = 10,
        integrator: str | Splitting = "leapfrog",
        length_spread: float = DEFAULT_SPREAD,
    ):
        integers("HMCUpdate", 1, steps=steps)
        positive("HMCUpdate: length", length)
        within("HMCUpdate: length_spread", length_spread, 0, 1)
        self.length = jnp.asarray(length, jnp.zeros(0).dtype)
        self.length_spread, self.steps = float(length_spread), steps
        self.splitting = splitting_of(integrator)

    def __call__(self, key: Key[Array, ""], theory: AbstractTheory, x: Configuration) -> Configuration:
        momentum_key, accept_key = jax.random.split(key)
        manifold = theory.manifold
        p = manifold.effective(manifold.random_tangent(momentum_key, precision(x)), x)
        spread = jnp.asarray(self.length_spread, self.length.dtype)
        length = random_length(jax.random.fold_in(accept_key, 1), self.length, spread)
        moved, p_moved, _ = molecular_dynamics(theory, self.splitting, x, p, theory.gradient(x), length, self.steps)
        moved = manifold.project(moved)
        change = energy(theory, theory.action(moved), p_moved) - energy(theory, theory.action(x), p)
        accept = jnp.log(jax.random.uniform(accept_key, dtype=change.dtype)) < -change
        # A diverged trajectory compares false and is refused.
        return select(accept, moved, x)
