"""Derivatives by couplings and finite steps from chains, with fields found by regression, beside plain reweighting.

    python scripts/targets/derivatives.py [NAME ...] [--samples N] [--out FILE] [--smoke]

Every point runs a chain at one coupling, finds the field of a linear family whose flow follows the coupling best
(`training.stein_regression`, no training loop), and estimates d<O>/d coupling without (reweighting) and with it
(`statistics.derivative`, coefficients fitted on other chains than those that they are used on). Gain: ratio of variances on
the same chain. `--samples`: measurements of each of 16 chains. Finite steps push the second half of the measurements through
the flow that was fitted to the first, and pair them (`push_forward`, `statistics.difference`). Exact values by transfer
matrices and character expansions.
"""

import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.statistics import derivative, difference  # noqa: E402
from trivmap.training import stein_regression  # noqa: E402

SAMPLES, CHAINS, KEY = 500, 16, jax.random.key(0)


def loops(theory: tm.WilsonAction) -> tuple[tm.GradientField, None]:
    """The loops of the next-to-leading trivializing potential with constant coefficients, at their closed form."""
    start = tm.LoopPotential.model_a(theory)
    terms = start.family.terms[: start.family.given]
    return tm.GradientField(tm.LoopPotential(theory.manifold, terms, time="constant")), None


def ridges(theory: tm.Phi4Action) -> tuple[tm.fields.RidgeField, Callable]:
    """Ridge functions with fixed kernels: linear in their amplitudes."""
    return tm.fields.RidgeField(KEY, theory.manifold, times=2), lambda f: (f.amplitudes, f.linear)


def heatbath(theory: tm.WilsonAction, n: int) -> tm.Chain:
    return tm.heatbath(KEY, theory, n, chains=CHAINS, overrelaxation=1, thermalisation=50, thin=2)


def hmc(theory: tm.Phi4Action, n: int) -> tm.Chain:
    return tm.hmc(KEY, theory, n, chains=CHAINS, trajectory_length=1.0, steps=10, thin=2)


def gauge_observables(x: Any) -> jax.Array:
    return jnp.stack([tm.plaquette(x), tm.wilson_loop(x, 1, 2), tm.wilson_loop(x, 2, 2), tm.wilson_loop(x, 2, 3)])


def scalar_observables(x: jax.Array) -> jax.Array:
    half = x.shape[0] // 2
    return jnp.stack([jnp.mean(x**2), tm.observables.susceptibility(x), tm.observables.two_point(x)[half]])


class SourceField(tm.fields.AbstractVectorField):
    """The answer of an even theory to a source on the slice at time zero: v_x = sum_f a_f(|x_0|) h_f(x).

    h = 1, phi^2, phi s, s^2, phi^4, with the sum s of the neighbours.
    """

    amplitudes: jax.Array
    manifold: tm.RealField = eqx.field(static=True)

    def __call__(self, t, x):
        extent = x.shape[0]
        distance = jnp.minimum(jnp.arange(extent), extent - jnp.arange(extent))
        a = self.amplitudes.astype(x.dtype)[:, distance].reshape(5, extent, *[1] * (x.ndim - 1))
        s = sum(jnp.roll(x, k, axis) for axis in range(x.ndim) for k in (1, -1))
        features = jnp.stack([jnp.ones_like(x), x**2, x * s, s**2, x**4])
        slopes = jnp.stack([jnp.zeros_like(x), 2 * x, s, jnp.zeros_like(x), 4 * x**3])
        return jnp.sum(a * features, axis=0), jnp.sum(a * slopes)


# d/d coupling of the observables, by transfer matrices and character expansions.
EXACT = {
    "su2-8": (0.1508787461, 0.1401600258, 0.0604764624, 0.0195708574),
    "u1-8": (0.1642231984, 0.2291815730, 0.2231721942, 0.1629902957),
    "phi4-4": (-0.0386183378, -0.6239077389, -0.1551229213),
}
POINTS: dict[str, tuple] = {
    "su2-8": (tm.WilsonAction(tm.SU(2), (8, 8), beta=2.2), "beta", heatbath, loops, gauge_observables),
    "u1-8": (tm.WilsonAction(tm.U1(), (8, 8), beta=2.0), "beta", heatbath, loops, gauge_observables),
    "phi4-4": (tm.Phi4Action((4, 4), m2=-4.0, lam=6.008), "lam", hmc, ridges, scalar_observables),
    "phi4-8": (tm.Phi4Action((8, 8), m2=-4.0, lam=8.0), "lam", hmc, ridges, scalar_observables),
}
# Steps of the coupling over which half of the chains are carried.
STEPS = {"su2-8": (0.1, 0.5)}


def derivative_row(name: str, n: int) -> dict:
    theory, coupling, run, family, observables = POINTS[name]
    start = time.perf_counter()
    chain = run(theory, n)
    sampled = time.perf_counter()
    field, parameters = family(theory)
    fit = stein_regression(chain, theory, coupling, field, parameters=parameters)
    plain = derivative(chain, theory, observables, coupling)
    found = derivative(chain, theory, observables, coupling, field, parameters=parameters)
    seconds = time.perf_counter() - sampled
    row = {"unexplained": fit.unexplained, "chain_seconds": sampled - start, "seconds": seconds} | compared(
        plain, found, EXACT.get(name)
    )
    print(f"  {fit}; chain {sampled - start:.0f} s, the rest {seconds:.0f} s", flush=True)
    row["steps"] = [finite_step(chain, theory, field, parameters, step) for step in STEPS.get(name, ())]
    return row


def compared(plain: tm.Estimate, found: tm.Estimate, exact: Any) -> dict:
    gain = (np.asarray(plain.error) / np.asarray(found.error)) ** 2
    pulls = None if exact is None else np.asarray(found.pull(np.asarray(exact)))
    print(f"  reweighting {plain}\n  with field  {found}\n  gain {np.round(gain, 1)}, pulls {pulls}", flush=True)
    values = {
        "plain": np.asarray(plain.value),
        "found": np.asarray(found.value),
        "error": np.asarray(found.error),
        "gain": gain,
    }
    return {key: value.tolist() for key, value in values.items()} | {"pulls": None if pulls is None else pulls.tolist()}


def finite_step(chain: tm.Chain, theory: tm.WilsonAction, field: Any, parameters: Any, step: float) -> dict:
    """The flow of the first half of the measurements carries the second half."""
    half = chain.shape[1] // 2
    fit = stein_regression(chain[:half], theory, "beta", field, parameters=parameters)
    new, rest = tm.WilsonAction(theory.manifold.group, theory.lattice, beta=float(theory.beta) + step), chain[half:]
    still = tm.push_forward(rest, fit.flow(0.0, steps=1), theory, new)
    pushed = tm.push_forward(rest, fit.flow(step), theory, new)
    exact = tm.exact.plaquette(new) - tm.exact.plaquette(theory)
    paired, plain = difference(pushed, rest, tm.plaquette), difference(still, rest, tm.plaquette)
    row = {
        "step": step,
        "ess": [float(tm.ess_fraction(e.log_weights)) for e in (still, pushed)],
        "predicted": fit.ess(step),
        "gain": (plain.error / paired.error) ** 2,
        "pull": paired.pull(exact),
        "log_z_pull": tm.log_z(pushed).pull(tm.exact.log_z(new) - tm.exact.log_z(theory)),
    }
    print(
        f"  step {step}: ESS {row['ess'][0]:.3f} -> {row['ess'][1]:.4f} (predicted {row['predicted']:.4f}), plaquette "
        f"{paired}, exact {float(exact):.6f} ({row['pull']:+.1f}), gain {row['gain']:.0f}, log Z {row['log_z_pull']:+.1f}",
        flush=True,
    )
    return row


def correlator_row(n: int) -> dict:
    """C(t) = d<Phi_t>/dJ_0 of phi^4 on 8x8, with the slice means Phi, averaged over the position of the source."""
    theory = POINTS["phi4-8"][0]
    chain = hmc(theory, n)
    field = SourceField(jnp.zeros((5, 5)), theory.manifold)
    half = theory.lattice[0] // 2 + 1

    def source(x: jax.Array) -> jax.Array:
        return -jnp.sum(x[0])

    def slices(x: jax.Array) -> jax.Array:
        return jnp.mean(x, axis=1)[:half]

    def translations(x: jax.Array) -> jax.Array:
        return jnp.stack([jnp.roll(x, k, axis=0) for k in range(x.shape[0])])

    def images(x: jax.Array) -> jax.Array:
        return jnp.concatenate([translations(x), translations(-x)])

    fit = stein_regression(chain, theory, source, field, images=images)
    plain = derivative(chain, theory, slices, source, images=images)
    found = derivative(chain, theory, slices, source, field, images=images)
    print(f"  {fit}", flush=True)
    return {"unexplained": fit.unexplained} | compared(plain, found, None)


def _run(name: str, samples: int | None, smoke: bool) -> dict:
    print(name, flush=True)
    n = 30 if smoke else samples or SAMPLES
    return correlator_row(n) if name == "phi4-8-correlator" else derivative_row(name, n)


if __name__ == "__main__":
    run_points(__doc__, dict.fromkeys([*POINTS, "phi4-8-correlator"]), _run, SAMPLES)
