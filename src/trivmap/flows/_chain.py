"""Flows one after another."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Configuration
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold
from ._base import AbstractFlow


class FlowSequence(AbstractFlow):
    """The first flow, then the second, and so on towards the theory; log-dets add.

    **Arguments:** `*flows`: one or more on the same manifold, of any kinds.

    **Raises:** `ValueError` for none, or for different manifolds.
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
