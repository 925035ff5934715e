"""Transfer of a trained model to another lattice and coupling."""

from typing import Any

import equinox as eqx

from ..fields import AbstractVectorField, LadderField
from ..flows import AbstractFlow, ContinuousFlow, flow_on
from ..manifolds import AbstractManifold
from ..models import Model
from ..priors import AbstractPrior, GaussianPrior, HaarPrior
from ..theories import AbstractTheory, WilsonAction


def transfer(model: Model, theory: AbstractTheory) -> Model:
    """The model with the same learned numbers on the lattice, and at the coupling, of another theory.

    Local coefficients and networks are kept, kernels of convolutions and weights over a row or a column of the lattice are
    re-gridded to the new extents: zero at displacements that are new. The result is a start for training, or a sampler whose
    weights are exact as for any model.

    **Arguments:** `model`: a continuous flow with a `LadderField`, which also follows the coupling, or any field with a
    method `on(manifold)` (convolution fields, gradients of loop, neural and neighbour potentials); or discrete flows with
    such a method (coupling, Fourier and pointwise layers); `theory`: of the same kind of field and number of dimensions.

    **Raises:** `TypeError` for parameters that belong to one lattice, `ValueError` for another group or dimension, a coupling
    that the field does not reach, or a lattice too small for the networks.
    """
    old, new = model.manifold, theory.manifold
    same = type(old) is type(new) and getattr(old, "group", None) == getattr(new, "group", None)
    if not same or len(old.lattice) != len(new.lattice):
        raise ValueError(f"transfer: the model lives on {old}, the theory on {new}; expected the same group and dimension.")
    return Model(_prior_on(model.prior, new), _transport(model.transport, theory))


def _transport(transport: Any, theory: AbstractTheory) -> AbstractFlow:
    if not isinstance(transport, ContinuousFlow):
        return flow_on(transport, theory.manifold)
    return eqx.tree_at(lambda f: f.field, transport, _field(transport.field, theory))


def _prior_on(prior: AbstractPrior, manifold: AbstractManifold) -> AbstractPrior:
    if isinstance(prior, HaarPrior):
        return HaarPrior(manifold)
    if isinstance(prior, GaussianPrior):
        return eqx.tree_at(lambda p: p.log_width, GaussianPrior(manifold), prior.log_width)
    raise TypeError(f"transfer: a {type(prior).__name__} belongs to its lattice {prior.manifold.lattice}.")


def _field(field: AbstractVectorField, theory: AbstractTheory) -> AbstractVectorField:
    if isinstance(field, LadderField):
        if not isinstance(theory, WilsonAction):
            raise TypeError(f"transfer: got a LadderField and a {type(theory).__name__}, expected a WilsonAction.")
        return field.at(theory.manifold, float(theory.beta))
    move = getattr(field, "on", None)
    if move is None:
        raise TypeError(
            f"transfer: the parameters of a {type(field).__name__} belong to its lattice {field.manifold.lattice}; "
            "give the field a method `on(manifold)`."
        )
    return move(theory.manifold)
