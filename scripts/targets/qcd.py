"""Two flavours of Wilson quarks on SU(N) links by pseudofermions: HMC against the exact determinant and known averages.

    python scripts/targets/qcd.py [NAME ...] [--samples N] [--out FILE] [--smoke]

`N` trajectories per chain, from a cold start and after thermalisation. For each point: plaquette, with the pull against HMC
with the exact determinant where its size allows it, and against a known average where there is one; acceptance,
<exp(-dH)>; iterations of conjugate gradients of a solve for the action and for a force (tolerances of 1e-10 and 1e-7),
solves per trajectory, seconds per trajectory and chain.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.kernels import NestedIntegrator, leapfrog, pseudofermion_hmc  # noqa: E402
from trivmap.theories import FermionDeterminant, PseudofermionAction, SumTheory  # noqa: E402

# Group, lattice, beta, kappa, Hasenbusch kappas, steps, trajectories, and whether the exact determinant is affordable.
POINTS: dict[str, tuple] = {
    "su3-4x4x4x4": (tm.SU(3), (4, 4, 4, 4), 1.0, 0.1, (), 8, 150, False),
    "su3-2x2x2x2": (tm.SU(3), (2, 2, 2, 2), 1.0, 0.1, (), 4, 400, True),
    "su3-4x4": (tm.SU(3), (4, 4), 4.0, 0.2, (), 6, 300, True),
    "su2-4x4": (tm.SU(2), (4, 4), 2.0, 0.22, (), 6, 400, True),
    "su2-4x4-hasenbusch": (tm.SU(2), (4, 4), 2.0, 0.22, (0.15,), 4, 400, True),
}
# HMC of 4 chains with 600 unit trajectories each, leapfrog, in a program apart.
KNOWN = {"su3-4x4x4x4": (0.06093, 0.00013)}
CHAINS = 4


def chain_of(theory: Any, kernel: Any, observables: dict, n: int, seed: int) -> tuple[tm.Chain, float]:
    """The chain, and seconds per trajectory and chain, without compilation."""
    # Chunks of one length for both runs: the second one has nothing to compile.
    chunk = min(25, n)
    options = {"chains": CHAINS, "measure": observables, "chunk": chunk}
    start = tm.run_chain(jax.random.key(seed), theory, kernel, chunk, thermalisation=n // 8, initial="cold", **options)
    begin = time.perf_counter()
    chain = tm.run_chain(jax.random.key(seed), theory, kernel, n, initial=start.state, **options)
    return chain, (time.perf_counter() - begin) / (n * CHAINS)


def iterations(pseudofermions: PseudofermionAction, chain: tm.Chain) -> dict[str, list[float]]:
    """Mean iterations per field, at the tolerance of actions and of forces, on the last configurations."""
    last = {name: chain.state.configuration[name] for name in pseudofermions.manifold.components}
    factors = pseudofermions.factors
    loose = tuple(type(f)(f.dirac, f.heavier, f.name, f.even_odd, f.force_accuracy, f.force_accuracy) for f in factors)
    found = {}
    for kind, fields in (("action", factors), ("force", loose)):
        count = jax.jit(jax.vmap(lambda x, fields=fields: jnp.stack([
            f.iterations({"links": x["links"], f.name: x[f.name]}) for f in fields
        ])))  # fmt: skip
        found[kind] = np.mean(np.asarray(count(last)), axis=0).tolist()
    return found


def run(name: str, samples: int | None, smoke: bool) -> dict:
    group, lattice, beta, kappa, hasenbusch, steps, trajectories, exact = POINTS[name]
    n = 4 if smoke else samples or trajectories
    dirac, gauge = tm.fermions.WilsonDirac(group, lattice, kappa), tm.WilsonAction(group, lattice, beta)
    pseudofermions = PseudofermionAction(dirac, hasenbusch)
    integrator = NestedIntegrator(leapfrog, leapfrog, 2)
    if hasenbusch:
        integrator = NestedIntegrator(leapfrog, integrator, 2)
    kernel = pseudofermion_hmc(1.0, steps, integrator)
    theory = SumTheory(pseudofermions, gauge)
    chain, seconds = chain_of(theory, kernel, {"plaquette": lambda x: tm.plaquette(x["links"])}, n, 0)
    plaquette = tm.expectation(chain, "plaquette")
    creutz = tm.statistics.creutz(chain)
    result = {
        "plaquette": [float(plaquette.value), float(plaquette.error)],
        "tau_int": float(plaquette.tau_int),
        "acceptance": float(np.mean(chain.accepted)),
        "creutz": [float(creutz.value), float(creutz.error)],
        "iterations": iterations(pseudofermions, chain),
        # A force at every step and at the start, an action before and after, one solve each for every field.
        "solves_per_trajectory": (steps + 3) * (1 + len(hasenbusch)),
        "seconds_per_trajectory": seconds,
        "trajectories": n * CHAINS,
    }
    print(f"{name}: plaquette {plaquette}, acceptance {result['acceptance']:.3f}, <exp(-dH)> {creutz}")
    print(f"  iterations {result['iterations']}, {result['solves_per_trajectory']} solves, {seconds:.3g} s per trajectory")
    if name in KNOWN:
        result["pull_known"] = float(plaquette.pull(*KNOWN[name]))
        print(f"  pull against {KNOWN[name]}: {result['pull_known']:+.2f}")
    if exact:
        reference, seconds = chain_of(
            SumTheory(FermionDeterminant(dirac), gauge),
            tm.kernels.HMCKernel(1.0, steps, NestedIntegrator(leapfrog, leapfrog, 2)),
            {"plaquette": tm.plaquette},
            n,
            1,
        )
        known = tm.expectation(reference, "plaquette")
        result["exact"] = {"plaquette": [float(known.value), float(known.error)], "seconds_per_trajectory": seconds}
        result["pull_exact"] = float(plaquette.pull(known))
        print(f"  exact determinant {known}, {seconds:.3g} s per trajectory, pull {result['pull_exact']:+.2f}", flush=True)
    return result


if __name__ == "__main__":
    run_points(__doc__, POINTS, run, None)
