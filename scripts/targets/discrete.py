"""Trains discrete flows on the reference points and compares them with exact results.

    python scripts/targets/discrete.py [NAME ...] [--out FILE] [--smoke]

For each point: seconds of training and of compilation, ESS and acceptance of independence Metropolis of 10^4 and more
samples with float64 weights, the acceptance that a log-normal distribution of the weights would have, erfc(sqrt(-log
ESS)/2), observables with pulls, and how many of 10^4 configurations a round trip misses: float64 with 1e-9 for the field
and 1e-8 for the log-det, float32 with 1e-3. Points that start from another one train that first. `--smoke` runs every point
for a few steps on few samples.
"""

import dataclasses
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

# chi2 and mass of E3 to E5 of arXiv:1904.12072: cluster Monte Carlo, tests/reference/phi4_2d.json. (value, error)
CLUSTER = {
    5.55: {"chi2": (2.906, 0.0027), "mass": (0.39562, 0.00058)},
    5.276: {"chi2": (4.1235, 0.0042), "mass": (0.3294, 0.00063)},
    5.113: {"chi2": (5.3482, 0.0059), "mass": (0.28853, 0.00067)},
}


@dataclasses.dataclass(frozen=True)
class Point:
    theory: Callable
    model: Callable
    steps: int
    batch_size: int
    learning_rate: float
    least_acceptance: float
    most_seconds: float
    start: str | None = None


def _phi4(extent: int, lam: float) -> Callable:
    return lambda: tm.Phi4Action((extent, extent), m2=-4.0, lam=lam)


def _u1(extent: int, beta: float) -> Callable:
    return lambda: tm.WilsonAction(tm.U1(), (extent, extent), beta=beta)


def _splines(layers: int, hidden: tuple[int, ...] = (24, 24), reach: int = 2) -> Callable:
    """Free field of a learned spectrum, then couplings by a spline and an affine map."""

    def build(theory):
        manifold = theory.manifold
        transform = tm.transforms.Composition(tm.transforms.RationalQuadraticSpline(8, (-2.0, 2.0)), tm.transforms.Affine())
        couplings = tm.CouplingFlow(
            jax.random.key(1), manifold, layers, transform, hidden=hidden, reach=reach, dtype=jnp.float32
        )
        spectrum = tm.flows.FourierFlow(manifold, dtype=jnp.float32)
        return tm.Model(tm.GaussianPrior(manifold), tm.FlowSequence(spectrum, couplings))

    return build


def _torus(layers: int, transform: Callable, hidden: tuple[int, ...] = (24, 24), **options) -> Callable:
    def build(theory):
        manifold = theory.manifold
        flow = tm.GaugeCouplingFlow(
            jax.random.key(1), manifold, layers, transform(), hidden=hidden, dtype=jnp.float32, **options
        )
        return tm.Model(tm.HaarPrior(manifold), flow)

    return build


def _circular(bins: int = 8) -> tm.transforms.AbstractTransform:
    return tm.transforms.Composition(tm.transforms.CircularSpline(bins), tm.transforms.Phase())


def _moebius() -> tm.transforms.AbstractTransform:
    return tm.transforms.Composition(tm.transforms.Moebius(4), tm.transforms.Phase())


def _projections() -> tm.transforms.AbstractTransform:
    return tm.transforms.Composition(tm.transforms.NonCompactProjection(4), tm.transforms.Phase())


POINTS = {
    "phi4_8x8": Point(_phi4(8, 8.0), _splines(4), 1000, 128, 3e-3, 0.75, 300),
    "phi4_e1": Point(_phi4(6, 6.975), _splines(4), 1500, 128, 3e-3, 0.7, 300),
    "phi4_e2": Point(_phi4(8, 6.008), _splines(6), 1500, 128, 3e-3, 0.7, 300),
    "phi4_e3": Point(_phi4(10, 5.55), _splines(6), 1500, 128, 3e-3, 0.7, 300),
    "phi4_e4": Point(_phi4(12, 5.276), _splines(8), 1200, 128, 3e-3, 0.7, 300),
    "phi4_e5": Point(_phi4(14, 5.113), _splines(8), 1200, 128, 3e-3, 0.7, 300),
    "u1_8x8": Point(_u1(8, 2.0), _torus(16, _circular), 1500, 128, 3e-3, 0.6, 300),
    "u1_8x8_moebius": Point(_u1(8, 2.0), _torus(16, _moebius), 600, 128, 3e-3, 0.0, 300),
    "u1_8x8_ncp": Point(_u1(8, 2.0), _torus(16, _projections), 600, 128, 3e-3, 0.0, 300),
    "u1_8x8_beta3": Point(_u1(8, 3.0), _torus(16, _circular), 3000, 128, 3e-3, 0.0, 600, start="u1_8x8"),
    "u1_16x16": Point(_u1(16, 3.0), _torus(16, _circular), 1000, 128, 1e-3, 0.0, 1200, start="u1_8x8_beta3"),
}


def _references(theory) -> dict:
    """Name -> (observable, reference, its error)."""
    if isinstance(theory, tm.Phi4Action):
        mass, cluster = tm.observables.pole_mass(), CLUSTER.get(round(float(theory.lam), 3))
        if cluster:
            return {"chi2": (tm.observables.susceptibility, *cluster["chi2"]), "mass": (mass, *cluster["mass"])}
        correlator = tm.exact.two_point(theory)
        middle = len(correlator) // 2
        return {
            "chi2": (tm.observables.susceptibility, tm.exact.susceptibility(theory), 0.0),
            "mass": (mass, np.arccosh(correlator[middle - 1] / correlator[middle]), 0.0),
            "phi^2": (lambda x: jnp.mean(x**2), tm.exact.phi_squared(theory), 0.0),
        }
    return {
        "plaquette": (tm.plaquette, tm.exact.plaquette(theory), 0.0),
        "Q^2": (lambda x: tm.topological_charge(x) ** 2, tm.exact.charge_squared(theory), 0.0),
    }


def _rows(theory, ensemble) -> dict:
    rows = {key: (tm.expectation(ensemble, entry), *rest) for key, (entry, *rest) in _references(theory).items()}
    try:
        rows["log Z"] = (tm.log_z(ensemble), tm.exact.log_z(theory), 0.0)
    except tm.exact.NoExactResultError:
        rows["log Z"] = (tm.log_z(ensemble), np.nan, 0.0)
    return rows


def round_trip(model: tm.Model, count: int, batch_size: int = 500) -> dict:
    """Configurations (of `count`, from the prior) for which flow and inverse flow disagree, by precision."""

    @eqx.filter_jit
    def errors(model, keys, dtype):
        def one(key):
            z = model.prior.sample(key, dtype)
            x, log_det = model.transport.forward_and_log_det(z)
            back, inverse = model.transport.inverse_and_log_det(x)
            return jnp.max(jnp.abs(back - z)), jnp.abs(log_det + inverse)

        return jax.vmap(one)(keys)

    result = {}
    for name, dtype, field, log_det in (("float64", jnp.float64, 1e-9, 1e-8), ("float32", jnp.float32, 1e-3, 1e-3)):
        keys = jax.random.split(jax.random.key(5), (-(-count // batch_size), min(batch_size, count)))
        found = np.concatenate([np.stack(errors(model, batch, dtype), axis=1) for batch in keys])
        # A number that is not one has failed.
        failed = ~((found[:, 0] < field) & (found[:, 1] < log_det))
        largest = found.max(axis=0)
        result[name] = {"failures": int(failed.sum()), "of": len(found), "field": largest[0], "log_det": largest[1]}
    return result


def print_round_trips(result: dict) -> None:
    for when in ("round_trip_before", "round_trip"):
        for precision, found in result[when].items():
            print(
                f"  {when.replace('_', ' ')}, {precision}: {found['failures']} of {found['of']} failed, "
                f"largest error of the field {found['field']:.1e}, of the log-det {found['log_det']:.1e}",
                flush=True,
            )


def train(name: str, smoke: bool) -> tuple[tm.Model, float, float]:
    """The trained model of a point, seconds in all and seconds of compilation, with those of the points it starts from."""
    point = POINTS[name]
    theory = point.theory()
    begin = time.perf_counter()
    if point.start is None:
        model, before, compiled = point.model(theory), 0.0, 0.0
    else:
        small, before, compiled = train(point.start, smoke)
        begin = time.perf_counter()
        model = tm.transfer(small, theory)
    model, history = tm.fit(
        jax.random.key(0),
        model,
        theory,
        steps=6 if smoke else point.steps,
        batch_size=8 if smoke else point.batch_size,
        optimiser=tm.training.default_optimiser(point.steps, point.learning_rate),
        dtype=jnp.float32,
    )
    seconds = time.perf_counter() - begin
    return model, before + seconds, compiled + float(history.column("compile_seconds").sum())


def run(name: str, samples: int, smoke: bool) -> dict:
    point = POINTS[name]
    theory = point.theory()
    before = round_trip(point.model(theory), 16 if smoke else 10_000)
    model, seconds, compiled = train(name, smoke)
    ensemble = tm.sample(jax.random.key(1), model, theory, samples)
    chain = tm.independence_metropolis(jax.random.key(2), ensemble)
    rows = _rows(theory, ensemble)
    ess = float(tm.ess_fraction(ensemble.log_weights))
    result = {
        "ess": ess,
        "acceptance": float(tm.acceptance_rate(chain)),
        "acceptance_lognormal": float(tm.statistics.lognormal_acceptance(ess)),
        "samples": samples,
        "train_seconds": seconds,
        "compile_seconds": compiled,
        "round_trip_before": before,
        "round_trip": round_trip(model, 16 if smoke else 10_000),
        "observables": {
            key: {"value": float(e.value), "error": float(e.error), "reference": float(r), "pull": float(e.pull(r, error))}
            for key, (e, r, error) in rows.items()
        },
    }
    _print(name, point, result, rows)
    return result


def _print(name: str, point: Point, result: dict, rows: dict) -> None:
    print(f"\n{name}: acceptance {result['acceptance']:.3f} (target {point.least_acceptance}), ESS {result['ess']:.3f}")
    print(f"  acceptance of a log-normal distribution with this ESS {result['acceptance_lognormal']:.3f}")
    seconds, compiled = result["train_seconds"], result["compile_seconds"]
    print(f"  trained in {seconds:.0f} s (compilation {compiled:.0f} s), at most {point.most_seconds:.0f} allowed")
    print_round_trips(result)
    for key, (estimate, reference, error) in rows.items():
        expected = f"{float(reference):.8g}" + (f" +- {error:.2g}" if error else "")
        print(
            f"  {key:10} {estimate!s:>16}  reference {expected}  pull {float(estimate.pull(reference, error)):+.1f}",
            flush=True,
        )


if __name__ == "__main__":
    run_points(__doc__ or "", POINTS, run, 20_000)
