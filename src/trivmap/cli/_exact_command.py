"""`trivmap exact`."""

import functools
import textwrap

import jax

from ..samplers import quenched
from ..statistics import Estimate, ess_fraction, log_z
from ..theories import AbstractTheory, SchwingerAction
from ._build import build_theory
from ._config import ExactCommand
from ._exact import exact_values
from ._observables import MASSES, all_estimates, observables
from ._report import say, say_estimates, table


def exact_command(command: ExactCommand) -> int:
    """Print what is known exactly, and where it is known only in the mean of exact samples, that; returns the exit status."""
    theory = build_theory(command.theory)
    functions = observables(theory, command.observables)
    known = exact_values(theory, [*(name for name in functions if name not in MASSES), "log_z"])
    estimates = _sampled(theory, command)
    if estimates:
        say_estimates({"samples": estimates}, known.values)
        return 0
    say(table([["observable", "exact"]] + [[n, "-" if v is None else f"{v:.10g}"] for n, v in known.values.items()]))
    for name, reason in known.reasons.items():
        say(textwrap.fill(f"{name}: {reason}", 80, subsequent_indent="  "))
    return 0


@functools.singledispatch
def _sampled(theory: AbstractTheory, command: ExactCommand) -> dict[str, Estimate]:
    """Estimates from independent samples, where the theory has such."""
    return {}


@_sampled.register
def _(theory: SchwingerAction, command: ExactCommand) -> dict[str, Estimate]:
    functions = observables(theory, command.observables)
    ensemble = quenched(jax.random.key(command.seed), theory, command.samples, observables=functions)
    say(f"{len(ensemble)} independent samples without quarks: ESS {ess_fraction(ensemble.log_weights):.4f} with them")
    return all_estimates(ensemble) | {"log_z": log_z(ensemble)}
