"""Two-level estimates of correlators, beside those of the same chain, against exact values.

    python scripts/targets/two_level.py [NAME ...] [--samples N] [--out FILE] [--smoke]

Two frozen layers split the lattice into halves, which are averaged on their own from every configuration of a chain
(`samplers.two_level`), 0, 10 and 40 steps each. For every distance: the correlator with its pull, and the gain over the
correlator of the whole chain averaged over translations: the ratio of variances, and the same times the ratio of costs.
Costs are steps on the whole lattice; a step on one half counts as one. phi^4: slices of 16x4; SU(2), SU(3): Polyakov loops on
3x16. `--samples`: configurations of each of 16 chains.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.kernels import AbstractKernel, HeatbathKernel, HMCKernel, KernelSequence, OverrelaxationKernel  # noqa: E402
from trivmap.lattice import Region  # noqa: E402

CHAINS, INNER, THIN = 16, (0, 10, 40), 4


class Point(NamedTuple):
    """A theory whose layers along one axis are correlated, and how it moves."""

    theory: Any
    kernel: AbstractKernel
    layers: Callable  # values of the layers, one number for each
    region: Callable  # the sites or links that move between two frozen layers
    exact: Callable


def slices(x: jax.Array) -> jax.Array:
    """Normalised such that products of two are `observables.two_point`."""
    return jnp.sum(x, axis=1) / np.sqrt(x.shape[1])


def lines(x: jax.Array) -> jax.Array:
    return tm.observables.polyakov_lines(x, 0)


def between_slices(theory: tm.Phi4Action, start: int, stop: int) -> Region:
    return tm.lattice.slab(theory.lattice, 0, start + 1, stop)


def between_lines(theory: tm.WilsonAction, start: int, stop: int) -> Region:
    """All links between two columns of frozen links along axis 0."""
    column = np.indices(theory.lattice)[1]
    return Region(np.stack([(column > start) & (column < stop), (column >= start) & (column < stop)]), links=True)


def phi4() -> Point:
    theory = tm.Phi4Action((16, 4), m2=-4.0, lam=8.0)
    exact = np.asarray(tm.exact.two_point(theory))
    return Point(theory, HMCKernel(1.0, steps=8), slices, between_slices, lambda r: exact[r])


def gauge(n: int, beta: float) -> Point:
    theory = tm.WilsonAction(tm.SU(n), (3, 16), beta=beta)
    kernel = KernelSequence(HeatbathKernel(), OverrelaxationKernel())
    return Point(theory, kernel, lines, between_lines, lambda r: tm.exact.polyakov_correlator(theory, 0, r))


POINTS: dict[str, Callable[[], Point]] = {
    "phi4-16x4": phi4,
    "su2-3x16": lambda: gauge(2, 4.0),
    "su3-3x16": lambda: gauge(3, 9.0),
}


def pairs(extent: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Weights (distance, a, b) of the mean over all pairs of layers at each distance from 0 to half the extent."""
    apart = np.abs(a[:, None] - b[None])
    apart = np.minimum(apart, extent - apart)
    weights = (apart[None] == np.arange(extent // 2 + 1)[:, None, None]).astype(float)
    return weights / np.maximum(1, weights.sum(axis=(1, 2), keepdims=True))


def correlator(weights: np.ndarray) -> Callable:
    return lambda left, right: jnp.einsum("dab,a,b->d", weights, left, right.conj()).real


def run(name: str, samples: int, smoke: bool) -> dict:
    point = POINTS[name]()
    extent = max(point.theory.lattice)
    n, inner = (8, (0, 2)) if smoke else (samples, INNER)
    chain = tm.run_chain(
        jax.random.key(0), point.theory, point.kernel, n, chains=4 if smoke else CHAINS, thin=THIN, thermalisation=n // 2
    )
    halves = {"left": (0, extent // 2), "right": (extent // 2, extent)}
    inside = {side: np.arange(start + 1, stop) for side, (start, stop) in halves.items()}
    whole = correlator(pairs(extent, np.arange(extent), np.arange(extent)))
    plain = tm.expectation(chain, lambda x: whole(point.layers(x), point.layers(x)))
    across = correlator(pairs(extent, inside["left"], inside["right"]))
    measure = {side: (lambda x, at=at: point.layers(x)[at]) for side, at in inside.items()}
    regions = {side: point.region(point.theory, *ends) for side, ends in halves.items()}
    distances = range(2, extent // 2 + 1)
    exact = np.array([float(point.exact(r)) for r in distances])
    row: dict = {"distances": list(distances), "exact": exact.tolist(), "plain": of(plain, exact)}
    print(f"{name}\n  exact      {exact}\n  plain      {np.array(row['plain']['value'])}", flush=True)
    for steps in inner:
        found = tm.samplers.two_level(
            jax.random.key(1), chain, point.theory, point.kernel, steps, regions=regions, measure=measure,
            combine=lambda mean: {"C": across(mean["left"], mean["right"])},
        )  # fmt: skip
        row[str(steps)] = of(tm.expectation(found, "C"), exact)
        gain = (np.array(row["plain"]["error"]) / np.array(row[str(steps)]["error"])) ** 2
        row[str(steps)] |= {"gain": gain.tolist(), "at_equal_cost": (gain * THIN / (THIN + 2 * steps)).tolist()}
        print(
            f"  {steps} steps: {np.array(row[str(steps)]['value'])}\n    pulls {np.round(row[str(steps)]['pull'], 1)}\n"
            f"    gain {np.round(gain, 2)}\n    at equal cost {np.round(row[str(steps)]['at_equal_cost'], 2)}",
            flush=True,
        )
    return row


def of(estimate: tm.Estimate, exact: np.ndarray) -> dict:
    value, error = (np.asarray(part)[2:] for part in (estimate.value, estimate.error))
    pull = [(v - e) / d if d > 0 and math.isfinite(d) else math.nan for v, e, d in zip(value, exact, error, strict=True)]
    return {"value": value.tolist(), "error": error.tolist(), "pull": pull}


if __name__ == "__main__":
    run_points(__doc__ or "", POINTS, run, 250)
