"""Colours-first layout against `matmul` on trailing 3x3 axes: SU(3) on 16x16, batch 64, action and action with gradient.

    python scripts/benchmarks/layout.py [--repeats 25]

Ratios are wall times, matmul / colours first: above 1 means that the layout of trivmap is faster. The last job is what limits
the gradient: its six products of matrices per site, in loops over contiguous sites, without shifts and sums.
"""

import argparse

import _timing as timing
import jax
import jax.numpy as jnp

from trivmap.groups import SU
from trivmap.theories import WilsonAction


def plain_action(links):
    """The same action, matrices in the last two axes: `(2, 16, 16, 3, 3)`."""
    u, v = links[0], links[1]
    lower, upper = u @ jnp.roll(v, -1, axis=0), v @ jnp.roll(u, -1, axis=1)
    plaquette = lower @ jnp.conj(jnp.swapaxes(upper, -1, -2))
    return -jnp.sum(jnp.trace(plaquette, axis1=-2, axis2=-1).real) / 3


def two_products(links):
    return SU(3).multiply(links[0], links[1]), SU(3).multiply(links[1], links[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--smoke", action="store_true", help="4x4 lattice, one repetition")
    args = parser.parse_args()
    extent, batch = (4, 2) if args.smoke else (16, 64)
    jax.config.update("jax_enable_x64", True)
    theory = WilsonAction(SU(3), (extent, extent), beta=1.0)
    links = jax.vmap(theory.manifold.reference_sample)(jax.random.split(jax.random.key(0), batch))
    last = jnp.moveaxis(links, (2, 3), (-2, -1)).copy()
    timing.header(f"SU(3) {extent}x{extent}, batch {batch}, times per batch")
    jobs = {
        "action": (jax.vmap(theory.action), jax.vmap(plain_action)),
        "action and gradient": (jax.vmap(jax.value_and_grad(theory.action)), jax.vmap(jax.value_and_grad(plain_action))),
    }
    for job, (ours, plain) in jobs.items():
        values = [jax.tree.leaves(jax.jit(f)(x))[0] for f, x in ((ours, links), (plain, last))]
        assert jnp.allclose(*values, rtol=1e-12)
        cases = {"colours first": timing.Case(ours, (links,)), "matmul": timing.Case(plain, (last,))}
        timings = timing.measure(cases, 1 if args.smoke else args.repeats)
        print(job)
        for name, value in timings.items():
            print(f"  {name:14s}{value}\n    {timing.memory_line(value)}")
        target = None if args.smoke else 15
        print(timing.ratio_line("matmul / colours first", timings["matmul"], timings["colours first"], target))
    cases = {"matmul": cases["matmul"], "products": timing.Case(jax.vmap(two_products), (links,))}
    timings = timing.measure(cases, 1 if args.smoke else args.repeats)
    products = timings["products"].scaled(3)
    print(f"six products of matrices alone\n  {'colours first':14s}{products}")
    print(timing.ratio_line("action and gradient with matmul / six products", timings["matmul"], products))
    print(f"peak memory {timing.peak_memory():.0f} MiB")


if __name__ == "__main__":
    main()
