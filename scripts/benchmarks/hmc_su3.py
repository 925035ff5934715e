"""Time of an SU(3) HMC trajectory with 24 force evaluations, at one chain and at many.

    python scripts/benchmarks/hmc_su3.py [--lattice 4 4 4 4] [--beta 5.8] [--chains 1 16]

Every number is the median over repeated calls in one process after warm-up, with the quartiles; compilation is timed
apart. A trajectory includes momenta, action, re-unitarisation, Metropolis decision and a measured plaquette.
"""

import argparse
import resource
import statistics
import time

import jax
import jax.numpy as jnp

from trivmap.groups import SU
from trivmap.observables import plaquette
from trivmap.samplers import hmc
from trivmap.statistics import acceptance_rate, creutz, expectation
from trivmap.theories import WilsonAction


def seconds(function, repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - begin)
    return times


def summary(times: list[float], scale: float) -> str:
    low, middle, high = statistics.quantiles([1e3 * t * scale for t in times], n=4)
    return f"{middle:7.3f} ms  (quartiles {low:.3f} to {high:.3f})"


def parts(theory, x, repeats: int) -> None:
    """The pieces of a trajectory, each compiled alone and repeated inside one call."""
    manifold, inner = theory.manifold, 20
    v = 0.05 * manifold.random_tangent(jax.random.key(1))

    def loop(step):
        return jax.jit(lambda x: jax.lax.fori_loop(0, inner, lambda i, x: step(x), x))

    pieces = {
        "force": lambda x: x + 1e-12 * theory.gradient(x),
        "exp": lambda x: manifold.exp(v, x),
        "action": lambda x: x + (1e-18 * theory.action(x)).astype(x.dtype),
        "project": manifold.project,
    }
    for name, step in pieces.items():
        function = loop(step)
        seconds(lambda f=function: f(x), 2)
        print(f"  {name:9s} {summary(seconds(lambda f=function: f(x), repeats), 1 / inner)}")


def chain_times(theory, chains: int, trajectories: int, repeats: int, options: dict) -> None:
    options = options | {"chains": chains, "measure": {"plaquette": plaquette}, "chunk": trajectories}
    begin = time.perf_counter()
    # A hot start thermalises within some tens of trajectories on so small a lattice.
    chain = hmc(jax.random.key(0), theory, trajectories, thermalisation=100, **options)
    first = time.perf_counter() - begin
    times, accepted, deviations = [], [], []
    for repeat in range(repeats):
        begin = time.perf_counter()
        chain = hmc(jax.random.key(repeat), theory, trajectories, initial=chain.state, **options)
        times.append(time.perf_counter() - begin)
        accepted.append(acceptance_rate(chain))
        deviations.append(creutz(chain))
    steady = statistics.median(times) / trajectories
    compile_time = first - steady * (100 + trajectories)
    print(f"{chains} chain(s), {chain.force_evaluations} force evaluations per trajectory")
    print(f"  per trajectory and chain {summary(times, 1 / (trajectories * chains))}")
    print(f"  compilation {compile_time:.1f} s, acceptance {statistics.mean(accepted):.3f}, <exp(-dH)> {deviations[-1]}")
    print(f"  plaquette {expectation(chain, 'plaquette')}, unitarity defect {chain.unitarity_defect:.1e}")
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lattice", type=int, nargs="+", default=[4, 4, 4, 4])
    parser.add_argument("--beta", type=float, default=5.8)
    parser.add_argument("--chains", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--trajectories", type=int, default=20, help="per timed call")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--integrator", default="omf2")
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    theory = WilsonAction(SU(3), tuple(args.lattice), args.beta)
    options = {"integrator": args.integrator, "steps": args.steps}
    print(f"{jax.__version__=} {jax.devices()[0]}, SU(3) {tuple(args.lattice)}, beta = {args.beta}, complex128")
    for chains in args.chains:
        chain_times(theory, chains, args.trajectories, args.repeats, options)
    print("pieces, one configuration")
    parts(theory, theory.manifold.reference_sample(jax.random.key(2), jnp.float64), args.repeats)


if __name__ == "__main__":
    main()
