"""Phases of the configurations of chains, which follow the magnitude of a complex weight."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..models import phase_of
from ..statistics import measure as measure_batches
from ..theories import AbstractTheory

_NAME = "phase of exp(-S)"


class _Phase(eqx.Module):
    theory: AbstractTheory

    def __call__(self, x: Any) -> jax.Array | None:
        return phase_of(self.theory.action(x))


def with_phase(theory: AbstractTheory, measure: Any) -> Any:
    """What a chain has to measure: of a theory with a complex action also the phase, unless configurations are kept."""
    if not isinstance(measure, Mapping) or not theory.complex_action:
        return measure
    return {**measure, _NAME: _Phase(theory)}


def chain_phases(theory: AbstractTheory, configurations: Any, observables: Any) -> tuple[Any, np.ndarray | None]:
    """The measurements without the phases, and the phases `(chains, n)`; `None` for a real action."""
    if not theory.complex_action:
        return observables, None
    if configurations is None:
        rest = dict(observables)
        return rest, rest.pop(_NAME)
    chains, n = jax.tree.leaves(configurations)[0].shape[:2]
    flat = jax.tree.map(lambda a: a.reshape(chains * n, *a.shape[2:]), configurations)
    return observables, measure_batches(_Phase(theory), flat).reshape(chains, n)
