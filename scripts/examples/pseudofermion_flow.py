"""Quarks without determinants: pseudofermions drawn by a preconditioner, as noisy weights and as a field of their own."""

import jax

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.fermions import EvenOddDirac, IdentityPreconditioner, IncompleteLU  # noqa: E402

theory = tm.SchwingerAction((8, 8), beta=2.0, kappa=0.25)
schur = EvenOddDirac(theory.determinant.dirac)

# Links: the closed form of the flow of pure gauge theory. Its exact weights cost a determinant each.
flow = tm.ContinuousFlow(tm.GatedConvolutionField.trivializing(theory.manifold, beta=2.0), steps=6)
model = tm.Model(tm.HaarPrior(theory.manifold), flow)
options = {"batch_size": 100, "measure": {"plaquette": tm.plaquette}}
exact = tm.sample(jax.random.key(0), model, theory, 500, **options)
print(f"determinant         ESS {tm.ess_fraction(exact.log_weights):.3f}, plaquette {tm.expectation(exact, 'plaquette')}")

# The same links with noisy weights: as exact, for any preconditioner and any number of pseudofermions.
for name, preconditioner in {"even-odd": IdentityPreconditioner(schur), "incomplete LU": IncompleteLU(schur, 4)}.items():
    quarks = tm.theories.StochasticDeterminant(preconditioner, roots=8)
    noisy = tm.theories.SumTheory(quarks, theory.gauge)
    ensemble = tm.sample(jax.random.key(0), model, noisy, 500, estimates=1, **options)
    found = tm.expectation(ensemble, "plaquette")
    print(f"{name:13} x 8   ESS {tm.ess_fraction(ensemble.log_weights):.3f}, plaquette {found}")
    chain = tm.independence_metropolis(jax.random.key(1), ensemble)
    print(f"{'':16} acceptance {tm.acceptance_rate(chain):.2f}, plaquette {tm.expectation(chain, 'plaquette')}")

# One pseudofermion as a field: the joint model of links and phi given them.
joint = tm.models.JointModel(model, phi=tm.models.PseudofermionFlow(IncompleteLU(schur, 4)))
x, log_q = joint.sample_and_log_prob(jax.random.key(2))
print("a configuration of", {name: field.shape for name, field in x.items()}, f"with log density {float(log_q):.2f}")
