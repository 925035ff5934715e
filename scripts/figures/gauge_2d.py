"""Two-dimensional U(1), SU(2) and SU(3): effective sample size of continuous flows against coupling and volume.

    python scripts/figures/gauge_2d.py [NAME ...] [--from-scratch] [--volumes] [--out FOLDER] [--samples N] [--smoke]

Every row: ESS from `--samples` configurations on 16x16 with float64 weights, step-halving change of log w, acceptance of
independence Metropolis, pulls of plaquette, Wilson loops up to 3x3, |Polyakov|^2 (U(1): the correlator at distance one,
and Q^2) and log Z against the exact values; independent values of plaquette and Q per second (of wall time, from integrated
autocorrelation times) beside HMC. Learned numbers come from the pretrained models of the package; `--from-scratch` finds
them again on 8x8 (U(1): on 16x16), and `--write-pretrained` puts them into a checkout of the package. Rows that are in
FOLDER/gauge_2d.json already are kept; gauge_2d.md is the table of all rows there. With `--volumes` the figure shows ESS
against volume, with the law ESS(V) = ESS(V0)^(V/V0) from 16x16.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.plotting import save_figure, style  # noqa: E402

PRETRAINED = Path(__file__).parents[2] / "src/trivmap/models/pretrained.json"


@dataclasses.dataclass(frozen=True)
class Row:
    n: int
    beta: float
    kind: str
    steps: int = 6  # of integration


@dataclasses.dataclass(frozen=True)
class Training:
    """Gauss-Newton steps."""

    start: Callable  # the field before training, from the theory
    pick: Callable  # its learned numbers
    steps: int
    samples: int
    reverse: bool = False
    damping: float = 1e-3
    extent: int = 8


class MeanGates(tm.fields.AbstractVectorField):
    """A closed form and the few numbers that are learned on top of it, apart so that `gauss_newton` can pick them."""

    field: tm.GatedConvolutionField
    change: jax.Array

    @property
    def manifold(self):
        return self.field.manifold

    def __call__(self, t, x):
        return self.field.with_mean_gates(self.change)(t, x)

    def on(self, manifold) -> "MeanGates":
        return MeanGates(self.field.on(manifold), self.change)


def _ladder(theory, gates):
    return tm.LadderField(theory.manifold, theory.beta, gates=gates, reach=1, dtype=jnp.float32)


def _loops(potential):
    return lambda theory: tm.GradientField(potential(theory, dtype=jnp.float32))


def _gated(theory):
    return tm.GatedConvolutionField.trivializing(theory.manifold, float(theory.beta), dtype=jnp.float32)


UNTRAINED = {
    "order1": _loops(lambda theory, dtype: tm.fields.trivializing_potential(theory, 1, dtype=dtype)),
    "order2": _loops(lambda theory, dtype: tm.fields.trivializing_potential(theory, 2, dtype=dtype)),
    "ladder": lambda theory: _ladder(theory, 0),
    "gated": _gated,
}
TRAINED = {
    "ladder_gates": ("ladder", Training(lambda theory: _ladder(theory, 2), lambda field: field.gates, 1, 512)),
    "model_a": (
        "modelA",
        Training(_loops(tm.LoopPotential.model_a), lambda field: field.potential.coefficients, 6, 3072, reverse=True),
    ),
    "model_b": (
        "modelB",
        Training(_loops(tm.LoopPotential.model_b), lambda field: field.potential.coefficients, 1, 1280, reverse=True),
    ),
    # What the gates correct is collective, and differs on 8x8.
    "gated_learned": (
        "gated",
        Training(
            lambda theory: MeanGates(_gated(theory), jnp.zeros((5, 4, 2), jnp.float32)),
            lambda field: field.change,
            2,
            768,
            reverse=True,
            damping=1e-2,
            extent=16,
        ),
    ),
}
VOLUMES = (4, 8, 16, 32)


def _rows() -> dict[str, Row]:
    rows = {}
    for beta in (4.0, 5.0, 6.0):
        for kind, steps in (("order1", 4), ("order2", 4), ("model_a", 6), ("ladder", 5), ("ladder_gates", 6)):
            rows[f"su3_{beta:g}_{kind}"] = Row(3, beta, kind, steps)
        rows[f"su3_{beta:g}_model_b"] = Row(3, beta, "model_b", steps=24 if beta > 5 else 10)
    for beta in (1.8, 2.2, 2.7):
        for kind, steps in (("order1", 4), ("ladder", 5), ("ladder_gates", 6)):
            rows[f"su2_{beta:g}_{kind}"] = Row(2, beta, kind, steps)
    for beta in range(1, 8):
        rows[f"u1_{beta}_gated"] = Row(1, float(beta), "gated", steps=6 if beta < 2 else 12)
        if beta > 3:
            rows[f"u1_{beta}_gated_learned"] = Row(1, float(beta), "gated_learned", steps=12)
    return rows


ROWS = _rows()


def theory_of(row: Row, extent: int):
    return tm.WilsonAction(tm.U1() if row.n == 1 else tm.SU(row.n), (extent, extent), beta=row.beta)


def model_of(row: Row, field) -> tm.Model:
    return tm.Model(tm.HaarPrior(field.manifold), tm.ContinuousFlow(field, steps=row.steps))


def pretrained_name(row: Row) -> str:
    return f"{_group(row)}-2d-{TRAINED[row.kind][0]}-beta{row.beta:g}"


def train(row: Row, smoke: bool) -> tm.Model:
    training = TRAINED[row.kind][1]
    theory = theory_of(row, 4 if smoke else training.extent)
    start = model_of(row, training.start(theory))
    model, records = tm.gauss_newton(
        jax.random.key(0),
        start,
        theory,
        parameters=lambda m: training.pick(m.transport.field),
        steps=1 if smoke else training.steps,
        samples=48 if smoke else training.samples,
        batch_size=16 if smoke else 32,
        reverse=training.reverse,
        damping=training.damping,
        floor=0.3,
        dtype=jnp.float32,
        progress=False,
    )
    print("  " + ", ".join(f"step {r['step']}: var {r['variance']:.4f}, ESS {r['ess']:.3f}" for r in records), flush=True)
    return model


def learned(row: Row, stored: dict, arguments) -> tm.Model | None:
    """The trained model on a small lattice: of an earlier call, pretrained or trained now; `None` for closed forms."""
    if row.kind not in TRAINED:
        return None
    training = TRAINED[row.kind][1]
    if "numbers" in stored:
        field = training.start(theory_of(row, 4 if arguments.smoke else training.extent))
        return model_of(row, eqx.tree_at(training.pick, field, jnp.asarray(stored["numbers"], jnp.float32)))
    if not (arguments.from_scratch or arguments.smoke) and pretrained_name(row) in tm.models.pretrained_models():
        return tm.load_pretrained(pretrained_name(row))
    start = time.perf_counter()
    model = train(row, arguments.smoke)
    stored["training_seconds"] = time.perf_counter() - start
    stored["numbers"] = np.round(np.asarray(training.pick(model.transport.field), float), 5).tolist()
    return model


def on_lattice(row: Row, model: tm.Model | None, extent: int) -> tm.Model:
    theory = theory_of(row, extent)
    return model_of(row, UNTRAINED[row.kind](theory)) if model is None else tm.transfer(model, theory)


def measured(row: Row, theory) -> dict:
    """Name -> (function of a configuration, exact value)."""
    table = {"plaquette": (tm.plaquette, tm.exact.plaquette(theory))}
    for r, t in ((1, 2), (2, 2), (2, 3), (3, 3)):
        if max(r, t) < min(theory.lattice):
            table[f"W{r}x{t}"] = (lambda x, r=r, t=t: tm.wilson_loop(x, r, t), tm.exact.wilson_loop(theory, r, t))
    if row.n > 1:
        table["|P|^2"] = (lambda x: tm.observables.polyakov_correlator(x, 0), tm.exact.polyakov_loop_squared(theory))
    else:
        table["P(0)P(1)*"] = (
            lambda x: tm.observables.polyakov_correlator(x, 1, 0),
            tm.exact.polyakov_correlator(theory, 0, 1),
        )
        table["Q"] = (tm.topological_charge, 0.0)
        table["Q^2"] = (lambda x: tm.topological_charge(x) ** 2, tm.exact.charge_squared(theory))
    return table


def evaluate(row: Row, model: tm.Model, theory, samples: int) -> dict:
    table = measured(row, theory)
    measure = {name: function for name, (function, _) in table.items()}
    # The same arguments but for their number: compilation is not part of the time per sample.
    tm.sample(jax.random.key(1), model, theory, min(32, samples), measure=measure, batch_size=32, dtype=jnp.float32)
    start = time.perf_counter()
    ensemble = tm.sample(jax.random.key(1), model, theory, samples, measure=measure, batch_size=32, dtype=jnp.float32)
    seconds = time.perf_counter() - start
    halving = tm.step_halving(jax.random.key(2), model, theory, max(32, min(samples // 16, 256)), dtype=jnp.float32)
    chain = tm.independence_metropolis(jax.random.key(3), ensemble)
    estimates = {name: tm.expectation(ensemble, name) for name in table}
    pulls = {name: float(estimates[name].pull(exact)) for name, (_, exact) in table.items()}
    pulls["log Z"] = float(tm.log_z(ensemble).pull(tm.exact.log_z(theory)))
    ess = float(tm.ess_fraction(ensemble.log_weights))
    return {
        "lattice": list(theory.lattice),
        "ess": ess,
        "samples": samples,
        "variance": float(jnp.var(ensemble.log_weights)),
        "halving_std": float(halving.std),
        "acceptance": float(tm.acceptance_rate(chain)),
        "acceptance_lognormal": float(tm.statistics.lognormal_acceptance(ess)),
        "milliseconds_per_sample": 1e3 * seconds / samples,
        "pulls": pulls,
        "estimates": {name: [float(e.value), float(e.error)] for name, e in estimates.items()},
        **_efficiency(chain, row, seconds),
    }


def _efficiency(chain, row: Row, seconds: float) -> dict:
    """What a unit of wall time buys: tau_int in samples (of a chain, or of one of several), independent values per second."""
    names = ("plaquette", "Q") if row.n == 1 else ("plaquette",)
    tau = {name: float(tm.expectation(chain, name).tau_int) for name in names}
    values = chain.observables["plaquette"].size
    return {"tau_int": tau, "independent_per_second": {name: values / (2 * t * seconds) for name, t in tau.items()}}


def hmc_beside(row: Row, theory, seconds: float) -> dict:
    """HMC at the same coupling for about as many seconds."""
    measure = {name: function for name, (function, _) in measured(row, theory).items() if name in ("plaquette", "Q")}
    options = {"steps": 10, "chains": 8, "integrator": "omf2", "measure": measure, "chunk": 10, "dtype": jnp.float32}
    warm = tm.hmc(jax.random.key(4), theory, 10, **options)
    start = time.perf_counter()
    tm.hmc(jax.random.key(5), theory, 50, thermalisation=0, initial=warm.state, **options)
    trajectories = max(50, int(50 * seconds / (time.perf_counter() - start)))
    start = time.perf_counter()
    chain = tm.hmc(jax.random.key(6), theory, trajectories, thermalisation=0, initial=warm.state, **options)
    seconds = time.perf_counter() - start
    return {
        "trajectories": 8 * trajectories,
        "milliseconds_per_trajectory": 1e3 * seconds / (8 * trajectories),
        "acceptance": float(tm.acceptance_rate(chain)),
        **_efficiency(chain, row, seconds),
    }


def _worst(result: dict) -> str:
    name, pull = max(result["pulls"].items(), key=lambda item: abs(item[1]))
    return f"{pull:+.1f} ({name})"


def report(name: str, result: dict, beside: dict | None = None) -> None:
    print(
        f"{name:22s} {result['lattice'][0]:3d}^2 ESS {100 * result['ess']:5.1f} %  acceptance {result['acceptance']:.3f}"
        f" ({result['acceptance_lognormal']:.3f})\n"
        f"{'':22s} halving {result['halving_std']:.1e}, largest pull {_worst(result)},"
        f" {result['milliseconds_per_sample']:.1f} ms/sample"
    )
    for observable, tau in result["tau_int"].items() if beside else ():
        print(
            f"{'':22s} tau_int({observable}): {tau:.2f} samples, HMC {beside['tau_int'][observable]:.2f} trajectories\n"
            f"{'':22s} independent per second: {result['independent_per_second'][observable]:.3g}, "
            f"HMC {beside['independent_per_second'][observable]:.3g}"
        )
    print(end="", flush=True)


def write_table(results: dict, folder: Path) -> None:
    """The rows as Markdown."""
    columns = ("row", "ESS %", "samples", "halving", "acceptance (log-normal)", "largest pull")
    columns = (*columns, "tau_int", "ms/sample", "independent/s", "HMC tau_int", "HMC independent/s")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for name, r in results["rows"].items():
        beside = results["hmc"].get(_theory_name(ROWS[name]))
        if "ess" not in r or beside is None:  # a run that was interrupted; it goes on when it is asked for again
            continue
        slow = list(r["tau_int"])[-1]  # Q where there is one
        cells = [
            f"{name}, {slow}",
            f"{100 * r['ess']:.1f}",
            f"{r['samples']}",
            f"{r['halving_std']:.0e}",
            f"{r['acceptance']:.3f} ({r['acceptance_lognormal']:.3f})",
            _worst(r),
            f"{r['tau_int'][slow]:.2f}",
            f"{r['milliseconds_per_sample']:.1f}",
            f"{r['independent_per_second'][slow]:.3g}",
            f"{beside['tau_int'][slow]:.3g}",
            f"{beside['independent_per_second'][slow]:.3g}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    (folder / "gauge_2d.md").write_text("\n".join(lines) + "\n")


def _group(row: Row) -> str:
    return "u1" if row.n == 1 else f"su{row.n}"


def _theory_name(row: Row) -> str:
    return f"{_group(row)}_{row.beta:g}"


def plot(results: dict, folder: Path) -> None:
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(figsize=(5.2, 3.6))
        for index, (name, values) in enumerate(sorted(results["volume"].items())):
            volumes = sorted(int(v) for v in values)
            row = ROWS[name]
            group = "U(1)" if row.n == 1 else f"SU({row.n})"
            label = rf"{group}, $\beta$ = {row.beta:g}, {row.kind.replace('_', ' ')}"
            points = [values[str(v)]["ess"] for v in volumes]
            (line,) = axes.plot([v**2 for v in volumes], points, marker="osD^v<>"[index % 7], label=label)
            if "16" in values:
                sites = np.geomspace(16, 1024, 50)
                axes.plot(sites, values["16"]["ess"] ** (sites / 256), color=line.get_color(), linestyle=":", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("sites")
        axes.set_ylabel("effective sample size per sample")
        axes.set_title(r"dotted: ESS(16$^2$)$^{V/256}$", fontsize="small")
        axes.legend(fontsize="small")
        save_figure(folder / "gauge_2d_volume", figure, results["volume"])
        plt.close(figure)


def write_pretrained(row: Row, result: dict) -> None:
    """Put the numbers of a row into the package, with their provenance."""
    training = TRAINED[row.kind][1]
    table = json.loads(PRETRAINED.read_text())
    size = f"{training.extent}x{training.extent}"
    command = f"python scripts/figures/gauge_2d.py {_theory_name(row)}_{row.kind} --from-scratch"
    table[pretrained_name(row)] = {
        "kind": TRAINED[row.kind][0],
        "n": row.n,
        "beta": row.beta,
        "lattice": [training.extent] * 2,
        "steps": row.steps,
        "numbers": result["numbers"],
        "provenance": {
            "command": command,
            "objective": f"variance of log w, Gauss-Newton, {training.samples} samples on {size}, float32",
            "training_seconds": round(result["training_seconds"]),
            "ess": {f"{result['lattice'][0]}x{result['lattice'][1]}": round(result["ess"], 4)},
            "samples": result["samples"],
            "halving_std": float(f"{result['halving_std']:.1e}"),
        },
    }
    lines = [f"{json.dumps(name)}: {json.dumps(table[name])}" for name in sorted(table)]
    PRETRAINED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows to run; all by default")
    parser.add_argument("--from-scratch", action="store_true", help="train instead of loading pretrained numbers")
    parser.add_argument("--write-pretrained", action="store_true", help="store newly trained numbers in the package")
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--volumes", action="store_true", help="also the ESS on 4x4 to 32x32")
    parser.add_argument("--smoke", action="store_true", help="4x4, few samples, one row of each kind")
    arguments = parser.parse_args()
    names = arguments.names or list(ROWS)
    if arguments.smoke:
        names = arguments.names or ["su2_2.2_ladder_gates", "su3_4_model_a", "u1_1_gated"]
    if unknown := set(names) - set(ROWS):
        parser.error(f"unknown rows {sorted(unknown)}; choose from {', '.join(ROWS)}")
    samples, extent = (32, 4) if arguments.smoke else (arguments.samples, 16)
    arguments.out.mkdir(parents=True, exist_ok=True)
    store = arguments.out / "gauge_2d.json"
    results = json.loads(store.read_text()) if store.exists() else {"rows": {}, "hmc": {}, "volume": {}}
    for name in names:
        row, result = ROWS[name], results["rows"].setdefault(name, {})
        model = learned(row, result, arguments)
        store.write_text(json.dumps(results, indent=1) + "\n")  # training is what costs
        theory = theory_of(row, extent)
        if "ess" not in result:
            result.update(evaluate(row, on_lattice(row, model, extent), theory, samples))
            store.write_text(json.dumps(results, indent=1) + "\n")
        if _theory_name(row) not in results["hmc"]:
            results["hmc"][_theory_name(row)] = hmc_beside(row, theory, 1.0 if arguments.smoke else 60.0)
            store.write_text(json.dumps(results, indent=1) + "\n")
        report(name, result, results["hmc"][_theory_name(row)])
        write_table(results, arguments.out)
        if arguments.write_pretrained and "numbers" in result:
            write_pretrained(row, result)
        if arguments.volumes or arguments.smoke:
            values = results["volume"].setdefault(name, {})
            for volume in (4,) if arguments.smoke else VOLUMES:
                if (volume,) * 2 == theory.lattice:
                    values[str(volume)] = result
                elif str(volume) not in values:
                    count = samples // 5 if volume < 32 else samples // 20
                    values[str(volume)] = evaluate(row, on_lattice(row, model, volume), theory_of(row, volume), count)
                    store.write_text(json.dumps(results, indent=1) + "\n")
                report(name, values[str(volume)])
    if results["volume"]:
        plot(results, arguments.out)


if __name__ == "__main__":
    main()
