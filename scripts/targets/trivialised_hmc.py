"""HMC in the variables of a flow: force evaluations per independent configuration, beside plain HMC.

    python scripts/targets/trivialised_hmc.py [NAME ...] [--samples N] [--out FILE] [--smoke]

- `phi4`: 12x12, m2 = -4, lambda = 5.276: plain HMC, the Fourier flow of a free field (trained kernel), and affine couplings
  behind it, trained for a few hundred updates; tau_int of M^2, force evaluations and milliseconds per independent M^2.
- `u1`, `su2`, `su3`: 8x8 at beta = 4, 2.2, 5: Luescher's trivializing flow of leading order, scaled by 0.2, and all of it:
  tau_int of the plaquette (of Q^2 for U(1)), what stiffness leaves of the acceptance.
- `volume`: the couplings trained on 6x6 moved to 8, 10, 12, 14 along the critical line: how tau_int grows.

`--samples`: trajectories of each of 16 chains. One force of the pulled-back theory counts as one: it costs a force of the
theory and a pass through the flow and back, which the milliseconds show.
"""

import time

import jax
import optax
from _points import run_points

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.models import PulledBackTheory  # noqa: E402

SAMPLES, CHAINS, KEY = 1000, 16, jax.random.key(0)
# The critical line of the published flows: xi = L/4 at m2 = -4.
CRITICAL = {6: 6.975, 8: 6.008, 10: 5.550, 12: 5.276, 14: 5.113}


def chain_row(theory, length: float, steps: int, observable, n: int, flow=None) -> dict:
    """tau_int and cost of HMC on a theory, or on the one pulled back by a flow."""
    target = theory if flow is None else PulledBackTheory(theory, flow)
    measure = {"O": observable} if flow is None else target.measured({"O": observable})
    options = {"trajectory_length": length, "steps": steps, "chains": CHAINS, "measure": measure}
    first = tm.hmc(KEY, target, 1, thermalisation=max(n // 5, 2), **options)
    start = time.perf_counter()
    chain = tm.hmc(KEY, target, n, initial=first.state, **options)
    seconds = time.perf_counter() - start
    estimate = tm.expectation(chain, "O")
    tau = float(estimate.tau_int)
    row = {
        "tau": [tau, float(estimate.dtau_int)],
        "acceptance": tm.acceptance_rate(chain),
        "forces": 2 * tau * chain.force_evaluations,
        "ms": 1e3 * 2 * tau * seconds / (n * CHAINS),
        "value": [float(estimate.value), float(estimate.error)],
    }
    print(
        f"    acceptance {row['acceptance']:.3f}, tau {tau:.3g}({float(estimate.dtau_int):.1g}), {row['forces']:.3g} forces "
        f"and {row['ms']:.3g} ms per independent one; {estimate}",
        flush=True,
    )
    return row


def couplings(theory, layers: int, channels: int, updates: int) -> tuple:
    """The free field and affine couplings behind it, by reverse KL."""
    flow = tm.FlowSequence(
        tm.flows.FourierFlow(theory.manifold, mass=1.0),
        tm.CouplingFlow(KEY, theory.manifold, layers, tm.transforms.Affine(), hidden=(channels,)),
    )
    return fitted(theory, flow, updates)


def fitted(theory, flow, updates: int) -> tuple:
    model = tm.Model(tm.GaussianPrior(theory.manifold), flow)
    schedule = optax.cosine_decay_schedule(1e-2, updates)
    model, history = tm.fit(KEY, model, theory, steps=updates, batch_size=128, optimiser=optax.adam(schedule), progress=False)
    return model.transport, history[-1]["ess"]


def phi4(n: int, smoke: bool) -> dict:
    theory = tm.Phi4Action((4, 4) if smoke else (12, 12), m2=-4.0, lam=5.276)
    square = lambda x: tm.magnetisation(x) ** 2  # noqa: E731
    updates = 2 if smoke else 250
    rows = {}
    for length, steps in ((1.0, 10), (2.0, 16)):
        print(f"  HMC, length {length:g}, {steps} steps", flush=True)
        rows[f"hmc-{length:g}"] = chain_row(theory, length, steps, square, n)
    for name, layers, channels, length, steps in (
        ("fourier", 0, 0, 1.5, 6),
        ("couplings-2", 2, 8, 2.0, 8),
        ("couplings-6", 6, 16, 2.0, 8),
    ):
        start = tm.flows.FourierFlow(theory.manifold, mass=1.0)
        flow, ess = couplings(theory, layers, channels, updates) if layers else fitted(theory, start, updates)
        print(f"  {name}: ESS of the flow {ess:.3g}, length {length:g}, {steps} steps", flush=True)
        rows[name] = chain_row(theory, length, steps, square, n, flow) | {"ess": float(ess)}
    return rows


def trivializing(group, beta: float, observable):
    def point(n: int, smoke: bool) -> dict:
        theory = tm.WilsonAction(group, (4, 4) if smoke else (8, 8), beta=beta)
        rows = {}
        print("  HMC, length 1, 10 steps", flush=True)
        rows["hmc"] = chain_row(theory, 1.0, 10, observable, n)
        for scale in (0.2, 1.0):
            weaker = tm.WilsonAction(group, theory.lattice, beta=scale * beta)
            field = tm.GradientField(tm.fields.trivializing_potential(weaker, order=0))
            print(f"  Wilson flow of {scale:g} beta, length 1, 10 steps", flush=True)
            flow = tm.ContinuousFlow(field, steps=4, checkpoint=False)
            rows[f"flow-{scale:g}"] = chain_row(theory, 1.0, 10, observable, n, flow)
        return rows

    return point


def volume(n: int, smoke: bool) -> dict:
    small = tm.Phi4Action((6, 6), m2=-4.0, lam=CRITICAL[6])
    flow, _ = couplings(small, 2, 8, 2 if smoke else 250)
    rows = {}
    for extent in (6, 8) if smoke else CRITICAL:
        theory = tm.Phi4Action((extent, extent), m2=-4.0, lam=CRITICAL[extent])
        square = lambda x: tm.magnetisation(x) ** 2  # noqa: E731
        print(f"  {extent}x{extent}: HMC, then the moved flow", flush=True)
        rows[str(extent)] = {
            "hmc": chain_row(theory, 2.0, 16, square, n),
            "flow": chain_row(theory, 2.0, 8, square, n, flow.on(theory.manifold)),
        }
    return rows


POINTS = {
    "phi4": phi4,
    "u1": trivializing(tm.U1(), 4.0, lambda x: tm.topological_charge(x) ** 2),
    "su2": trivializing(tm.SU(2), 2.2, tm.plaquette),
    "su3": trivializing(tm.SU(3), 5.0, tm.plaquette),
    "volume": volume,
}


def _run(name: str, samples: int, smoke: bool) -> dict:
    print(name, flush=True)
    return POINTS[name](4 if smoke else samples, smoke)


if __name__ == "__main__":
    run_points(__doc__, dict.fromkeys(POINTS), _run, SAMPLES)
