"""Pseudofermions of the Schwinger model: effective sample size against their number, for several preconditioners.

    python scripts/figures/pseudofermions.py [--smoke] [--out FOLDER]

Two flavours on 8x8 at beta = 2. Left, kappa = 0.276: harmonic mean of the conditional ESS over 30 fields of the ensemble
(quenched samples, drawn by their weights) against the number n of roots of the determinant. Right, kappa = 0.263: ESS of
noisy weights over that of exact ones, for quenched samples, measured and by the formula from the spectra.
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
MEASURED, MEASURED_ROOTS = ("even-odd", "LU 4"), (4, 16, 64)


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


def _quenched(theory: tm.SchwingerAction, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Configurations of pure gauge theory, and the action of the determinant."""
    x = np.asarray(tm.exact.sample(jax.random.key(0), theory.gauge, samples))
    return x, tm.statistics.measure(theory.determinant.action, x, batch_size=32)


def compute(smoke: bool) -> dict:
    samples, fields, lattice = (64, 2, (4, 4)) if smoke else (1024, 30, (8, 8))
    critical, lighter = (tm.SchwingerAction(lattice, beta=2.0, kappa=kappa) for kappa in (0.276, 0.263))
    x, exact = _quenched(critical, 16 * samples)
    x = x[np.random.default_rng(1).choice(len(x), fields, p=tm.statistics.normalised_weights(-exact))]
    y, exact = _quenched(lighter, samples)
    squares = np.exp(-2 * (exact - exact.min()))[:, None]
    data: dict = {"roots": ROOTS, "measured_roots": MEASURED_ROOTS, "conditional": {}, "measured": {}, "formula": {}}
    for name, preconditioner in _preconditioners(critical.determinant.dirac).items():
        with np.errstate(divide="ignore"):
            data["conditional"][name] = (1 / np.mean(1 / _effective(preconditioner, x), axis=0)).tolist()
        print(name, " ".join(f"{value:.3f}" for value in data["conditional"][name]), flush=True)
    for name in MEASURED:
        preconditioner = _preconditioners(lighter.determinant.dirac)[name]
        with np.errstate(divide="ignore"):
            data["formula"][name] = (squares.sum() / np.sum(squares / _effective(preconditioner, y), axis=0)).tolist()
        noisy = [-exact + _noise(preconditioner, n, y, exact) for n in MEASURED_ROOTS]
        data["measured"][name] = [float(tm.ess_fraction(log_w) / tm.ess_fraction(-exact)) for log_w in noisy]
        print(name, data["formula"][name], data["measured"][name], flush=True)
    return data


def plot(figure, data: dict) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    colours = {name: f"C{i}" for i, name in enumerate(data["conditional"])}
    for name, values in data["conditional"].items():
        left.plot(data["roots"], values, "o-", color=colours[name], label=name)
    for name, values in data["measured"].items():
        right.plot(data["roots"], data["formula"][name], color=colours[name], label=f"{name}, formula")
        right.plot(data["measured_roots"], values, "o", color=colours[name], label=f"{name}, measured")
    titles = r"given links, $\kappa = 0.276$", r"noisy over exact weights, $\kappa = 0.263$"
    for axes, title in zip((left, right), titles, strict=True):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="pseudofermions", title=title, ylim=(0, 1.02))
        axes.set_xticks(data["roots"], [str(n) for n in data["roots"]])
        axes.legend(fontsize=7)
    left.set_ylabel("effective sample size")


if __name__ == "__main__":
    run("pseudofermions", __doc__, compute, plot, (7.5, 3.0))
