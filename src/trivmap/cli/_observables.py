"""Observables by name, and what is estimated from their stored values."""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import observables as obs
from ..statistics import Chain, Ensemble, Estimate, expectation
from ..theories import AbstractTheory, SchwingerAction
from ._kinds import Kind, kind_of
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
LINKS: tuple[Kind, ...] = ("u1", "su")
# Correlators, whose values are arrays, are stored; their effective mass at half of the extent is what is printed.
MASSES = {"pion": ("pion_mass", obs.effective_mass(lambda x: x))}


@functools.singledispatch
def _of_quarks(theory: AbstractTheory) -> dict[str, Callable]:
    return {}


@_of_quarks.register
def _(theory: SchwingerAction) -> dict[str, Callable]:
    dirac = theory.determinant.dirac
    condensate = {"condensate": obs.ChiralCondensate(dirac)}
    return condensate | ({"pion": obs.MesonCorrelators(dirac).pion} if dirac.lattice[0] > 2 else {})


def _named(theory: AbstractTheory) -> dict[str, Callable]:
    """Observables with a name of their own, by the kind of fields."""
    of_kind: dict[Kind, dict[str, Callable]] = {
        "scalar": SCALAR,
        "u1": GAUGE | (TOPOLOGY if len(theory.lattice) == 2 else {}),
        "su": GAUGE | {"polyakov2": _polyakov2},
        "other": {},
    }
    return of_kind[kind_of(theory.manifold)] | _of_quarks(theory)


def default_names(theory: AbstractTheory) -> list[str]:
    """What is measured for a theory when nothing else is asked for."""
    names = list(_named(theory)) or ["action"]
    if kind_of(theory.manifold) in LINKS and min(theory.lattice) > 2:
        names.insert(1, "wilson_2x2")
    return names


def estimates_of(data: Ensemble | Chain, name: str, measured: Any = None, batch_size: int = 256) -> dict[str, Estimate]:
    """The estimate of a stored observable, or of `measured` on the configurations; of a correlator its effective mass."""
    if name in MASSES:
        mass, derived = MASSES[name]
        return {mass: expectation(data, measured or name, function=derived, batch_size=batch_size)}
    found = expectation(data, measured or name, batch_size=batch_size)
    return {name: found} if np.ndim(found.value) == 0 else {}


def all_estimates(data: Ensemble | Chain) -> dict[str, Estimate]:
    """Of everything that is stored."""
    return {key: value for name in data.observables for key, value in estimates_of(data, name).items()}


def observables(theory: AbstractTheory, names: list[str] | tuple[str, ...] = ()) -> dict[str, Callable]:
    """Functions of one configuration, by name. **Raises:** `CommandError` for a name that the theory does not have."""
    return {name: _observable(theory, name) for name in names or default_names(theory)}


@functools.cache
def _wilson(r: int, t: int) -> Callable:
    """The same function whenever it is asked for: compiled once."""
    return lambda x: obs.wilson_loop(x, r, t)


def _observable(theory: AbstractTheory, name: str) -> Callable:
    known = {"action": theory.action} | _named(theory)
    if name in known:
        return known[name]
    links = kind_of(theory.manifold) in LINKS
    if links and (match := WILSON.fullmatch(name)):
        return _wilson(int(match[1]), int(match[2]))
    wilson = ", wilson_RxT" if links else ""
    raise CommandError(f"No observable {name!r} for this theory; there are {', '.join(known)}{wilson}.")
