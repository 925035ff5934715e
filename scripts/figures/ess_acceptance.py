"""ESS against acceptance: are the weights of models log-normal?

    python scripts/figures/ess_acceptance.py [--smoke] [--out FOLDER]

For log-normal weights the acceptance of independence Metropolis is erfc(sqrt(-log ESS) / 2); points below the curve have
heavy tails. The pretrained models of the package, and continuous flows of U(1) and phi^4 after different numbers of updates.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _common import run, trained

import trivmap as tm


def _point(model, theory, n: int, batch_size: int) -> list[float]:
    options = {"batch_size": batch_size, "dtype": jnp.float32, "measure": {"S": theory.action}}
    lw = tm.sample(jax.random.key(1), model, theory, n, **options).log_weights
    return [tm.ess_fraction(lw), tm.statistics.expected_acceptance(lw)]


def compute(smoke: bool) -> dict:
    n, updates, extent = (256, [2, 5], 4) if smoke else (10_000, [5, 10, 20, 40, 80, 160, 320], 8)
    pretrained = "gauge theories, pretrained"
    groups: dict = {"U(1)": [], r"$\phi^4$": [], pretrained: []}
    for steps in updates:
        u1 = tm.WilsonAction(tm.U1(), (extent, extent), beta=2.0)
        phi4 = tm.Phi4Action((extent, extent), m2=-4.0, lam=8.0)
        for name, theory in (("U(1)", u1), (r"$\phi^4$", phi4)):
            groups[name].append(_point(trained(theory, steps), theory, n, 256))
            print(f"{name}, {steps} updates: ESS {groups[name][-1][0]:.3f}", flush=True)
    gauge = [(name, about) for name, about in tm.models.pretrained_models().items() if "beta" in about]
    for name, about in gauge[: 1 if smoke else None]:
        model = tm.load_pretrained(name, (8, 8))
        theory = tm.WilsonAction(model.manifold.group, (8, 8), beta=about["beta"])
        groups[pretrained].append(_point(model, theory, 32 if smoke else 1024, 32))
        print(f"{name}: ESS {groups[pretrained][-1][0]:.3f}", flush=True)
    return {"groups": groups, "samples": n}


def plot(figure, data: dict) -> None:
    axes = figure.subplots()
    ess = np.linspace(0.001, 1, 400)
    axes.plot(ess, [tm.statistics.lognormal_acceptance(float(e)) for e in ess], color="0.4", label="log-normal weights")
    for (name, points), marker in zip(data["groups"].items(), "os^", strict=True):
        axes.plot(*np.array(points).T, marker, label=name, alpha=0.85)
    axes.set(xlabel="ESS per sample", ylabel="acceptance", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend()


if __name__ == "__main__":
    run("ess_acceptance", __doc__, compute, plot, (3.8, 3.2))
