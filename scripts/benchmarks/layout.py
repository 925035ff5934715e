"""Colours-first layout against `matmul` on trailing 3x3 axes: SU(3) on 16x16, batch 64, action and action with gradient.

    python scripts/benchmarks/layout.py [--repeats 50]

Medians of repeated, interleaved runs in one process; compile time apart.
"""

import argparse
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np

from trivmap.groups import SU
from trivmap.theories import WilsonAction


def plain_action(links):
    """The same action, matrices in the last two axes: `(2, 16, 16, 3, 3)`."""
    u, v = links[0], links[1]
    lower, upper = u @ jnp.roll(v, -1, axis=0), v @ jnp.roll(u, -1, axis=1)
    plaquette = lower @ jnp.conj(jnp.swapaxes(upper, -1, -2))
    return -jnp.sum(jnp.trace(plaquette, axis1=-2, axis2=-1).real) / 3


def compiled(function, argument):
    start = time.perf_counter()
    program = jax.jit(function).lower(argument).compile()
    return program, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    theory = WilsonAction(SU(3), (16, 16), beta=1.0)
    links = jax.vmap(theory.manifold.reference_sample)(jax.random.split(jax.random.key(0), 64))
    last = jnp.moveaxis(links, (2, 3), (-2, -1)).copy()
    cases = {
        "action": (jax.vmap(theory.action), jax.vmap(plain_action)),
        "action and gradient": (
            jax.vmap(jax.value_and_grad(theory.action)),
            jax.vmap(jax.value_and_grad(plain_action)),
        ),
    }
    print("SU(3) 16x16, batch 64, float64")
    for name, functions in cases.items():
        programs = [compiled(f, x) for f, x in zip(functions, (links, last), strict=True)]
        values = [jax.tree.leaves(p(x))[0] for (p, _), x in zip(programs, (links, last), strict=True)]
        assert jnp.allclose(*values, rtol=1e-12)
        times = [[], []]
        for _ in range(options.repeats):
            for (program, _), x, record in zip(programs, (links, last), times, strict=True):
                start = time.perf_counter()
                jax.block_until_ready(program(x))
                record.append(1e3 * (time.perf_counter() - start))
        ours, theirs = (np.percentile(record, [25, 50, 75]) for record in times)
        print(f"  {name}: ratio {theirs[1] / ours[1]:.1f}")
        for label, quartiles, (_, seconds) in zip(("colours first", "matmul"), (ours, theirs), programs, strict=True):
            low, median, high = quartiles
            print(f"    {label:14s} median {median:7.2f} ms, quartiles {low:.2f} {high:.2f}, compile {seconds:.2f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
