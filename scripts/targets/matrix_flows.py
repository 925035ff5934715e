"""Trains spectral and residual flows of SU(N) and compares them with exact results.

    python scripts/targets/matrix_flows.py [NAME ...] [--out FILE] [--smoke]

For each point: seconds of training and of compilation, ESS and acceptance of independence Metropolis of 10^4 and more
samples with float64 weights, observables with pulls, and how many configurations a round trip misses (float64: 1e-9 for the
field, 1e-8 for the log-det; float32: 1e-3). One matrix: the three densities of arXiv:2008.05456 at beta = 9. Lattices: two
dimensions, and 4^4 at small beta, there by plain reverse KL and by path gradients. `--smoke` runs every point for a few
steps on few samples.
"""

import dataclasses
import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from _points import run_points
from discrete import print_round_trips, round_trip

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

SETS = {"a": (0.98, -0.63, -0.21), "b": (0.17, -0.65, 1.22), "c": (1.0, 0.0, 0.0)}
# SU(3), 4^4, beta = 1, tests/reference/gauge4d.json: 0.060358(121) by heat bath.
PLAQUETTE_4D = 0.060358


@dataclasses.dataclass(frozen=True)
class Point:
    theory: Callable
    flow: Callable
    steps: int
    batch_size: int
    learning_rate: float
    least_ess: float
    samples: int = 20_000
    objective: Callable = tm.reverse_kl
    round_trips: int = 10_000


def _matrix(n: int, coefficients: tuple[float, ...]) -> Point:
    return Point(
        lambda: tm.theories.MatrixAction(tm.SU(n), 9.0, coefficients),
        lambda theory: tm.flows.SpectralFlow(jax.random.key(1), theory.manifold),
        1500 if n < 4 else 6000,
        512,
        1e-2,
        0.98,
    )


def _wilson(n: int, extents: tuple[int, ...], beta: float) -> Callable:
    return lambda: tm.WilsonAction(tm.SU(n), extents, beta=beta)


def _spectral(sweeps: int, **options) -> Callable:
    return lambda theory: tm.SpectralCouplingFlow(jax.random.key(1), theory.manifold, sweeps, dtype=jnp.float32, **options)


def _residual(sweeps: int) -> Callable:
    """Loops of the next-to-leading trivializing potential, its coefficients as start."""
    return lambda theory: tm.ResidualFlow(tm.LoopPotential.model_a(theory, dtype=jnp.float32), sweeps, checkpoint=False)


def _plaquettes(sweeps: int) -> Callable:
    """Plaquettes alone, the leading-order trivializing potential as start."""

    def build(theory):
        potential = tm.fields.trivializing_potential(theory, 0)
        coefficients = jnp.asarray(potential.coefficients, jnp.float32)[:, :1]
        start = tm.LoopPotential(theory.manifold, coefficients=coefficients, time="constant")
        return tm.ResidualFlow(start, sweeps, checkpoint=False)

    return build


POINTS = {f"su{n}_matrix_{name}": _matrix(n, c) for n in (2, 3, 4) for name, c in SETS.items()} | {
    "su2_8x8_spectral": Point(_wilson(2, (8, 8), 2.2), _spectral(2, reach=2), 1200, 128, 1e-2, 0.15),
    "su2_8x8_residual": Point(_wilson(2, (8, 8), 2.2), _residual(2), 60, 128, 1e-2, 0.5),
    "su2_8x8_residual_plaquettes": Point(_wilson(2, (8, 8), 2.2), _plaquettes(6), 300, 128, 1e-2, 0.1),
    "su3_8x8_spectral": Point(_wilson(3, (8, 8), 4.0), _spectral(2, reach=2), 500, 64, 1e-2, 0.1),
    "su3_8x8_residual": Point(_wilson(3, (8, 8), 4.0), _residual(2), 60, 32, 1e-2, 0.5, 2048, round_trips=1000),
    "su3_8x8_residual_plaquettes": Point(_wilson(3, (8, 8), 4.0), _plaquettes(6), 100, 64, 1e-2, 0.1),
    "su3_4d_residual": Point(_wilson(3, (4, 4, 4, 4), 1.0), _plaquettes(2), 60, 16, 1e-2, 0.1, 512, round_trips=64),
    "su3_4d_residual_path": Point(
        _wilson(3, (4, 4, 4, 4), 1.0), _plaquettes(2), 60, 16, 1e-2, 0.1, 512, tm.objectives.path_gradient, round_trips=64
    ),
}


def _rows(theory, ensemble) -> dict:
    """Name -> (estimate, exact value or None)."""
    if isinstance(theory, tm.theories.MatrixAction):
        n, beta = theory.manifold.group.n, float(theory.beta)
        exact = tm.exact.OneMatrixModel(n, beta, tuple(map(float, theory.coefficients)))
        moments = {
            f"tr U^{k}": (tm.expectation(ensemble, functools.partial(_trace, k)), exact.trace_moment(k)) for k in (1, 2, 3)
        }
        return moments | {"log Z": (tm.log_z(ensemble), exact.log_z())}
    plane = len(theory.lattice) == 2
    return {
        "plaquette": (tm.expectation(ensemble, "plaquette"), tm.exact.plaquette(theory) if plane else PLAQUETTE_4D),
        "log Z": (tm.log_z(ensemble), tm.exact.log_z(theory) if plane else None),
    }


def _trace(k: int, x: jax.Array) -> jax.Array:
    group, u = tm.observables.link_group(x), x[0]
    return group.real_trace(functools.reduce(group.multiply, [u] * k))[0]


def run(name: str, samples: int | None, smoke: bool) -> dict:
    point = POINTS[name]
    theory = point.theory()
    model = tm.Model(tm.HaarPrior(theory.manifold), point.flow(theory))
    trips = 8 if smoke else point.round_trips
    at_once = min(trips, 32 if len(theory.lattice) > 2 else 250)
    before = round_trip(model, trips, at_once)
    begin = time.perf_counter()
    steps = 4 if smoke else point.steps
    model, history = tm.fit(
        jax.random.key(0),
        model,
        theory,
        objective=point.objective,
        steps=steps,
        batch_size=8 if smoke else point.batch_size,
        optimiser=optax.adam(optax.cosine_decay_schedule(point.learning_rate, steps)),
        dtype=jnp.float64 if isinstance(theory, tm.theories.MatrixAction) else jnp.float32,
        chunk=4 if smoke else min(50, point.steps),
    )
    seconds = time.perf_counter() - begin
    measure = None if isinstance(theory, tm.theories.MatrixAction) else {"plaquette": tm.plaquette}
    batch_size = 64 if len(theory.lattice) > 2 else 256
    ensemble = tm.sample(jax.random.key(1), model, theory, samples or point.samples, batch_size=batch_size, measure=measure)
    rows = _rows(theory, ensemble)
    ess = float(tm.ess_fraction(ensemble.log_weights))
    chain = tm.independence_metropolis(jax.random.key(2), ensemble)
    result = {
        "ess": ess,
        "acceptance": float(tm.acceptance_rate(chain)),
        "samples": samples or point.samples,
        "train_seconds": seconds,
        "compile_seconds": float(history.column("compile_seconds").sum()),
        "round_trip_before": before,
        "round_trip": round_trip(model, trips, at_once),
        "observables": {
            key: {"value": float(e.value), "error": float(e.error)}
            | ({} if exact is None else {"exact": float(exact), "pull": float(e.pull(exact))})
            for key, (e, exact) in rows.items()
        },
    }
    _print(name, point, result, rows)
    return result


def _print(name: str, point: Point, result: dict, rows: dict) -> None:
    print(f"\n{name}: ESS {result['ess']:.3f} (target {point.least_ess}), acceptance {result['acceptance']:.3f}")
    print(f"  trained in {result['train_seconds']:.0f} s (compilation {result['compile_seconds']:.0f} s)")
    print_round_trips(result)
    for key, (estimate, exact) in rows.items():
        compared = "" if exact is None else f"  exact {float(exact):.8g}  pull {float(estimate.pull(exact)):+.1f}"
        print(f"  {key:10} {estimate!s:>16}{compared}", flush=True)


if __name__ == "__main__":
    run_points(__doc__ or "", POINTS, run, None)
