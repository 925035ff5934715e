"""What Gauss-Newton gains where nothing, or not everything, is a smooth flow: stochastic, coupling and residual flows.

    python scripts/targets/second_order_stochastic.py [NAME ...] [--samples N] [--out FILE] [--smoke]

On 8x8, phi^4 at m2 = -4, lambda = 8 and U(1) at beta = 2: stochastic normalizing flows of gated layers with one step of
MALA behind each, a Langevin flow with a learned drift, the reverse SDE of the closed-form score, spline couplings and a
residual flow behind a learned spectrum. Reverse KL by Adam, then `gauss_newton`: ESS, Var[log w] and the pull of log Z before
and after it, from fresh samples with float64 weights, and the seconds of both parts, compilation included. Layers of one
integration step: log Z with two as well. `floor_u1`: the variance of the untrained reverse SDE against its number of steps,
which is what Gaussian steps leave.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _points import run_points
from _stochastic_methods import THEORIES, field_of, prior_of

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Point:
    theory: str
    model: Callable[[Any], tm.Model]
    adam: int
    rate: float
    newton: int
    samples: int | None = None
    batch_size: int = 64


def _layered(layers: int, length: float) -> Callable:
    """Gated layers of one integration step, MALA behind each."""

    def build(theory):
        prior = prior_of(theory)
        flows = [tm.ContinuousFlow(field_of(theory, features=4, gates=1, times=1), steps=1) for _ in range(layers)]
        kernel = tm.kernels.HMCKernel(length=length, steps=1)
        return tm.Model(prior, tm.AnnealedFlow(prior, theory, kernel, layers, layers=tm.stochastic.stack_layers(flows)))

    return build


def _langevin(theory):
    prior = prior_of(theory)
    return tm.Model(prior, tm.LangevinFlow(prior, theory, 16, step_size=0.02, drift=field_of(theory)))


def _reverse_sde(steps: int) -> Callable:
    def build(theory):
        noising = tm.stochastic.HeatKernelNoising(theory.manifold)
        score = tm.stochastic.plaquette_score(noising, theory, gates=1, times=4, dtype=jnp.float32)
        return tm.Model(noising.prior, tm.ScoreDiffusion(noising, score, steps))

    return build


def _couplings(theory):
    transform = tm.transforms.Composition(tm.transforms.RationalQuadraticSpline(8, (-2.0, 2.0)), tm.transforms.Affine())
    couplings = tm.CouplingFlow(jax.random.key(1), theory.manifold, 4, transform, hidden=(12,), dtype=jnp.float32)
    return tm.Model(tm.GaussianPrior(theory.manifold), tm.FlowSequence(tm.flows.FourierFlow(theory.manifold), couplings))


def _residual(theory):
    potential = tm.fields.NeighbourPotential(jax.random.key(1), theory.manifold)
    residual = tm.ResidualFlow(potential, 4)
    return tm.Model(tm.GaussianPrior(theory.manifold), tm.FlowSequence(tm.flows.FourierFlow(theory.manifold), residual))


POINTS = {
    "snf_phi4": Point("phi4_8x8", _layered(6, 0.1), 200, 3e-2, 2, 4096),
    "snf_u1": Point("u1_8x8_beta2", _layered(8, 0.5), 200, 3e-2, 3, 8192, 128),
    "coupling_phi4": Point("phi4_8x8", _couplings, 400, 3e-3, 4),
    "residual_phi4": Point("phi4_8x8", _residual, 300, 1e-2, 4),
    "langevin_phi4": Point("phi4_8x8", _langevin, 300, 1e-2, 4, 4096),
    "reverse_sde_u1": Point("u1_8x8_beta2", _reverse_sde(32), 0, 1e-2, 2, 2048),
}
SAMPLES = 10_000


def evaluated(model, theory, samples: int) -> dict:
    ensemble = tm.sample(jax.random.key(99), model, theory, samples, batch_size=250, measure={}, dtype=jnp.float32)
    log_z = tm.log_z(ensemble)
    return {
        "ess": float(tm.ess_fraction(ensemble.log_weights)),
        "variance": float(np.var(ensemble.log_weights)),
        "log Z": [float(log_z.value), float(log_z.error)],
        "log Z pull": float(log_z.pull(tm.exact.log_z(theory))),
        "samples": samples,
    }


def _said(when: str, row: dict, seconds: float) -> None:
    found = f"ESS {row['ess']:.4f}, variance {row['variance']:.4g}, log Z {row['log Z pull']:+.1f} errors"
    print(f"  {when}: {found}, {seconds:.0f} s", flush=True)


def trained(name: str, samples: int, smoke: bool) -> dict:
    point, key = POINTS[name], jax.random.key(0)
    theory = THEORIES[point.theory]()
    model = point.model(theory)
    row: dict = {"numbers": tm.training.parameter_count(model), "updates": point.adam}
    print(f"{name}: {row['numbers']} numbers", flush=True)
    start = time.perf_counter()
    if point.adam:
        updates = 2 if smoke else point.adam
        model, _ = tm.fit(
            jax.random.fold_in(key, 0),
            model,
            theory,
            steps=updates,
            batch_size=point.batch_size,
            optimiser=optax.adam(optax.cosine_decay_schedule(point.rate, updates)),
            dtype=jnp.float32,
            chunk=updates,
            progress=False,
        )
    row["adam_seconds"] = time.perf_counter() - start
    row["before"] = evaluated(model, theory, samples)
    _said(f"after {point.adam} updates", row["before"], row["adam_seconds"])
    start = time.perf_counter()
    options = tm.GaussNewton(1 if smoke else point.newton, 64 if smoke else point.samples, dtype=jnp.float32)
    row["steps"] = []
    for found, record in options.iterate(jax.random.fold_in(key, 1), model, theory):
        model = found
        row["steps"].append(record)
        print(
            f"    step {record['step']}: variance {record['variance']:.3g}, ESS {record['ess']:.3f}, damping "
            f"{record['damping']:.0e}, length {record['length']}, {record['seconds']:.0f} s",
            flush=True,
        )
    row["newton_seconds"] = time.perf_counter() - start
    row["after"] = evaluated(model, theory, samples)
    _said("after Gauss-Newton", row["after"], row["newton_seconds"])
    if name.startswith("snf"):
        finer = eqx.tree_at(lambda m: m.transport.layers, model, model.transport.layers.refined())
        row["two steps per layer"] = evaluated(finer, theory, samples)
        _said("with two steps per layer", row["two steps per layer"], 0.0)
    return row


def floor(samples: int, smoke: bool) -> dict:
    """Variance against the number of steps, and their product."""
    theory, rows = THEORIES["u1_8x8_beta2"](), {}
    for steps in (2, 4) if smoke else (32, 64, 128, 256):
        row = evaluated(_reverse_sde(steps)(theory), theory, samples)
        rows[str(steps)] = row | {"product": steps * row["variance"]}
        print(f"  {steps} steps: variance {row['variance']:.3g}, times steps {steps * row['variance']:.3g}", flush=True)
    return rows


def _run(name: str, samples: int | None, smoke: bool) -> dict:
    samples = samples or SAMPLES
    return floor(samples, smoke) if name == "floor_u1" else trained(name, samples, smoke)


if __name__ == "__main__":
    run_points(__doc__, dict.fromkeys([*POINTS, "floor_u1"]), _run, SAMPLES)
