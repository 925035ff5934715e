"""Time of an SU(3) HMC trajectory with 24 force evaluations, at one chain and at many.

    python scripts/benchmarks/hmc_su3.py [--lattice 4 4 4 4] [--beta 5.8] [--chains 1 16]

Every number is the median over repeated calls in one process after warm-up, with the quartiles; compilation is timed
apart. A trajectory includes momenta, action, re-unitarisation, Metropolis decision and a measured plaquette.
"""

import argparse
import time

import _timing as timing
import jax
import jax.numpy as jnp

from trivmap.groups import SU
from trivmap.observables import plaquette
from trivmap.samplers import hmc
from trivmap.statistics import acceptance_rate, creutz, expectation
from trivmap.theories import WilsonAction


def parts(theory, x, repeats: int) -> None:
    """The pieces of a trajectory, each compiled alone and repeated inside one call."""
    manifold, inner = theory.manifold, 20
    v = 0.05 * manifold.random_tangent(jax.random.key(1))
    # Arguments change from call to call, or XLA would compute the exponential once before the loop.
    scale = 1 - 1e-9

    def loop(step):
        return lambda x, v: jax.lax.fori_loop(0, inner, lambda i, s: (step(*s), scale * s[1]), (x, v))

    pieces = {
        "force": lambda x, v: x + 1e-12 * theory.gradient(x),
        "exp": lambda x, v: manifold.exp(v, x),
        "action": lambda x, v: x + (1e-18 * theory.action(x)).astype(x.dtype),
        "project": lambda x, v: manifold.project(x),
    }
    cases = {name: timing.Case(loop(step), (x, v), inner) for name, step in pieces.items()}
    for name, value in timing.measure(cases, repeats).items():
        print(f"  {name:9s}{value}")


def chain_times(theory, chains: int, trajectories: int, repeats: int, options: dict) -> None:
    options = options | {"chains": chains, "measure": {"plaquette": plaquette}, "chunk": trajectories}
    begin = time.perf_counter()
    # A hot start thermalises within some tens of trajectories on so small a lattice.
    chain = hmc(jax.random.key(0), theory, trajectories, thermalisation=100, **options)
    first = time.perf_counter() - begin
    runs = []

    def run():
        runs.append(hmc(jax.random.key(len(runs)), theory, trajectories, initial=chain.state, **options))
        return runs[-1].state

    call = timing.time_calls({"run": run}, repeats)["run"]
    compile_time = first - call.median / trajectories * (100 + trajectories)
    acceptance = sum(map(acceptance_rate, runs)) / len(runs)
    print(f"{chains} chain(s), {chain.force_evaluations} force evaluations per trajectory")
    print(f"  per trajectory and chain {call.scaled(1 / (trajectories * chains))}")
    print(f"  compiled in {compile_time:.1f} s, acceptance {acceptance:.3f}, <exp(-dH)> {creutz(runs[-1])}")
    print(f"  plaquette {expectation(runs[-1], 'plaquette')}, unitarity defect {runs[-1].unitarity_defect:.1e}")
    print(f"  peak memory {timing.peak_memory():.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lattice", type=int, nargs="+", default=[4, 4, 4, 4])
    parser.add_argument("--beta", type=float, default=5.8)
    parser.add_argument("--chains", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--trajectories", type=int, default=20, help="per timed call")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--integrator", default="omf2")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--smoke", action="store_true", help="2^4 lattice, one repetition")
    args = parser.parse_args()
    if args.smoke:
        args.lattice, args.chains, args.trajectories, args.repeats, args.steps = [2, 2, 2, 2], [1, 2], 8, 1, 2
    jax.config.update("jax_enable_x64", True)
    theory = WilsonAction(SU(3), tuple(args.lattice), args.beta)
    options = {"integrator": args.integrator, "steps": args.steps}
    timing.header(f"SU(3) {'x'.join(map(str, args.lattice))}, beta {args.beta}, {args.integrator} x {args.steps}")
    for chains in args.chains:
        chain_times(theory, chains, args.trajectories, args.repeats, options)
    print("pieces, one configuration")
    parts(theory, theory.manifold.reference_sample(jax.random.key(2), jnp.float64), args.repeats)


if __name__ == "__main__":
    main()
