"""Theories whose couplings change while a model is trained."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._types import Configuration
from ..manifolds import AbstractManifold
from ..theories import AbstractTheory


class AbstractMovingTheory(AbstractTheory):
    """A theory for `fit` with couplings between those of `start` and `end`; everywhere else it is the theory `end`."""

    start: eqx.AbstractVar[AbstractTheory]
    end: eqx.AbstractVar[AbstractTheory]

    @abc.abstractmethod
    def at_step(self, step: Int[Array, ""], stop: Int[Array, ""]) -> AbstractTheory:
        """The theory of one training step of `stop`."""

    @property
    def final(self) -> AbstractTheory:
        return self.end

    @property
    def manifold(self) -> AbstractManifold:
        return self.end.manifold

    def action(self, x: Configuration) -> Float[Array, ""]:
        return self.end.action(x)

    def between(self, weight: Float[Array, ""]) -> AbstractTheory:
        """Couplings start + (end - start) weight."""

        def moved(a, b):
            return a + (b - a) * weight.astype(b.dtype) if eqx.is_inexact_array(b) else b

        return jax.tree.map(moved, self.start, self.end)

    def __check_init__(self):
        if self.start.manifold != self.end.manifold or jax.tree.structure(self.start) != jax.tree.structure(self.end):
            raise ValueError(
                f"{type(self).__name__}: {self.start} cannot be moved to {self.end}; expected one kind of theory on one "
                "lattice."
            )


class AnnealedTheory(AbstractMovingTheory):
    r"""A theory for `fit` whose couplings move linearly from those of `start` to those of `end`.

    $g(s) = g_0 + (g_1 - g_0) \min(1, s/\text{fraction})$, s the share of the training steps that are done. Everywhere else
    it is the theory `end`.

    **Arguments:** `start`, `end`: theories of one kind on one manifold; `fraction`: share of the training in which the
    couplings move, in (0, 1].

    **Raises:** `ValueError` for different manifolds or kinds, or a fraction outside of (0, 1].

        >>> moving = tm.training.AnnealedTheory(tm.WilsonAction(tm.U1(), (4, 4), 1.0), theory)
        >>> trained, history = tm.fit(key, model, moving, steps=2, batch_size=8, progress=False)
    """

    start: AbstractTheory
    end: AbstractTheory
    fraction: float = eqx.field(static=True, default=0.5)

    def __check_init__(self):
        if not 0 < self.fraction <= 1:
            raise ValueError(f"AnnealedTheory: got fraction={self.fraction}, expected a number in (0, 1].")

    def at(self, share: Float[Array, ""]) -> AbstractTheory:
        """The theory when this share of the training is done."""
        return self.between(jnp.minimum(share / self.fraction, 1.0))

    def at_step(self, step: Int[Array, ""], stop: Int[Array, ""]) -> AbstractTheory:
        real = jnp.zeros(0).dtype
        return self.at(step.astype(real) / stop.astype(real))


class CouplingRange(AbstractMovingTheory):
    r"""A theory for `fit` whose couplings visit the whole range from `start` to `end`, to train a `ConditionalModel`.

    Step n of the training sees $g = g_0 + (g_1 - g_0)\,\mathrm{frac}(n \varphi)$ with the golden ratio, a sequence that fills
    the range evenly at any length. Everywhere else it is the theory `end`.

    **Arguments:** `start`, `end`: theories of one kind on one manifold.

    **Raises:** `ValueError` for different manifolds or kinds.

        >>> couplings = tm.training.CouplingRange(tm.WilsonAction(tm.U1(), (4, 4), 1.0), theory)
        >>> trained, history = tm.fit(key, model, couplings, steps=2, batch_size=8, progress=False)
    """

    start: AbstractTheory
    end: AbstractTheory

    def at_step(self, step: Int[Array, ""], stop: Int[Array, ""]) -> AbstractTheory:
        # 2^32 divided by the golden ratio: exact modulo one in unsigned integers.
        turned = step.astype(jnp.uint32) * jnp.uint32(2654435769)
        return self.between(turned.astype(jnp.zeros(0).dtype) / 2**32)
