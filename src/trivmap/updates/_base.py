"""The interface of updates: one step of a Markov chain."""

import abc

import equinox as eqx
import jax
from jaxtyping import Array, Key

from .._types import Configuration
from ..theories import AbstractTheory


class AbstractUpdate(eqx.Module):
    """A random step that leaves exp(-S) invariant and is reversible with respect to it, for any theory it accepts."""

    @abc.abstractmethod
    def __call__(self, key: Key[Array, ""], theory: AbstractTheory, x: Configuration) -> Configuration:
        """The next configuration."""

    def repeated(self, key: Key[Array, ""], theory: AbstractTheory, x: Configuration, count: int) -> Configuration:
        """The configuration after `count` updates."""

        def once(x, key):
            return self(key, theory, x), None

        return jax.lax.scan(once, x, jax.random.split(key, count))[0]
