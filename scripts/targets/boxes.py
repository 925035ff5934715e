"""Boxes drawn by a flow given their surroundings: acceptance on several lattices, and autocorrelations beside HMC.

    python scripts/targets/boxes.py [NAME ...] [--samples N] [--models FOLDER] [--out FILE] [--smoke]

A flow of a box in a window is trained on windows of chains of phi^4 on 32x32 (HMC and clusters, which thermalise at once).
Its acceptance on 16x16, 32x32 and 64x64 should not depend on the lattice. On 16x16 and 64x64: tau_int of M^2 and of phi^2
for HMC alone, for boxes alone and for both in turn, in steps and in seconds per independent measurement of one chain,
compilation apart; <phi^2> of each beside the others. `--samples`: steps of each of 8 chains.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.kernels import ClusterKernel, HMCKernel, KernelSequence, RegionMetropolis  # noqa: E402
from trivmap.lattice import Region, slab  # noqa: E402

CHAINS = 8
MEASURE = {"M2": lambda x: jnp.sum(x) ** 2 / x.size, "phi2": lambda x: jnp.mean(x**2)}


class Point(NamedTuple):
    """phi^4 at one coupling, a box in the middle of a window, and its training."""

    lam: float
    box: int
    halo: int
    updates: int
    rate: float = 1e-2
    batch: int = 128


POINTS = {
    "phi4-lam6.008-box4": Point(6.008, 4, 2, 300),
    "phi4-lam6.008-box8": Point(6.008, 8, 4, 1000),
}


def phi4(extent: int, lam: float) -> tm.Phi4Action:
    return tm.Phi4Action((extent, extent), m2=-4.0, lam=lam)


def box(point: Point) -> Region:
    extent, ends = point.box + 2 * point.halo, (point.halo, point.halo + point.box)
    return slab((extent, extent), 0, *ends) & slab((extent, extent), 1, *ends)


def windows(point: Point, extent: int, count: int) -> np.ndarray:
    """Windows of a thermalised chain, as many as fit beside one another in each configuration."""
    size = point.box + 2 * point.halo
    kernel = KernelSequence(HMCKernel(1.0, steps=10), ClusterKernel())
    chain = tm.run_chain(
        jax.random.key(0), phi4(extent, point.lam), kernel, count, chains=16, thin=10, thermalisation=10 * count
    )
    x = np.asarray(chain.configurations).reshape(-1, extent, extent)
    corners = range(0, extent - size + 1, size)
    return np.concatenate([x[:, i : i + size, j : j + size] for i in corners for j in corners])


def trained(point: Point, smoke: bool) -> tm.Model:
    prior = tm.priors.GaussianRegionPrior(box(point), windows(point, 16 if smoke else 32, 2 if smoke else 20))
    field = tm.GatedConvolutionField(prior.manifold, times=3)
    model = tm.Model(prior, tm.ContinuousFlow(field, steps=4, checkpoint=False))
    theory = tm.theories.RegionTheory(phi4(prior.region.lattice[0], point.lam), prior.region)
    updates = 3 if smoke else point.updates
    optimiser = tm.training.default_optimiser(updates, point.rate)
    options: dict[str, Any] = {"batch_size": point.batch, "optimiser": optimiser, "dtype": jnp.float32, "progress": False}
    return tm.fit(jax.random.key(1), model, theory, steps=updates, **options)[0]


def chain_of(kernel: Any, theory: tm.Phi4Action, n: int, start: Any) -> tuple[tm.Chain, float]:
    """The chain, and seconds per step of one chain."""
    chunk = min(50, n)
    options: dict[str, Any] = {"chains": CHAINS, "measure": MEASURE, "chunk": chunk}
    tm.run_chain(jax.random.key(2), theory, kernel, chunk, initial=start, **options)
    begin = time.perf_counter()
    chain = tm.run_chain(jax.random.key(3), theory, kernel, n, initial=start, **options)
    return chain, (time.perf_counter() - begin) / (n * CHAINS)


def run(name: str, samples: int, smoke: bool, folder: Path | None) -> dict:
    point, begin = POINTS[name], time.perf_counter()
    path = None if folder is None or smoke else folder / f"box-{name}"
    model = tm.load(path) if path is not None and path.exists() else trained(point, smoke)
    if path is not None and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        tm.save(path, model)
    row: dict = {"training_seconds": time.perf_counter() - begin, "acceptance": {}, "chains": {}}
    draw = RegionMetropolis(model, phi4(model.manifold.lattice[0], point.lam))
    hot = KernelSequence(HMCKernel(1.0, steps=10), ClusterKernel())
    for extent in (16,) if smoke else (16, 32, 64):
        theory, n = phi4(extent, point.lam), 4 if smoke else samples
        start = tm.run_chain(jax.random.key(4), theory, hot, 1, chains=CHAINS, thermalisation=4 if smoke else 300)
        start = start.state.configuration
        hmc = HMCKernel(1.0, steps=8 if extent < 32 else 12)
        kernels = {"hmc": hmc, "boxes": draw, "both": KernelSequence(hmc, draw)}
        for kind, kernel in kernels.items():
            if kind != "boxes" and extent == 32:
                continue
            chain, seconds = chain_of(kernel, theory, n if kind != "boxes" or extent < 32 else n // 4, start)
            row["chains"][f"{extent} {kind}"] = found = of(chain, seconds)
            print(f"  {name} {extent}x{extent} {kind}: {found}", flush=True)
            if kind == "boxes":
                values = chain.info["windows_accepted"].mean(axis=1)
                row["acceptance"][str(extent)] = [float(values.mean()), float(values.std(ddof=1) / np.sqrt(CHAINS))]
        print(f"  {name} {extent}x{extent}: acceptance {row['acceptance'][str(extent)]}", flush=True)
    return row


def of(chain: tm.Chain, seconds: float) -> dict:
    m2, phi2 = tm.expectation(chain, "M2"), tm.expectation(chain, "phi2")
    return {
        "tau_M2": [float(m2.tau_int), float(m2.dtau_int)],
        "tau_phi2": [float(phi2.tau_int), float(phi2.dtau_int)],
        "phi2": [float(phi2.value), float(phi2.error)],
        "ms_per_step": 1e3 * seconds,
        "ms_per_independent_M2": 2e3 * seconds * float(m2.tau_int),
    }


if __name__ == "__main__":
    run_points(__doc__ or "", POINTS, run, 2000, models=True)
