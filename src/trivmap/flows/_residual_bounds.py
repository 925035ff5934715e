"""How fast the velocity of a residual layer changes with its own link: bounds that hold for all configurations."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..fields import AbstractPotential, LoopPotential, NeighbourPotential, Reach
from ._residual_tables import loop_curvatures, loop_reach


def curvature_bound(potential: AbstractPotential, t: Float[Array, ""]) -> Float[Array, ""] | None:
    """A bound of the second derivatives with respect to one link or site, `None` where none is known."""
    if isinstance(potential, LoopPotential):
        coefficients = potential.coefficients @ potential.time(t.astype(potential.coefficients.dtype))
        family = potential.family
        traces = np.array([len(term) for term in family.terms[: family.given]])
        # Bounds are those of normalised traces, and the normalisation contains their factors 1/N.
        each = family.normalisation()[: family.given] * family.algebra.n**traces * loop_curvatures(family)
        return jnp.sum(jnp.abs(coefficients) * jnp.asarray(each, coefficients.dtype))
    if isinstance(potential, NeighbourPotential):
        return potential.curvature_bound(t)
    return None


def potential_reach(potential: AbstractPotential) -> Reach | None:
    """What the gradient on one link or site depends on, `None` where it is not known."""
    if isinstance(potential, LoopPotential):
        return loop_reach(potential.family)
    if isinstance(potential, NeighbourPotential):
        dim = len(potential.manifold.lattice)
        steps = np.concatenate([np.eye(dim, dtype=int), -np.eye(dim, dtype=int)])
        return tuple((0, 0, *map(int, step)) for step in steps)
    return getattr(potential, "reach", None)
