"""Initialisation and optimiser: what a fixed number of updates reaches, for phi^4.

    python scripts/figures/initialisation.py [--smoke] [--out FOLDER]

A coupling flow on 8x8, m2 = -4, lambda = 8. Left: ESS after the updates against the learning rate, for Adam with a cosine
decay (`default_optimiser`), Adam at a constant rate, and gradient descent with momentum; gradients are clipped. Right: from
different starts, the width of the prior, and a Fourier layer that learns the spectrum.
"""

import jax
import jax.numpy as jnp
import optax
from _common import run

import trivmap as tm

OPTIMISERS = {
    "Adam, cosine decay": tm.training.default_optimiser,
    "Adam, constant": lambda steps, rate: optax.adam(rate),
    "momentum": lambda steps, rate: optax.sgd(rate, momentum=0.9),
}
# (width of the prior, with a Fourier layer)
STARTS = {"width 1": (1.0, False), "width 0.5": (0.5, False), "width 0.25": (0.25, False), "Fourier, width 1": (1.0, True)}


def _model(theory, width: float = 1.0, fourier: bool = True) -> tm.Model:
    transform = tm.transforms.Composition(tm.transforms.RationalQuadraticSpline(8, (-2.0, 2.0)), tm.transforms.Affine())
    layers = tm.CouplingFlow(jax.random.key(1), theory.manifold, 4, transform, hidden=(24, 24))
    flow = tm.FlowSequence(tm.flows.FourierFlow(theory.manifold), layers) if fourier else layers
    return tm.Model(tm.GaussianPrior(theory.manifold, width=width), flow)


def _fit(theory, model, optimiser, steps: int):
    options = {"steps": steps, "optimiser": optimiser, "chunk": max(steps // 20, 1), "dtype": jnp.float32, "progress": False}
    return tm.fit(jax.random.key(0), model, theory, batch_size=128, **options)


def _ess(theory, optimiser, steps: int, n: int) -> float:
    """Of the trained model; zero where training met a number that is not finite."""
    try:
        model, _ = _fit(theory, _model(theory), optimiser, steps)
    except tm.training.TrainingDiverged:
        return 0.0
    return tm.ess_fraction(tm.sample(jax.random.key(2), model, theory, n, measure={}).log_weights)


def compute(smoke: bool) -> dict:
    extent, steps, n, rates = (4, 10, 256, [1e-2]) if smoke else (8, 200, 4000, [1e-3, 3e-3, 1e-2, 3e-2])
    theory = tm.Phi4Action((extent, extent), m2=-4.0, lam=8.0)
    data: dict = {"updates": steps, "rates": rates, "optimisers": {}, "starts": {}}
    for name, make in list(OPTIMISERS.items())[: 1 if smoke else None]:
        data["optimisers"][name] = [_ess(theory, make(steps, rate), steps, n) for rate in rates]
        print(f"{name}: ESS {', '.join(f'{ess:.3f}' for ess in data['optimisers'][name])} at {rates}", flush=True)
    optimiser = tm.training.default_optimiser(steps, 3e-3)  # one object: starts of equal layers are compiled once
    for name, start in list(STARTS.items())[: 1 if smoke else None]:
        _, history = _fit(theory, _model(theory, *start), optimiser, steps)
        data["starts"][name] = {"step": history.column("step").tolist(), "ess": history.column("ess").tolist()}
        print(f"{name}: ESS {data['starts'][name]['ess'][-1]:.3f}", flush=True)
    return data


def plot(figure, data: dict) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    for (name, values), marker, line in zip(data["optimisers"].items(), "os^", ("-", "--", ":"), strict=False):
        left.plot(data["rates"], values, marker + line, label=name)
    left.set_xscale("log")
    left.set(xlabel="learning rate", ylabel="ESS per sample", title=f"after {data['updates']} updates", ylim=(0, 1.02))
    for (name, curve), line in zip(data["starts"].items(), ("--", "-.", ":", "-"), strict=False):
        right.plot(curve["step"], curve["ess"], line, label=name)
    right.set(xlabel="update", title="start: prior and Fourier layer")
    left.legend(loc="lower left", fontsize=7)
    right.legend(loc="center right", bbox_to_anchor=(1.0, 0.6), fontsize=7)


if __name__ == "__main__":
    run("initialisation", __doc__, compute, plot, (6.8, 3.0))
