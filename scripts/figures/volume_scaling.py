"""ESS against volume and its law, for phi^4 and U(1): one map on larger and larger lattices.

    python scripts/figures/volume_scaling.py [--smoke] [--out FOLDER]

Flows of gated convolution fields and, for phi^4, of a ridge field behind a learned spectrum are trained on 8x8 and moved to
other extents without further training; ridge fields also with one step of Gauss-Newton there. Where regions are independent,
log w is a sum over them: ESS(V) = ESS(V0)^(V/V0), a straight line in -log ESS against V. It is what a local map can reach:
gated kernels are as wide as the lattice they were trained on and are cut when moved, those of ridge fields are functions of
the momentum and stay what they are. The closed form for U(1), a function of beta and the lattice without learned numbers,
beats the law. SU(N): gauge_2d.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _common import run, trained

import trivmap as tm

START = 8
FINISHED = r"$\phi^4$, ridges, moved, one step"


def _phi4(extent: int):
    return tm.Phi4Action((extent, extent), m2=-4.0, lam=8.0)


def _u1(extent: int):
    return tm.WilsonAction(tm.U1(), (extent, extent), beta=2.0)


def _closed_form(theory) -> tm.Model:
    field = tm.GatedConvolutionField.trivializing(theory.manifold, float(theory.beta))
    return tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(field, steps=6))


def _ridges(theory, smoke: bool) -> tm.Model:
    """Trained by reverse KL and Gauss-Newton."""
    flow = tm.FlowSequence(
        tm.flows.FourierFlow(theory.manifold, mass=1.0),
        tm.ContinuousFlow(tm.fields.RidgeField(jax.random.key(0), theory.manifold), steps=4),
    )
    model = trained(theory, 10 if smoke else 300, tm.Model(tm.GaussianPrior(theory.manifold), flow), 1e-2)
    options = {"steps": 1, "samples": 64} if smoke else {"steps": 8, "samples": 2048}
    return tm.gauss_newton(jax.random.key(2), model, theory, dtype=jnp.float32, progress=False, **options)[0]


def _finished(model: tm.Model, theory, smoke: bool) -> tm.Model:
    """Where it was moved to, one step of Gauss-Newton on all numbers."""
    options = {"steps": 1, "samples": 64 if smoke else 4096, "dtype": jnp.float32, "progress": False}
    return tm.gauss_newton(jax.random.key(3), model, theory, **options)[0]


def _point(model, theory, n: int) -> list[float]:
    """-log ESS and its error: half the relative deviation of w^2, from eight parts of the ensemble."""
    lw = tm.sample(jax.random.key(1), model, theory, n, batch_size=64, dtype=jnp.float32, measure={}).log_weights
    parts = [tm.ess_fraction(part) for part in np.split(lw, 8)]
    ess = tm.ess_fraction(lw)
    return [-np.log(ess), float(np.std(np.log(parts)) / np.sqrt(7))]


def compute(smoke: bool) -> dict:
    start, extents, n, steps = (4, [4, 6], 128, 10) if smoke else (START, [4, 6, 8, 12, 16, 20], 1024, 300)
    kinds = {
        r"$\phi^4$, gated, moved": (_phi4, trained(_phi4(start), steps)),
        r"$\phi^4$, ridges, moved": (_phi4, _ridges(_phi4(start), smoke)),
        **({} if smoke else {"U(1), gated, moved": (_u1, trained(_u1(start), steps)), "U(1), closed form": (_u1, None)}),
    }
    data: dict = {"start": start, "extents": extents, "rows": {}}
    for extent in extents:
        for name, (make, model) in kinds.items():
            theory = make(extent)
            moved = _closed_form(theory) if model is None else tm.transfer(model, theory)
            data["rows"].setdefault(name, []).append(_point(moved, theory, n))
            if "ridges" in name:
                finished = moved if extent == start else _finished(moved, theory, smoke)
                data["rows"].setdefault(FINISHED, []).append(_point(finished, theory, n))
        shown = ", ".join(f"{name} {np.exp(-rows[-1][0]):.4f}" for name, rows in data["rows"].items())
        print(f"{extent}x{extent}: ESS {shown}", flush=True)
    return data


def plot(figure, data: dict) -> None:
    axes = figure.subplots()
    volume = np.array(data["extents"]) ** 2
    start = data["extents"].index(data["start"])
    for index, ((name, rows), marker) in enumerate(zip(data["rows"].items(), "oDvs^", strict=False)):
        value, error = np.array(rows).T
        axes.errorbar(volume, value, error, fmt=marker, color=f"C{index}", label=name, markerfacecolor="none")
        if name.endswith("moved"):
            label = r"ESS$(V_0)^{V/V_0}$" if index == 0 else None
            style = ("-", "-.", "", "--")[index]
            axes.plot(volume, value[start] * volume / volume[start], style, color=f"C{index}", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(volume, [rf"{extent}$^2$" for extent in data["extents"]])
    axes.minorticks_off()
    axes.set(xlabel="sites", ylabel="$-\\log$ ESS")
    axes.set_ylim(top=100)  # room for the legend
    axes.legend(loc="upper left", ncols=2, fontsize="small")


if __name__ == "__main__":
    run("volume_scaling", __doc__, compute, plot, (4.6, 3.4))
