"""Wilson-Dirac operator: against a bare pass over the same memory, and against the product with its dense matrix.

    python scripts/benchmarks/dirac.py [--points u1-16 u1-64 su3-4 su3-8] [--repeats 15]

D psi of one spinor in float64 on one configuration, from transporters, as solvers apply it. The copy reads spinor and
links once and writes a spinor. The dense product, where the matrix fits into memory, is that of XLA; its construction is
not timed. Beside them the even-odd operator, which has half of the sites. Ratios are wall times in one process, repetitions
in turn, with the range between opposite quartiles.
"""

import argparse

import _timing as timing
import jax
import jax.numpy as jnp

import trivmap as tm
from trivmap.fermions import EvenOddDirac, WilsonDirac

# Group, lattice, kappa, and the largest ratio to a copy.
POINTS = {
    "u1-16": (tm.U1(), (16, 16), 0.24, None),
    "u1-64": (tm.U1(), (64, 64), 0.24, 4.5),
    "su3-4": (tm.SU(3), (4, 4, 4, 4), 0.1, 8.5),
    "su3-8": (tm.SU(3), (8, 8, 8, 8), 0.1, 7.0),
}
SMOKE = {"u1-16": (4, 4), "u1-64": (4, 4), "su3-4": (2, 2, 2, 2), "su3-8": (2, 2, 2, 2)}
_LARGEST = 4096  # rows of a dense matrix


def copy(u: jax.Array, psi: jax.Array) -> jax.Array:
    """Reads both, writes a spinor: each of its components takes up some of the links."""
    size = psi.shape[0] * psi.shape[1]
    links = u.reshape(-1, *psi.shape[2:])
    total = psi.reshape(size, *psi.shape[2:])
    for first in range(0, len(links), size):
        part = links[first : first + size]
        total = total + (part if len(part) == size else jnp.pad(part, [(0, size - len(part))] + [(0, 0)] * (part.ndim - 1)))
    return total.reshape(psi.shape)


def compare(name: str, repeats: int, smoke: bool) -> None:
    group, lattice, kappa, target = POINTS[name]
    dirac = WilsonDirac(group, SMOKE[name] if smoke else lattice, kappa)
    x, psi = dirac.manifold.reference_sample(jax.random.key(0)), dirac.random_spinor(jax.random.key(1))
    schur, u = EvenOddDirac(dirac), dirac.transporters(x)
    cases = {
        "copy": timing.Case(copy, (u, psi)),
        "operator": timing.Case(dirac.apply_with, (u, psi)),
        "even-odd": timing.Case(schur.apply_with, (schur.transporters(x), schur.split(psi)[1])),
    }
    if dirac.size <= _LARGEST:
        matrix = dirac.dense(x)
        assert jnp.allclose(matrix @ psi.reshape(-1), dirac.apply_with(u, psi).reshape(-1), rtol=0, atol=1e-12)
        cases["dense"] = timing.Case(lambda matrix, v: matrix @ v, (matrix, psi.reshape(-1)))
    found = timing.measure(cases, repeats)
    timing.header(f"{group.name} on {'x'.join(map(str, dirac.lattice))}, D psi")
    for label, one in found.items():
        print(f"  {label:20s}{one}")
    print(f"  per site {1e6 * found['operator'].median * dirac.spins * group.n / dirac.size:.3g} ns")
    ratio = found["operator"].median / found["copy"].median
    verdict = "" if target is None or smoke else f"\n  at most {target:g}: {'reached' if ratio <= target else 'MISSED'}"
    print(timing.ratio_line("operator / copy", found["operator"], found["copy"]) + verdict)
    if "dense" in found:
        print(timing.ratio_line("dense / operator", found["dense"], found["operator"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", nargs="+", default=list(POINTS), choices=list(POINTS))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--smoke", action="store_true", help="smallest lattices, one repetition")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for name in args.points:
        compare(name, 1 if args.smoke else args.repeats, args.smoke)
    print(f"peak memory {timing.peak_memory():.0f} MiB")


if __name__ == "__main__":
    main()
