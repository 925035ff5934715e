"""Two quarks with SU(3) links on 4^4: HMC with pseudofermions, its checks, and what the quarks do to the plaquette."""

import sys

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.kernels import NestedIntegrator, leapfrog, pseudofermion_hmc  # noqa: E402

smoke = "--smoke" in sys.argv
lattice = (2, 2, 2, 2) if smoke else (4, 4, 4, 4)
gauge = tm.WilsonAction(tm.SU(3), lattice, beta=1.0)
quarks = tm.theories.PseudofermionAction(tm.fermions.WilsonDirac(tm.SU(3), lattice, kappa=0.1))
theory = tm.theories.SumTheory(quarks, gauge)  # on {"links": ..., "phi": ...}

# Every trajectory has new pseudofermions; the gauge force, which is cheap, is computed twice as often as that of the quarks.
kernel = pseudofermion_hmc(1.0, steps=8, integrator=NestedIntegrator(leapfrog, leapfrog, 2))
count, thermalisation = (4, 1) if smoke else (60, 20)
chain = tm.run_chain(
    jax.random.key(0), theory, kernel, count, chains=4, thermalisation=thermalisation, initial="cold",
    measure={"plaquette": lambda x: tm.plaquette(x["links"])}, progress=not smoke,
)  # fmt: skip

print(f"acceptance {np.mean(chain.accepted):.2f}, <exp(-dH)> {tm.statistics.creutz(chain)}")
print("plaquette", tm.expectation(chain, "plaquette"), "(0.06093(13) by a longer chain of another program)")
quenched = tm.heatbath(jax.random.key(1), gauge, 10 * count, chains=4, measure={"plaquette": tm.plaquette})
print("without quarks", tm.expectation(quenched, "plaquette"))
