"""`trivmap compare`."""

import dataclasses

from .._config import CompareCommand
from .._interrupt import on_interrupt
from .._report import announce, listing, say
from ._comparison import SHIPPED, Comparison, find_comparison
from ._methods import METHODS
from ._run import run_comparison
from ._tables import terminal


def compare_command(command: CompareCommand) -> int:
    """Run a comparison, or go on with it, and print its table; returns the exit status."""
    if command.name == "list":
        say("Methods:\n" + listing({name: method.label for name, method in METHODS.items()}))
        say("\nComparisons:\n" + listing({name: _described(c) for name, c in SHIPPED.items()}))
        return 0
    settings = _settings(command)
    name = command.name.removesuffix(".toml").rsplit("/", 1)[-1]
    out = command.out or f"runs/compare-{name}" + ("-smoke" if command.smoke else "")
    announce("compare", settings.identity() | {"seed": settings.seed})
    say(f"{len(settings.methods)} methods, {settings.seeds} seeds; for each, compilation apart,")
    say(f"{settings.training:.3g} s of training and {settings.sampling:.3g} s of sampling")
    on_interrupt(lambda: f"what was computed is in {out}. The same command goes on from there.")
    summary = run_comparison(settings, out)
    say()
    say(terminal(summary))
    say(f"results in {out}: summary.json, comparison.csv, .md, .png")
    return 1 if summary["failed"] else 0


def _settings(command: CompareCommand) -> Comparison:
    settings = find_comparison(command.name)
    if command.smoke:
        settings = settings.small()
    seeds = settings.seeds if command.seeds is None else command.seeds
    settings = dataclasses.replace(settings, methods=command.methods or settings.methods, seeds=seeds)
    return settings if command.budget is None else settings.within(command.budget)


def _described(comparison: Comparison) -> str:
    theory = comparison.theory
    lattice = "x".join(map(str, theory.lattice))
    hidden = ("lattice", "n", "flavours", "boundary")
    others = ", ".join(f"{k} = {v:g}" for k, v in dataclasses.asdict(theory).items() if k not in hidden)
    kinds = {"U1Config": "U(1)", "Phi4Config": "phi^4", "SchwingerConfig": "Schwinger model"}
    kind = kinds.get(type(theory).__name__, f"SU({getattr(theory, 'n', '')})")
    return f"{kind} on {lattice}, {others}"
