"""Boxes drawn anew given their surroundings: acceptance on several lattices, autocorrelations beside HMC and winding hits.

    python scripts/targets/boxes.py [NAME ...] [--samples N] [--models FOLDER] [--out FILE] [--smoke]

- phi^4: a flow of a box in a window is trained on windows of chains on 32x32 (HMC and clusters, which thermalise at once).
  Its acceptance on 16x16, 32x32 and 64x64 should not depend on the lattice. On 16x16 and 64x64: tau_int of M^2 and of phi^2
  for HMC alone, for boxes alone and for both in turn.
- U(1) on 16x16 at beta = 7 and 10: exact draws of boxes (`BoxHeatbath`) beside heatbath with winding hits; tau_int of Q^2.

In steps, and in milliseconds per independent measurement of one chain, compilation apart. `--samples`: steps of each of 8
chains; boxes of phi^4 on larger lattices than 16x16 get a quarter.
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
from trivmap.kernels import (  # noqa: E402
    BoxHeatbath,
    ClusterKernel,
    HeatbathKernel,
    HMCKernel,
    KernelSequence,
    RegionMetropolis,
    WindingHit,
)
from trivmap.lattice import Region, slab  # noqa: E402

CHAINS = 8
SCALAR = {"M2": lambda x: jnp.sum(x) ** 2 / x.size, "phi2": lambda x: jnp.mean(x**2)}
GAUGE = {"Q2": lambda x: tm.topological_charge(x) ** 2, "plaquette": tm.plaquette}


class Point(NamedTuple):
    """phi^4 at one coupling, a box in the middle of a window, and its training."""

    lam: float
    box: int
    halo: int
    updates: int
    rate: float = 1e-2
    batch: int = 128


SCALARS = {
    "phi4-lam6.008-box8": Point(6.008, 8, 4, 400),
    "phi4-lam4.5-box8": Point(4.5, 8, 4, 400),
}
LINKS = {"u1-16-beta7": 7.0, "u1-16-beta10": 10.0}


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


def chain_of(kernel: Any, theory: Any, n: int, start: Any, measure: dict) -> tuple[tm.Chain, float]:
    """The chain, and seconds per step of one chain."""
    options: dict[str, Any] = {"chains": CHAINS, "measure": measure, "chunk": min(25, n)}
    tm.run_chain(jax.random.key(2), theory, kernel, min(25, n), initial=start, **options)
    begin = time.perf_counter()
    chain = tm.run_chain(jax.random.key(3), theory, kernel, n, initial=start, **options)
    return chain, (time.perf_counter() - begin) / (n * CHAINS)


def model_of(name: str, point: Point, folder: Path | None, smoke: bool) -> tm.Model:
    """From the folder, where it is there; else trained, and kept."""
    if folder is None or smoke:
        return trained(point, smoke)
    path = folder / f"box-{name}"
    if not path.exists():
        model = trained(point, smoke)
        folder.mkdir(parents=True, exist_ok=True)
        tm.save(path, model)
    return tm.load(path)


def run_scalar(name: str, samples: int, smoke: bool, folder: Path | None) -> dict:
    point, begin = SCALARS[name], time.perf_counter()
    model = model_of(name, point, folder, smoke)
    row: dict = {"training_seconds": time.perf_counter() - begin, "acceptance": {}, "chains": {}}
    print(f"{name}: training {row['training_seconds']:.0f} s", flush=True)
    draw = RegionMetropolis(model, phi4(model.manifold.lattice[0], point.lam))
    clusters = KernelSequence(HMCKernel(1.0, steps=10), ClusterKernel())
    for extent in (16,) if smoke else (16, 32, 64):
        theory = phi4(extent, point.lam)
        start = tm.run_chain(jax.random.key(4), theory, clusters, 1, chains=CHAINS, thermalisation=4 if smoke else 200)
        # An acceptance of 0.8 each.
        hmc = HMCKernel(1.0, steps=10 if extent < 32 else 24)
        kernels: dict[str, Any] = {"hmc": hmc, "boxes": draw, "both": KernelSequence(hmc, draw)}
        for kind in ("boxes",) if extent == 32 else kernels:
            n = 4 if smoke else samples // (1 if extent == 16 or kind == "hmc" else 4)
            chain, seconds = chain_of(kernels[kind], theory, n, start.state.configuration, SCALAR)
            row["chains"][f"{extent} {kind}"] = of(f"{extent}x{extent} {kind}", chain, seconds, None)
            if kind == "hmc":
                row["chains"][f"{extent} hmc"]["acceptance"] = float(np.mean(chain.accepted))
                print(f"    acceptance {np.mean(chain.accepted):.2f}", flush=True)
            if kind == "boxes":
                values = chain.info["windows_accepted"].mean(axis=1)
                row["acceptance"][str(extent)] = found = [float(values.mean()), float(values.std(ddof=1) / np.sqrt(CHAINS))]
                print(f"    acceptance {found[0]:.4f} +- {found[1]:.4f}", flush=True)
    return row


def run_links(name: str, samples: int, smoke: bool, folder: Path | None) -> dict:
    extent, beta = (8, 2.0) if smoke else (16, LINKS[name])
    theory, row = tm.WilsonAction(tm.U1(), (extent, extent), beta=beta), {}
    print(name, flush=True)
    kernels = {f"boxes of {box}": BoxHeatbath(box) for box in ((4,) if smoke else (4, 8, 12))}
    kernels["heatbath and winding hits"] = KernelSequence(HeatbathKernel(), WindingHit())
    exact = {"Q2": tm.exact.charge_squared(theory), "plaquette": tm.exact.plaquette(theory)}
    for kind, kernel in kernels.items():
        start = tm.exact.sample(jax.random.key(0), theory, CHAINS)
        chain, seconds = chain_of(kernel, theory, 4 if smoke else 2 * samples, start, GAUGE)
        row[kind] = of(kind, chain, seconds, exact)
    return row


def of(kind: str, chain: tm.Chain, seconds: float, exact: dict | None) -> dict:
    row: dict = {"ms_per_step": 1e3 * seconds}
    for name in chain.observables:
        found = tm.expectation(chain, name)
        row[name] = {
            "value": [float(found.value), float(found.error)],
            "tau_int": [float(found.tau_int), float(found.dtau_int)],
            "ms_per_independent": 2e3 * seconds * float(found.tau_int),
        }
        pull = "" if exact is None else f", pull {found.pull(exact[name]):+.1f}"
        print(
            f"  {kind}: {name} {found}{pull}, tau_int {found.tau_int:.2f}({found.dtau_int:.2f}), "
            f"{row[name]['ms_per_independent']:.1f} ms per independent one",
            flush=True,
        )
    return row


POINTS = dict.fromkeys(SCALARS, run_scalar) | dict.fromkeys(LINKS, run_links)


def run(name: str, samples: int, smoke: bool, folder: Path | None) -> dict:
    return POINTS[name](name, samples, smoke, folder)


if __name__ == "__main__":
    run_points(__doc__ or "", POINTS, run, 1000, models=True)
