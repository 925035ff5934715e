"""Models of several fields one after the other: the first by itself, the others given it."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int, Key

from .._types import Configuration
from ..lattice import accumulator_dtype
from ..manifolds import AbstractManifold, ProductManifold
from ._base import AbstractModel


class AbstractConditional(eqx.Module):
    r"""A density of one field given another one: a function from a configuration to a model.

    A new one gives `given` and `manifold`, and the method `at`; `JointModel` puts it behind a model of the field that is
    given.

        >>> schur = tm.fermions.EvenOddDirac(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
        >>> conditional = tm.models.PseudofermionFlow(tm.fermions.IncompleteLU(schur, distance=2))
        >>> phi, log_q = conditional.at(links).sample_and_log_prob(key)
    """

    @property
    @abc.abstractmethod
    def given(self) -> AbstractManifold:
        """The manifold of the field on which the density depends."""

    @property
    @abc.abstractmethod
    def manifold(self) -> AbstractManifold:
        """The manifold of the field that is drawn."""

    @abc.abstractmethod
    def at(self, x: Any) -> AbstractModel:
        """The model of one field given a configuration of the other."""


class JointModel(AbstractModel):
    r"""A model of one field and conditional models of others given it: $q(x, y, \dots) = q(x)\, q(y|x) \cdots$.

    Configurations are dictionaries, of the first field under `name`, such as links and pseudofermions. Weights towards a
    theory of all of them are as exact as those of a single field; the mean of theirs over the conditional fields is the
    weight of the first one.

    **Arguments:** `marginal`: a model of the first field; `name`: its name in configurations; `**conditionals`: an
    `AbstractConditional` for each of the others, by name.

    **Raises:** `ValueError` for no conditional or one that is given another field, `TypeError` for what is none.

        >>> schur = tm.fermions.EvenOddDirac(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
        >>> flow = tm.models.PseudofermionFlow(tm.fermions.IncompleteLU(schur, distance=2))
        >>> x, log_q = tm.models.JointModel(model, phi=flow).sample_and_log_prob(key)  # {"links": ..., "phi": ...}
    """

    marginal: AbstractModel
    conditionals: dict[str, AbstractConditional]
    name: str = eqx.field(static=True)

    def __init__(self, marginal: Any, name: str = "links", **conditionals: Any):
        wrong = {key: type(c).__name__ for key, c in conditionals.items() if not isinstance(c, AbstractConditional)}
        if wrong or not conditionals:
            raise TypeError(
                f"JointModel: got {wrong or 'no conditional models'}, expected conditional models by the names of their "
                "fields, such as phi=PseudofermionFlow(...)."
            )
        for key, conditional in conditionals.items():
            if conditional.given != marginal.manifold:
                raise ValueError(
                    f"JointModel: {key}= is given a field on {conditional.given}, but the model draws one on "
                    f"{marginal.manifold}: lattice and group must agree."
                )
        self.marginal, self.name = marginal, name
        self.conditionals = {key: conditionals[key] for key in sorted(conditionals)}
        _ = self.manifold

    @property
    def manifold(self) -> ProductManifold:
        parts = {key: conditional.manifold for key, conditional in self.conditionals.items()}
        return ProductManifold(**{self.name: self.marginal.manifold}, **parts)

    def sample_and_log_prob(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""]]:
        first, *keys = self._keys(key)
        x, log_q = self.marginal.sample_and_log_prob(first, dtype)
        parts, logs = {self.name: x}, [log_q]
        for k, (name, conditional) in zip(keys, self.conditionals.items(), strict=True):
            parts[name], log_q = conditional.at(x).sample_and_log_prob(k, dtype)
            logs.append(log_q)
        return parts, _sum(logs)

    def sample_with_error(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Float[Array, ""]]:
        first, *keys = self._keys(key)
        x, log_q, error = self.marginal.sample_with_error(first, dtype)
        parts, logs = {self.name: x}, [log_q]
        for k, (name, conditional) in zip(keys, self.conditionals.items(), strict=True):
            parts[name], log_q, more = conditional.at(x).sample_with_error(k, dtype)
            logs.append(log_q)
            error = error + more
        return parts, _sum(logs), error

    def log_prob(self, x: Any) -> Float[Array, ""]:
        """The log density of a given configuration.

        **Raises:** `TypeError` where that of a part is not known.
        """
        self.manifold.check(x)
        given = x[self.name]
        conditional = [c.at(given).log_prob(x[name]) for name, c in self.conditionals.items()]
        return _sum([self.marginal.log_prob(given), *conditional])

    @property
    def source_shape(self) -> tuple[int, int] | None:
        return self.marginal.source_shape

    def source_index(self, key: Key[Array, ""]) -> Int[Array, " 2"] | None:
        return self.marginal.source_index(self._keys(key)[0])

    @property
    def refinable(self) -> bool:
        return self.marginal.refinable

    def refined(self, factor: int = 2) -> "JointModel":
        return JointModel(self.marginal.refined(factor), self.name, **self.conditionals)

    def _keys(self, key: Key[Array, ""]) -> Key[Array, " n"]:
        return jax.random.split(key, 1 + len(self.conditionals))


def _sum(logs: list[Array]) -> Array:
    accumulator = accumulator_dtype()
    return jnp.sum(jnp.stack([log.astype(accumulator) for log in logs]))
