"""From the cells of a comparison to one row per method."""

import math
from typing import Any

import numpy as np

from ...io import finite
from ._methods import METHODS

_MISSING = float("nan")
# The references where there is no exact value, the first one that was run.
_CHAINS = {"hits": "HMC and hits", "hmc": "HMC"}


def summarise(cells: list[dict[str, Any]], exact: dict[str, float | None], refused: dict[str, str]) -> dict[str, Any]:
    """Rows with means over seeds, the reference values, and the reason for every cell without a number."""
    done = {name: [c for c in cells if c["method"] == name and "error" not in c] for name in METHODS}
    failed = {c["method"]: c["error"] for c in cells if "error" in c and not done[c["method"]]}
    observed = {name: _combined(group) for name, group in done.items() if group}
    reference = _references(observed, exact)
    rows = [_row(name, done[name], observed[name], reference, done["hmc"]) for name in observed]
    summary = {
        "rows": rows,
        "reference": {name: {"value": v, "error": e, "source": s} for name, (v, e, s) in reference.items()},
        "not_applicable": refused,
        "failed": failed,
        "cautions": {name: sorted({c for cell in done[name] for c in cell["cautions"]}) for name in observed},
    }
    return finite(summary)


def _combined(group: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Means over seeds, which are independent."""
    names = group[0]["observables"]
    values = {name: np.array([cell["observables"][name] for cell in group], float) for name in names}
    return {name: (float(v[:, 0].mean()), float(np.sqrt(np.sum(v[:, 1] ** 2)) / len(v))) for name, v in values.items()}


def _references(observed: dict[str, Any], exact: dict[str, float | None]) -> dict[str, tuple[float, float, str]]:
    names = dict.fromkeys(name for values in observed.values() for name in values)
    found: dict[str, tuple[float, float, str]] = {}
    for name in names:
        value = exact.get(name)
        if value is not None:
            found[name] = (value, 0.0, "exact")
            continue
        # Hits change the charge, also where trajectories do not.
        for method, label in _CHAINS.items():
            if name in observed.get(method, {}):
                found[name] = (*observed[method][name], label)
                break
    return found


def _row(name: str, group: list[dict[str, Any]], observed: Any, reference: Any, hmc: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"method": name, "label": METHODS[name].label, "seeds": len(group), "why": {}}
    for key in ("ess", "acceptance", "tau_int", "compile", "training", "sampling", "cost", "evaluations", "memory"):
        values = [cell[key] for cell in group if cell[key] is not None]
        row[key] = float(np.mean(values)) if values else None
        row[f"{key}_spread"] = float(np.std(values)) if len(values) > 1 else None
    row["compile"] = max(cell["compile"] for cell in group)  # later seeds find the compiled programs
    row["samples"] = sum(cell["samples"] for cell in group)
    row["slowest"] = group[0]["slowest"]
    row["observables"] = observed
    row["pulls"] = {k: _pull(observed[k], reference[k]) for k in observed if k in reference and not _self(name, reference[k])}
    row["cautioned"] = sorted({name for cell in group for name in cell.get("cautioned", [])})
    pulls = [abs(p) for p in row["pulls"].values() if math.isfinite(p)]
    row["worst_pull"] = max(pulls) if pulls else None
    row["break_even"], why = _break_even(row, name, hmc)
    row["why"] = _reasons(row, name) | ({"break_even": why} if why else {})
    return row


def _self(name: str, reference: Any) -> bool:
    return _CHAINS.get(name) == reference[2]


def _pull(estimate: tuple[float, float], reference: tuple[float, float, str]) -> float:
    sigma = math.hypot(estimate[1], reference[1])
    return (estimate[0] - reference[0]) / sigma if sigma > 0 else _MISSING


def _break_even(row: dict[str, Any], name: str, hmc: list[dict[str, Any]]) -> tuple[float | None, str | None]:
    """Independent samples from which on a method, its training included, is cheaper than HMC with its thermalisation."""
    if name == "hmc":
        return None, "this is HMC"
    costs = [cell["cost"] for cell in hmc if cell["cost"] is not None]
    if not costs or row["cost"] is None:
        return None, "no cost per independent sample of HMC to compare with"
    gain = float(np.mean(costs)) - row["cost"]
    preparation = row["training"] + row["compile"] - float(np.mean([c["training"] + c["compile"] for c in hmc]))
    if gain <= 0:
        return None, "never: an independent sample costs more than by HMC"
    return max(preparation, 0.0) / gain, None


def _reasons(row: dict[str, Any], name: str) -> dict[str, str]:
    frozen = f"{row['slowest']} never changes: no autocorrelation time"
    reasons = {
        "ess": "a Markov chain has no weights",
        "acceptance": "no proposals to accept",
        "tau_int": frozen,
        "cost": frozen,
        "evaluations": frozen if row["tau_int"] is None else "no count of evaluations for this model",
        "memory": "not measured on this system (needs Linux or a GPU)",
        "worst_pull": "no exact value and no other method to compare with",
    }
    return {key: why for key, why in reasons.items() if row[key] is None}
