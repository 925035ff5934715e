"""Critical phi^4 by ridge fields that are finished by Gauss-Newton and moved from lattice to lattice.

    python scripts/targets/second_order.py [NAME ...] [--samples N] [--out FILE] [--models FOLDER] [--smoke]

Critical phi^4: m2 = -4, xi = L/4 (couplings of arXiv:1904.12072, whose points E1 to E5 are L = 6 ... 14, and 2107.00734).
Behind a free spectrum with learned corrections (`FourierFlow`) a `RidgeField`: reverse KL for a few hundred steps of Adam,
then `gauss_newton`; on most lattices the flow of a smaller one is the start; gauge theories are in second_order_gauge.py. For
every point: ESS, acceptance, log Z and observables with exact values where they are known, the change
by halving the steps, and seconds of each part on this machine, compilation included. `--models` keeps what was trained,
after every step of Gauss-Newton, and does not train it again.
"""

import functools
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
from _points import run_points  # noqa: E402
from _second_order import SAMPLES, Training, evaluate, exact_or_none, trained  # noqa: E402

import trivmap as tm  # noqa: E402

COUPLINGS = {6: 6.975, 8: 6.008, 10: 5.55, 12: 5.276, 14: 5.113, 16: 4.99, 32: 4.572, 64: 4.398, 128: 4.320}


PHI4 = {
    6: Training(300, 1e-2, 10, 2048),
    8: Training(300, 1e-2, 12, 2048),
    10: Training(150, 3e-3, 9, 4096, steps=16, start=6),
    12: Training(150, 3e-3, 5, 4096, steps=16, start=8),
    14: Training(150, 3e-3, 5, 4096, steps=16, start=8),
    16: Training(150, 3e-3, 9, 4096, steps=16, start=8),
    32: Training(150, 3e-3, 4, 4096, steps=16, newton_batch=16, start=16),
    64: Training(80, 1e-3, 5, 4096, steps=12, batch_size=32, newton_batch=4, start=32, shift=0.1, refine=2),
    # Moved and measured only: the training on 64x64 took most of an hour.
    128: Training(0, 0.0, 0, 256, steps=12, newton_batch=2, start=64, shift=0.1, refine=2, halved=32),
}


def phi4_theory(extent: int) -> tm.Phi4Action:
    return tm.Phi4Action((extent, extent), m2=-4.0, lam=COUPLINGS[extent])


def phi4_start(extent: int, smoke: bool, folder: Path | None) -> tm.Model:
    """A free field and the identity, or the trained flow of another extent."""
    theory, plan = phi4_theory(extent), PHI4[extent]
    if plan.start is not None and not smoke:
        # An hour of training is not repeated for the largest lattice.
        source = tm.load_pretrained("phi4-2d-critical-64") if extent == 128 else trained_phi4(plan.start, smoke, folder)[0]
        moved = tm.transfer(source, theory)
        spectrum, ridges = moved.transport.flows
        # The smaller lattice may have needed more steps for its smaller errors.
        return tm.Model(moved.prior, tm.FlowSequence(spectrum, tm.ContinuousFlow(ridges.field, steps=plan.steps)))
    flow = tm.FlowSequence(
        tm.flows.FourierFlow(theory.manifold, mass=1.0),
        tm.ContinuousFlow(tm.fields.RidgeField(jax.random.key(0), theory.manifold), steps=plan.steps),
    )
    return tm.Model(tm.GaussianPrior(theory.manifold), flow)


@functools.cache
def trained_phi4(extent: int, smoke: bool, folder: Path | None) -> tuple[tm.Model, dict]:
    key = jax.random.fold_in(jax.random.key(0), extent)
    start = functools.partial(phi4_start, extent, smoke, folder)
    return trained(f"phi4-{extent}", key, start, phi4_theory(extent), PHI4[extent], smoke, folder)


def phi4_row(extent: int, samples: int, smoke: bool, folder: Path | None) -> dict:
    theory = phi4_theory(extent)
    model, seconds = trained_phi4(extent, smoke, folder)
    observables = {
        "phi2": (lambda x: jnp.mean(x**2), exact_or_none(tm.exact.phi_squared, theory)),
        "susceptibility": (tm.observables.susceptibility, exact_or_none(tm.exact.susceptibility, theory)),
        "|M|": (lambda x: jnp.abs(tm.magnetisation(x)), exact_or_none(tm.exact.abs_magnetisation, theory)),
    }
    if PHI4[extent].refine > 1:
        model = model.refined(PHI4[extent].refine)
    plan = PHI4[extent]
    return evaluate(model, theory, observables, samples, plan.newton_batch, halved=plan.halved) | {"seconds": seconds}


def _run(name: str, samples: int | None, smoke: bool, folder: Path | None) -> dict:
    print(name, flush=True)
    return phi4_row(int(name.removeprefix("phi4-")), samples or SAMPLES, smoke, folder)


if __name__ == "__main__":
    run_points(__doc__, {f"phi4-{extent}": None for extent in PHI4}, _run, SAMPLES, models=True)
