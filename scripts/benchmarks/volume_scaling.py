"""Cost against volume: 8x8 -> 16x16 -> 32x32, at most a factor 4.6 in time per configuration for each doubling.

    python scripts/benchmarks/volume_scaling.py [--extents 8 16 32] [--batch 4] [--only NAME ...]

Actions, vector fields with their exact divergence, and samples of continuous flows. Linear cost in the volume is a factor
4. A case has the same batch on all volumes, so that a factor includes what larger arrays cost in the caches: 16 for
actions, whose calls would otherwise be shorter than their overhead (about 0.03 ms), and 4 for fields and samples, which
keeps 32x32 in the L2 cache of a core. Float64, as the commands use.
"""

import argparse

import _timing as timing
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from trivmap.fields import ConvolutionField, GatedConvolutionField, GradientField, LoopPotential
from trivmap.flows import ContinuousFlow
from trivmap.groups import SU, U1
from trivmap.manifolds import LinkField, RealField
from trivmap.priors import GaussianPrior, HaarPrior
from trivmap.theories import Phi4Action, WilsonAction
from trivmap.training import trainable

LIMIT = 4.6
STEPS = 4


def randomised(tree):
    """The same module with small random parameters: zeros are where new flows start, not what is timed."""
    leaves, structure = jax.tree.flatten(eqx.filter(tree, trainable(tree)))
    draw = np.random.default_rng(7).standard_normal
    noise = [jnp.asarray(0.01 * draw(leaf.shape), leaf.dtype) for leaf in leaves]
    return eqx.apply_updates(tree, jax.tree.unflatten(structure, noise))


def theories(lattice):
    return {
        "phi^4": Phi4Action(lattice, -4.0, 8.0),
        "U(1)": WilsonAction(U1(), lattice, 2.0),
        "SU(3)": WilsonAction(SU(3), lattice, 6.0),
    }


def fields(lattice):
    scalar, angles = RealField(lattice), LinkField(U1(), lattice)
    made = {
        "phi^4 gated": GatedConvolutionField(scalar),
        "phi^4 convolution": ConvolutionField(jax.random.key(0), scalar),
        "U(1) gated": GatedConvolutionField(angles),
        "SU(2) loops": GradientField(LoopPotential(LinkField(SU(2), lattice), coefficient=0.5)),
        "SU(3) loops": GradientField(LoopPotential(LinkField(SU(3), lattice), coefficient=0.5)),
    }
    return {name: randomised(field) for name, field in made.items()}


def configurations(manifold, batch):
    prior = GaussianPrior(manifold, 0.5) if isinstance(manifold, RealField) else HaarPrior(manifold)
    return jax.jit(jax.vmap(prior.sample))(jax.random.split(jax.random.key(1), batch))


def action(theory, x):
    return jax.vmap(theory.action)(x)


def velocity(field, t, x):
    return jax.vmap(field, in_axes=(None, 0))(t, x)


def sample(flow, z):
    return jax.vmap(flow.forward_and_log_det)(z)


def cases(lattice, action_batch, batch) -> dict[str, timing.Case]:
    """Everything timed on one lattice, by name."""
    found = {}
    for name, theory in theories(lattice).items():
        found[f"action, {name}"] = timing.Case(action, (theory, configurations(theory.manifold, action_batch)), action_batch)
    for name, field in fields(lattice).items():
        x = configurations(field.manifold, batch)
        found[f"field, {name}"] = timing.Case(velocity, (field, jnp.asarray(0.3), x), batch)
        found[f"sample, {name}"] = timing.Case(sample, (ContinuousFlow(field, steps=STEPS), x), batch)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extents", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--action-batch", type=int, default=16)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", nargs="+", default=[""], help="cases whose name contains one of these")
    parser.add_argument("--smoke", action="store_true", help="2x2 and 4x4 lattices, one repetition")
    args = parser.parse_args()
    if args.smoke:
        args.extents, args.action_batch, args.batch, args.repeats = [2, 4], 2, 2, 1
    jax.config.update("jax_enable_x64", True)
    timing.header(f"Batch {args.action_batch} (actions), {args.batch} (fields, samples); LSCFRK4 x {STEPS}")
    print("time per configuration, median (quartiles); factor to the volume before")
    worst = 0.0
    by_extent = {extent: cases((extent, extent), args.action_batch, args.batch) for extent in args.extents}
    for name in by_extent[args.extents[0]]:
        if not any(part in name for part in args.only):
            continue
        timings = timing.measure({str(extent): by_extent[extent][name] for extent in args.extents}, args.repeats)
        print(name)
        before = None
        for extent, value in timings.items():
            factors = ""
            if before is not None:
                factor = value.median / before.median
                worst = max(worst, factor)
                factors = f"  x {factor:.2f}, CPU x {value.cpu_median / before.cpu_median:.2f}"
            print(f"  {extent:>3s}x{extent:<3s}{value}{factors}", flush=True)
            before = value
    verdict = "" if args.smoke else f" (at most {LIMIT}: {'reached' if worst <= LIMIT else 'MISSED'})"
    print(f"largest factor {worst:.2f}{verdict}")
    print(f"peak memory {timing.peak_memory():.0f} MiB")


if __name__ == "__main__":
    main()
