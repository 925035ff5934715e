"""One model for a range of couplings: U(1) from beta = 1 to 7, the closed form interpolated in beta.

    python scripts/targets/conditional.py [--extent 16] [--samples 1000] [--degrees 8 16] [--out FILE] [--smoke]

ESS of samples at couplings between the interpolation points, beside the closed form at each coupling, from the same keys.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

LOW, HIGH = 1.0, 7.0


def make(theory: tm.WilsonAction) -> tm.Model:
    field = tm.GatedConvolutionField.trivializing(theory.manifold, float(theory.beta), dtype=jnp.float32)
    return tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(field, steps=12))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extent", type=int, default=16)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--degrees", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--betas", type=float, nargs="+", default=[1.0, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.0])
    parser.add_argument("--out", type=Path, default=Path("conditional.json"))
    parser.add_argument("--smoke", action="store_true", help="4x4, two couplings, 100 samples")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.extent, arguments.samples, arguments.degrees, arguments.betas = 4, 100, [8], [1.0, 2.5]

    def theory(beta: float) -> tm.WilsonAction:
        return tm.WilsonAction(tm.U1(), (arguments.extent, arguments.extent), beta=beta)

    models = {d: tm.ConditionalModel(make, theory(LOW), LOW, HIGH, degree=d) for d in arguments.degrees}
    rows = {}
    for beta in arguments.betas:
        members = {f"degree {d}": model.at(theory(beta)) for d, model in models.items()} | {"closed form": make(theory(beta))}
        rows[beta] = {}
        for name, model in members.items():
            options = {"measure": {}, "batch_size": 50, "dtype": jnp.float32}
            ensemble = tm.sample(jax.random.key(0), model, theory(beta), arguments.samples, **options)
            rows[beta][name] = float(tm.ess_fraction(ensemble.log_weights))
        print(f"beta = {beta:g}: " + ", ".join(f"{k} {v:.4f}" for k, v in rows[beta].items()), flush=True)
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
