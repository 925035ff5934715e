"""Extents of 1 and 2, where a site is its own neighbour or two neighbours are one: right, or refused where it is made."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from helpers import dense_divergence, dense_jacobian, randomised

import trivmap as tm

KEY = jax.random.key(0)


@pytest.mark.parametrize("lattice", [(1, 4), (4, 1), (1, 1), (2, 2), (1,), (3, 2)], ids=str)
def test_neighbour_potential(lattice):
    """Divergence of the field; log-det, inverse and step bound of the residual flow, with large parameters, too."""
    potential = tm.fields.NeighbourPotential(KEY, tm.RealField(lattice))
    x = jax.random.normal(jax.random.key(2), lattice)
    field = tm.GradientField(randomised(jax.random.key(1), potential, 0.5))
    t = jnp.asarray(0.3)
    divergence = dense_divergence(lambda y: field(t, y)[0], field.manifold, x)
    assert jnp.abs(field(t, x)[1] - divergence) < 1e-12 * max(1.0, jnp.abs(divergence))
    flow = randomised(jax.random.key(1), tm.ResidualFlow(potential, 2), 5.0)
    y, log_det = eqx.filter_jit(flow.forward_and_log_det)(x)
    back, inverse_log_det = eqx.filter_jit(flow.inverse_and_log_det)(y)
    jacobian = eqx.filter_jit(dense_jacobian)(flow.forward, flow.manifold, x)
    # Layers whose inverse expands errors by at most 10 each.
    assert jnp.max(jnp.abs(back - x)) < 1e-8
    assert jnp.abs(log_det + inverse_log_det) < 1e-8
    assert jnp.abs(log_det - jnp.linalg.slogdet(jacobian)[1]) < 1e-8


REFUSED = {
    "loops": lambda u1, su2: tm.LoopPotential(su2),
    "ladder": lambda u1, su2: tm.LadderField(su2, 1.0),
    "spectral": lambda u1, su2: tm.SpectralCouplingFlow(KEY, su2),
    "gauge coupling": lambda u1, su2: tm.GaugeCouplingFlow(KEY, u1),
    "coupling": lambda u1, su2: tm.CouplingFlow(KEY, tm.RealField(u1.lattice)),
    "heatbath": lambda u1, su2: tm.heatbath(KEY, tm.WilsonAction(tm.U1(), u1.lattice, 1.0), 1),
    "overrelaxation": lambda u1, su2: tm.kernels.OverrelaxationKernel().move(
        KEY, tm.WilsonAction(tm.U1(), u1.lattice, 1.0), jnp.zeros(u1.shape)
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_distinct_neighbours_refuses(name):
    with pytest.raises(ValueError, match="extents|multiples|at least two"):
        REFUSED[name](tm.LinkField(tm.U1(), (1, 4)), tm.LinkField(tm.SU(2), (1, 4)))
