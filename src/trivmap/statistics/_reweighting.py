"""Means under weights: of an ensemble, and of a chain that leaves a phase to reweighting."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ._complex import joined, linearise_complex, merged_parts, parts, returns_real, sign_problem
from ._data import Chain, Ensemble
from ._derived import linearise, project, undefined_cautions
from ._estimate import Estimate, merged_cautions
from ._gamma import gamma_method
from ._input import complex_array, real_array
from ._outliers import outlier_cautions
from ._rounding import fluctuations, rounding_cautions
from ._source import Source
from ._source_errors import sum_errors
from ._weight_cautions import weight_cautions
from ._weights import normalised_weights, phase_factors


class Responses(NamedTuple):
    """A mean under weights, the terms of the single samples whose sum is its error, where they start, and cautions."""

    value: np.ndarray
    terms: np.ndarray
    source: Source | None
    cautions: tuple[str, ...]


def reweighted(values: np.ndarray, data: Ensemble, function: Callable | None, epsilon: float) -> Estimate:
    """The ratio of sums, with the error from its linear response to the weights and to the observable of each sample."""
    found = responses(values, data, function, epsilon)
    error, further = sum_errors(found.terms, found.source)
    return Estimate.of(found.value, error, cautions=merged_cautions(found.cautions, outlier_cautions(found.terms), further))


def responses(values: np.ndarray, data: Ensemble, function: Callable | None, epsilon: float) -> Responses:
    """The ratio of sums and its linear response to each sample."""
    read = real_array if data.phases is None else complex_array
    samples = read(values, "the observable", "estimate")
    weights = normalised_weights(data.log_weights)
    if len(weights) < 2:
        raise ValueError("an error needs at least two samples")
    cautions = merged_cautions(data.cautions, weight_cautions(weights))
    # A sample of weight zero may hold anything, nan included.
    kept = weights > 0.0
    source = None if data.source is None else data.source[kept]
    weights, samples = weights[kept], samples[kept]
    bad = samples.size - np.isfinite(samples).sum()
    if bad:
        raise ValueError(f"{bad} of {samples.size} measured values are nan or infinite at samples of non-zero weight")
    if data.phases is not None:
        weights, problem = _turned(weights, np.exp(1j * data.phases[kept]), source)
        cautions = merged_cautions(cautions, problem)
    centre, deltas = fluctuations(samples, (0,), epsilon)
    shift = np.tensordot(weights, deltas, axes=1)
    means, deltas = centre + shift, deltas - shift
    cautions = merged_cautions(cautions, rounding_cautions(samples, deltas, (0,), epsilon))
    if not np.all(np.any(deltas, axis=0)):
        cautions = merged_cautions(cautions, ("the data never change: their error is unknown",))
    if function is None:
        return Responses(means, _column(weights, deltas) * deltas, source, cautions)
    value, terms = _projected(function, means, weights, deltas, source)
    return Responses(value, terms, source, merged_cautions(cautions, undefined_cautions(value)))


def _projected(
    function: Callable, means: np.ndarray, weights: np.ndarray, deltas: np.ndarray, source: Source | None
) -> tuple[np.ndarray, np.ndarray]:
    """A function of the means and its linear response to each sample."""
    terms = _column(weights, deltas) * deltas
    spread, _ = sum_errors(terms, source)
    if np.iscomplexobj(terms):
        value, propagate = linearise_complex(function, means, spread)
        terms = propagate(terms)
        return (np.real(value), np.real(terms)) if returns_real(function, means) else (value, terms)
    value, jacobian = linearise(function, means, spread)
    projected = project(deltas, jacobian, deltas.ndim - 1)
    return value, _column(weights, projected) * projected


def _column(weights: np.ndarray, like: np.ndarray) -> np.ndarray:
    return weights.reshape(-1, *[1] * (like.ndim - 1))


def _turned(weights: np.ndarray, factors: np.ndarray, source: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Complex weights of sum one, and the caution of an average phase near zero."""
    phase = np.dot(weights, factors)
    error, _ = sum_errors(weights * (factors - phase), source)
    return weights * factors / phase, sign_problem(phase, complex(error))


def reweighted_chain(values: np.ndarray, data: Chain, function: Callable | None, s: float, epsilon: float) -> Estimate:
    r"""$\langle e^{i\theta} O \rangle / \langle e^{i\theta} \rangle$ by the Gamma method for the ratio."""
    samples = complex_array(values, "the observable", "estimate")
    factors, shape = np.asarray(phase_factors(data)), samples.shape[2:]
    flat = (factors.reshape(*factors.shape, *[1] * len(shape)) * samples).reshape(*factors.shape, -1)
    size = flat.shape[-1]
    phases = _columns(factors[..., None])
    columns = np.concatenate([phases, _columns(flat)], axis=-1)
    problem = _chain_sign_problem(phases, s)

    def means(m: Any) -> Any:
        ratio = joined(m[2 : 2 + size], m[2 + size :]).reshape(shape) / joined(m[0], m[1])
        return ratio if function is None else function(ratio)

    if function is not None and returns_real(means, columns.mean(axis=(0, 1))):
        found = gamma_method(columns, means, s, cautions=data.cautions, epsilon=epsilon)
        return dataclasses.replace(found, cautions=merged_cautions(found.cautions, problem))
    found = gamma_method(columns, lambda m: parts(means(m)), s, cautions=data.cautions, epsilon=epsilon)
    return merged_parts(found, problem)


def _chain_sign_problem(phases: np.ndarray, s: float) -> tuple[str, ...]:
    found = gamma_method(phases, None, s)
    return sign_problem(complex(*np.asarray(found.value)), complex(*np.asarray(found.error)))


def _columns(z: np.ndarray) -> np.ndarray:
    return np.concatenate([np.real(z), np.imag(z)], axis=-1)
