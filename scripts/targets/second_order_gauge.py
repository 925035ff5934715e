"""Gauge fields whose flows are finished by Gauss-Newton.

    python scripts/targets/second_order_gauge.py [NAME ...] [--samples N] [--models FOLDER] [--out FILE] [--smoke]

- U(1) at beta = 2 and 3: a gated convolution field from the Haar measure, a few hundred steps of Adam on reverse KL, then
  `gauss_newton`.
- `-charge`: the same flows, beside which two fields that are gated by the charge start from zero; all by `gauss_newton`.
- U(1) at beta = 5 and 7: the closed form `GatedConvolutionField.trivializing`, beside it a learned gated field and two that
  are gated by the charge, all from zero, by `gauss_newton` alone.
- SU(N) on 16x16: the pretrained ladder field, all of its numbers by `gauss_newton` on 8x8, moved; `-direct`: on 16x16.
- SU(2) on 8^3: loops of order 2 by `gauss_newton` on 4^3, moved.

For every point: ESS, acceptance, log Z and observables against exact values where they are known, the change by halving the
steps, and seconds of each part on this machine, compilation included.
"""

from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
from _points import run_points  # noqa: E402
from _second_order import SAMPLES, Training, evaluate, exact_or_none, trained  # noqa: E402

import trivmap as tm  # noqa: E402

# Lattice, beta, and the training; without steps of Adam the closed form is the start.
U1 = {
    "u1-8-beta2": (8, 2.0, Training(200, 3e-2, 8, 4096, steps=5)),
    "u1-16-beta3": (16, 3.0, Training(200, 3e-2, 8, 6144, steps=5)),
    "u1-16-beta5": (16, 5.0, Training(0, 0.0, 3, 6144, steps=8, damping=1e-5)),
    "u1-16-beta7": (16, 7.0, Training(0, 0.0, 4, 8192, steps=12)),
}
# The point that is the start, and the training.
CHARGED = {
    "u1-8-beta2-charge": ("u1-8-beta2", Training(0, 0.0, 2, 4096, damping=1e-5)),
    "u1-16-beta3-charge": ("u1-16-beta3", Training(0, 0.0, 2, 8192, damping=1e-5)),
}
# Group, beta, the lattice of the training, and the training.
LADDERS = {
    "su2-16-beta2.7-ladder": (2, 2.7, (8, 8), Training(0, 0.0, 3, 1024, steps=6)),
    "su3-16-beta6-ladder": (3, 6.0, (8, 8), Training(0, 0.0, 2, 1024, steps=6)),
    "su2-16-beta2.7-ladder-direct": (2, 2.7, (16, 16), Training(0, 0.0, 2, 1024, steps=6, newton_batch=16)),
    "su3-16-beta6-ladder-direct": (3, 6.0, (16, 16), Training(0, 0.0, 1, 512, steps=6, newton_batch=16)),
}
LOOPS = {"su2-8x8x8-beta1.5": (2, 1.5, (4, 4, 4), Training(0, 0.0, 1, 512, steps=6, newton_batch=16))}


def charge_gated(theory: tm.WilsonAction, width: float) -> tuple[tm.fields.ChargeGatedField, ...]:
    """Two small fields gated by the charge, at zero."""
    gated = tm.GatedConvolutionField(theory.manifold, features=2, gates=2, times=3)
    return tuple(tm.fields.ChargeGatedField(gated, order=order, width=width) for order in (1, 2))


def learned_beside_closed_form(theory: tm.WilsonAction) -> tm.fields.SumField:
    """The closed form, which stays as it is, and the fields that are learned."""
    return tm.fields.SumField(
        tm.GatedConvolutionField.trivializing(theory.manifold, float(theory.beta), dtype=jnp.float32),
        tm.GatedConvolutionField(theory.manifold),
        *charge_gated(theory, 1.5),
    )


def gated(theory: tm.WilsonAction, plan: Training) -> tm.Model:
    """A gated field from zero, or what is learned beside the closed form."""
    field = tm.GatedConvolutionField(theory.manifold) if plan.adam else learned_beside_closed_form(theory)
    return tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(field, steps=plan.steps))


def trained_u1(name: str, theory: tm.WilsonAction, smoke: bool, folder: Path | None) -> tuple[tm.Model, dict]:
    extent, _, plan = U1[name]
    key = jax.random.fold_in(jax.random.key(0), extent)
    learned = None if plan.adam else lambda m: m.transport.field.fields[1:]
    return trained(name, key, lambda: gated(theory, plan), theory, plan, smoke, folder, learned)


def trained_charged(name: str, theory: tm.WilsonAction, smoke: bool, folder: Path | None) -> tuple[tm.Model, dict]:
    source, plan = CHARGED[name]

    def start() -> tm.Model:
        model = trained_u1(source, theory, smoke, folder)[0]
        field = tm.fields.SumField(model.transport.field, *charge_gated(theory, 0.8))
        return tm.Model(model.prior, tm.ContinuousFlow(field, steps=model.transport.steps))

    return trained(name, jax.random.key(0), start, theory, plan, smoke, folder)


def trained_matrices(name: str, smoke: bool, folder: Path | None) -> tuple[tm.Model, dict]:
    n, beta, lattice, plan = (LADDERS | LOOPS)[name]
    theory = tm.WilsonAction(tm.SU(n), (4, 4) if smoke and name in LADDERS else lattice, beta)

    def start() -> tm.Model:
        if name in LADDERS:
            return tm.load_pretrained(f"su{n}-2d-ladder-beta{beta:g}", theory.lattice)
        potential = tm.LoopPotential.model_b(theory, terms=8 if smoke else 84, knots=2, order=1, dtype=jnp.float32)
        flow = tm.ContinuousFlow(tm.GradientField(potential), steps=plan.steps)
        return tm.Model(tm.HaarPrior(theory.manifold), flow)

    return trained(name, jax.random.key(0), start, theory, plan, smoke, folder)


def _run(name: str, samples: int | None, smoke: bool, folder: Path | None) -> dict:
    print(name, flush=True)
    if name in LADDERS or name in LOOPS:
        model, seconds = trained_matrices(name, smoke, folder)
        n, beta, *_ = (LADDERS | LOOPS)[name]
        lattice = (16, 16) if name in LADDERS else (8, 8, 8)
        theory = tm.WilsonAction(tm.SU(n), (8,) * len(lattice) if smoke else lattice, beta)
        observables = {"plaquette": (tm.plaquette, exact_or_none(tm.exact.plaquette, theory))}
        model, samples = tm.transfer(model, theory), samples or (256 if name in LOOPS else SAMPLES)
        return evaluate(model, theory, observables, samples, 16, halved=512) | {"seconds": seconds}
    extent, beta, _ = U1[CHARGED[name][0] if name in CHARGED else name]
    theory = tm.WilsonAction(tm.U1(), (extent, extent), beta)
    model, seconds = (trained_charged if name in CHARGED else trained_u1)(name, theory, smoke, folder)
    observables = {
        "plaquette": (tm.plaquette, float(tm.exact.plaquette(theory))),
        "Q^2": (lambda x: tm.topological_charge(x) ** 2, float(tm.exact.charge_squared(theory))),
    }
    return evaluate(model, theory, observables, samples or SAMPLES, 64, None) | {"seconds": seconds}


if __name__ == "__main__":
    run_points(__doc__, dict.fromkeys([*U1, *CHARGED, *LADDERS, *LOOPS]), _run, None, models=True)
