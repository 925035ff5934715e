"""Work distributions of a quench, forward and reverse: Crooks.

    python scripts/figures/work_distribution.py [--smoke] [--out FOLDER]

U(1) on 8x8 from Haar measure to beta = 1 in n equal steps, a heatbath sweep after each, and back from equilibrium
configurations. The distributions of the work W cross where it is the free-energy difference, whose exact value is known:
P_F(W)/P_R(W) = exp(W - Delta F) (cond-mat/9901352). Delta F from forward paths, from reverse paths (Jarzynski's equality) and
from both (Bennett's acceptance ratio), minus the exact value, and the ESS, against n.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _common import pair, run
from scipy.optimize import brentq
from scipy.special import expit

import trivmap as tm


@eqx.filter_jit
def _reverse_work(flow, keys, x):
    def one(inputs):
        z, log_weight = flow.backward_and_log_weight(*inputs)
        return flow.prior.log_prob(z) + flow.theory.action(inputs[1]) + log_weight

    return jax.lax.map(one, (keys, x), batch_size=250)


def bennett(forward: np.ndarray, reverse: np.ndarray) -> list[float]:
    """Delta F from as many forward as reverse paths, with its asymptotic error (J. Comput. Phys. 22 (1976) 245)."""
    excess = lambda f: np.mean(expit(f - forward)) - np.mean(expit(reverse - f))  # noqa: E731
    edges = np.concatenate([forward, reverse])
    found = float(brentq(excess, edges.min(), edges.max()))
    parts = (expit(found - forward), expit(reverse - found))
    return [found, float(np.sqrt(sum(a.var() / a.mean() ** 2 / len(a) for a in parts)))]


def compute(smoke: bool) -> dict:
    extent, n, steps = (4, 250, [2, 4]) if smoke else (8, 5000, [4, 8, 16, 32, 64])
    theory = tm.WilsonAction(tm.U1(), (extent, extent), beta=1.0)
    prior, exact = tm.HaarPrior(theory.manifold), -float(tm.exact.log_z(theory))
    chain = tm.heatbath(jax.random.key(0), theory, n // 250, chains=250, thin=5)
    x = jnp.asarray(chain.configurations).reshape(-1, *theory.manifold.shape)
    keys = jax.random.split(jax.random.key(1), len(x))
    data: dict = {"exact": exact, "samples": n, "lattice": [extent, extent], "rows": []}
    for k in steps:
        flow = tm.AnnealedFlow(prior, theory, tm.kernels.HeatbathKernel(), k)
        ensemble = tm.sample(jax.random.key(2), tm.Model(prior, flow), theory, n, batch_size=250, measure={"p": tm.plaquette})
        forward, reverse = -ensemble.log_weights, np.asarray(_reverse_work(flow, keys, x))
        edges = np.linspace(min(forward.min(), reverse.min()), max(forward.max(), reverse.max()), 61)
        value, error = pair(tm.log_z(ensemble))
        back = pair(tm.log_z(reverse))
        row = {
            "steps": k,
            "ess": tm.ess_fraction(ensemble.log_weights),
            "edges": edges.tolist(),
            "forward": np.histogram(forward, edges, density=True)[0].tolist(),
            "reverse": np.histogram(reverse, edges, density=True)[0].tolist(),
            "mean work": [float(forward.mean()), float(reverse.mean())],
            "Delta F": {"forward": [-value, error], "reverse": back, "both": bennett(forward, reverse)},
        }
        data["rows"].append(row)
        shown = ", ".join(f"{name} {tm.Estimate(*v)}" for name, v in row["Delta F"].items())
        print(f"{k} steps: ESS {row['ess']:.3f}, Delta F {shown}, exact {exact:.4f}", flush=True)
    return data


def plot(figure, data: dict) -> None:
    panels, rows, exact = figure.subplots(1, 4), data["rows"], data["exact"]
    for axes, row in zip(panels, (rows[len(rows) // 3], rows[-1]), strict=False):
        for index, name in enumerate(("forward", "reverse")):
            axes.stairs(row[name], row["edges"], fill=True, alpha=0.4, color=f"C{index}", label=name)
        axes.axvline(exact, color="0.3", linestyle="--", label=r"exact $\Delta F$")
        axes.set(xlabel="work $W$", title=f"{row['steps']} steps")
    panels[0].set_ylabel("density")
    panels[0].set_ylim(top=1.5 * max(max(rows[len(rows) // 3][name]) for name in ("forward", "reverse")))
    panels[0].legend(fontsize="small", loc="upper left", ncols=2)
    for index, (name, marker) in enumerate((("forward", "o"), ("reverse", "s"), ("both", "D"))):
        value, error = np.array([row["Delta F"][name] for row in rows]).T
        shifted = np.array([row["steps"] for row in rows]) * 1.08 ** (index - 1)
        panels[2].errorbar(shifted, value - exact, error, fmt=marker, label=name, markerfacecolor="none")
    panels[2].axhline(0, color="0.4")
    panels[2].set(xlabel="steps", ylabel=r"$\Delta F - \Delta F_{exact}$", xscale="log")
    panels[2].legend(fontsize="small")
    panels[3].plot([row["steps"] for row in rows], [row["ess"] for row in rows], "o-", markerfacecolor="none")
    panels[3].set(xlabel="steps", ylabel="ESS per sample", xscale="log", ylim=(0, 1))
    for axes in panels[2:]:
        axes.set_xticks([row["steps"] for row in rows], [str(row["steps"]) for row in rows])
        axes.minorticks_off()


if __name__ == "__main__":
    run("work_distribution", __doc__, compute, plot, (10.5, 2.7))
