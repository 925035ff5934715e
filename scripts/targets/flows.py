"""Trains continuous flows on the reference points and compares them with exact results.

    python scripts/targets/flows.py [NAME ...] [--out FILE] [--smoke]

For each point: seconds of training and compilation, ESS of 10^4 and more samples with float64 weights, the same with half
the step size, acceptance of independence Metropolis against the log-normal relation erfc(sqrt(-log ESS)/2), and
observables with pulls. Points with `moved_to` also give the ESS of the model after `transfer` to a larger lattice, without
further training. `--smoke` runs every point for a few steps on few samples.
"""

import dataclasses
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Point:
    theory: Callable
    field: Callable
    integration_steps: int
    steps: int
    batch_size: int
    learning_rate: float
    least_ess: float
    most_seconds: float
    samples: int = 20_000
    moved_to: int | None = None


def _phi4(extent: int, lam: float) -> Callable:
    return lambda: tm.Phi4Action((extent, extent), m2=-4.0, lam=lam)


def _u1(extent: int, beta: float) -> Callable:
    return lambda: tm.WilsonAction(tm.U1(), (extent, extent), beta=beta)


def _su(n: int, extent: int, beta: float) -> Callable:
    return lambda: tm.WilsonAction(tm.SU(n), (extent, extent), beta=beta)


def _gated(theory):
    return tm.GatedConvolutionField(theory.manifold, dtype=jnp.float32)


def _loops(theory):
    return tm.GradientField(tm.LoopPotential(theory.manifold, dtype=jnp.float32))


def _gerdes(theory):
    return tm.ConvolutionField(jax.random.key(1), theory.manifold, dtype=jnp.float32)


def _covariant(theory):
    return tm.fields.CovariantConvolutionField(theory.manifold, radius=2, dtype=jnp.float32)


def _neural(theory):
    base = tm.fields.trivializing_potential(theory, 1, dtype=jnp.float32)
    return tm.GradientField(tm.fields.NeuralPotential(jax.random.key(1), theory.manifold, base=base, dtype=jnp.float32))


POINTS = {
    "phi4_8x8": Point(_phi4(8, 8.0), _gated, 5, 1500, 64, 1e-2, 0.95, 300),
    "phi4_6x6": Point(_phi4(6, 6.975), _gated, 5, 1500, 64, 1e-2, 0.93, 300),
    "phi4_6x6_convolution": Point(_phi4(6, 6.975), _gerdes, 20, 300, 64, 5e-3, 0.0, 300),
    "u1_8x8": Point(_u1(8, 2.0), _gated, 5, 300, 64, 3e-2, 0.85, 60),
    "u1_16x16": Point(_u1(16, 3.0), _gated, 6, 900, 64, 2e-2, 0.80, 600),
    "su3_4x4": Point(_su(3, 4, 2.0), _loops, 4, 150, 64, 3e-2, 0.0, 300),
    "su2_4x4": Point(_su(2, 4, 2.2), _loops, 5, 150, 64, 3e-2, 0.0, 300),
    "su2_8x8_covariant": Point(_su(2, 8, 2.2), _covariant, 5, 200, 64, 3e-2, 0.0, 600, samples=10_000, moved_to=16),
    "su2_8x8_neural": Point(_su(2, 8, 2.2), _neural, 5, 200, 64, 1e-2, 0.0, 600, samples=10_000, moved_to=16),
}


def _observables(theory) -> dict:
    """Name -> (function of a configuration, exact value)."""
    if isinstance(theory, tm.Phi4Action):
        return {
            "phi^2": (lambda x: jnp.mean(x**2), tm.exact.phi_squared(theory)),
            "chi2": (tm.observables.susceptibility, tm.exact.susceptibility(theory)),
            "ising_energy": (tm.observables.ising_energy, tm.exact.ising_energy(theory)),
        }
    table = {
        "plaquette": (tm.plaquette, tm.exact.plaquette(theory)),
        "wilson_2x2": (lambda x: tm.wilson_loop(x, 2, 2), tm.exact.wilson_loop(theory, 2, 2)),
    }
    if theory.group.n == 1:
        table["Q^2"] = (lambda x: tm.topological_charge(x) ** 2, tm.exact.charge_squared(theory))
    return table


def _moved(model: tm.Model, theory, extent: int, samples: int) -> float:
    """ESS on a lattice of another extent, without further training."""
    larger = tm.WilsonAction(theory.group, (extent, extent), beta=float(theory.beta))
    options = {"measure": {}, "batch_size": 64, "dtype": jnp.float32}
    ensemble = tm.sample(jax.random.key(1), tm.transfer(model, larger), larger, samples, **options)
    return float(tm.ess_fraction(ensemble.log_weights))


def run(name: str, samples: int | None, smoke: bool) -> dict:
    point = POINTS[name]
    theory, samples = point.theory(), samples or point.samples
    scalar = isinstance(theory.manifold, tm.RealField)
    prior = tm.GaussianPrior(theory.manifold, 0.5) if scalar else tm.HaarPrior(theory.manifold)
    flow = tm.ContinuousFlow(point.field(theory), steps=point.integration_steps, checkpoint=False)
    start = time.perf_counter()
    model, history = tm.fit(
        jax.random.key(0),
        tm.Model(prior, flow),
        theory,
        steps=6 if smoke else point.steps,
        batch_size=8 if smoke else point.batch_size,
        optimiser=tm.training.default_optimiser(point.steps, point.learning_rate),
        dtype=jnp.float32,
    )
    trained = time.perf_counter() - start
    table = _observables(theory)
    measure = {key: function for key, (function, _) in table.items()}
    ensemble = tm.sample(jax.random.key(1), model, theory, samples, measure=measure)
    halving = tm.step_halving(jax.random.key(1), model, theory, samples, ensemble=ensemble)
    chain = tm.independence_metropolis(jax.random.key(2), ensemble)
    rows = {key: (tm.expectation(ensemble, key), exact) for key, (_, exact) in table.items()}
    rows["log Z"] = (tm.log_z(ensemble), tm.exact.log_z(theory))
    ess = float(tm.ess_fraction(ensemble.log_weights))
    result = {
        "ess": ess,
        "ess_halved": halving.ess_halved,
        "halving_std": halving.std,
        "acceptance": float(tm.acceptance_rate(chain)),
        "acceptance_lognormal": float(tm.statistics.lognormal_acceptance(ess)),
        "samples": samples,
        "train_seconds": trained,
        "compile_seconds": float(history.column("compile_seconds").sum()),
        "loss": history[-1]["loss"],
        "observables": {
            key: {"value": float(e.value), "error": float(e.error), "exact": float(exact), "pull": float(e.pull(exact))}
            for key, (e, exact) in rows.items()
        },
    }
    if point.moved_to:
        extent = 12 if smoke else point.moved_to
        result |= {"moved_to": extent, "ess_moved": _moved(model, theory, extent, samples // 5)}
    _print(name, point, result, rows)
    return result


def _print(name: str, point: Point, result: dict, rows: dict) -> None:
    print(f"\n{name}: ESS {result['ess']:.4f}, steps halved {result['ess_halved']:.4f} (target {point.least_ess})")
    print(f"  acceptance {result['acceptance']:.3f}, log-normal relation {result['acceptance_lognormal']:.3f}")
    seconds = f"{result['train_seconds']:.0f} s (compilation {result['compile_seconds']:.0f} s)"
    print(f"  trained in {seconds}, loss {result['loss']:.4f}")
    if "ess_moved" in result:
        print(f"  moved to {result['moved_to']}x{result['moved_to']}: ESS {result['ess_moved']:.4f}")
    for key, (estimate, exact) in rows.items():
        print(f"  {key:13} {estimate!s:>16}  exact {float(exact):.8g}  pull {float(estimate.pull(exact)):+.1f}", flush=True)


if __name__ == "__main__":
    run_points(__doc__ or "", POINTS, run, None)
