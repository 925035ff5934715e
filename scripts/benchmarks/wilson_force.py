"""Closed-form Wilson force against reverse-mode differentiation of the plain action, SU(3) in four dimensions.

    python scripts/benchmarks/wilson_force.py [--extents 4 8] [--repeats 25]

The plain action is a product of four link matrices per plaquette, written once in the layout of this package (colours
lead, sites trail) and once with `matmul` on trailing matrix axes. Ratios are wall times, reverse mode / staples. What limits
them: the six products of matrices per plane and site that either needs, without shifts, sums and projection ("products").
"""

import argparse
import itertools

import _timing as timing
import jax
import jax.numpy as jnp

from trivmap.groups import SU
from trivmap.theories import WilsonAction


def shifted(x, axis):
    return jnp.roll(x, -1, axis=axis)


def plain_action(theory, links):
    """The action as it is written in a paper, colours leading."""
    group, dim = theory.group, len(theory.lattice)
    total = 0.0
    for mu, nu in itertools.combinations(range(dim), 2):
        u, v = links[mu], links[nu]
        lower = group.multiply(u, shifted(v, 2 + mu))
        upper = group.multiply(v, shifted(u, 2 + nu))
        total += jnp.sum(group.real_trace(group.multiply(lower, group.adjoint(upper))))
    return -theory.beta * total


def matmul_action(theory, links):
    """The same with matrices in the last two axes."""
    total = 0.0
    for mu, nu in itertools.combinations(range(len(theory.lattice)), 2):
        u, v = links[mu], links[nu]
        lower, upper = u @ shifted(v, mu), v @ shifted(u, nu)
        plaquette = lower @ jnp.conj(jnp.swapaxes(upper, -1, -2))
        total += jnp.sum(jnp.trace(plaquette, axis1=-2, axis2=-1).real) / 3
    return -theory.beta * total


def matmul_force(theory, links):
    g = jax.grad(lambda x: matmul_action(theory, x))(links)
    x = links @ jnp.swapaxes(g, -1, -2)
    anti = (x - jnp.conj(jnp.swapaxes(x, -1, -2))) / 2
    return -(anti - jnp.trace(anti, axis1=-2, axis2=-1)[..., None, None] * jnp.eye(3, dtype=x.dtype) / 3) / 2


def pair_products(group, links):
    """Two products per plane."""
    return [group.multiply(u, v) for u, v in itertools.permutations(links, 2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extents", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--smoke", action="store_true", help="2^4 lattice, one repetition")
    args = parser.parse_args()
    if args.smoke:
        args.extents, args.repeats = [2], 1
    jax.config.update("jax_enable_x64", True)
    for extent in args.extents:
        theory = WilsonAction(SU(3), (extent,) * 4, beta=6.0)
        links = theory.manifold.reference_sample(jax.random.key(0))
        last = jnp.moveaxis(links, (1, 2), (-2, -1)).copy()
        variants = {
            "staples": (lambda x, theory=theory: theory.gradient(x), links),
            "reverse": (lambda x, theory=theory: theory.manifold.gradient(lambda y: plain_action(theory, y))(x), links),
            "reverse, matmul": (lambda x, theory=theory: matmul_force(theory, x), last),
        }
        products = (lambda x, theory=theory: pair_products(theory.group, x), links)
        forces = {name: jax.jit(function)(x) for name, (function, x) in variants.items()}
        assert jnp.allclose(forces["staples"], forces["reverse"], atol=1e-12)
        assert jnp.allclose(forces["staples"], jnp.moveaxis(forces["reverse, matmul"], (-2, -1), (1, 2)), atol=1e-12)
        timing.header(f"SU(3) {extent}^4, one force")
        cases = {name: timing.Case(f, (x,)) for name, (f, x) in (variants | {"products": products}).items()}
        timings = timing.measure(cases, args.repeats)
        timings["products"] = timings["products"].scaled(3)
        for name, value in timings.items():
            print(f"  {name:16s}{value}\n    {timing.memory_line(value)}")
        for name in ("reverse", "reverse, matmul"):
            target = 3 if name == "reverse" and not args.smoke else None
            print(timing.ratio_line(f"{name} / staples", timings[name], timings["staples"], target))
        print(timing.ratio_line("reverse / products", timings["reverse"], timings["products"]))
    print(f"peak memory {timing.peak_memory():.0f} MiB")


if __name__ == "__main__":
    main()
