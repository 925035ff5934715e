"""Metropolis steps with symmetric proposals, and those that move the topology of U(1) links."""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from .._checks import integer
from ..lattice import accumulator_dtype
from ..manifolds import LinkField
from ._base import AbstractKernel


class MetropolisState(eqx.Module):
    """The configuration and its action."""

    configuration: Any
    action: Float[Array, ""]


class AbstractMetropolis(AbstractKernel):
    r"""A proposal with the same density there and back, accepted with $\min(1, e^{S(x) - S(x')})$: one action per step.

    >>> kernel = tm.kernels.RandomMixture([tm.kernels.HMCKernel(steps=4), tm.kernels.WindingHit()])
    >>> chain = tm.run_chain(key, theory, kernel, 10)
    """

    @abc.abstractmethod
    def propose(self, key: Key[Array, ""], theory: Any, x: Any) -> Any:
        """The configuration that is proposed."""

    def init(self, key: Key[Array, ""], theory: Any, x: Any) -> MetropolisState:
        return MetropolisState(x, theory.real_action(x).astype(accumulator_dtype()))

    def relocated(self, theory: Any, state: MetropolisState, x: Any) -> MetropolisState:
        return MetropolisState(x, theory.real_action(x).astype(accumulator_dtype()))

    def belongs(self, theory: Any, state: MetropolisState) -> Bool[Array, ""]:
        scale = jnp.abs(state.action) + theory.manifold.dimension
        rounding = 100 * float(jnp.finfo(state.action.dtype).eps)
        return jnp.abs(theory.real_action(state.configuration).astype(state.action.dtype) - state.action) <= rounding * scale

    def step(self, key: Key[Array, ""], theory: Any, state: MetropolisState) -> tuple[MetropolisState, dict[str, Array]]:
        propose_key, accept_key = jax.random.split(key)
        proposed = self.propose(propose_key, theory, state.configuration)
        action = theory.real_action(proposed).astype(state.action.dtype)
        change = jnp.where(jnp.isfinite(action), action - state.action, jnp.inf)
        accept = jnp.log(jax.random.uniform(accept_key, dtype=change.dtype)) < -change
        x, action = jax.tree.map(
            lambda new, old: jnp.where(accept, new, old), (proposed, action), (state.configuration, state.action)
        )
        return MetropolisState(x, action), {"accepted": accept}


class WindingHit(AbstractMetropolis):
    r"""Adds or takes away, with equal chance, a field of uniform plaquettes $2\pi q/V$ and charge q: two-dimensional U(1).

    Crosses between charges whatever the trajectories of HMC do, also over the surfaces $\det D = 0$ of theories with quarks,
    at the price of one action (F. Fucito and S. Solomon, Phys. Lett. B 134 (1984) 230). It changes nothing else, so use it in
    a mixture or sequence with a kernel that does.

    **Arguments:** `charge`: q, a positive integer.

    **Raises:** `TypeError`, when it is used, for theories of other fields.

        >>> kernel = tm.kernels.KernelSequence(tm.kernels.HMCKernel(steps=4), tm.kernels.WindingHit())
        >>> chain = tm.run_chain(key, theory, kernel, 10)
    """

    charge: int = eqx.field(static=True)

    def __init__(self, charge: int = 1):
        integer("WindingHit: charge", charge, 1)
        self.charge = charge

    def propose(self, key: Key[Array, ""], theory: Any, x: Any) -> Array:
        manifold = _angles("WindingHit", theory)
        if len(manifold.lattice) != 2:
            raise TypeError(f"WindingHit: got the lattice {manifold.lattice}, expected two dimensions.")
        field = jnp.asarray(2 * math.pi * self.charge * _uniform_flux(manifold.lattice), x.dtype)
        sign = jnp.where(jax.random.bernoulli(key), 1, -1).astype(x.dtype)
        return manifold.project(x + sign * field)


class HolonomyRotation(AbstractMetropolis):
    r"""Multiplies all Polyakov loops of each direction by a uniform phase: U(1).

    $\theta_\mu \to \theta_\mu + \alpha_\mu$ on one slice. Plaquettes stay; of the action only what winds around the lattice
    changes, such as the determinant of quarks.

    **Raises:** `TypeError`, when it is used, for theories of other fields.

        >>> kernel = tm.kernels.KernelSequence(tm.kernels.HMCKernel(steps=4), tm.kernels.HolonomyRotation())
        >>> chain = tm.run_chain(key, theory, kernel, 10)
    """

    def propose(self, key: Key[Array, ""], theory: Any, x: Any) -> Array:
        manifold = _angles("HolonomyRotation", theory)
        dim = len(manifold.lattice)
        last = np.stack([np.indices(manifold.lattice)[mu] == manifold.lattice[mu] - 1 for mu in range(dim)])
        angles = jax.random.uniform(key, (dim, *(1,) * dim), x.dtype, -jnp.pi, jnp.pi)
        return manifold.project(x + jnp.where(last, angles, 0))


def _angles(owner: str, theory: Any) -> LinkField:
    manifold = theory.manifold
    if not isinstance(manifold, LinkField) or manifold.group.complex_elements:
        raise TypeError(f"{owner}: got a theory of {manifold}, expected one of the links of U1().")
    return manifold


def _uniform_flux(lattice: tuple[int, ...]) -> np.ndarray:
    """Links, in units of 2 pi, with plaquettes 1/V each but for multiples of 2 pi."""
    time, space = np.indices(lattice)
    return np.stack([np.where(time == lattice[0] - 1, -space / lattice[1], 0.0), time / math.prod(lattice)])
