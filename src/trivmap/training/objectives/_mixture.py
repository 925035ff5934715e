"""Sums of objectives."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, DTypeLike, Float, Key

from ...theories import AbstractTheory


class MixedObjective(eqx.Module):
    """A weighted sum of objectives, such as the reverse and the forward divergence.

    **Arguments:** `terms`: pairs of a weight and an objective, as in `[(1.0, reverse_kl), (0.5, ForwardKL(chain))]`. The log
    weights reported are those of the first.

        >>> objective = tm.objectives.MixedObjective([(1.0, tm.reverse_kl), (0.5, tm.objectives.ForwardKL(chain))])
    """

    weights: tuple[float, ...] = eqx.field(static=True)
    objectives: tuple[Callable, ...]

    def __init__(self, terms: Sequence[tuple[float, Callable]]):
        if not terms:
            raise ValueError("MixedObjective needs one (weight, objective) or more, but was given none.")
        self.weights = tuple(float(weight) for weight, _ in terms)
        self.objectives = tuple(objective for _, objective in terms)

    def __call__(
        self, key: Key[Array, ""], model: Any, theory: AbstractTheory, batch_size: int, *, dtype: DTypeLike | None = None
    ) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
        keys = jax.random.split(key, len(self.weights))
        results = [f(k, model, theory, batch_size, dtype=dtype) for k, f in zip(keys, self.objectives, strict=True)]
        loss = sum((w * loss for w, (loss, _) in zip(self.weights, results, strict=True)), start=0.0)
        return loss, results[0][1]  # pyright: ignore[reportReturnType]
