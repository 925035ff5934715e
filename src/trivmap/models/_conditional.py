"""Models of a family of theories: learned numbers that are polynomials in a coupling."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from .._checks import finite, integer
from .._parameters import trainable
from ..manifolds import AbstractManifold
from ..theories import AbstractTheory
from ._base import AbstractModel


class ConditionalModel(eqx.Module):
    r"""A model for every theory of a family: its numbers are Chebyshev polynomials in a coupling g.

    $$ p(g) = \sum_{k=0}^{\text{degree}} c_k T_k(s), \qquad s = \frac{2g - g_0 - g_1}{g_1 - g_0}, $$

    for every parameter p of the model (see `trainable`). What is frozen is the same for all couplings, or it is the coupling
    itself, which `at` takes from its theory. `at(theory)` is a `Model` like any other: it can be sampled, trained further,
    transferred, and vmapped over couplings. `fit` trains the coefficients when its theory is a `CouplingRange`. The start
    interpolates `make` at the Chebyshev points, so that trained models or closed forms at a few couplings become one model
    of all.

    **Arguments:** `make`: function from a theory to a model, always of the same structure; `theory`: any of the family;
    `low`, `high`: range of the coupling; `coupling`: its name among the arrays of the theory; `degree`: of the polynomials.

    **Raises:** `TypeError` for a theory without this coupling; `ValueError` for an empty range, one that reaches couplings
    which the theory refuses, a negative degree, models of different structures, or frozen numbers that depend on the coupling
    in another way, such as a stored ensemble for each.

        >>> make = lambda t: tm.Model(tm.HaarPrior(t.manifold), flow)
        >>> conditional = tm.ConditionalModel(make, theory, low=1.0, high=3.0)
    """

    coefficients: Any
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    coupling: str = eqx.field(static=True)
    following: tuple[bool, ...] = eqx.field(static=True)

    def __init__(
        self,
        make: Callable[[AbstractTheory], AbstractModel],
        theory: AbstractTheory,
        low: float,
        high: float,
        *,
        coupling: str = "beta",
        degree: int = 4,
    ):
        finite("ConditionalModel: low", low)
        finite("ConditionalModel: high", high)
        integer("ConditionalModel: degree", degree, 0)
        if not low < high:
            raise ValueError(f"ConditionalModel: got the range {low} to {high}, expected low < high.")
        self.low, self.high, self.coupling = float(low), float(high), coupling
        old = self._coupling_of(theory)
        angles = np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1)
        points = (low + high) / 2 + (high - low) / 2 * np.cos(angles)
        with jax.ensure_compile_time_eval():  # so that `following` is known where only the structure is built, as by `load`
            couplings = [jnp.asarray(g, old.dtype) for g in points]
            ends = [jnp.asarray(g, old.dtype) for g in (low, high)]
        member = lambda g: eqx.tree_at(lambda t: getattr(t, coupling), theory, g)  # noqa: E731
        for end in ends:
            member(end).check_couplings()
        models = [make(member(g)) for g in couplings]
        numbers, rest = zip(*(eqx.partition(model, trainable(model)) for model in models), strict=True)
        frozen, rest = zip(*(eqx.partition(part, eqx.is_inexact_array) for part in rest), strict=True)
        if len({jax.tree.structure(pair) for pair in zip(numbers, frozen, strict=True)}) > 1:
            raise ValueError(
                "ConditionalModel: `make` returned models of different structures; only arrays may change. Numbers that are "
                "no arrays, such as the largest_coupling of a LadderField, have to be given alike for all couplings."
            )
        weights = np.cos(np.outer(np.arange(degree + 1), angles)) * (2 / (degree + 1))
        weights[0] /= 2
        stacked = jax.tree.map(lambda *p: jnp.tensordot(jnp.asarray(weights, p[0].dtype), jnp.stack(p), 1), *numbers)
        self.following = tuple(_follows(values, points) for values in zip(*map(jax.tree.leaves, frozen), strict=True))
        self.coefficients = eqx.combine(stacked, frozen[0], rest[0])

    @property
    def manifold(self) -> AbstractManifold:
        return self.coefficients.manifold

    @property
    def refinable(self) -> bool:
        """Whether its models have integration steps that `refined` makes smaller."""
        return self.coefficients.refinable

    def at(self, theory: AbstractTheory) -> AbstractModel:
        """The model of one theory of the family.

        **Raises:** `TypeError` for a theory without the coupling, `ValueError` for one outside of the range (unless it is
        traced) or on another manifold.
        """
        value = self._coupling_of(theory)
        if theory.manifold != self.manifold:
            raise ValueError(f"ConditionalModel lives on {self.manifold}, the theory on {theory.manifold}.")
        if not isinstance(value, Tracer) and not self.low <= float(value) <= self.high:
            raise ValueError(
                f"ConditionalModel: got {self.coupling} = {float(value):g}, expected {self.low:g} to {self.high:g}, "
                "the range it was made for."
            )
        numbers, rest = eqx.partition(self.coefficients, trainable(self.coefficients))
        frozen, rest = eqx.partition(rest, eqx.is_inexact_array)
        leaves, structure = jax.tree.flatten(frozen)
        bound = [value.astype(a.dtype) if follows else a for a, follows in zip(leaves, self.following, strict=True)]

        def evaluated(c: Array) -> Array:
            s = (2 * value - self.low - self.high) / (self.high - self.low)
            return jnp.tensordot(_chebyshev(s.astype(c.dtype), c.shape[0]), c, 1)

        return eqx.combine(jax.tree.map(evaluated, numbers), jax.tree.unflatten(structure, bound), rest)

    def _coupling_of(self, theory: AbstractTheory) -> Any:
        value = getattr(theory, self.coupling, None)
        if value is None or not eqx.is_inexact_array(value) or value.shape:
            raise TypeError(f"ConditionalModel: a {type(theory).__name__} has no scalar coupling named {self.coupling!r}.")
        return value


def _follows(values: tuple[Array, ...], points: np.ndarray) -> bool:
    """Whether a frozen number is the coupling, one value of it per model; if not, it must be the same in all of them."""
    if any(isinstance(v, Tracer) for v in values):
        return False  # made by `make` under a trace; the coupling itself is never traced
    first, *others = (np.asarray(v) for v in values)
    if not first.shape and all(v == g.astype(first.dtype) for v, g in zip((first, *others), points, strict=True)):
        return True
    if all(np.array_equal(first, v) for v in others):
        return False
    raise ValueError(
        "ConditionalModel: `make` returned models whose frozen numbers (theories, stored configurations) differ in another "
        "way than the coupling, and polynomials of them mean nothing. Use the same ones for every coupling."
    )


def _chebyshev(s: Array, size: int) -> Array:
    terms = [jnp.ones_like(s), s]
    for _ in range(size - 2):
        terms.append(2 * s * terms[-1] - terms[-2])
    return jnp.stack(terms[:size])
