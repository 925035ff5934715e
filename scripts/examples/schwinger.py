"""Two light quarks in two dimensions: exact samples reweighted and HMC with hits, condensate, masses of quark and pion."""

import sys

import jax

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
theory = tm.SchwingerAction((8, 8), beta=2.0, kappa=0.25)
mesons = tm.observables.MesonCorrelators(theory.determinant.dirac)
observables = {
    "plaquette": tm.plaquette,
    "Q2": lambda x: tm.topological_charge(x) ** 2,
    "condensate": tm.observables.ChiralCondensate(theory.determinant.dirac),
    "mesons": mesons,
}

# Exact configurations without quarks, each with the weight det D^2.
ensemble = tm.samplers.quenched(jax.random.key(0), theory, count, observables=observables)
print(f"ESS {tm.ess_fraction(ensemble.log_weights):.2f}, log Z {tm.log_z(ensemble)}")

# Trajectories do not cross zeros of det D: winding hits do, and rotations move the Polyakov loops.
moves = tm.kernels.HMCKernel(1.0, 8), tm.kernels.WindingHit(), tm.kernels.HolonomyRotation()
kernel = tm.kernels.KernelSequence(*moves)
chain = tm.run_chain(jax.random.key(1), theory, kernel, count // 8, chains=8, thermalisation=50, measure=observables)

for name in ("plaquette", "Q2", "condensate"):
    print(f"{name}: reweighted {tm.expectation(ensemble, name)}, HMC {tm.expectation(chain, name)}")
quark, pion = (tm.observables.pcac_mass(mesons, 4), tm.observables.effective_mass(mesons.pion, 4))
for label, data in (("reweighted", ensemble), ("HMC", chain)):
    mass = tm.expectation(data, "mesons", function=lambda c: pion.function(c[0]))
    print(f"{label}: quark mass {tm.expectation(data, 'mesons', function=quark)}, pion mass {mass}")
