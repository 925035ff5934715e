"""Gauss-Newton at equal seconds: beside Adam, log variance and path gradients.

    python scripts/figures/second_order.py [THEORY ...] [--methods METHOD ...] [--seeds N] [--replot] [--smoke] [--out FOLDER]

Critical phi^4 on 16x16 (ridge field), U(1) on 16x16 at beta = 3 (gated field), SU(3) on 8x8 at beta = 5
(`LoopPotential.model_a`). Reverse KL and path gradients by Adam for the whole time; log variance by Adam, and `gauss_newton`,
after a short start by reverse KL that is part of their time. Rates decay to zero as a cosine over the time that is left, from
the seconds of an update; those of path gradients and log variance begin at a third of that of reverse KL. At every checkpoint
fresh samples with the steps of the model and with twice as many: ESS, Var[log w] and reverse KL are those of the finer steps,
and the mean change of log w, by which log Z would be wrong, is the dotted line. Seconds are those of training without
compilation and checkpoints; compilation is stored apart. Curves that are in FOLDER/second_order.json already are kept.
"""

import argparse
import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _common import pair, save_figure, style
from matplotlib.figure import Figure

import trivmap as tm

# Fractions of the seconds at which models are evaluated.
CHECKPOINTS = (0.03, 0.06, 0.12, 0.25, 0.4, 0.6, 0.8, 1.0)
SAMPLES, LAST_SAMPLES = 1024, 10_000


@dataclasses.dataclass(frozen=True)
class Point:
    """A theory with its field; seconds of a curve; updates of the short start, and how it and Gauss-Newton run."""

    title: str
    theory: tm.theories.AbstractTheory
    model: Callable[[Any, int], tm.Model]
    seconds: float
    start: int
    rate: float
    newton: tm.GaussNewton
    batch_size: int = 64
    last_samples: int = LAST_SAMPLES


def _ridge(theory, seed: int) -> tm.Model:
    field = tm.fields.RidgeField(jax.random.key(seed), theory.manifold)
    flow = tm.FlowSequence(tm.flows.FourierFlow(theory.manifold, mass=1.0), tm.ContinuousFlow(field, steps=4))
    return tm.Model(tm.GaussianPrior(theory.manifold), flow)


def _gated(theory, seed: int) -> tm.Model:
    return tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=5))


def _loops(theory, seed: int) -> tm.Model:
    field = tm.GradientField(tm.LoopPotential.model_a(theory, dtype=jnp.float32))
    return tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(field, steps=4))


def _newton(samples: int, smoke: bool) -> tm.GaussNewton:
    return tm.GaussNewton(steps=1 if smoke else 100, samples=64 if smoke else samples, dtype=jnp.float32)


def points(smoke: bool) -> dict[str, Point]:
    large, small = ((4, 4), (4, 4)) if smoke else ((16, 16), (8, 8))
    table = {
        "phi4": Point(
            "$\\phi^4$, 16x16, $\\xi = L/4$",
            tm.Phi4Action(large, m2=-4.0, lam=4.99),
            _ridge,
            120,
            200,
            1e-2,
            _newton(4096, smoke),
        ),
        "u1": Point(
            "U(1), 16x16, $\\beta = 3$",
            tm.WilsonAction(tm.U1(), large, beta=3.0),
            _gated,
            120,
            200,
            3e-2,
            _newton(6144, smoke),
        ),
        "su3": Point(
            "SU(3), 8x8, $\\beta = 5$",
            tm.WilsonAction(tm.SU(3), small, beta=5.0),
            _loops,
            120,
            20,
            1e-2,
            _newton(512, smoke),
            32,
            4096,
        ),
    }
    if not smoke:
        return table
    return {n: dataclasses.replace(p, seconds=0.5, start=5, batch_size=8, last_samples=64) for n, p in table.items()}


class Clock:
    """Seconds since the start, without those of compilation and of pauses; `compile_seconds` apart."""

    def __init__(self):
        self._compiled: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        self.reset(0.0)

    def _listen(self, event: str, seconds: float, **_) -> None:
        if event.startswith("/jax/core/compile"):
            now = time.perf_counter()
            # Traces of inner functions are reported on their own and within those of outer ones.
            self._compiled = [part for part in self._compiled if part[0] < now - seconds] + [(now - seconds, now)]

    @property
    def compile_seconds(self) -> float:
        return sum(end - start for start, end in self._compiled) - self._before

    def reset(self, seconds: float) -> None:
        """Start from so many seconds."""
        self._before, self._paused = 0.0, 0.0
        self._before = self.compile_seconds
        self._start = time.perf_counter() - seconds

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start - self._paused - self.compile_seconds

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        start, compiled = time.perf_counter(), self.compile_seconds
        yield
        compiled = self.compile_seconds - compiled
        self._before += compiled
        self._paused += time.perf_counter() - start


CLOCK = Clock()


class Curve:
    """Evaluates a model where a checkpoint is due, with the clock stopped."""

    def __init__(self, point: Point, smoke: bool):
        self.point, self.samples = point, 64 if smoke else SAMPLES
        self.records: list[dict] = []
        self._due = [fraction * point.seconds for fraction in CHECKPOINTS]

    def __call__(self, model: tm.Model, always: bool = False) -> None:
        seconds = CLOCK.seconds
        self._latest = (model, seconds, CLOCK.compile_seconds)
        if always or (self._due and seconds >= self._due[0]):
            self._due = [due for due in self._due if due > seconds]
            self._evaluate(self.samples)

    def finish(self) -> None:
        """The last model again, on more samples."""
        self._evaluate(self.point.last_samples)

    def _evaluate(self, samples: int) -> None:
        model, seconds, compiled = self._latest
        with CLOCK.pause():
            record = evaluated(model, self.point.theory, samples)
        self.records.append({"seconds": seconds, "compile_seconds": compiled} | record)


def evaluated(model: tm.Model, theory, samples: int) -> dict:
    options = {"batch_size": 64, "measure": {}, "dtype": jnp.float32, "progress": False}
    coarse, fine = (tm.sample(jax.random.key(99), m, theory, samples, **options) for m in (model, model.refined()))
    found = {"samples": samples, "ess": float(tm.ess_fraction(fine.log_weights)), "log_z": pair(tm.log_z(fine))}
    found["acceptance"] = float(tm.acceptance_rate(tm.independence_metropolis(jax.random.key(1), fine)))
    found |= {"variance": float(np.var(fine.log_weights)), "mean": float(np.mean(fine.log_weights))}
    found |= {"own_ess": float(tm.ess_fraction(coarse.log_weights)), "own_variance": float(np.var(coarse.log_weights))}
    change = np.asarray(fine.log_weights) - np.asarray(coarse.log_weights)
    return found | {"halving_mean": float(change.mean()), "halving_std": float(change.std())}


def fitted(key, model, point: Point, objective, updates: int, rate: float, curve: Curve | None = None):
    def checkpoint(state, record):
        if curve is not None:
            curve(state.model)

    return tm.fit(
        key,
        model,
        point.theory,
        objective=objective,
        steps=updates,
        batch_size=point.batch_size,
        optimiser=optax.adam(optax.cosine_decay_schedule(rate, updates)),
        dtype=jnp.float32,
        chunk=5,
        progress=False,
        on_chunk=checkpoint,
    )


def per_update(history: tm.training.History) -> float:
    return min(record["seconds"] for record in history) / 5


def by_adam(key, model, point: Point, objective, rate: float, update: float, curve: Curve) -> None:
    """As many updates as fit into the seconds that are left."""
    updates = max(int((point.seconds - CLOCK.seconds) / update), 5)
    fitted(key, model, point, objective, updates, rate, curve)


def by_newton(key, model, point: Point, curve: Curve) -> None:
    """Steps that end within the time."""
    for found, record in point.newton.iterate(key, model, point.theory):
        if CLOCK.seconds > point.seconds and record["step"] > 1:
            break
        if record["step"] > 0:
            curve(found, always=True)


METHODS = ("reverse KL", "path gradient", "log variance", "Gauss-Newton")


class Start(NamedTuple):
    """The short start by reverse KL, its seconds, and those of an update."""

    model: tm.Model
    seconds: float
    update: float


def started(point: Point, seed: int) -> Start:
    CLOCK.reset(0.0)
    key = jax.random.fold_in(jax.random.key(seed), 0)
    model, history = fitted(key, point.model(point.theory, seed), point, tm.reverse_kl, point.start, point.rate)
    return Start(model, CLOCK.seconds, per_update(history))


def train(method: str, key, point: Point, seed: int, start: Start, curve: Curve) -> None:
    """For the seconds of the point; the clock is that of the training."""
    fresh = point.model(point.theory, seed)
    if method == "path gradient":
        objective = tm.objectives.path_gradient
        update = per_update(fitted(key, fresh, point, objective, 15, point.rate)[1])
    with_start = method in ("log variance", "Gauss-Newton")
    CLOCK.reset(start.seconds if with_start else 0.0)
    curve(start.model if with_start else fresh, always=True)
    if method == "Gauss-Newton":
        by_newton(key, start.model, point, curve)
    elif method == "path gradient":
        # At the full rate it exploits the error of the integrator (phi^4: ESS 0.17, and 0.69 with twice the steps).
        by_adam(key, fresh, point, objective, point.rate / 3, update, curve)
    elif method == "log variance":
        # A larger rate would undo what the start has learned.
        by_adam(key, start.model, point, tm.objectives.log_variance, point.rate / 3, start.update, curve)
    else:
        by_adam(key, fresh, point, tm.reverse_kl, point.rate, start.update, curve)


def curve_of(method: str, point: Point, seed: int, start: Start, smoke: bool) -> dict:
    key, curve, begun = jax.random.fold_in(jax.random.key(seed), 1), Curve(point, smoke), time.perf_counter()
    train(method, key, point, seed, start, curve)
    curve.finish()
    last = curve.records[-1]
    print(
        f"  {method}, seed {seed}: ESS {last['ess']:.4f} (own steps {last['own_ess']:.4f}), variance {last['variance']:.4g}, "
        f"mean change {last['halving_mean']:+.1e}, {last['seconds']:.0f} s of training, {last['compile_seconds']:.0f} s of "
        f"compilation, {time.perf_counter() - begun:.0f} s in all",
        flush=True,
    )
    return {"records": curve.records, "seed": seed, "method": method}


def compute(data: dict, asked: argparse.Namespace, store: Callable[[], None]) -> None:
    smoke = asked.smoke
    # Programs of SU(3) compile for minutes, whatever the lattice.
    for name in asked.names or (["phi4"] if smoke else points(smoke)):
        point = points(smoke)[name]
        row = data.setdefault(name, {"title": point.title, "seconds": point.seconds, "curves": {}})
        with contextlib.suppress(tm.exact.NoExactResultError):
            row["log_z"] = float(tm.exact.log_z(point.theory))
        for seed in range(asked.seeds):
            missing = [method for method in asked.methods if f"{method} {seed}" not in row["curves"]]
            if not missing:
                continue
            start = started(point, seed)
            print(f"{name}: {point.start} updates of reverse KL in {start.seconds:.0f} s", flush=True)
            for method in missing:
                row["curves"][f"{method} {seed}"] = curve_of(method, point, seed, start, smoke)
                store()


def reference(row: dict) -> float:
    """log Z, exact or from the curve whose weights vary least."""
    last = [curve["records"][-1] for curve in row["curves"].values()]
    return row.get("log_z", min(last, key=lambda record: record["variance"])["log_z"][0])


def plot(figure: Figure, data: dict) -> None:
    axes = figure.subplots(3, len(data), sharex="col", squeeze=False)
    for column, row in zip(axes.T, data.values(), strict=True):
        log_z = reference(row)
        for curve in row["curves"].values():
            _plot_curve(column, curve, log_z)
        column[0].set(title=row["title"], ylim=(0, 1.02))
        for panel in column[1:]:
            panel.set_yscale("log")
        column[-1].set(xlabel="seconds of training", xlim=(0, row["seconds"]))
    for panel, label in zip(axes[:, 0], ("ESS per sample", "Var[log w]", "reverse KL"), strict=True):
        panel.set_ylabel(label)
    axes[0, 0].legend(loc="lower right")


def _plot_curve(column, curve: dict, log_z: float) -> None:
    index = METHODS.index(curve["method"])
    # Of two within a second the later one, which has more samples.
    records = list({round(record["seconds"]): record for record in curve["records"]}.values())
    columns = {key: np.asarray([record[key] for record in records]) for key in records[0] if key != "log_z"}
    look = {"color": f"C{index}", "linestyle": ("-", "--", "-.", "-")[index]}
    look |= {"marker": "o" if curve["method"] == "Gauss-Newton" else None, "markersize": 3}
    label = curve["method"] if curve["seed"] == 0 else None
    column[0].plot(columns["seconds"], columns["ess"], label=label, **look)
    column[1].plot(columns["seconds"], columns["variance"], **look)
    column[2].plot(columns["seconds"], log_z - columns["mean"], **look)
    # By how much the integration steps of the training shift log Z.
    column[2].plot(columns["seconds"], np.abs(columns["halving_mean"]), color=f"C{index}", linestyle=":", linewidth=0.8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="THEORY", help="phi4, u1, su3; all by default, with --smoke the first")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--smoke", action="store_true", help="smallest size")
    parser.add_argument("--replot", action="store_true", help="draw the stored numbers again")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(points(True)):
        parser.error(f"unknown theories {sorted(unknown)}; choose from {', '.join(points(True))}")
    file = arguments.out / "second_order.json"
    data = json.loads(file.read_text()) if file.exists() else {}
    arguments.out.mkdir(parents=True, exist_ok=True)

    def store() -> None:
        with style():
            figure = Figure(figsize=(8.0, 6.6))
            plot(figure, data)
        save_figure(arguments.out / "second_order", figure, data)

    if arguments.replot:
        store()
    else:
        compute(data, arguments, store)
    print(arguments.out / "second_order.png")


if __name__ == "__main__":
    main()
