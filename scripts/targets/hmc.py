"""HMC of SU(2) and SU(3) in two and four dimensions against exact and reference plaquettes.

    python scripts/targets/hmc.py [NAME ...] [--out FILE] [--smoke]

For each point: plaquette with its pull, <exp(-dH)>, acceptance, the largest violation of unitarity in float64 and
float32, and the distance by which a trajectory misses its start after the momenta are reversed. Two-dimensional values
are exact, four-dimensional ones the Monte Carlo averages of `tests/reference/gauge4d.json` (errors combined).
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.kernels import molecular_dynamics  # noqa: E402

_REFERENCE = Path(__file__).parents[2] / "tests" / "reference" / "gauge4d.json"

# n, lattice, beta, steps of OMF2 per unit trajectory, chains, trajectories per chain
POINTS = {
    "su2_8x8": (2, (8, 8), 2.2, 4, 16, 500),
    "su3_8x8": (3, (8, 8), 5.0, 4, 16, 500),
    "su2_4^4": (2, (4, 4, 4, 4), 2.3, 7, 4, 500),
    "su3_4^4": (3, (4, 4, 4, 4), 5.7, 7, 4, 400),
}


def _expected(theory, n: int) -> tuple[float, float]:
    if len(theory.lattice) == 2:
        return float(tm.exact.plaquette(theory)), 0.0
    for row in json.loads(_REFERENCE.read_text())["rows"]:
        parameters = row["params"]
        same = parameters.get("group") == f"SU{n}" and parameters.get("shape") == list(theory.lattice)
        if row["grade"] == "M" and same and parameters["beta"] == float(theory.beta):
            return row["values"]["plaquette"], row["error"]["plaquette"]
    raise LookupError(f"{_REFERENCE.name} has no row for {theory}")


def _irreversibility(theory, steps: int) -> float:
    manifold = theory.manifold
    x = manifold.reference_sample(jax.random.key(3))
    p = manifold.random_tangent(jax.random.key(4))
    end, momentum, gradient = molecular_dynamics(theory, tm.kernels.omf2, x, p, theory.gradient(x), 1.0, steps)
    back, _, _ = molecular_dynamics(theory, tm.kernels.omf2, end, -momentum, gradient, 1.0, steps)
    return float(jnp.max(jnp.abs(back - x)))


def run(name: str, smoke: bool) -> dict:
    n, lattice, beta, steps, chains, trajectories = POINTS[name]
    theory = tm.WilsonAction(tm.SU(n), lattice, beta=beta)
    options = {"steps": steps, "integrator": "omf2", "measure": {"plaquette": tm.plaquette}}
    count = 4 if smoke else trajectories
    chain = tm.hmc(jax.random.key(0), theory, count, chains=chains, thermalisation=2 if smoke else 100, **options)
    single = tm.hmc(jax.random.key(1), theory, 4 if smoke else 200, chains=1, thermalisation=0, dtype=jnp.float32, **options)
    estimate, (value, error) = tm.expectation(chain, "plaquette"), _expected(theory, n)
    creutz = tm.statistics.creutz(chain)
    result = {
        "plaquette": [float(estimate.value), float(estimate.error)],
        "expected": [value, error],
        "pull": float(estimate.pull(value, error)),
        "exp_minus_dH": [float(creutz.value), float(creutz.error)],
        "acceptance": float(tm.acceptance_rate(chain)),
        "unitarity_float64": chain.unitarity_defect,
        "unitarity_float32": single.unitarity_defect,
        "irreversibility": _irreversibility(theory, steps),
    }
    print(f"{name}, beta {beta}: plaquette {estimate}, expected {value:.6f}({error:.6f}), pull {result['pull']:+.1f}")
    print(f"  <exp(-dH)> = {creutz}, acceptance {result['acceptance']:.3f}, {chains} x {count} trajectories")
    print(f"  unitarity {result['unitarity_float64']:.1e} (float64), {result['unitarity_float32']:.1e} (float32)")
    print(f"  reversed trajectory misses its start by {result['irreversibility']:.1e}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"points to run, of {', '.join(POINTS)}; all by default")
    parser.add_argument("--out", type=Path, help="write the results to this JSON file")
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(POINTS)
    if unknown:
        parser.error(f"unknown points {sorted(unknown)}; choose from {', '.join(POINTS)}")
    results = {name: run(name, arguments.smoke) for name in arguments.names or POINTS}
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
