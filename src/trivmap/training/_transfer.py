"""Transfer of a trained model to another lattice and coupling."""

from ..models import AbstractModel
from ..theories import AbstractTheory


def transfer(model: AbstractModel, theory: AbstractTheory) -> AbstractModel:
    """The model with the same learned numbers on the lattice, and at the coupling, of another theory.

    Local coefficients and networks are kept, kernels of convolutions and weights over a row or a column of the lattice are
    re-gridded to the new extents: zero at displacements that are new. The result is a start for training, or a sampler whose
    weights are exact as for any model.

    **Arguments:** `model`: a continuous flow with a `LadderField`, which also follows the coupling, or any field with a
    method `on(manifold)` (convolution fields, gradients of loop, neural and neighbour potentials); or discrete flows with
    such a method (coupling, Fourier and pointwise layers); `theory`: of the same kind of field and number of dimensions.

    **Raises:** `TypeError` for parameters that belong to one lattice, `ValueError` for another group or dimension, a coupling
    that the field does not reach, or a lattice too small for the networks.

        >>> larger = tm.transfer(model, tm.WilsonAction(tm.U1(), (8, 8), beta=2.0))
    """
    old, new = model.manifold, theory.manifold
    same = type(old) is type(new) and getattr(old, "group", None) == getattr(new, "group", None)
    if not same or len(old.lattice) != len(new.lattice):
        raise ValueError(f"transfer: the model lives on {old}, the theory on {new}; expected the same group and dimension.")
    return model.transferred(theory)
