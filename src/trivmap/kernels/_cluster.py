"""Cluster moves of real fields: the signs of a whole cluster of neighbours change at once."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from .._types import Shape
from ..lattice import shift
from ..theories import AbstractTheory
from ._base import AbstractMove


class ClusterKernel(AbstractMove):
    r"""A Swendsen-Wang step of the Ising model that is embedded in a real field (Brower and Tamayo, PRL 62 (1989) 1087).

    With $\phi_x = s_x |\phi_x|$ an action $-c \sum_{x \mu} \phi_x \phi_{x+\mu} + \sum_x V(|\phi_x|)$ is, at fixed moduli, an
    Ising model of couplings $J = c\, |\phi_x \phi_{x+\mu}|$. Bonds between equal signs are set with probability
    $1 - e^{-2 J}$ (phi^4 here: c = 2), and each cluster of sites that bonds connect gets a random sign. Moduli stay:
    combine it with a kernel that moves them. Near criticality it removes most of the slowing down of the magnetisation.

    **Raises:** `TypeError` for a theory whose signs are no Ising model, from its `neighbour_coupling`.

        >>> kernel = tm.kernels.KernelSequence(tm.kernels.ClusterKernel(), tm.kernels.HMCKernel(steps=4))
        >>> chain = tm.run_chain(key, scalar, kernel, 10)
    """

    def move(self, key: Key[Array, ""], theory: AbstractTheory, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        theory, x = lax.stop_gradient((theory, x))
        coupling = theory.neighbour_coupling().astype(x.dtype)
        bond_key, sign_key = jax.random.split(key)
        neighbours = jnp.stack([shift(x, mu, 1, x.ndim) for mu in range(x.ndim)])
        # Opposite signs make the exponent positive, hence the probability negative.
        probability = -jnp.expm1(-2 * coupling * x[None] * neighbours)
        bonds = jax.random.uniform(bond_key, probability.shape, x.dtype) < probability
        flipped = jax.random.bernoulli(sign_key, shape=(x.size,))[cluster_labels(bonds)]
        return jnp.where(flipped, -x, x)


def cluster_labels(bonds: Bool[Array, "dim *lattice"]) -> Int[Array, "*lattice"]:
    """The lowest site index of the cluster of every site; `bonds[mu, x]` connects x and x + mu.

    Labels only ever fall, and are always sites of the same cluster. Each round takes the lowest label among the neighbours,
    lowers the label of the site that a label names as well, and follows labels of labels: a cluster of n sites needs
    of the order of log n rounds, where passing labels from site to site alone would need its length.
    """
    lattice = bonds.shape[1:]

    def once(labels: Array) -> Array:
        lowest = _lowest_of_neighbours(labels, bonds, lattice).reshape(-1)
        flat = labels.reshape(-1)
        hooked = jnp.minimum(lowest, jnp.arange(flat.size, dtype=flat.dtype).at[flat].min(lowest))
        return hooked[hooked[hooked]].reshape(lattice)

    def go_on(state: tuple[Array, Array]) -> tuple[Array, Array]:
        return once(state[0]), state[0]

    sites = jnp.arange(bonds[0].size, dtype=jnp.int32).reshape(lattice)
    return lax.while_loop(lambda state: jnp.any(state[0] != state[1]), go_on, (once(sites), sites))[0]


def _lowest_of_neighbours(labels: Array, bonds: Array, lattice: Shape) -> Array:
    dim, lowest = len(lattice), labels
    for mu in range(dim):
        ahead = jnp.where(bonds[mu], shift(labels, mu, 1, dim), labels)
        behind = jnp.where(shift(bonds[mu], mu, -1, dim), shift(labels, mu, -1, dim), labels)
        lowest = jnp.minimum(lowest, jnp.minimum(ahead, behind))
    return lowest
