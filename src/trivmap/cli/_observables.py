"""Observables by name."""

import functools
import re
from collections.abc import Callable

import jax.numpy as jnp

from .. import observables as obs
from ..groups import U1
from ..manifolds import LinkField, RealField
from ..theories import AbstractTheory
from ._run_folder import CommandError

WILSON = re.compile(r"wilson_(\d+)x(\d+)")


def _polyakov2(x):
    """|tr P / N|^2 of single lines: an order parameter without phase."""
    return obs.polyakov_correlator(x, 0)


SCALAR = {
    "magnetisation": obs.magnetisation,
    "abs_magnetisation": lambda x: jnp.abs(obs.magnetisation(x)),
    "phi2": lambda x: obs.moment(x, 2),
    "susceptibility": obs.susceptibility,
    "ising_energy": obs.ising_energy,
}
GAUGE = {"plaquette": obs.plaquette}
TOPOLOGY = {"charge": obs.topological_charge, "charge2": lambda x: obs.topological_charge(x) ** 2}


def default_names(theory: AbstractTheory) -> list[str]:
    """What is measured for a theory when nothing else is asked for."""
    manifold = theory.manifold
    if isinstance(manifold, RealField):
        return list(SCALAR)
    if not isinstance(manifold, LinkField):
        return ["action"]
    loops = ["plaquette"] + (["wilson_2x2"] if min(manifold.lattice) > 2 else [])
    if not isinstance(manifold.group, U1):
        return [*loops, "polyakov2"]
    return loops + (list(TOPOLOGY) if len(manifold.lattice) == 2 else [])


def observables(theory: AbstractTheory, names: list[str] | tuple[str, ...] = ()) -> dict[str, Callable]:
    """Functions of one configuration, by name. **Raises:** `CommandError` for a name that the theory does not have."""
    return {name: _observable(theory, name) for name in names or default_names(theory)}


@functools.cache
def _wilson(r: int, t: int) -> Callable:
    """The same function whenever it is asked for: compiled once."""
    return lambda x: obs.wilson_loop(x, r, t)


def _observable(theory: AbstractTheory, name: str) -> Callable:
    manifold = theory.manifold
    gauge = isinstance(manifold, LinkField)
    abelian = isinstance(manifold, LinkField) and isinstance(manifold.group, U1)
    known: dict[str, Callable] = {"action": theory.action}
    known |= GAUGE if gauge else SCALAR if isinstance(manifold, RealField) else {}
    if gauge and not abelian:
        known["polyakov2"] = _polyakov2
    if abelian and len(theory.lattice) == 2:
        known |= TOPOLOGY
    if name in known:
        return known[name]
    if gauge and (match := WILSON.fullmatch(name)):
        return _wilson(int(match[1]), int(match[2]))
    wilson = ", wilson_RxT" if gauge else ""
    raise CommandError(f"No observable {name!r} for this theory; there are {', '.join(known)}{wilson}.")
