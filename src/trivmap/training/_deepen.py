"""A deeper model from a trained one."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Key

from .._checks import integers
from ..flows import AbstractFlow, FlowSequence
from ..models import Model


def deepen(key: Key[Array, ""], model: Model, layers: int) -> Model:
    """The model with more coupling layers behind those it has, a start for training that keeps what was learned.

    The new layers are nearly the identity, so that the weights hardly change at first.

    **Arguments:**

    - `key`: weights of the new layers.
    - `model`: with a `CouplingFlow`, a `GaugeCouplingFlow` or a `SpectralCouplingFlow`; in a `FlowSequence` the last of these
      grows.
    - `layers`: how many are new; for a `SpectralCouplingFlow` sweeps.

    **Raises:** `TypeError` for a model without such a flow, `ValueError` for less than one layer.
    """
    integers("deepen", 1, layers=layers)
    return eqx.tree_at(lambda m: m.transport, model, _deeper(key, model.transport, layers))


def _deeper(key: Array, flow: Any, layers: int) -> AbstractFlow:
    if isinstance(flow, FlowSequence):
        parts = list(flow.flows)
        growing = [index for index, part in enumerate(parts) if hasattr(part, "deeper")]
        if growing:
            parts[growing[-1]] = parts[growing[-1]].deeper(key, layers)  # pyright: ignore[reportAttributeAccessIssue]
            return FlowSequence(*parts)
    elif hasattr(flow, "deeper"):
        return flow.deeper(key, layers)
    raise TypeError(
        f"deepen: a {type(flow).__name__} has no layers of couplings; put a flow behind it, FlowSequence(flow, new), or give "
        "a ContinuousFlow more steps."
    )
