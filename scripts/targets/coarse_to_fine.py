"""Critical phi^4 from coarse to fine: a flow on every lattice, behind that of half the extent, beside one flow for all sites.

    python scripts/targets/coarse_to_fine.py [NAME ...] [--samples N] [--out FILE] [--models FOLDER] [--smoke]

The couplings of `second_order.py` (m2 = -4, xi = L/4), from 8x8 (the pretrained flow) to 64x64: each lattice doubles the
last one by `CoarseToFine` with a `RidgeField` behind it, which starts as that of the last level. All numbers of all
levels are trained, by reverse KL and `gauss_newton`. For every point: ESS, acceptance, log Z, |M| and susceptibility, the
change by halving the steps, seconds; and ESS of the pretrained flow of one level on as many samples.
"""

import functools
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import equinox as eqx  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from _points import run_points  # noqa: E402
from _second_order import SAMPLES, Training, evaluate, trained  # noqa: E402
from second_order import phi4_theory  # noqa: E402

import trivmap as tm  # noqa: E402

PLANS = {
    16: Training(200, 5e-3, 5, 4096, steps=8),
    32: Training(100, 2e-3, 3, 4096, steps=8, newton_batch=16),
    # Never trained: moved alone it has a variance of log w of 4e4.
    64: Training(80, 1e-3, 3, 4096, steps=16, batch_size=32, newton_batch=8),
}


def start(extent: int, smoke: bool, folder: Path | None) -> tm.Model:
    """The trained flow of half the extent, details, and the last level's field on all sites, or the identity."""
    theory, half = phi4_theory(extent), extent // 2
    if half == 8:
        coarse = tm.load_pretrained("phi4-2d-critical-8").transport
        level = tm.flows.CoarseToFine(theory.manifold, coarse, variable="site")
        fine = tm.ContinuousFlow(tm.fields.RidgeField(jax.random.key(0), theory.manifold), steps=PLANS[extent].steps)
        return tm.Model(tm.GaussianPrior(theory.manifold), tm.FlowSequence(level, fine))
    model = trained_model(half, smoke, folder)[0]
    last, fine = model.transport.flows
    level = tm.flows.CoarseToFine(theory.manifold, model.transport, variable="site")
    learned = lambda c: (c.log_scale, c.log_width, c.log_mass)  # noqa: E731
    level = eqx.tree_at(learned, level, learned(last))
    return tm.Model(tm.GaussianPrior(theory.manifold), tm.FlowSequence(level, fine.on(theory.manifold)))


@functools.cache
def trained_model(extent: int, smoke: bool, folder: Path | None) -> tuple[tm.Model, dict]:
    begin = functools.partial(start, extent, smoke, folder)
    return trained(
        f"coarse-to-fine-{extent}", jax.random.key(extent), begin, phi4_theory(extent), PLANS[extent], smoke, folder
    )


def _run(name: str, samples: int, smoke: bool, folder: Path | None) -> dict:
    print(name, flush=True)
    extent = int(name.removeprefix("phi4-"))
    theory, plan = phi4_theory(extent), PLANS[extent]
    model, seconds = trained_model(extent, smoke, folder)
    observables = {
        "susceptibility": (tm.observables.susceptibility, None),
        "|M|": (lambda x: jnp.abs(tm.magnetisation(x)), None),
    }
    row = evaluate(model, theory, observables, samples, plan.newton_batch)
    one = tm.load_pretrained(f"phi4-2d-critical-{extent}")
    beside = tm.sample(jax.random.key(99), one, theory, samples, batch_size=plan.newton_batch, measure={}, dtype=jnp.float32)
    row |= {"seconds": seconds, "one level": float(tm.ess_fraction(beside.log_weights))}
    print(f"  one level: ESS {row['one level']:.4f}", flush=True)
    return row


if __name__ == "__main__":
    run_points(__doc__, {f"phi4-{extent}": None for extent in PLANS}, _run, SAMPLES, models=True)
