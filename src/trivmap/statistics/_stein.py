r"""Stein's identity: what vector fields with exact divergences say about expectation values.

For any tangent field v on a manifold without boundary, under the density $e^{-S}/Z$,

$$ \langle L_v \rangle = 0, \qquad \langle v \cdot \partial O \rangle + \langle O L_v \rangle = 0, \qquad
   L_v = \mathrm{div}\, v - v \cdot \partial S . $$

L is linear in v: with a family of fields $v_0 + \sum_k c_k v_k$ the coefficients that make a combination quiet follow from a
linear least-squares problem on samples of the theory. Samples are not used for the coefficients with which they are averaged
(cross-fit), so that nothing is biased by the fit.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import integer
from .._parameters import Moved, chosen
from ..theories import AbstractTheory
from ._data import Chain, Ensemble
from ._expectation import measure, stored_or_measured
from ._fields import flat_chains
from ._weights import normalised_weights

# Singular values of the columns, in units of their spread, below which a direction is left out: fields of a family are often
# nearly collinear.
_COLLINEAR = 1e-6
_PER_COEFFICIENT = 4  # samples in what the coefficients are fitted to


class Family(eqx.Module):
    r"""Fields $v(c) = v_0 + \sum_k c_k v_k$: one field as a linear function of chosen parameters around their values.

    A field that is not linear in its parameters stands for its linearisation, which is a field with an exact divergence too.
    """

    theory: AbstractTheory
    field: Any
    flat: Float[Array, " k"]
    moved: Moved

    def stein(self, values: Array, x: Any) -> Float[Array, ""]:
        """L_v at a configuration for parameters of these values."""
        v, divergence = self.moved(self.field, values)(jnp.zeros(()), x)
        return divergence - along(self.theory.real_action, self.theory.manifold, v, x)

    def rows(self, x: Any) -> Float[Array, " rows"]:
        """L_0 and the L_k of all coefficients."""
        value, slopes = jax.value_and_grad(self.stein)(self.flat, x)
        return jnp.concatenate([value[None], slopes])

    def at(self, change: Array, observable: Callable) -> Callable[[Any], tuple[Array, Array]]:
        r"""x -> (L_v, $v \cdot \partial O$) of the field with the given change of its coefficients."""

        def both(values: Array, x: Any) -> tuple[Array, Array]:
            v, divergence = self.moved(self.field, values)(jnp.zeros(()), x)
            action, derivative = along(lambda y: (self.theory.real_action(y), observable(y)), self.theory.manifold, v, x)
            return divergence - action, derivative

        def linear(x: Any) -> tuple[Array, Array]:
            value, slope = jax.jvp(lambda values: both(values, x), (self.flat,), (change,))
            return jax.tree.map(jnp.add, value, slope)

        return linear


def along(function: Callable, manifold: Any, v: Any, x: Any) -> Any:
    """Derivative of functions of a configuration along a tangent vector."""

    def moved(s: Array) -> Any:
        return function(manifold.exp(jax.tree.map(lambda a: s.astype(a.dtype) * a, v), x))

    return jax.jvp(moved, (jnp.zeros(()),), (jnp.ones(()),))[1]


class CouplingDerivative(eqx.Module):
    """dS/d coupling as a function of one configuration."""

    theory: AbstractTheory
    name: str = eqx.field(static=True)

    def __call__(self, x: Any) -> Float[Array, ""]:
        get = attrgetter(self.name)
        return jax.grad(lambda value: eqx.tree_at(get, self.theory, value).real_action(x))(get(self.theory))


def direction_of(user: str, theory: AbstractTheory, direction: Any) -> Callable:
    """The change of the action: by the name of a coupling, or a function of one configuration itself."""
    if callable(direction):
        return direction
    try:
        value = attrgetter(direction)(theory)
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"{user}: {type(theory).__name__} has no coupling {direction!r}; expected the name of one (of a part: "
            "'gauge.beta'), or dS/d coupling as a function of one configuration."
        ) from error
    if not eqx.is_inexact_array(value) or value.ndim:
        raise ValueError(
            f"{user}: {direction!r} of {type(theory).__name__} is {value!r}, expected a coupling that is one real number."
        )
    return CouplingDerivative(theory, direction)


def family(user: str, theory: AbstractTheory, field: Any, parameters: Callable | None) -> Family:
    if field.manifold != theory.manifold:
        raise ValueError(f"{user}: the field acts on {field.manifold}, but the theory lives on {theory.manifold}.")
    flat, moved = chosen(user, field, parameters)
    return Family(theory, field, flat, moved)


class Images(eqx.Module):
    """A function of a configuration on all of its images, as a leading axis."""

    function: Any
    images: Any

    def __call__(self, x: Any) -> Any:
        return jax.vmap(self.function)(self.images(x))


def itself(x: Any) -> Any:
    """The only image of a configuration where no symmetry is used."""
    return jax.tree.map(lambda a: a[None], x)


class Samples:
    """Configurations of a chain or an ensemble in a row, with weights, and the parts that are fitted apart.

    Values are (samples, images, ...): `images` maps a configuration to a stack of equally probable ones.
    """

    def __init__(
        self,
        user: str,
        data: Chain | Ensemble,
        theory: AbstractTheory,
        folds: int,
        batch_size: int,
        images: Callable | None = None,
    ):
        if not isinstance(data, Chain | Ensemble) or data.configurations is None:
            raise ValueError(f"{user} needs configurations: a Chain or an Ensemble that was sampled without measure=.")
        if theory.complex_action or data.phases is not None:
            raise TypeError(
                f"{user} holds for positive weights, but the action is complex; use theory.phase_quenched, and leave the "
                "phase to expectation."
            )
        integer(f"{user}: folds", folds, 2)
        self.user, self.data, self.batch_size, self.images = user, data, batch_size, itself if images is None else images
        self.leading = data.shape if isinstance(data, Chain) else (len(data),)
        self.configurations = flat_chains(data.configurations) if isinstance(data, Chain) else data.configurations
        size = int(np.prod(self.leading))
        self.weights = normalised_weights(data.log_weights) if isinstance(data, Ensemble) else np.full(size, 1 / size)
        self.folds = self._folds(size, folds)

    def _folds(self, size: int, folds: int) -> np.ndarray:
        """The part of each sample: whole chains where there are enough, otherwise pieces of Monte Carlo time."""
        if len(self.leading) == 2 and self.leading[0] >= folds:
            return np.repeat(np.arange(self.leading[0]) * folds // self.leading[0], self.leading[1])
        return np.arange(size) % self.leading[-1] * folds // self.leading[-1]

    @property
    def parts(self) -> list[np.ndarray]:
        """Which samples are in each part."""
        return [self.folds == part for part in range(int(self.folds.max()) + 1)]

    def measured(self, function: Callable, kept: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Values of a function of one configuration on the kept samples and their images."""
        return measure(Images(function, self.images), jax.tree.map(lambda a: a[kept], self.configurations), self.batch_size)

    def stored(self, observable: Any) -> np.ndarray:
        """The same; of measurements kept with the data only one image is known."""
        if not isinstance(observable, str):
            return self.measured(observable)
        values = stored_or_measured(self.data, observable, self.batch_size)
        return values.reshape(-1, 1, *values.shape[len(self.leading) :])

    def averaged(self, values: np.ndarray) -> np.ndarray:
        """Means over the images, with the leading axes of the data."""
        return values.mean(axis=1).reshape(*self.leading, *values.shape[2:])

    def centred(self, values: np.ndarray, kept: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Values of the kept samples less their mean."""
        weights = self.weights[kept] / self.weights[kept].sum()
        return values - np.tensordot(weights, values.mean(axis=1), axes=1)

    def variance(self, values: np.ndarray) -> float:
        return float(np.sum(self.weights[:, None] * self.centred(values) ** 2) / values.shape[1])

    def fitted(self, rows: np.ndarray, target: np.ndarray, kept: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Coefficients that minimise the weighted variance of target + rows @ c over the kept samples."""
        root = np.sqrt(self.weights[kept])[:, None]
        a = (root[..., None] * self.centred(rows[kept], kept)).reshape(-1, rows.shape[-1])
        b = (root * self.centred(target[kept], kept)).reshape(-1)
        spread = np.sqrt(np.sum(a**2, axis=0))
        spread = np.where(spread > 0, spread, 1.0)
        return -np.linalg.lstsq(a / spread, b, rcond=_COLLINEAR)[0] / spread

    def cross_fitted(self, rows: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
        """Coefficients for the samples of each part, from the samples of all others."""
        coefficients, fewest = rows.shape[-1], min(int(np.sum(~part)) for part in self.parts)
        if fewest < _PER_COEFFICIENT * coefficients:
            raise ValueError(
                f"{self.user}: {coefficients} coefficients are to be fitted to {fewest} samples, expected at least "
                f"{_PER_COEFFICIENT * coefficients}; take a longer chain, or fewer parameters."
            )
        return [self.fitted(rows, target, ~part) for part in self.parts]


class Rows(eqx.Module):
    """L_0 and the L_k of a family as a function of one configuration."""

    given: Family

    def __call__(self, x: Any) -> Array:
        return self.given.rows(x)


class SteinFit(NamedTuple):
    """A fitted field, its coefficients, the variance of the direction and what is left of it on samples not used."""

    field: Any
    coefficients: np.ndarray
    variance: float
    remainder: float


def stein_fit(
    user: str,
    data: Chain | Ensemble,
    theory: AbstractTheory,
    direction: Any,
    field: Any,
    parameters: Callable | None,
    folds: int,
    batch_size: int,
    images: Callable | None,
) -> SteinFit:
    """The coefficients that minimise Var(L_v - g), from all samples, and the variance that is left, by cross-fit."""
    samples = Samples(user, data, theory, folds, batch_size, images)
    given = family(user, theory, field, parameters)
    g, rows = samples.measured(direction_of(user, theory, direction)), samples.measured(Rows(given))
    offset, slopes = rows[..., 0] - g, rows[..., 1:]
    rest = np.zeros_like(g)
    for part, c in zip(samples.parts, samples.cross_fitted(slopes, offset), strict=True):
        rest[part] = samples.centred((offset + slopes @ c)[part], part)
    c = samples.fitted(slopes, offset)
    values = given.flat + jnp.asarray(c, given.flat.dtype)
    return SteinFit(given.moved(field, values), np.asarray(values), samples.variance(g), samples.variance(rest))
