"""Flows of loops from the Haar measure, their coefficients by linear regression on a ladder of couplings.

    python scripts/targets/stein_ladder.py [NAME ...] [--samples N] [--models FOLDER] [--out FILE] [--smoke]

At each coupling b of the ladder the best field with fixed loops is one least-squares problem on a short heatbath chain, that
of `training.stein_regression`: no derivative through a flow. Its columns, div v - v dS of every loop, are taken here from the
values of the loops and their change along dS, which is cheaper for many of them. The fields of all b are those of the flow
at t = b/beta, a cubic spline is between them, and at b = 0 is the closed form of the leading order. `--samples`: of the flow.
NAME-N takes the first N loops of the trivializing potential of order 2, by their number of links; `best`: of all of them the
N that leave the least of Var(dS/db) at 5/6 of beta, one after the other; `all`: those that are independent.

For every point: what the loops leave of Var(dS/db) at each coupling; the variance of log w if these remainders were the same
function all along the way, (integral of their root over b)^2; and what `evaluate` of `_second_order.py` measures. Plaquettes
are compared with a longer chain at beta. `--models` keeps the equations and the flow.
"""

import dataclasses
import functools
import time
from pathlib import Path

import equinox as eqx
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from _points import run_points  # noqa: E402
from _second_order import evaluate  # noqa: E402

import trivmap as tm  # noqa: E402

CHAINS, FOLDS = 16, 8


@dataclasses.dataclass(frozen=True)
class Point:
    """Group, beta, lattice, number of loops of order 2, configurations at each coupling; how many loops are chosen of these;
    the lattice to which the flow is moved; integration steps, samples of the flow."""

    n: int
    beta: float
    lattice: tuple[int, ...]
    loops: int
    samples: tuple[int, ...]
    best: int | None = None
    moved: tuple[int, ...] | None = None
    steps: int = 2
    count: int = 512
    batch_size: int = 4


POINTS = {
    "su2-8x8x8-beta1.5-all": Point(2, 1.5, (4,) * 3, 84, (1024,) * 3, moved=(8,) * 3, count=2048),
    "su3-4x4x4x4-beta3-22": Point(3, 3.0, (4,) * 4, 22, (512,) * 4),
    "su3-4x4x4x4-beta3-best40": Point(3, 3.0, (4,) * 4, 168, (480,) * 4, best=40),
    # More where more is left.
    "su3-4x4x4x4-beta3-all": Point(3, 3.0, (4,) * 4, 168, (480, 960, 1440)),
}


def theory_of(point: Point, b: float) -> tm.WilsonAction:
    return tm.WilsonAction(tm.SU(point.n), point.lattice, beta=b)


def chain_of(theory: tm.WilsonAction, samples: int, **options) -> tm.Chain:
    options = {"chains": CHAINS, "overrelaxation": 1, "thermalisation": 50, "thin": 3} | options
    return tm.heatbath(jax.random.key(0), theory, -(-samples // CHAINS), dtype=jnp.float32, **options)


@functools.cache
def rows_of(terms: tuple, n: int, dim: int):
    """div v - v dS of every loop and dS/db, of a theory on a stack of configurations."""
    family = tm.gauge.LoopFamily(tm.gauge.LoopAlgebra(n, dim), terms)
    matrix, constant = family.laplacian()
    zeros, scale = jnp.zeros(len(family.terms), jnp.float32), family.normalisation()[: family.given]

    def one(theory, x):
        force = theory.gradient(x)
        moved = lambda s: theory.manifold.exp((s.astype(jnp.float32) * force).astype(x.dtype), x)  # noqa: E731
        values = lambda s: family.values_and_gradient(zeros, moved(s))[0]  # noqa: E731
        value, change = jax.jvp(values, (jnp.zeros(()),), (jnp.ones(()),))
        laplacian = jnp.asarray(matrix) @ value + np.prod(theory.lattice) * jnp.asarray(constant)
        return (laplacian - change)[: family.given] * scale, theory.action(x) / theory.beta

    return eqx.filter_jit(lambda theory, stack: jax.lax.map(functools.partial(one, theory), stack))


def equations(theory: tm.WilsonAction, terms: tuple, samples: int, folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Columns and target of the regression on a chain, from the folder if they are there."""
    extents = "x".join(str(extent) for extent in theory.lattice)
    file = f"su{theory.group.n}-{extents}-b{float(theory.beta):g}-{len(terms)}loops-{samples}.npz"
    if folder is not None and (folder / file).exists():
        kept = np.load(folder / file)
        return kept["columns"], kept["target"]
    links = np.asarray(chain_of(theory, samples).configurations)
    links, rows = links.reshape(-1, *links.shape[2:]), rows_of(terms, theory.group.n, len(theory.lattice))
    found = [rows(theory, links[i : i + CHAINS]) for i in range(0, len(links), CHAINS)]
    columns, target = (np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*found, strict=True))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / file, columns=columns, target=target)
    return columns, target


def fitted(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    centred, spread = columns - columns.mean(0), columns.std(0)
    return np.linalg.lstsq(centred / spread, target - target.mean(), rcond=1e-6)[0] / spread


def left_by(columns: np.ndarray, target: np.ndarray) -> float:
    """Variance of the target that the columns leave: on the chains of every fold, fitted to the others."""
    folds, squares = np.arange(len(target)) * FOLDS // len(target), []
    for fold in range(FOLDS):
        held = folds == fold
        squares.append(np.var(target[held] - columns[held] @ fitted(columns[~held], target[~held])))
    return float(np.mean(squares))


def best_of(columns: np.ndarray, target: np.ndarray, count: int) -> list[int]:
    """Columns that take most of the variance of the target, one after the other."""
    left, rest, chosen = columns - columns.mean(0), target - target.mean(), []
    spread = np.sum(left**2, axis=0)
    for _ in range(count):
        norms = np.sum(left**2, axis=0)
        # Those that the chosen ones span are out.
        gains = np.where(norms > 1e-8 * spread, (left.T @ rest) ** 2 / np.maximum(norms, 1e-300), -1.0)
        chosen.append(int(np.argmax(gains)))
        direction = left[:, chosen[-1]] / norms[chosen[-1]] ** 0.5
        rest, left = rest - direction * (direction @ rest), left - np.outer(direction, direction @ left)
        if len(chosen) % 10 == 0:
            print(f"    best {len(chosen)} loops: {left_by(columns[:, chosen], target):.4g} left", flush=True)
    return chosen


def independent(columns: np.ndarray) -> list[int]:
    """Columns that those before do not span: traces of SU(N) obey identities."""
    left, kept = (columns - columns.mean(0)) / columns.std(0), []
    for k in range(left.shape[1]):
        norm = np.linalg.norm(left[:, k])
        if norm > 1e-4 * len(left) ** 0.5:
            kept.append(k)
            direction = left[:, k] / norm
            left = left - np.outer(direction, direction @ left)
    return kept


def chosen_loops(point: Point, terms: tuple, smoke: bool, folder: Path | None) -> list[int]:
    """Which of the terms, by the equations at 5/6 of beta."""
    columns, target = equations(theory_of(point, point.beta * 5 / 6), terms, 64 if smoke else point.samples[0], folder)
    print(f"    Var(dS/db) {np.var(target):.4g} at b = {point.beta * 5 / 6:.3g}", flush=True)
    for first in sorted({1, 4, 22, 40, 71, len(terms)}):
        if first <= len(terms):
            print(f"    first {first} loops: {left_by(columns[:, :first], target):.4g} left", flush=True)
    return best_of(columns, target, min(point.best, 3) if smoke else point.best) if point.best else independent(columns)


def ladder(point: Point, smoke: bool, folder: Path | None) -> tuple[tm.Model, list[dict]]:
    """The flow, and what was left at each coupling."""
    theory, rows = theory_of(point, point.beta), []
    terms = tm.LoopPotential.model_b(theory, terms=4 if smoke else point.loops).terms
    chosen = chosen_loops(point, terms, smoke, folder) if point.loops > 22 else list(range(len(terms)))
    # Fewer loops have cheaper equations, but those of all may be there.
    used = tuple(terms[k] for k in chosen) if point.best else terms
    picked = list(range(len(used))) if point.best else chosen
    start = tm.fields.trivializing_potential(theory, 0).coefficients[0, 0]
    knots = [float(start) * np.eye(len(picked))[0]]
    for b, samples in zip(np.linspace(0, point.beta, len(point.samples) + 1)[1:], point.samples, strict=True):
        begun = time.perf_counter()
        columns, target = equations(theory_of(point, float(b)), used, 64 if smoke else samples, folder)
        columns = columns[:, picked]
        knots.append(point.beta * fitted(columns, target))
        rows.append({"b": float(b), "variance": float(np.var(target)), "remainder": left_by(columns, target)})
        # Columns vanish in the mean, so that what is left of dS/db has its mean.
        rows[-1]["dS/db"] = float(np.mean(target - columns @ fitted(columns, target)))
        rows[-1] |= {"samples": len(target), "seconds": time.perf_counter() - begun}
        print(f"  b = {b:.3g}, {len(picked)} loops: " + ", ".join(f"{k} {v:.4g}" for k, v in rows[-1].items()), flush=True)
    coefficients = jnp.asarray(np.stack(knots, axis=1), jnp.float32)
    loops = tuple(used[k] for k in picked)
    potential = tm.LoopPotential(
        theory.manifold, loops, coefficients=coefficients, time="spline", times=coefficients.shape[1]
    )
    return tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(tm.GradientField(potential), steps=point.steps)), rows


def predicted(point: Point, rows: list[dict]) -> float:
    """Variance of log w if what is left were the same function at all couplings."""
    roots = [0.0, *(row["remainder"] ** 0.5 for row in rows)]
    return float(np.trapezoid(roots, dx=point.beta / len(rows))) ** 2


def integrated_log_z(point: Point, rows: list[dict]) -> float:
    """-<dS/db> integrated over b by the polynomial through it and its slope at b = 0, that of free plaquettes."""
    dim, b = len(point.lattice), [0.0, *(row["b"] for row in rows)]
    plaquettes = dim * (dim - 1) // 2 * np.prod(point.lattice)
    powers = np.vander([*b, 0.0], len(b) + 1, increasing=True)
    powers[-1] = np.eye(len(b) + 1)[1]
    slope = plaquettes / (4 if point.n == 2 else 2 * point.n**2)
    found = np.linalg.solve(powers, [0.0, *(-row["dS/db"] for row in rows), slope])
    return float(np.sum(found * point.beta ** np.arange(1, len(b) + 2) / np.arange(1, len(b) + 2)))


def built(name: str, smoke: bool, folder: Path | None) -> tuple[tm.Model, list[dict]]:
    file = None if folder is None else folder / f"{name}-stein.tm"
    if file is not None and file.exists():
        return tm.load(file), tm.io.read_header(file)["training"]["ladder"]
    model, rows = ladder(POINTS[name], smoke, folder)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        tm.save(file, model, training={"ladder": rows})
    return model, rows


def _run(name: str, samples: int | None, smoke: bool, folder: Path | None) -> dict:
    print(name, flush=True)
    point = POINTS[name]
    model, rows = built(name, smoke, folder)
    lattice = point.lattice if smoke or point.moved is None else point.moved
    theory = tm.WilsonAction(tm.SU(point.n), lattice, beta=point.beta)
    variance = predicted(point, rows) * np.prod(lattice) / np.prod(point.lattice)
    print(f"  predicted: variance of log w {variance:.3g}, ESS {np.exp(-variance):.3f}", flush=True)
    integrated = integrated_log_z(point, rows) * np.prod(lattice) / np.prod(point.lattice)
    print(f"  log Z by integration of <dS/db>: {integrated:.6g}", flush=True)
    chain = chain_of(theory, 64 if smoke else 8000, measure={"plaquette": tm.plaquette}, thin=1)
    reference = tm.expectation(chain, "plaquette")
    print(f"  plaquette of a chain: {reference}", flush=True)
    observables = {"plaquette": (tm.plaquette, float(reference.value))}
    # Samples with half the step size take twice as long each, and few are enough for what it changes.
    row = evaluate(tm.transfer(model, theory), theory, observables, samples or point.count, point.batch_size, halved=32)
    row |= {"ladder": rows, "predicted": variance, "integrated": integrated}
    return row | {"reference": [float(reference.value), float(reference.error)]}


if __name__ == "__main__":
    run_points(__doc__, POINTS, _run, None, models=True)
