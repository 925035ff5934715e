"""Frozen topology, opened by replica exchange: U(1) on 8x8 at beta = 6, where heatbath seldom changes the charge.

    python scripts/examples/replica_exchange.py

One plaquette has the coupling 0 on the lowest rung, where charge flows in and out, and that of all others on the highest; an
exact map carries configurations between them. Afterwards the same number of sweeps of heatbath alone.
"""

import argparse

import jax

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--smoke", action="store_true")
smoke = parser.parse_args().smoke
extent, beta, n = (4, 2.0, 50) if smoke else (8, 6.0, 1000)

lattice, group = (extent, extent), tm.U1()
defect = tm.theories.WeightedWilsonAction.with_defect
ladder = [defect(group, lattice, beta, value) for value in (0.0, beta)]
repair = tm.flows.DefectRepair(ladder[0].manifold, source=0.0, target=beta, patch=extent)
measure = {"Q2": lambda x: tm.topological_charge(x) ** 2}
sweeps = tm.kernels.KernelSequence(tm.kernels.HeatbathKernel(), tm.kernels.OverrelaxationKernel())
options = {"kernel": sweeps, "chains": 4, "measure": measure}

rungs = tm.replica_exchange(jax.random.key(0), ladder, n, flows=[repair], tolerance=None, translate=(1,), **options)
exact = tm.exact.charge_squared(ladder[1])
exchanged = tm.expectation(rungs[1], "Q2")
print(f"exact <Q^2>        {exact:.4f}")
print(f"replica exchange   {exchanged}, tau_int {exchanged.tau_int:.1f}, pull {exchanged.pull(exact):+.1f}")
print(f"                   acceptance {tm.statistics.swap_acceptance(rungs)[0]:.2f}")

alone = tm.run_chain(jax.random.key(1), tm.WilsonAction(group, lattice, beta), sweeps, 2 * n, chains=4, measure=measure)
frozen = tm.expectation(alone, "Q2")
print(f"heatbath alone     {frozen}, tau_int {frozen.tau_int:.1f}, pull {frozen.pull(exact):+.1f}")
