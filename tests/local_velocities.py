"""Local velocities of reach one, written as a user would, for the tests of fields."""

import equinox as eqx
import jax
import jax.numpy as jnp

from trivmap.lattice import shift
from trivmap.manifolds import LinkField
from trivmap.theories import WilsonAction


class GatedForce(eqx.Module):
    """The plaquette force, times a function of the plaquettes around the link: local, covariant, and no gradient.

    velocity_mu(x) = [c_0 + c_1 tanh(sum_nu P_munu(x) + P_munu(x - nu)) + c_2 t] force_mu(x): reach 1.
    """

    coefficients: jax.Array
    manifold: LinkField = eqx.field(static=True)

    def __call__(self, t, links):
        group, dim = self.manifold.group, links.shape[0]
        dtype = links.real.dtype
        force = WilsonAction(group, self.manifold.lattice, jnp.ones((), dtype)).gradient(links)
        c = self.coefficients.astype(dtype)
        gates = []
        for mu in range(dim):
            total = jnp.zeros(self.manifold.lattice, dtype)
            for nu in range(dim):
                if nu != mu:
                    loop = group.multiply(links[mu], shift(links[nu], mu, 1, dim))
                    back = group.multiply(links[nu], shift(links[mu], nu, 1, dim))
                    trace = group.real_trace(group.multiply(loop, group.adjoint(back)))
                    total = total + trace + shift(trace, nu, -1, dim)
            gates.append(c[0] + c[1] * jnp.tanh(total) + c[2] * t.astype(dtype))
        gate = jnp.stack(gates)
        return gate.reshape(dim, *(1 for _ in group.element_shape), *self.manifold.lattice).astype(links.dtype) * force


class SiteNetwork(eqx.Module):
    """Odd in phi, with neighbours at distance `hops` along the axes."""

    weights: jax.Array
    hops: int = eqx.field(static=True, default=1)

    def __call__(self, t, phi):
        w, dim = self.weights.astype(phi.dtype), phi.ndim
        around = sum(shift(phi, mu, s, dim) for mu in range(dim) for s in (self.hops, -self.hops))
        return w[0] * jnp.sin(around) * jnp.cos(phi) + w[1] * phi * around**2 + w[2] * t.astype(phi.dtype) * phi
