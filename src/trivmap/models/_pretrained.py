"""Named models that come with the package: their learned numbers, and where these come from."""

import functools
import json
import math
from collections.abc import Callable
from importlib import resources
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._types import Shape
from ..fields import (
    AbstractVectorField,
    ChargeGatedField,
    GatedConvolutionField,
    GradientField,
    LadderField,
    LoopPotential,
    RidgeField,
    SumField,
)
from ..flows import ContinuousFlow, FlowSequence, FourierFlow
from ..groups import SU, U1
from ..priors import GaussianPrior, HaarPrior
from ..theories import AbstractTheory, Phi4Action, WilsonAction
from ._model import Model


class _Kind(NamedTuple):
    """How an entry of the table becomes a model: its theory on a lattice, what that depends on, and the model for it."""

    theory: Callable[[dict[str, Any], Shape], AbstractTheory]
    couplings: tuple[str, ...]
    model: Callable[[dict[str, Any], Any], Model]


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


def _wilson(entry: dict[str, Any], lattice: Shape) -> WilsonAction:
    # pyright takes equinox's abstract fields, here properties, for arguments.
    group = U1() if entry["n"] == 1 else SU(entry["n"])  # pyright: ignore[reportCallIssue]
    return WilsonAction(group, lattice, entry["beta"])


def _links(field: Callable[[WilsonAction, Array], AbstractVectorField]) -> _Kind:
    """Fields that are built for any lattice and coupling from a table of numbers, behind the Haar measure."""

    def build(entry: dict[str, Any], theory: WilsonAction) -> Model:
        learned = field(theory, jnp.asarray(entry["numbers"], jnp.float32))
        return Model(HaarPrior(theory.manifold), ContinuousFlow(learned, steps=entry["steps"]))

    return _Kind(_wilson, ("n", "beta"), build)


def _phi4(entry: dict[str, Any], lattice: Shape) -> Phi4Action:
    return Phi4Action(lattice, m2=entry["m2"], lam=entry["lam"])


def _ridge(entry: dict[str, Any], theory: Phi4Action) -> Model:
    """A `RidgeField` behind a learned spectrum, on the lattice it was trained on, then moved."""
    trained = _phi4(entry, tuple(entry["lattice"])).manifold
    flow = FlowSequence(
        FourierFlow(trained, knots=len(entry["numbers"]["knots"])),
        ContinuousFlow(RidgeField(jax.random.key(0), trained), steps=entry["steps"]),
    )
    start = Model(GaussianPrior(trained, math.exp(entry["numbers"]["log_width"])), flow)
    spectrum = ("log_mass", "knots", "zero_mode")
    ridges = ("coefficients", "amplitudes", "linear")

    def where(model: Any) -> list[Any]:
        fourier, field = model.transport.flows[0], model.transport.flows[1].field
        parts = [getattr(fourier, name) for name in spectrum]
        return [*parts, field.kernels.coefficients, field.amplitudes, field.linear]

    numbers = [jnp.asarray(entry["numbers"][name]) for name in (*spectrum, *ridges)]
    model = eqx.tree_at(where, start, numbers)
    return model if theory.lattice == trained.lattice else model.transferred(theory)


def _u1(entry: dict[str, Any], lattice: Shape) -> WilsonAction:
    """The gauge action: with a determinant, whose kappa may be critical, it is the user's theory that warns of it."""
    return WilsonAction(U1(), lattice, entry["beta"])


def _charged(entry: dict[str, Any], theory: WilsonAction) -> Model:
    """A gated field and those gated by the charge, orders 1, 2, ..., on the lattice of their kernels, then moved."""
    trained = _u1(entry, tuple(entry.get("kernels", entry["lattice"]))).manifold
    fields = [_with_numbers(trained, numbers) for numbers in entry["numbers"]]
    gates = [ChargeGatedField(field, order=order, width=entry["width"]) for order, field in enumerate(fields[1:], start=1)]
    flow = ContinuousFlow(SumField(fields[0], *gates), steps=entry["steps"])
    model = Model(HaarPrior(trained), flow)
    return model if theory.lattice == trained.lattice else model.transferred(theory)


def _with_numbers(manifold: Any, numbers: dict[str, Any]) -> GatedConvolutionField:
    linear, gate, smoothing = (jnp.asarray(numbers[name], jnp.float32) for name in ("linear", "gate", "smoothing"))
    times, gates, features, _ = gate.shape
    field = GatedConvolutionField(manifold, features=features, gates=gates, times=times, dtype=jnp.float32)
    where = lambda f: (f.convolution.linear, f.convolution.gate, f.smoothing)  # noqa: E731
    return eqx.tree_at(where, field, (linear, gate, smoothing))


_KINDS = {
    "charged": _Kind(_wilson, ("n", "beta"), _charged),
    "gated": _links(_gated),
    "ladder": _links(_ladder),
    "modelA": _links(_loops(LoopPotential.model_a)),
    "modelB": _links(_loops(LoopPotential.model_b)),
    "ridge": _Kind(_phi4, ("m2", "lam"), _ridge),
    "schwinger": _Kind(_u1, ("beta", "kappa"), _charged),
}


@functools.cache
def _table() -> dict[str, Any]:
    return json.loads(resources.files("trivmap.models").joinpath("pretrained.json").read_text())


def pretrained_models() -> dict[str, dict[str, Any]]:
    """Name -> couplings of every pretrained model (n of SU(n), 1 for U(1), and beta; m2 and lam of phi^4;
    beta and kappa of the Schwinger model), how its numbers were found, and its ESS.

    >>> sorted(tm.models.pretrained_models())[0]
    """
    return {
        name: {coupling: entry[coupling] for coupling in _KINDS[entry["kind"]].couplings} | entry["provenance"]
        for name, entry in _table().items()
    }


def load_pretrained(name: str, lattice: Shape | None = None) -> Model:
    """A trained model by name, on the lattice it was trained on or on another.

    **Arguments:** `name`: one of `pretrained_models()`, such as "su3-2d-ladder-beta6" or "phi4-2d-critical-16";
    `lattice`: extents. Move it to another coupling with `transfer`.

    **Raises:** `KeyError` with the known names.

        >>> ladder = tm.load_pretrained("su2-2d-ladder-beta2.2", lattice=(8, 8))
    """
    table = _table()
    if name not in table:
        raise KeyError(f"load_pretrained: got {name!r}, expected one of {', '.join(sorted(table))}.")
    entry = table[name]
    kind = _KINDS[entry["kind"]]
    return kind.model(entry, kind.theory(entry, tuple(entry["lattice"] if lattice is None else lattice)))
