"""Closed-form Wilson force against reverse-mode differentiation of the plain action, SU(3) in four dimensions.

    python scripts/benchmarks/wilson_force.py [--extents 4 8] [--repeats 100]

Both are compiled before timing; the plain action is a product of four link matrices per plaquette, written once in the
layout of this package (colours lead, sites trail) and once with `matmul` on trailing matrix axes. Prints medians and
quartiles of repeated runs in one process, interleaved so that all variants see the same load.
"""

import argparse
import itertools
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np

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


def compiled(function, *arguments):
    start = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    return program, time.perf_counter() - start


def timings(programs, repeats):
    """Interleaved wall times in ms: name -> array."""
    times = {name: [] for name in programs}
    for _ in range(repeats):
        for name, (program, arguments) in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: np.asarray(values[repeats // 10 :]) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extents", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for extent in options.extents:
        theory = WilsonAction(SU(3), (extent,) * 4, beta=6.0)
        links = theory.manifold.reference_sample(jax.random.key(0))
        last = jnp.moveaxis(links, (1, 2), (-2, -1)).copy()
        variants = {
            "staples": (lambda x, theory=theory: theory.gradient(x), links),
            "reverse": (lambda x, theory=theory: theory.manifold.gradient(lambda y: plain_action(theory, y))(x), links),
            "reverse, matmul": (lambda x, theory=theory: matmul_force(theory, x), last),
        }
        programs, compile_seconds = {}, {}
        for name, (function, argument) in variants.items():
            program, compile_seconds[name] = compiled(function, argument)
            programs[name] = (program, (argument,))
        reference = programs["staples"][0](links)
        assert jnp.allclose(reference, programs["reverse"][0](links), atol=1e-12)
        assert jnp.allclose(reference, jnp.moveaxis(programs["reverse, matmul"][0](last), (-2, -1), (1, 2)), atol=1e-12)
        measured = timings(programs, options.repeats if extent < 8 else max(10, options.repeats // 4))
        print(f"SU(3) {extent}^4, float64, force in ms")
        for name, values in measured.items():
            low, median, high = np.percentile(values, [25, 50, 75])
            ratio = median / np.median(measured["staples"])
            print(
                f"  {name:16s} median {median:8.3f}  quartiles {low:8.3f} {high:8.3f}  "
                f"compile {compile_seconds[name]:5.2f} s  ratio to staples {ratio:6.2f}"
            )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
