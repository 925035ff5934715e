"""Hamiltonian trajectories on any manifold."""

from typing import Any

import jax

from ..lattice import accumulator_dtype
from ._integrator import AbstractIntegrator

# Of trajectory lengths. With one length for all, a mode whose half period it is only changes its sign: its amplitude stays
# for ever. Lengths of 0.7 to 1.3 half periods leave 0.75 of the autocorrelation of the amplitude squared per trajectory, and
# for faster modes, with k half periods, (1 + sinc(2 k r))/2, which is nearer to 1/2.
DEFAULT_SPREAD = 0.3


def random_length(key: jax.Array, length: jax.Array, spread: jax.Array) -> jax.Array:
    """Uniform between (1 - spread) and (1 + spread) times the length, whatever the state: trajectories stay reversible.

    `key` must not come from that of the momenta: manifolds split theirs, and `fold_in(key, i)` is `split(key, n)[i]`.
    """
    return length * (1 + spread * jax.random.uniform(key, dtype=spread.dtype, minval=-1.0))


def molecular_dynamics(
    theory: Any, integrator: AbstractIntegrator, x: Any, p: Any, gradient: Any, length: Any, steps: int
) -> tuple[Any, Any, Any]:
    r"""Integrates $\dot x = p\,x$, $\dot p = -\partial S(x)$ for a time `length`; returns `(x, p, gradient at x)`.

    `gradient` is `integrator.gradient(theory, x)` at the initial `x`, known from the trajectory before: for one time scale
    the gradient of the action. The loop body holds a single force evaluation, and kicks of adjoining steps are merged.
    """
    return integrator.integrate(theory, x, p, gradient, length, steps)


def energy(theory: Any, action: jax.Array, p: Any) -> jax.Array:
    r"""$H = S + \tfrac12 \langle p, p\rangle$ in the accumulator dtype."""
    accumulator = accumulator_dtype()
    return action.astype(accumulator) + 0.5 * theory.manifold.inner(p, p).astype(accumulator)
