"""Exact values by name, and summaries that do not depend on them."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..theories import AbstractTheory, SchwingerAction, WilsonAction, exact
from ._kinds import kind_of
from ._observables import WILSON
from ._report import say
from ._run_folder import RunFolder


class Known(NamedTuple):
    """Exact expectation values, `None` where they are not known, and then the reason."""

    values: dict[str, float | None]
    reasons: dict[str, str]


def pending(names: Iterable[str]) -> Known:
    """Of exact values that have not been computed yet."""
    names = list(names)
    return Known(dict.fromkeys(names), dict.fromkeys(names, "not computed yet"))


def exact_values(theory: AbstractTheory, names: Iterable[str]) -> Known:
    """Exact values where there are any. Whatever goes wrong is a reason: the samples beside them stay."""
    if kind_of(theory.manifold) == "scalar":
        say("looking for exact results (a transfer matrix of width 8 takes half a minute)")
    values, reasons = {}, {}
    for name in names:
        values[name], reason = _exact_value(theory, name)
        if reason is not None:
            reasons[name] = reason
    return Known(values, reasons)


def write_summary(
    folder: RunFolder, name: str, theory: AbstractTheory, names: Iterable[str], build: Callable[[Known], dict[str, Any]]
) -> dict[str, Any]:
    """Write a summary before and after the exact values are looked for, which can take long or be stopped."""
    names = list(names)
    for known in (lambda: pending(names), lambda: exact_values(theory, names)):
        found = known()
        summary = build(found) | {"no_exact": found.reasons}
        folder.write_json(name, summary)
    return summary


@functools.singledispatch
def _charge(theory: AbstractTheory) -> float:
    raise exact.NoExactResultError(f"the mean charge is zero by symmetry for Wilson's action, got {type(theory).__name__}.")


@_charge.register(WilsonAction)
@_charge.register(SchwingerAction)
def _(theory: AbstractTheory) -> float:
    return 0.0


def _exact_value(theory: AbstractTheory, name: str) -> tuple[float | None, str | None]:
    functions: dict[str, Callable[[], Any]] = {
        "log_z": lambda: exact.log_z(theory),
        "plaquette": lambda: exact.plaquette(theory),
        "charge": lambda: _charge(theory),
        "charge2": lambda: exact.charge_squared(theory),
        "magnetisation": lambda: exact.magnetisation(theory),
        "abs_magnetisation": lambda: exact.abs_magnetisation(theory),
        "phi2": lambda: exact.phi_squared(theory),
        "susceptibility": lambda: exact.susceptibility(theory),
        "ising_energy": lambda: exact.ising_energy(theory),
        "polyakov2": lambda: exact.polyakov_loop_squared(theory),
    }
    if match := WILSON.fullmatch(name):
        functions[name] = lambda: exact.wilson_loop(theory, int(match[1]), int(match[2]))
    if name not in functions:
        return None, "no closed form in this library"
    try:
        return float(functions[name]()), None
    except exact.NoExactResultError as error:
        return None, str(error)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:300]
        say(f"no exact value of {name}: {reason}")
        return None, reason
