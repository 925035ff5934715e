"""Transfer in volume and in coupling: training from a model of a neighbouring theory against training from scratch.

    python scripts/figures/transfer.py [--smoke] [--out FOLDER]

Gated convolution flows. Volume: phi^4 (m2 = -4, lambda = 8) on 12x12 from a model of 8x8. Coupling: U(1) on 8x8 at beta = 3
from a model of beta = 2. ESS against the seconds of updates on the new theory; those of the first model are in the titles.
A moved model is trained at a tenth of the learning rate: the rate of a fresh one would undo it within a few updates.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _common import gated, run

import trivmap as tm


def _trained(theory, model, optimiser, steps: int, chunk: int):
    """The model and its curve: seconds of updates, and the ESS of the batches in each chunk."""
    options = {"optimiser": optimiser, "chunk": chunk, "dtype": jnp.float32, "progress": False}
    model, history = tm.fit(jax.random.key(0), model, theory, steps=steps, batch_size=128, **options)
    return model, {"seconds": np.cumsum(history.column("seconds")).tolist(), "ess": history.column("ess").tolist()}


def compute(smoke: bool) -> dict:
    small, large, steps, chunk = (4, 6, 10, 5) if smoke else (8, 12, 120, 6)
    pairs = {
        "volume": [tm.Phi4Action((extent, extent), m2=-4.0, lam=8.0) for extent in (small, large)],
        "coupling": [tm.WilsonAction(tm.U1(), (small, small), beta=beta) for beta in (2.0, 3.0)],
    }
    fast, slow = ((tm.training.default_optimiser(steps, rate), steps, chunk) for rate in (3e-2, 3e-3))
    data: dict = {"extents": [small, large]}
    for name, (old, new) in list(pairs.items())[1 if smoke else 0 :]:
        first, before = _trained(old, gated(old), *fast)
        curves = {
            "from scratch": _trained(new, gated(new), *fast)[1],
            "from the other": _trained(new, tm.transfer(first, new), *slow)[1],
        }
        data[name] = {"before": before["seconds"][-1], "curves": curves}
        last = {label: f"{curve['ess'][0]:.3f} to {curve['ess'][-1]:.3f}" for label, curve in curves.items()}
        print(f"{name}: ESS {last}, first model {before['ess'][-1]:.3f} in {before['seconds'][-1]:.0f} s", flush=True)
    return data


def plot(figure, data: dict) -> None:
    small, large = data["extents"]
    titles = {
        "volume": rf"$\phi^4$, {small}$^2$ to {large}$^2$",
        "coupling": rf"U(1) on {small}$^2$, $\beta$ = 2 to 3",
    }
    names = [name for name in titles if name in data]
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for (label, curve), line in zip(data[name]["curves"].items(), ("--", "-"), strict=True):
            axes.plot(curve["seconds"], curve["ess"], line, label=label)
        axes.set_title(f"{titles[name]}\n(first model: {data[name]['before']:.0f} s)")
        axes.set(xlabel="seconds of updates", ylim=(0, 1.02))
        axes.set_xlim(left=0)
    panels[0].set_ylabel("ESS per sample, of batches")
    panels[0].legend(loc="lower right")


if __name__ == "__main__":
    run("transfer", __doc__, compute, plot, (6.8, 3.0))
