"""A kernel of one's own: a move between topological sectors of U(1), by hand, beside HMC alone and the exact answer.

    python scripts/examples/own_kernel.py

The field of a move is one of uniform plaquettes 2 pi/V, its charge is one. A Metropolis decision makes it exact for any
action; it changes nothing but the charge, so it is put in a sequence with HMC.
"""

import argparse

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402


class ChargeMove(tm.kernels.AbstractMove):
    """Adds a uniform field of charge +1 or -1, or stays."""

    def move(self, key, theory, x):
        direction, accept = jax.random.split(key)
        rows, columns = theory.lattice
        i, j = jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij")
        # Every plaquette is 2 pi/V, but for one multiple of 2 pi on the last row.
        field = 2 * jnp.pi * jnp.stack([jnp.where(i == rows - 1, -j / columns, 0.0), i / (rows * columns)])
        sign = jax.random.choice(direction, jnp.array([-1.0, 1.0]))
        y = theory.manifold.project(x + sign * field)
        return jnp.where(jnp.log(jax.random.uniform(accept)) < theory.action(x) - theory.action(y), y, x)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--smoke", action="store_true")
extent, beta, n = (4, 2.0, 50) if parser.parse_args().smoke else (8, 5.0, 1000)

theory = tm.WilsonAction(tm.U1(), (extent, extent), beta=beta)
measure = {"Q2": lambda x: tm.topological_charge(x) ** 2, "plaquette": tm.plaquette}
hmc = tm.kernels.HMCKernel(1.0, steps=8)
print(f"exact       <Q^2> {tm.exact.charge_squared(theory):.5f}      plaquette {tm.exact.plaquette(theory):.6f}")
for name, kernel in (("HMC", hmc), ("HMC + move", tm.kernels.KernelSequence(hmc, ChargeMove()))):
    chain = tm.run_chain(jax.random.key(0), theory, kernel, n, chains=8, measure=measure)
    charge, plaquette = tm.expectation(chain, "Q2"), tm.expectation(chain, "plaquette")
    print(f"{name:<12}<Q^2> {charge}, tau_int {charge.tau_int:.1f}   plaquette {plaquette}")
