"""One model for a range of couplings, against models of one coupling.

    python scripts/targets/conditional.py [NAME ...] [--extent 16] [--samples N] [--out FILE] [--smoke]

`u1`: the closed form for U(1) as a `ConditionalModel` of beta = 1 to 7, its numbers interpolated. `su3_model_a`: model A as
a `ConditionalModel` through the pretrained models of beta = 4, 5, 6. `su2_ladder`, `su3_ladder`: functions of time are
functions of the coupling b = beta t there, so that the pretrained model of the largest coupling is one of all smaller ones
(`transfer`). ESS of samples with the same keys.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Family:
    group: tm.groups.AbstractGroup
    betas: tuple[float, ...]
    samples: int
    members: Callable  # any theory of the family -> name -> function from a theory to its model


def _flow(field, steps: int) -> tm.Model:
    return tm.Model(tm.HaarPrior(field.manifold), tm.ContinuousFlow(field, steps=steps))


def _closed_form(theory: tm.WilsonAction) -> tm.Model:
    return _flow(tm.GatedConvolutionField.trivializing(theory.manifold, float(theory.beta), dtype=jnp.float32), 12)


def _u1(start) -> dict:
    models = {f"degree {d}": tm.ConditionalModel(_closed_form, start, 1.0, 7.0, degree=d).at for d in (8, 16)}
    return models | {"closed form": _closed_form}


def _order1(theory: tm.WilsonAction) -> tm.Model:
    return _flow(tm.GradientField(tm.fields.trivializing_potential(theory, 1, dtype=jnp.float32)), 4)


def _model_a(start) -> dict:
    def trained(member):
        return tm.load_pretrained(f"su3-2d-modelA-beta{float(member.beta):.0f}", start.lattice)

    # Three Chebyshev points, which are 4, 5 and 6 on this range.
    half = 2 / 3**0.5
    return {"degree 2": tm.ConditionalModel(trained, start, 5 - half, 5 + half, degree=2).at, "order 1": _order1}


def _closed_ladder(theory: tm.WilsonAction) -> tm.Model:
    return _flow(tm.LadderField(theory.manifold, theory.beta, gates=0, reach=1, dtype=jnp.float32), 6)


def _ladder(largest: str) -> Callable:
    return lambda _: {
        largest: lambda theory: tm.transfer(tm.load_pretrained(largest), theory),
        "without learned numbers": _closed_ladder,
    }


FAMILIES = {
    "u1": Family(tm.U1(), (1.0, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.0), 1000, _u1),
    "su2_ladder": Family(tm.SU(2), (0.9, 1.4, 1.8, 2.2, 2.7), 1000, _ladder("su2-2d-ladder-beta2.7")),
    "su3_ladder": Family(tm.SU(3), (2.0, 3.0, 4.0, 5.0, 5.5, 6.0), 500, _ladder("su3-2d-ladder-beta6")),
    "su3_model_a": Family(tm.SU(3), (4.0, 4.5, 5.0, 5.5, 6.0), 1000, _model_a),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAMILIES)}; all by default")
    parser.add_argument("--extent", type=int, default=16)
    parser.add_argument("--samples", type=int, help="default: 1000, for the SU(3) ladder 500")
    parser.add_argument("--out", type=Path, default=Path("conditional.json"))
    parser.add_argument("--smoke", action="store_true", help="4x4, one coupling, 64 samples")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(FAMILIES):
        parser.error(f"unknown families {sorted(unknown)}; choose from {', '.join(FAMILIES)}")
    if arguments.smoke:
        arguments.extent, arguments.samples = 4, 64
    rows: dict = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name in arguments.names or FAMILIES:
        family = FAMILIES[name]
        theories = [tm.WilsonAction(family.group, (arguments.extent,) * 2, beta=beta) for beta in family.betas]
        members = family.members(theories[-1])
        for theory in theories[-1:] if arguments.smoke else theories:
            beta = float(theory.beta)
            row = rows.setdefault(name, {})[f"{beta:g}"] = {}
            for member, model in members.items():
                options = {"measure": {}, "batch_size": 32, "dtype": jnp.float32}
                samples = arguments.samples or family.samples
                ensemble = tm.sample(jax.random.key(0), model(theory), theory, samples, **options)
                row[member] = float(tm.ess_fraction(ensemble.log_weights))
            print(f"{name}, beta = {beta:g}: " + ", ".join(f"{k} {v:.4f}" for k, v in row.items()), flush=True)
            arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
