"""Pseudofermions of the Schwinger model: effective sample size against their number, for several preconditioners.

    python scripts/figures/pseudofermions.py [--smoke] [--out FOLDER]

Two flavours on 8x8 at beta = 2, kappa = 0.276. Left: harmonic mean of the conditional ESS over 30 fields of the ensemble
(quenched samples, drawn by their weights) against the number n of roots of the determinant. Right: ESS of noisy weights over
that of exact ones, for quenched samples, measured and by the formula from the spectra.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _common import run

import trivmap as tm
from trivmap.fermions import (
    EvenOddDirac,
    IdentityPreconditioner,
    IncompleteLU,
    PreconditionedDirac,
    conditional_ess,
)
from trivmap.theories import StochasticDeterminant

ROOTS = (1, 2, 4, 8, 16, 32, 64, 128)
MEASURED = ("even-odd", "LU 4")


def _preconditioners(dirac) -> dict:
    schur = EvenOddDirac(dirac)
    plain = {"all sites": IdentityPreconditioner(dirac), "even-odd": IdentityPreconditioner(schur)}
    return plain | {f"LU {distance}": IncompleteLU(schur, distance) for distance in (2, 4, 6)}


def _effective(preconditioner, x: np.ndarray) -> np.ndarray:
    """Conditional ESS for every field and number of roots."""

    def one(y):
        values = jnp.linalg.svd(PreconditionedDirac(preconditioner, y).dense(), compute_uv=False) ** 2
        return jnp.stack([conditional_ess(values, n) for n in ROOTS])

    return tm.statistics.measure(one, x, batch_size=32)


def _noise(preconditioner, roots: int, x: np.ndarray, exact: np.ndarray) -> np.ndarray:
    quarks = StochasticDeterminant(preconditioner, roots)
    keys = jax.random.key_data(jax.random.split(jax.random.key(2), len(x)))
    noisy = lambda pair: quarks.noisy_action(jax.random.wrap_key_data(pair["key"]), pair["x"])  # noqa: E731
    return exact - tm.statistics.measure(noisy, {"key": keys, "x": x}, batch_size=32)


def compute(smoke: bool) -> dict:
    samples, fields, lattice = (64, 2, (4, 4)) if smoke else (2048, 30, (8, 8))
    theory = tm.SchwingerAction(lattice, beta=2.0, kappa=0.276)
    x = np.asarray(tm.exact.sample(jax.random.key(0), theory.gauge, 4 * samples))
    exact = tm.statistics.measure(theory.determinant.action, x, batch_size=32)
    chosen = np.random.default_rng(1).choice(len(x), fields, p=tm.statistics.normalised_weights(-exact))
    data: dict = {"roots": ROOTS, "conditional": {}, "measured": {}, "formula": {}}
    for name, preconditioner in _preconditioners(theory.determinant.dirac).items():
        with np.errstate(divide="ignore"):
            data["conditional"][name] = (1 / np.mean(1 / _effective(preconditioner, x[chosen]), axis=0)).tolist()
        if name in MEASURED:
            y, action = x[:samples], exact[:samples]
            squares = np.exp(-2 * (action - action.min()))[:, None]
            with np.errstate(divide="ignore"):
                data["formula"][name] = (squares.sum() / np.sum(squares / _effective(preconditioner, y), axis=0)).tolist()
            noisy = [-action + _noise(preconditioner, n, y, action) for n in ROOTS]
            data["measured"][name] = [float(tm.ess_fraction(log_w) / tm.ess_fraction(-action)) for log_w in noisy]
        print(name, " ".join(f"{value:.3f}" for value in data["conditional"][name]), flush=True)
    return data


def plot(figure, data: dict) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    colours = {name: f"C{i}" for i, name in enumerate(data["conditional"])}
    for name, values in data["conditional"].items():
        left.plot(data["roots"], values, "o-", color=colours[name], label=name)
    for name, values in data["measured"].items():
        right.plot(data["roots"], data["formula"][name], color=colours[name], label=f"{name}, formula")
        right.plot(data["roots"], values, "o", color=colours[name], label=f"{name}, measured")
    for axes, title in ((left, "noise at given links"), (right, "noisy over exact weights")):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="pseudofermions", title=title, ylim=(0, 1.02))
        axes.set_xticks(data["roots"], [str(n) for n in data["roots"]])
        axes.legend(fontsize=7)
    left.set_ylabel("effective sample size")


if __name__ == "__main__":
    run("pseudofermions", __doc__, compute, plot, (7.5, 3.0))
