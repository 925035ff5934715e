"""SU(3) in four dimensions and SU(2) in three: loop potentials, effective sample size against coupling, time and memory.

    python scripts/figures/gauge_4d.py [NAME ...] [--betas B ...] [--out FOLDER] [--samples N] [--smoke]

Trivializing potentials of order 0 and 1 without training, and model A (the loops of order 1, affine in time) trained by
Gauss-Newton on the smallest lattice at each coupling. Every point: ESS with float64 weights, variance of log w, step-halving
change, pull of the reweighted plaquette against HMC, milliseconds and buffer bytes per sample. Points that are in
FOLDER/gauge_4d.json already are kept.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.plotting import save_figure, style  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Row:
    n: int
    lattice: tuple[int, ...]
    trained_on: tuple[int, ...]
    betas: tuple[float, ...]
    share: float = 1.0  # of the samples


ROWS = {
    "su3_4d_4": Row(3, (4,) * 4, (4,) * 4, (1.0, 2.0, 3.0)),
    "su3_4d_6": Row(3, (6,) * 4, (4,) * 4, (1.0, 2.0, 3.0), 0.25),
    "su2_3d_8": Row(2, (8,) * 3, (4,) * 3, (0.5, 1.0, 1.5)),
}
KINDS = ("order 0", "order 1", "model A")
BATCH, STEPS = 4, 4


def theory_of(row: Row, lattice, beta: float):
    return tm.WilsonAction(tm.SU(row.n), lattice, beta=beta)


def model_of(theory, kind: str) -> tm.Model:
    if kind == "model A":
        potential = tm.LoopPotential.model_a(theory, dtype=jnp.float32)
    else:
        potential = tm.fields.trivializing_potential(theory, int(kind[-1]), dtype=jnp.float32)
    return tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(tm.GradientField(potential), steps=STEPS))


def train(row: Row, beta: float, smoke: bool) -> tuple[tm.Model, list]:
    theory = theory_of(row, row.trained_on, beta)
    return tm.gauss_newton(
        jax.random.key(0),
        model_of(theory, "model A"),
        theory,
        parameters=lambda m: m.transport.field.potential.coefficients,
        steps=1,
        samples=64 if smoke else 128,
        batch_size=BATCH,
        reverse=True,
        floor=0.3,
        dtype=jnp.float32,
        progress=False,
    )


def buffer_bytes(model: tm.Model, theory) -> int:
    def batch(model, keys):
        return eqx.filter_vmap(lambda k: model.sample_and_log_prob(k, jnp.float32)[1])(keys)

    compiled = eqx.filter_jit(batch).lower(model, jax.random.split(jax.random.key(0), BATCH)).compile()
    return compiled.compiled.memory_analysis().temp_size_in_bytes // BATCH


def evaluate(model: tm.Model, theory, count: int, reference) -> dict:
    options = {"measure": {"plaquette": tm.plaquette}, "batch_size": BATCH, "dtype": jnp.float32}
    tm.sample(jax.random.key(1), model, theory, BATCH, **options)
    start = time.perf_counter()
    ensemble = tm.sample(jax.random.key(1), model, theory, count, **options)
    seconds = time.perf_counter() - start
    halving = tm.step_halving(jax.random.key(2), model, theory, max(BATCH, count // 16), dtype=jnp.float32)
    return {
        "ess": float(tm.ess_fraction(ensemble.log_weights)),
        "variance": float(jnp.var(ensemble.log_weights)),
        "samples": count,
        "halving_std": float(halving.std),
        "plaquette_pull": float(tm.expectation(ensemble, "plaquette").pull(reference)),
        "milliseconds_per_sample": 1e3 * seconds / count,
        "buffer_megabytes_per_sample": buffer_bytes(model, theory) / 2**20,
    }


def plot(results: dict, folder: Path) -> None:
    import matplotlib.pyplot as plt

    with style():
        figure, panels = plt.subplots(1, len(results), figsize=(2.6 * len(results) + 0.6, 3.0), sharey=True, squeeze=False)
        for axes, (name, points) in zip(panels[0], results.items(), strict=True):
            for kind, marker in zip(KINDS, "osD", strict=True):
                betas = sorted(float(b) for b in points)
                axes.plot(betas, [points[f"{b:g}"][kind]["ess"] for b in betas], marker=marker, label=kind)
            row = ROWS[name]
            axes.set_title(f"SU({row.n}), {row.lattice[0]}$^{len(row.lattice)}$", fontsize="small")
            axes.set_xlabel(r"$\beta$")
        panels[0][0].set_ylabel("effective sample size per sample")
        panels[0][0].set_ylim(0, 1.02)
        panels[0][0].legend(fontsize="small")
        save_figure(folder / "gauge_4d", figure, results)
        plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows to run; all by default")
    parser.add_argument("--betas", nargs="+", type=float, help="couplings to run; all of each row by default")
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--smoke", action="store_true", help="3D SU(2) on 4x4x4, few samples")
    arguments = parser.parse_args()
    names = arguments.names or (["su2_3d_8"] if arguments.smoke else list(ROWS))
    if unknown := set(names) - set(ROWS):
        parser.error(f"unknown rows {sorted(unknown)}; choose from {', '.join(ROWS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    store = arguments.out / "gauge_4d.json"
    results = json.loads(store.read_text()) if store.exists() else {}
    for name in names:
        row, points = ROWS[name], results.setdefault(name, {})
        lattice = row.trained_on if arguments.smoke else row.lattice
        for beta in arguments.betas or (row.betas[:1] if arguments.smoke else row.betas):
            point = points.setdefault(f"{beta:g}", {})
            theory = theory_of(row, lattice, beta)
            count = 16 if arguments.smoke else max(BATCH, int(arguments.samples * row.share))
            reference = None
            for kind in KINDS:
                if kind not in point:
                    if reference is None:
                        chain = tm.hmc(jax.random.key(3), theory, 8 * count, chains=4, measure={"plaquette": tm.plaquette})
                        reference = tm.expectation(chain, "plaquette")
                    start = time.perf_counter()
                    model = train(row, beta, arguments.smoke)[0] if kind == "model A" else model_of(theory, kind)
                    seconds = time.perf_counter() - start
                    point[kind] = evaluate(tm.transfer(model, theory), theory, count, reference)
                    point[kind]["training_seconds"] = seconds if kind == "model A" else 0.0
                    store.write_text(json.dumps(results, indent=1) + "\n")
                p = point[kind]
                print(
                    f"{name} beta {beta:g} {kind}: ESS {100 * p['ess']:5.1f} %, var {p['variance']:.3g}, "
                    f"halving {p['halving_std']:.1e}, plaquette {p['plaquette_pull']:+.1f}\n"
                    f"    {p['milliseconds_per_sample']:.0f} ms and {p['buffer_megabytes_per_sample']:.1f} MB per sample",
                    flush=True,
                )
    plot(results, arguments.out)


if __name__ == "__main__":
    main()
