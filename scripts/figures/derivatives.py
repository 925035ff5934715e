"""What a field fitted to a chain is worth: derivatives of Wilson loops, and steps of the coupling, for SU(2) on 8x8.

    python scripts/figures/derivatives.py [--smoke] [--out FOLDER]

Five Wilson loops, linear in their coefficients, follow beta (`training.stein_regression`). Left: d<O>/d beta at beta = 2.2 by
reweighting and with the field, as deviations from the character expansion. Middle and right: the second half of the chain
carried over a step of beta by the field that was fitted to the first half; ESS with its prediction, and the error of the
change of the plaquette, beside that of two independent chains.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _common import pair, run

import trivmap as tm
from trivmap.statistics import derivative, difference
from trivmap.training import stein_regression

LOOPS = {"$1\\times1$": (1, 1), "$1\\times2$": (1, 2), "$2\\times2$": (2, 2), "$2\\times3$": (2, 3)}
BETA, H = 2.2, 1e-3


def wilson(extent: int, beta: float) -> tm.WilsonAction:
    return tm.WilsonAction(tm.SU(2), (extent, extent), beta=beta)


def loops(x: jax.Array) -> jax.Array:
    return jnp.stack([tm.wilson_loop(x, *sides) for sides in LOOPS.values()])


def exact_loops(theory: tm.WilsonAction) -> np.ndarray:
    return np.array([float(tm.exact.wilson_loop(theory, *sides)) for sides in LOOPS.values()])


def compute(smoke: bool) -> dict:
    extent, n, steps = (4, 40, (0.1, 0.3)) if smoke else (8, 500, (0.05, 0.1, 0.2, 0.3, 0.5, 0.8))
    theory = wilson(extent, BETA)
    chain = tm.heatbath(
        jax.random.key(0), theory, n, chains=16, overrelaxation=1, thermalisation=n // 10, thin=2
    )  # fmt: skip
    field = tm.GradientField(tm.LoopPotential(theory.manifold, time="constant"))
    exact = (exact_loops(wilson(extent, BETA + H)) - exact_loops(wilson(extent, BETA - H))) / (2 * H)
    data: dict = {"extent": extent, "exact": exact.tolist(), "derivatives": {}, "steps": {}}
    for name, family in (("reweighting", None), ("with the field", field)):
        found = derivative(chain, theory, loops, "beta", family)
        data["derivatives"][name] = {"value": np.asarray(found.value).tolist(), "error": np.asarray(found.error).tolist()}
        print(f"{name}: {found}, pulls {np.round(np.asarray(found.pull(exact)), 1)}", flush=True)
    first, rest = chain[: n // 2], chain[n // 2 :]
    fit = stein_regression(first, theory, "beta", field)
    data["independent"] = float(np.sqrt(2) * tm.expectation(rest, tm.plaquette).error)
    for step in steps:
        data["steps"][str(step)] = carried(rest, fit, theory, wilson(extent, BETA + step), step)
    return data


def carried(chain: tm.Chain, fit, theory: tm.WilsonAction, new: tm.WilsonAction, step: float) -> dict:
    exact, row = float(tm.exact.plaquette(new) - tm.exact.plaquette(theory)), {"predicted": float(fit.ess(step))}
    for name, flow in (("reweighting", fit.flow(0.0, steps=1)), ("with the flow", fit.flow(step))):
        pushed = tm.push_forward(chain, flow, theory, new)
        change = difference(pushed, chain, tm.plaquette)
        row[name] = {"ess": float(tm.ess_fraction(pushed.log_weights)), "change": pair(change)}
        print(f"step {step}, {name}: ESS {row[name]['ess']:.3f}, change {change}, pull {change.pull(exact):+.1f}", flush=True)
    return row


def plot(figure, data: dict) -> None:
    left, middle, right = figure.subplots(1, 3)
    exact = np.array(data["exact"])
    for index, (name, row) in enumerate(data["derivatives"].items()):
        place = np.arange(len(exact)) + 0.2 * index - 0.1
        left.errorbar(place, np.array(row["value"]) - exact, row["error"], marker="o", linestyle="", label=name)
    left.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    left.set_xticks(range(len(exact)), list(LOOPS))
    size = f"{data['extent']}x{data['extent']}"
    left.set(xlabel="loop", ylabel=r"$d\langle W\rangle/d\beta$ - exact", title=rf"SU(2) {size}, $\beta$ = {BETA}")
    steps = [float(step) for step in data["steps"]]
    rows = data["steps"].values()
    middle.plot(steps, [row["predicted"] for row in rows], color="0.4", linestyle="--", label="predicted by the fit")
    for name in ("reweighting", "with the flow"):
        middle.plot(steps, [row[name]["ess"] for row in rows], marker="o", label=name)
        right.plot(steps, [row[name]["change"][1] for row in rows], marker="o", label=name)
    right.axhline(data["independent"], color="0.4", linestyle="--", label="two independent chains")
    middle.set(xlabel=r"step of $\beta$", ylabel="ESS", ylim=(0, 1.05), title="a chain, carried")
    right.set(xlabel=r"step of $\beta$", ylabel="error", yscale="log", title=r"change of $\langle P\rangle$")
    left.legend()
    middle.legend()
    right.legend(loc="lower right")


if __name__ == "__main__":
    run("derivatives", __doc__, compute, plot, (10.5, 3.2))
