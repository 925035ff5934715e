"""ESS against training time for the objectives, for a coupling flow of phi^4.

    python scripts/figures/objectives.py [--smoke] [--out FOLDER]

Reverse KL, path gradient, the score-function estimator with a leave-one-out baseline (control variate), and log variance,
on 8x8 at m2 = -4, lambda = 8, each with three seeds; seconds are those of the updates, compilation apart. Printed and stored
beside: the noise of the gradients of all objectives on one model, before and after training by reverse KL.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _common import run

import trivmap as tm

OBJECTIVES = {
    "reverse KL": tm.reverse_kl,
    "path gradient": tm.objectives.path_gradient,
    "control variate": tm.objectives.reinforce,
    "log variance": tm.objectives.log_variance,
}


def _model(theory) -> tm.Model:
    transform = tm.transforms.Composition(tm.transforms.RationalQuadraticSpline(8, (-2.0, 2.0)), tm.transforms.Affine())
    couplings = tm.CouplingFlow(jax.random.key(1), theory.manifold, 4, transform, hidden=(24, 24))
    return tm.Model(tm.GaussianPrior(theory.manifold), tm.FlowSequence(tm.flows.FourierFlow(theory.manifold), couplings))


def compute(smoke: bool) -> dict:
    extent, steps, seeds = (4, 20, 1) if smoke else (8, 400, 3)
    theory = tm.Phi4Action((extent, extent), m2=-4.0, lam=8.0)
    data: dict = {"lattice": [extent, extent], "curves": {}, "noise": {}}
    trained = None
    for name, objective in OBJECTIVES.items():
        for seed in range(seeds):
            options = {"steps": steps, "optimiser": tm.training.default_optimiser(steps, 3e-3), "chunk": max(steps // 20, 5)}
            options |= {"objective": objective, "dtype": jnp.float32, "progress": False}
            model, history = tm.fit(jax.random.key(seed), _model(theory), theory, **options)
            trained = model if trained is None else trained
            spent = np.cumsum(history.column("seconds"))
            data["curves"].setdefault(name, []).append({"seconds": spent.tolist(), "ess": history.column("ess").tolist()})
        last = [curve["ess"][-1] for curve in data["curves"][name]]
        print(f"{name}: ESS {np.mean(last):.3f} after {spent[-1]:.0f} s", flush=True)
    for when, model in (("before", _model(theory)), ("after", trained)):
        found = tm.training.gradient_noise(
            jax.random.key(9), model, theory, OBJECTIVES, batch_size=128, repeats=4 if smoke else 64
        )
        data["noise"][when] = found
        for name, row in found.items():
            print(
                f"{when} training, {name}: gradient {row['norm']:.2f}, noise {row['noise']:.2f}, "
                f"cosine with reverse KL {row['cosine']:.3f}, {1e3 * row['seconds']:.1f} ms",
                flush=True,
            )
    return data


def plot(figure, data: dict) -> None:
    axes = figure.subplots()
    for index, (name, curves) in enumerate(data["curves"].items()):
        look = {"color": f"C{index}", "linestyle": ("-", "--", ":", "-.")[index]}
        for k, curve in enumerate(curves):
            axes.plot(curve["seconds"], curve["ess"], label=name if k == 0 else None, **look)
    axes.set(xlabel="seconds of training", ylabel="ESS per sample", ylim=(0, 1))
    axes.set_xlim(left=0)
    axes.legend()


if __name__ == "__main__":
    run("objectives", __doc__, compute, plot, (4.8, 3.2))
