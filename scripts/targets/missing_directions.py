"""What is missing in trained fields of SU(N): predicted variances of log w by other terms, before any training.

    python scripts/targets/missing_directions.py [NAME ...] [--samples N] [--models FOLDER] [--out FILE] [--smoke]

For pretrained flows in two dimensions, on the 8x8 lattice that they were trained on, and for model A on 4^3 and 4^4, trained
here: the variance now, by more training of the model's own numbers, and by candidates from zero, alone and joint with the
model's (`tm.missing_directions`). The variance of fields of loops grows with the volume.
"""

import dataclasses

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
from _points import run_points  # noqa: E402
from _second_order import Training, trained  # noqa: E402

import trivmap as tm  # noqa: E402

POINTS = {
    "su3-beta6-model-a": ((8, 8), 3, 6.0, "su3-2d-modelA-beta6", 1024),
    "su2-beta2.7-ladder": ((8, 8), 2, 2.7, "su2-2d-ladder-beta2.7", 1024),
    "su3-beta6-ladder": ((8, 8), 3, 6.0, "su3-2d-ladder-beta6", 512),
    "su3-beta6-model-b": ((8, 8), 3, 6.0, "su3-2d-modelB-beta6", 1024),
    "su2-3d-beta1.5-model-a": ((4, 4, 4), 2, 1.5, None, 512),
    "su3-4d-beta3-model-a": ((4, 4, 4, 4), 3, 3.0, None, 128),
}
RECTANGLE = (1, 1, 2, -1, -1, -2)


def without_coefficients(potential: tm.LoopPotential, time: str, times: int) -> tm.GradientField:
    """The gradient of the same loops with coefficients at zero."""
    zeros = jnp.zeros((len(potential.terms), times), jnp.float32)
    return tm.GradientField(tm.LoopPotential(potential.manifold, potential.terms, coefficients=zeros, time=time, times=times))


def candidates(theory: tm.WilsonAction) -> dict[str, tm.fields.AbstractVectorField]:
    manifold, float32 = theory.manifold, {"dtype": jnp.float32}
    first, second = tm.LoopPotential.model_a(theory), tm.LoopPotential.model_b(theory, terms=84, knots=2, order=1)
    network = tm.fields.NeuralPotential(
        jax.random.key(0), manifold, loops=((1, 2, -1, -2), RECTANGLE), hidden=(16,), times=3, **float32
    )
    return {
        "loops of order 1, cosines in t": without_coefficients(first, "cosine", 5),
        "loops of order 2, affine in t": without_coefficients(second, "affine", 2),
        "gated convolutions": tm.fields.CovariantConvolutionField(
            manifold, features=2, gates=2, radius=1, times=3, **float32
        ),
        "network of traces": tm.GradientField(network),
    }


def longer_loops(theory: tm.WilsonAction) -> dict[str, tm.fields.AbstractVectorField]:
    """Those of order 2 with up to eight links, 22 of 168 in four dimensions: derivatives take four seconds per sample."""
    potential = tm.LoopPotential.model_b(theory, terms=22, knots=2, order=1)
    return {"loops of order 2, up to 8 links": without_coefficients(potential, "affine", 2)}


def model_of(theory: tm.WilsonAction, name: str | None, models, smoke: bool) -> tm.Model:
    if name is not None:
        return tm.load_pretrained(name)
    field = tm.GradientField(tm.LoopPotential.model_a(theory, dtype=jnp.float32))
    start = lambda: tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(field, steps=6))  # noqa: E731
    plan = Training(0, 0.0, 1, 512, newton_batch=64 if len(theory.lattice) == 3 else 4)
    extents = "x".join(str(extent) for extent in theory.lattice)
    name = f"su{theory.group.n}-{extents}-beta{float(theory.beta):g}-model-a"
    return trained(name, jax.random.key(0), start, theory, plan, smoke, models)[0]


def _run(name: str, samples: int | None, smoke: bool, models) -> dict:
    lattice, n, beta, pretrained, count = POINTS[name]
    theory = tm.WilsonAction(tm.SU(n), lattice, beta)
    model = model_of(theory, pretrained, models, smoke)
    # Loops of order 2 take minutes to compile, and ladders are ahead of them.
    few = smoke or name.endswith("ladder")
    if len(lattice) == 4:
        others = longer_loops(theory)
    else:
        others = {k: v for k, v in candidates(theory).items() if not (few and "order 2" in k)}
    found = tm.missing_directions(
        jax.random.key(1), model, theory, others, samples=samples or count, reverse=True, dtype=jnp.float32
    )
    print(f"{name}\n{found}", flush=True)
    return dataclasses.asdict(found)


if __name__ == "__main__":
    run_points(__doc__, POINTS, _run, None, models=True)
