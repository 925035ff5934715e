"""Forces of pseudofermions in units of solves and of applications of the operator, and their memory.

    python scripts/benchmarks/pseudofermions.py [--repeats 9] [--smoke]

U(1) on 16x16 at beta = 2, kappa = 0.26 and SU(3) on 4^4 at beta = 1, kappa = 0.1 (links of disordered starts there), even-odd
form, float64, pseudofermions of their heatbath. Times in one process, repetitions in turn: one application of D D^dagger, a
solve of it to 1e-10, the action, the gradient to the same tolerance and to 1e-7, the same for one flavour with a rational
function, and the gauge force. Buffers are those of the compiled program.
"""

import argparse

import _timing as timing
import jax

import trivmap as tm
from trivmap.fermions import Accuracy, WilsonDirac, solve_normal
from trivmap.theories import PseudofermionAction, RationalPseudofermionAction

CASES = {"U(1) 16^2": (tm.U1(), (16, 16), 2.0, 0.26), "SU(3) 4^4": (tm.SU(3), (4, 4, 4, 4), 1.0, 0.1)}
SMOKE = {"U(1) 4^2": (tm.U1(), (4, 4), 2.0, 0.2)}


def compare(name: str, repeats: int) -> None:
    group, lattice, beta, kappa = CASES[name] if name in CASES else SMOKE[name]
    dirac, gauge = WilsonDirac(group, lattice, kappa), tm.WilsonAction(group, lattice, beta)
    links = tm.heatbath(jax.random.key(0), gauge, 1, thermalisation=50).configurations[0, 0]
    two = {tolerance: PseudofermionAction(dirac, force_tolerance=tolerance) for tolerance in (1e-10, 1e-7)}
    one = RationalPseudofermionAction(dirac, (1e-3, (1 + 2 * len(lattice) * kappa) ** 2), force_tolerance=1e-7)
    draw = jax.jit(lambda k, t: t.refresh(k, t.manifold.cold() | {"links": links}))
    theory = two[1e-10]
    x, y = draw(jax.random.key(1), theory), draw(jax.random.key(2), one)
    operator, accuracy = theory.operator, Accuracy(1e-10, 5000)

    def normal(x):
        u, psi = theory.factors[0].fields(x)
        return operator.apply_with(u, operator.apply_with(u, psi, dagger=True))

    def solve(x):
        u, psi = theory.factors[0].fields(x)
        return solve_normal(operator, u, psi, accuracy)

    cases = {
        "D D^dagger": timing.Case(normal, (x,)),
        "solve 1e-10": timing.Case(solve, (x,)),
        "action": timing.Case(lambda x: theory.action(x), (x,)),
        "force 1e-10": timing.Case(lambda x: two[1e-10].gradient(x)["links"], (x,)),
        "force 1e-7": timing.Case(lambda x: two[1e-7].gradient(x)["links"], (x,)),
        f"one flavour ({one.power.poles} poles)": timing.Case(lambda y: one.gradient(y)["links"], (y,)),
        "gauge force": timing.Case(lambda x: gauge.gradient(x["links"]), (x,)),
    }
    found = timing.measure(cases, repeats)
    timing.header(f"{name}, kappa = {kappa}: {int(solve(x)[2])} iterations to 1e-10, {int(one.iterations(y))} of all shifts")
    for case, result in found.items():
        solves, applications = (result.median / found[unit].median for unit in ("solve 1e-10", "D D^dagger"))
        print(f"  {case:24s}{result}, {result.buffers / 2**10:.0f} KiB")
        print(f"    {solves:.3g} solves, {applications:.3g} applications of D D^dagger")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--smoke", action="store_true", help="a 4^2 lattice, one repetition")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for name in SMOKE if args.smoke else CASES:
        compare(name, 1 if args.smoke else args.repeats)
    print(f"peak memory {timing.peak_memory():.0f} MiB")


if __name__ == "__main__":
    main()
