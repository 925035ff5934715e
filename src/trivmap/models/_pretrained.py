"""Named models that come with the package: their learned numbers, and where these come from."""

import functools
import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Shape
from ..fields import AbstractVectorField, GatedConvolutionField, GradientField, LadderField, LoopPotential
from ..flows import ContinuousFlow
from ..groups import SU, U1
from ..priors import HaarPrior
from ..theories import WilsonAction
from ._model import Model


def _ladder(theory: WilsonAction, gates: Array) -> AbstractVectorField:
    times, count = gates.shape
    field = LadderField(theory.manifold, theory.beta, gates=count, times=times, reach=1, dtype=gates.dtype)
    return eqx.tree_at(lambda f: f.gates, field, gates)


def _loops(potential: Callable[..., LoopPotential]) -> Callable[[WilsonAction, Array], AbstractVectorField]:
    def build(theory: WilsonAction, coefficients: Array) -> AbstractVectorField:
        start = potential(theory, order=0, dtype=coefficients.dtype)
        learned = eqx.tree_at(lambda p: p.coefficients, start, coefficients)
        return GradientField(learned)  # pyright: ignore[reportCallIssue]

    return build


def _gated(theory: WilsonAction, change: Array) -> AbstractVectorField:
    field = GatedConvolutionField.trivializing(theory.manifold, float(theory.beta), dtype=change.dtype)
    return field.with_mean_gates(change)


# Field by kind, from a theory and its table of learned numbers.
_FIELDS: dict[str, Callable[[WilsonAction, Array], AbstractVectorField]] = {
    "gated": _gated,
    "ladder": _ladder,
    "modelA": _loops(LoopPotential.model_a),
    "modelB": _loops(LoopPotential.model_b),
}


@functools.cache
def _table() -> dict[str, Any]:
    return json.loads(resources.files("trivmap.models").joinpath("pretrained.json").read_text())


def pretrained_models() -> dict[str, dict[str, Any]]:
    """Name -> theory (n of SU(n), 1 for U(1); beta) of every pretrained model, how its numbers were found, and its ESS.

    >>> sorted(tm.models.pretrained_models())[0]
    """
    return {name: {"n": entry["n"], "beta": entry["beta"], **entry["provenance"]} for name, entry in _table().items()}


def load_pretrained(name: str, lattice: Shape | None = None) -> Model:
    """A trained model by name, on the lattice it was trained on or on another.

    **Arguments:** `name`: one of `pretrained_models()`, such as "su3-2d-ladder-beta6" or "su3-2d-modelB-beta6";
    `lattice`: extents. Move it to another coupling with `transfer`.

    **Raises:** `KeyError` with the known names.

        >>> ladder = tm.load_pretrained("su2-2d-ladder-beta2.2", lattice=(8, 8))
    """
    table = _table()
    if name not in table:
        raise KeyError(f"load_pretrained: got {name!r}, expected one of {', '.join(sorted(table))}.")
    entry = table[name]
    extents = tuple(entry["lattice"] if lattice is None else lattice)
    # pyright takes equinox's abstract fields, here properties, for arguments.
    group = U1() if entry["n"] == 1 else SU(entry["n"])  # pyright: ignore[reportCallIssue]
    theory = WilsonAction(group, extents, entry["beta"])
    field = _FIELDS[entry["kind"]](theory, jnp.asarray(entry["numbers"], jnp.float32))
    flow = ContinuousFlow(field, steps=entry["steps"])
    return Model(HaarPrior(theory.manifold), flow)
