"""The average of a weight over uniform phases of the Polyakov loops."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import integer
from .._types import Array, PRNGKey
from ..groups import U1
from ..manifolds import AbstractManifold, links_of
from ._base import AbstractTheory


class TwistAverage(AbstractTheory):
    r"""The weight of a theory of U(1) links averaged over uniform phases of the Polyakov loops.

    $$ e^{-\bar S(\theta)} = \frac{1}{n^d} \sum_{k \in \{0..n-1\}^d} e^{-S(\theta^{(k)})}, \qquad
       \theta^{(k)}_\mu = \theta_\mu + 2\pi k_\mu / n \text{ on one slice per direction} $$

    A twist leaves plaquettes and the Haar measure unchanged, so that log Z and the means of all functions of plaquettes are
    those of the theory, at any n. For quarks the average depends on the plaquettes alone, up to loops that wind n times,
    and has no zeros where det D has: a flow that moves plaquettes and leaves the holonomies uniform needs to know no more.
    `draw` then gives a configuration of the theory itself: both together are a flow whose holonomies are drawn from their
    conditional distribution, at $n^d$ actions per sample.

    **Arguments:** `theory`: of U(1) links, with a real action; `points`: n.

    **Raises:** `TypeError` for other fields, `ValueError` for a complex action.

        >>> average = tm.theories.TwistAverage(tm.SchwingerAction((4, 4), beta=2.0, kappa=0.2), points=2)
        >>> average.action(links), average.draw(key, links)
    """

    theory: AbstractTheory
    points: int

    def __init__(self, theory: AbstractTheory, points: int = 3):
        integer("TwistAverage: points", points, 1)
        manifold = theory.manifold
        links_of(U1, manifold, f"TwistAverage: got a theory of {manifold}, expected one of the links of U1().")
        if theory.complex_action:
            raise ValueError("TwistAverage: got a theory with a complex action; average its `phase_quenched`.")
        self.theory, self.points = theory, points

    @property
    def manifold(self) -> AbstractManifold:
        return self.theory.manifold

    def action(self, x: Array) -> Array:
        actions = self._actions(x)
        return math.log(len(actions)) - jax.nn.logsumexp(-actions)

    def draw(self, key: PRNGKey, x: Array) -> Array:
        """One of the twists of a configuration, with the probability of its weight: drawn from the theory if `x` is drawn
        from the average."""
        choice = jax.random.categorical(key, -self._actions(x))
        return self.manifold.project(self._twisted(x, jnp.asarray(self._angles(), x.dtype)[choice]))

    def _angles(self) -> np.ndarray:
        dimension = len(self.lattice)
        return 2 * np.pi / self.points * np.array(list(itertools.product(range(self.points), repeat=dimension)))

    def _twisted(self, x: Array, angles: Array) -> Array:
        for mu in range(len(self.lattice)):
            x = x.at[(mu, *(slice(None),) * mu, -1)].add(angles[mu])
        return x

    def _actions(self, x: Array) -> Array:
        return jax.vmap(lambda angles: self.theory.action(self._twisted(x, angles)))(jnp.asarray(self._angles(), x.dtype))
