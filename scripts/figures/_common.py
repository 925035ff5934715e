"""What the scripts of figures share: options, training in short, files."""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

import trivmap as tm  # noqa: E402
from trivmap.plotting import save_figure, style  # noqa: E402


def run(name: str, doc: str, compute: Callable[[bool], dict], plot: Callable[[Any, dict], None], size: tuple) -> None:
    """The whole script: `compute(smoke)` gives the numbers, `plot(figure, numbers)` draws them and nothing else."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--smoke", action="store_true", help="smallest size")
    parser.add_argument("--replot", action="store_true", help="draw the stored numbers again")
    arguments = parser.parse_args()
    store = arguments.out / f"{name}.json"
    start = time.perf_counter()
    data = json.loads(store.read_text()) if arguments.replot else json.loads(json.dumps(compute(arguments.smoke)))
    with style():
        figure = Figure(figsize=size)
        plot(figure, data)
    paths = save_figure(arguments.out / name, figure, data)
    print(f"{paths[0]} and its numbers beside it, {time.perf_counter() - start:.0f} s")


def gated(theory: Any, steps: int = 6) -> tm.Model:
    """The continuous flow of the gated convolution field, from Haar measure or a Gaussian."""
    manifold = theory.manifold
    scalar = isinstance(manifold, tm.RealField)
    prior = tm.GaussianPrior(manifold, width=0.5) if scalar else tm.HaarPrior(manifold)
    return tm.Model(prior, tm.ContinuousFlow(tm.GatedConvolutionField(manifold), steps=steps, checkpoint=False))


def trained(theory: Any, steps: int, model: tm.Model | None = None, rate: float = 3e-2, batch_size: int = 128) -> tm.Model:
    optimiser = tm.training.default_optimiser(steps, rate)
    options = {"steps": steps, "batch_size": batch_size, "optimiser": optimiser, "dtype": jnp.float32, "progress": False}
    return tm.fit(jax.random.key(0), gated(theory) if model is None else model, theory, **options)[0]


def pair(estimate: tm.Estimate) -> list[float]:
    return [float(estimate.value), float(estimate.error)]


def tau(data: tm.Chain, name: str) -> list[float]:
    """tau_int and its error; the length of the chain is a lower bound where nothing ever changed."""
    estimate = tm.expectation(data, name)
    return [float(estimate.tau_int), float(estimate.dtau_int)]
