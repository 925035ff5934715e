"""One potential, three transports: ODE, SDE and discrete steps to the same theory.

    python scripts/figures/one_potential.py [--smoke] [--out FOLDER]

phi^4 on two sites in the broken phase. A potential V(t, phi) is trained as a continuous flow and then used three times
without further training: -dV as the velocity of an ODE, as the drift of annealed Langevin steps, and as masked gradient steps
of a residual flow, which move one site at a time. Each has its own exact log weight: ESS and log Z are printed, beside log Z
by quadrature.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _common import pair, run, trained

import trivmap as tm

THEORY = tm.Phi4Action((2,), m2=-2.0, lam=0.5)
ODE_STEPS, LANGEVIN_STEPS, SWEEPS, NOISE = 16, 32, 16, 0.02
CORNER = 2.8
LEVELS = [0.05, 0.2, 0.4, 0.6, 0.8, 1.0]


def _transports(prior, field) -> dict:
    return {
        "ODE": tm.ContinuousFlow(field, steps=ODE_STEPS),
        "SDE": tm.LangevinFlow(prior, THEORY, LANGEVIN_STEPS, step_size=NOISE, drift=field),
        "discrete": tm.ResidualFlow(field.potential, SWEEPS, tied=True),
    }


def _paths(name: str, transport, key, z) -> np.ndarray:
    """Configurations after each step from the prior configurations z: (paths, steps, 2)."""
    if name == "SDE":
        return np.asarray(jax.vmap(transport.path)(jax.random.split(key, len(z)), z)[2])
    return np.asarray(jax.vmap({"ODE": _ode_path, "discrete": _residual_path}[name], (None, 0))(transport, z))


def _ode_path(flow, x):
    def step(x, t):
        x = tm.solvers.integrate(flow.field, flow.manifold, x, t0=t, t1=t + 1 / ODE_STEPS, steps=1).x
        return x, x

    return jax.lax.scan(step, x, jnp.arange(ODE_STEPS) / ODE_STEPS)[1]


def _residual_path(flow, x):
    """The layers of the flow one by one: a gradient step of one site, damped by the step bound."""
    bounds = flow.layer_bounds()
    damping = bounds / (flow.bound * jnp.arctanh(bounds / flow.bound))

    def step(x, layer):
        gradient = flow.potential.gradient((layer // 2 + 0.5) / SWEEPS, x)
        x = jnp.where(jnp.arange(2) == layer % 2, x - damping[layer] / SWEEPS * gradient, x)
        return x, x

    path = jax.lax.scan(step, x, jnp.arange(2 * SWEEPS))[1]
    # The last point is the flow's own end, or this function draws another map.
    return jnp.where(jnp.max(jnp.abs(path[-1] - flow.forward_and_log_det(x)[0])) < 1e-5, path, jnp.nan)


def _density(grid):
    return jax.vmap(jax.vmap(lambda a, b: jnp.exp(-THEORY.action(jnp.stack([a, b]))), (None, 0)), (0, None))(grid, grid)


def compute(smoke: bool) -> dict:
    n, updates, drawn = (500, 30, 6) if smoke else (20_000, 1500, 14)
    prior = tm.GaussianPrior(THEORY.manifold, width=0.7)
    potential = tm.fields.NeighbourPotential(jax.random.key(0), THEORY.manifold, sites=8, bonds=8, times=4)
    model = tm.Model(prior, tm.ContinuousFlow(tm.GradientField(potential), steps=8, checkpoint=False))
    field = trained(THEORY, updates, model, rate=2e-2).transport.field
    grid = jnp.linspace(-5.0, 5.0, 801)
    exact = float(jnp.log(jnp.sum(_density(grid))) + 2 * jnp.log(grid[1] - grid[0]))
    z = jax.vmap(prior.sample)(jax.random.split(jax.random.key(3), drawn))
    data: dict = {"exact": exact, "rows": {}}
    for name, transport in _transports(prior, field).items():
        ensemble = tm.sample(jax.random.key(1), tm.Model(prior, transport), THEORY, n)
        paths = np.concatenate([np.asarray(z)[:, None], _paths(name, transport, jax.random.key(2), z)], axis=1)
        row = {"ess": tm.ess_fraction(ensemble.log_weights), "log_z": pair(tm.log_z(ensemble)), "paths": paths.tolist()}
        data["rows"][name] = row
        print(f"{name}: ESS {row['ess']:.3f}, log Z {tm.log_z(ensemble)}, exact {exact:.5f}", flush=True)
    coarse = jnp.linspace(-CORNER, CORNER, 61)
    return data | {"grid": coarse.tolist(), "density": np.asarray(_density(coarse)).tolist()}


def plot(figure, data: dict) -> None:
    panels = figure.subplots(1, 3, sharey=True)
    titles = {"ODE": r"ODE:  $\dot\phi = -\partial V$", "SDE": "SDE: the same drift, and noise"}
    titles["discrete"] = "discrete: one site at a time"
    density = np.array(data["density"]).T
    for axes, (name, row) in zip(panels, data["rows"].items(), strict=True):
        axes.contourf(data["grid"], data["grid"], density / density.max(), levels=LEVELS, cmap="Greys", alpha=0.6)
        for path in np.array(row["paths"]):
            axes.plot(*path.T, color="C0", linewidth=0.8)
            axes.plot(*path[0], "o", color="C1", markersize=3.5, markerfacecolor="none")
            axes.plot(*path[-1], "o", color="C0", markersize=3.5)
        axes.set(title=f"{titles[name]}\nESS {row['ess']:.2f}", xlabel=r"$\phi_0$", aspect="equal")
        axes.set(xlim=(-CORNER, CORNER), ylim=(-CORNER, CORNER))
    panels[0].set_ylabel(r"$\phi_1$")


if __name__ == "__main__":
    run("one_potential", __doc__, compute, plot, (8.0, 3.4))
