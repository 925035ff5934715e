"""Determinant of two-dimensional Wilson fermions: slabs of time slices against LU of half and of the whole matrix.

    python scripts/benchmarks/determinant.py [--extents 8 16] [--repeats 15]

U(1), L x L, beta = 2, kappa = 0.24, one configuration in float64: value, and value with the gradient by links. Ratios are
wall times in one process, repetitions in turn, with the range between opposite quartiles. Gradients of LU are those of JAX,
through the construction of the matrix. Beside them conjugate gradients for one source, with and without float32 inside.
"""

import argparse

import _timing as timing
import jax
import jax.numpy as jnp

import trivmap as tm
from trivmap.fermions import WilsonDirac, log_det, solve

TARGETS = {8: 8, 16: 25}  # value and gradient, dense / slab


def compare(extent: int, repeats: int, smoke: bool) -> None:
    dirac = WilsonDirac(tm.U1(), (extent, extent), kappa=0.24)
    x = tm.exact.sample(jax.random.key(0), tm.WilsonAction(tm.U1(), dirac.lattice, beta=2.0), 1)[0]
    value = {m: (lambda x, m=m: log_det(dirac, x, m)[1]) for m in ("slab", "even-odd", "dense")}
    both = {f"{m}, gradient": jax.value_and_grad(function) for m, function in value.items()}
    results = {name: jax.jit(function)(x) for name, function in both.items()}
    for log, gradient in results.values():
        assert jnp.allclose(log, results["dense, gradient"][0], rtol=0, atol=1e-11)
        assert jnp.allclose(gradient, results["dense, gradient"][1], rtol=0, atol=1e-10)
    source = dirac.random_spinor(jax.random.key(1))
    solves = {
        f"solve, mixed={mixed}": (lambda x, mixed=mixed: solve(dirac, x, source, mixed=mixed).spinor)
        for mixed in (False, True)
    }
    timings = timing.measure({name: timing.Case(f, (x,)) for name, f in (value | both | solves).items()}, repeats)
    timing.header(f"U(1) {extent}^2, log det D")
    for name, found in timings.items():
        print(f"  {name:20s}{found}")
    for method in ("even-odd", "dense"):
        for kind in ("", ", gradient"):
            target = TARGETS.get(extent) if method == "dense" and kind and not smoke else None
            print(timing.ratio_line(f"{method}{kind} / slab", timings[method + kind], timings["slab" + kind], target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extents", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--smoke", action="store_true", help="4^2 lattice, one repetition")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for extent in [4] if args.smoke else args.extents:
        compare(extent, 1 if args.smoke else args.repeats, args.smoke)
    print(f"peak memory {timing.peak_memory():.0f} MiB")


if __name__ == "__main__":
    main()
