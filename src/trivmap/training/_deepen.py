"""A deeper model from a trained one."""

import equinox as eqx
from jaxtyping import Array, Key

from .._checks import integers
from ..models import Model


def deepen(key: Key[Array, ""], model: Model, layers: int) -> Model:
    """The model with more layers behind those it has, a start for training that keeps what was learned.

    The new layers are nearly the identity, so that the weights hardly change at first.

    **Arguments:**

    - `key`: weights of the new layers.
    - `model`: with a `CouplingFlow`, a `GaugeCouplingFlow`, a `SpectralCouplingFlow`, or another transport with a method
      `deeper`; in a `FlowSequence` the last of these grows.
    - `layers`: how many are new; for a `SpectralCouplingFlow` sweeps.

    **Raises:** `TypeError` for a model without such a transport, `ValueError` for less than one layer.
    """
    integers("deepen", 1, layers=layers)
    return eqx.tree_at(lambda m: m.transport, model, model.transport.deeper(key, layers))
