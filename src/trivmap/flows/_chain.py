"""Flows one after another."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .._types import Configuration
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ._base import AbstractFlow


class FlowSequence(AbstractFlow):
    """The first flow, then the second, and so on towards the theory; log-dets add.

    **Arguments:** `*flows`: one or more on the same manifold, of any kinds.

    **Raises:** `ValueError` for none, or for different manifolds.

        >>> flow = tm.FlowSequence(tm.flows.Rescaling(scalar.manifold), tm.flows.FourierFlow(scalar.manifold))
        >>> x, log_det = flow.forward_and_log_det(phi)
    """

    flows: tuple[AbstractFlow, ...]

    def __init__(self, *flows: AbstractFlow):
        if not flows:
            raise ValueError("FlowSequence: got no flow, expected one or more.")
        manifolds = [flow.manifold for flow in flows]
        if any(manifold != manifolds[0] for manifold in manifolds):
            raise ValueError(f"FlowSequence: got flows on {manifolds}, expected the same manifold for all.")
        self.flows = flows

    @property
    def manifold(self) -> AbstractManifold:
        return self.flows[0].manifold

    def on(self, manifold: AbstractManifold) -> "FlowSequence":
        """The same flows on another lattice.

        **Raises:** `TypeError` for a flow that belongs to its lattice.
        """
        moved: Any = [flow.on(manifold) for flow in self.flows]
        return FlowSequence(*moved)

    def forward_with_error(self, z: Configuration) -> tuple[Configuration, Float[Array, ""], Float[Array, ""]]:
        """The squared errors of all flows add."""
        log_det = error = jnp.zeros((), accumulator_dtype())
        for flow in self.flows:
            z, change, missed = flow.forward_with_error(z)
            log_det, error = log_det + change.astype(log_det.dtype), error + missed.astype(error.dtype)
        return z, log_det, error

    @property
    def refinable(self) -> bool:
        return any(flow.refinable for flow in self.flows)

    def refined(self, factor: int = 2) -> "FlowSequence":
        """The sequence whose integrated flows have `factor` times as many steps."""
        if not self.refinable:
            super().refined(factor)  # raises, with the reason
        parts: list[Any] = [flow.refined(factor) if flow.refinable else flow for flow in self.flows]
        return FlowSequence(*parts)

    @property
    def evaluations(self) -> int | None:
        known = [count for flow in self.flows if (count := flow.evaluations) is not None]
        return sum(known) if len(known) == len(self.flows) else None

    @property
    def deepenable(self) -> bool:
        return any(flow.deepenable for flow in self.flows)

    def deeper(self, key: Key[Array, ""], layers: int) -> "FlowSequence":
        """The sequence whose last flow that has layers to add to gets new ones."""
        growing = [index for index, flow in enumerate(self.flows) if flow.deepenable]
        parts: list[Any] = list(self.flows)
        if not growing:
            given = ", ".join(type(flow).__name__ for flow in parts)
            raise TypeError(
                f"None of {given} has layers of couplings that deeper adds to; put a flow behind them, "
                "FlowSequence(*flows, new), or give a ContinuousFlow more steps."
            )
        parts[growing[-1]] = parts[growing[-1]].deeper(key, layers)
        return FlowSequence(*parts)

    def forward_and_log_det(self, z: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        total = jnp.zeros((), accumulator_dtype())
        for flow in self.flows:
            z, log_det = flow.forward_and_log_det(z)
            total = total + log_det
        return z, total

    def forward_and_score(
        self, z: Configuration, score: Configuration
    ) -> tuple[Configuration, Float[Array, ""], Configuration]:
        total = jnp.zeros((), accumulator_dtype())
        for flow in self.flows:
            z, log_det, score = flow.forward_and_score(z, score)
            total = total + log_det
        return z, total, score

    def inverse_and_log_det(self, x: Configuration) -> tuple[Configuration, Float[Array, ""]]:
        total = jnp.zeros((), accumulator_dtype())
        for flow in reversed(self.flows):
            x, log_det = flow.inverse_and_log_det(x)
            total = total + log_det
        return x, total
