import math
from typing import Any, TypeAlias

import numpy as np
from jax.core import Tracer

from .. import (
    AbstractTheory,
    FreeScalarAction,
    NonlinearSigmaModel,
    Phi4Action,
    SumTheory,
    ThetaTerm,
    WeightedWilsonAction,
    WilsonAction,
)
from ._errors import NoExactResultError
from ._free import FreeField
from ._gauge2d import GaugeTorus
from ._phi4 import Phi4Torus
from ._sigma_chain import LARGEST_BETA, SigmaChain
from ._site import Phi4Site
from ._theta import ThetaTorus
from ._transfer_matrix import MAX_WIDTH
from ._weighted_gauge2d import WeightedGaugeTorus

ExactSolution: TypeAlias = GaugeTorus | WeightedGaugeTorus | ThetaTorus | FreeField | Phi4Site | Phi4Torus | SigmaChain


def solve(theory: Any) -> ExactSolution:
    """The one place that decides which theory has which exact solution."""
    match theory:
        case WilsonAction():
            return _gauge(theory)
        case WeightedWilsonAction():
            return _weighted_gauge(theory)
        case FreeScalarAction():
            return _free(theory, concrete(theory.m2, "m2"))
        case Phi4Action():
            return _phi4(theory)
        case NonlinearSigmaModel():
            return _sigma(theory)
        case SumTheory():
            return _sum(theory.terms)
    raise NoExactResultError(
        f"no exact result for a theory of type {type(theory).__name__}: exact results exist for WilsonAction and "
        f"WeightedWilsonAction in two dimensions (of U(1) also with a ThetaTerm), FreeScalarAction in any, Phi4Action up to "
        f"two dimensions and width {MAX_WIDTH}, and NonlinearSigmaModel in one."
    )


def _gauge(theory: WilsonAction) -> GaugeTorus:
    lattice, group, beta = theory.lattice, theory.group, concrete(theory.beta, "beta")
    _two_dimensions(theory)
    return GaugeTorus(group.name, group.n, (lattice[0], lattice[1]), beta)


def _weighted_gauge(theory: WeightedWilsonAction) -> WeightedGaugeTorus:
    _two_dimensions(theory)
    values, counts = np.unique(concrete_array(theory.weights, "weights"), return_counts=True)
    weights = tuple((float(weight), int(count)) for weight, count in zip(values, counts, strict=True))
    return WeightedGaugeTorus(theory.group.name, theory.group.n, theory.lattice, concrete(theory.beta, "beta"), weights)


def _two_dimensions(theory: WilsonAction | WeightedWilsonAction) -> None:
    if len(theory.lattice) != 2:
        raise NoExactResultError(
            f"no exact result for {theory.group.name} gauge theory in {len(theory.lattice)} dimensions, lattice "
            f"{theory.lattice}: the character expansion closes in two dimensions only. For small beta there is "
            "strong_coupling_plaquette."
        )


def _sum(terms: tuple[AbstractTheory, ...]) -> ThetaTorus:
    match terms:
        case (WilsonAction() as gauge, ThetaTerm() as term) | (ThetaTerm() as term, WilsonAction() as gauge):
            return ThetaTorus(_gauge(gauge), concrete(term.theta, "theta"))
    raise NoExactResultError(
        f"no exact result for the sum of {', '.join(type(term).__name__ for term in terms)}: of sums, that of a WilsonAction "
        "of U(1) and a ThetaTerm is known."
    )


def _free(theory: FreeScalarAction | Phi4Action, m2: float) -> FreeField:
    if m2 <= 0:
        raise NoExactResultError(
            f"the free scalar on {theory.lattice} with m2={m2} cannot be normalised: its zero mode needs m2 > 0."
        )
    return FreeField(theory.lattice, m2)


def _phi4(theory: Phi4Action) -> FreeField | Phi4Site | Phi4Torus:
    lattice, m2, lam = theory.lattice, concrete(theory.m2, "m2"), concrete(theory.lam, "lam")
    if lam < 0:
        raise NoExactResultError(f"phi^4 on {lattice} with lam={lam} cannot be normalised: it needs lam >= 0.")
    if lam == 0:
        return _free(theory, m2)
    # Along an extent of one the kinetic term vanishes.
    extents = [extent for extent in lattice if extent > 1]
    if not extents:
        return Phi4Site(m2, lam)
    if len(extents) > 2:
        raise NoExactResultError(
            f"no exact result for phi^4 on the lattice {lattice}: the transfer matrix is feasible in one and two "
            f"dimensions only, this lattice has {len(extents)} extents larger than one."
        )
    width = math.prod(extents) // max(extents)
    if width > MAX_WIDTH:
        raise NoExactResultError(
            f"no exact result for phi^4 on the lattice {lattice}: the transfer matrix is feasible up to width "
            f"{MAX_WIDTH}, the narrower side of this lattice is {width}."
        )
    return Phi4Torus(lattice, m2, lam)


def _sigma(theory: NonlinearSigmaModel) -> SigmaChain:
    lattice, beta = theory.lattice, concrete(theory.beta, "beta")
    if sum(extent > 1 for extent in lattice) > 1:
        raise NoExactResultError(
            f"no exact result for the O({theory.n}) model on the lattice {lattice}: the expansion in harmonics closes on "
            "chains only, lattices with one extent larger than one."
        )
    if abs(beta) > LARGEST_BETA:
        raise NoExactResultError(f"no exact result for the O({theory.n}) model at beta={beta}, beyond {LARGEST_BETA:g}.")
    return SigmaChain(theory.n, lattice, beta)


def concrete_array(couplings: Any, name: str) -> np.ndarray:
    """Couplings that depend on the site, as numbers."""
    if isinstance(couplings, Tracer):
        raise TypeError(f"{name} are traced values: exact results are NumPy computations. Call them outside jit and vmap.")
    return np.asarray(couplings, np.float64)


def concrete(coupling: Any, name: str) -> float:
    if isinstance(coupling, Tracer):
        raise TypeError(
            f"{name} is a traced value: exact results are NumPy computations on numbers. "
            "Call them outside jit, grad and vmap."
        )
    if getattr(coupling, "ndim", 0) != 0:
        raise ValueError(f"{name} has shape {coupling.shape}: exact results take one theory at a time.")
    return float(coupling)
