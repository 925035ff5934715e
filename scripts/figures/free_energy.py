"""Free energy, entropy and energy density of 2D phi^4 through the crossover: flows, HMC integration, exact.

    python scripts/figures/free_energy.py [--smoke] [--out FOLDER]

The hopping form S = sum [-2 kappa sum phi phi_mu + (1 - 2 lambda) phi^2 + lambda phi^4] at lambda = 0.022 on 6x6 (2007.07115
has kappa = 0.2 ... 0.3 on larger lattices). Flows: f = -log Z/V at every kappa by itself. HMC: f(0.2) from the exact value,
then df/dkappa = -2 <sum phi phi_mu>/V integrated by Simpson's rule. Exact: transfer matrix, as far as it reaches (kappa <
0.25), beyond which the middle picture compares with HMC. The entropy density is s = <S>/V - f, and -f is the pressure.
"""

import jax
import numpy as np
from _common import pair, run, trained
from scipy.integrate import cumulative_simpson

import trivmap as tm

LAMBDA = 0.022


def hopping(x):
    """sum phi phi_mu / V in the hopping form times kappa."""
    return 2 * tm.observables.ising_energy(x)


def exact_log_z(theory) -> float:
    """NaN where the states of a ring are too many."""
    try:
        return float(tm.exact.log_z(theory))
    except tm.exact.NoExactResultError:
        return float("nan")


def compute(smoke: bool) -> dict:
    extent, kappas, n, steps = (
        (4, np.linspace(0.2, 0.3, 3), 500, 20) if smoke else (6, np.linspace(0.2, 0.3, 11), 20_000, 400)
    )
    data: dict = {name: [] for name in ("flow", "entropy", "exact", "ess", "slope")} | {"kappa": kappas.tolist()}
    for kappa in kappas:
        theory = tm.Phi4Action.from_kappa((extent, extent), float(kappa), LAMBDA)
        volume = extent**2
        # phi = sqrt(kappa) varphi, and the action of the hopping form has V lambda more.
        shift = 0.5 * volume * np.log(kappa) + volume * LAMBDA
        measure = {"S": theory.action}
        ensemble = tm.sample(jax.random.key(1), trained(theory, steps), theory, n, measure=measure)
        chain = tm.hmc(jax.random.key(2), theory, n // 4, steps=8, chains=8, measure={"h": hopping})
        log_z, action = tm.log_z(ensemble), tm.expectation(ensemble, "S")
        free = (-log_z.value + shift) / volume
        data["flow"].append([free, log_z.error / volume])
        data["entropy"].append([(action.value + volume * LAMBDA) / volume - free, action.error / volume])
        data["exact"].append((-exact_log_z(theory) + shift) / volume)
        data["ess"].append(tm.ess_fraction(ensemble.log_weights))
        data["slope"].append([-2 * x / kappa for x in pair(tm.expectation(chain, "h"))])
        print(f"kappa {kappa:.2f}: f {free:.5f}, exact {data['exact'][-1]:.5f}, ESS {data['ess'][-1]:.3f}", flush=True)
    slope = np.array(data["slope"])
    integral = cumulative_simpson(slope[:, 0], x=kappas, initial=0)
    error = np.sqrt(np.concatenate([[0], np.cumsum((slope[1:, 1] * np.diff(kappas)) ** 2)]))
    data["HMC"] = np.stack([data["exact"][0] + integral, error], axis=1).tolist()
    return data


def plot(figure, data: dict) -> None:
    panels = figure.subplots(1, 3)
    kappa, exact = np.array(data["kappa"]), np.array(data["exact"])
    reference = np.where(np.isnan(exact), np.array(data["HMC"])[:, 0], exact)
    panels[0].plot(kappa, -exact, color="0.4", label="exact")
    for name, marker in (("flow", "o"), ("HMC", "s")):
        value, error = np.array(data[name]).T
        label = "HMC, integrated" if name == "HMC" else "flow"
        panels[0].errorbar(kappa, -value, error, fmt=marker, label=label, markerfacecolor="none")
        panels[1].errorbar(kappa, 1e3 * (value - reference), 1e3 * error, fmt=marker, label=label, markerfacecolor="none")
    panels[1].axhline(0, color="0.4")
    if np.isnan(exact).any():
        last = kappa[~np.isnan(exact)][-1] + (kappa[1] - kappa[0]) / 2
        panels[1].axvline(last, color="0.7", linestyle=":")
        panels[1].text(last, 0.97, " HMC", transform=panels[1].get_xaxis_transform(), va="top", color="0.4")
        panels[1].text(last, 0.97, "exact ", transform=panels[1].get_xaxis_transform(), va="top", ha="right", color="0.4")
    value, error = np.array(data["entropy"]).T
    panels[2].errorbar(kappa, value, error, fmt="o-", markerfacecolor="none")
    for axes in panels:
        axes.set_xlabel(r"$\kappa$")
    panels[0].set_ylabel(r"pressure $-f = \log Z/V$")
    panels[1].set_ylabel(r"$(f - f_{ref}) \cdot 10^3$")
    panels[2].set_ylabel(r"entropy density $\langle S\rangle/V - f$")
    panels[0].legend()


if __name__ == "__main__":
    run("free_energy", __doc__, compute, plot, (8.5, 2.8))
