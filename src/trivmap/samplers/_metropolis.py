"""Independence Metropolis: an exact Markov chain from weighted independent samples."""

from typing import Any

import jax
import numpy as np

from .._random import host_generator
from ..statistics import (
    Chain,
    Ensemble,
    check_log_weights,
    merged_cautions,
    normalised_weights,
    weight_cautions,
)


def independence_metropolis(key: jax.Array, ensemble: Ensemble, initial: Ensemble | None = None) -> Chain:
    r"""Metropolis chain that proposes the samples of an ensemble in turn, accepted with $\min(1, w'/w)$.

    On rejection the configuration and its measurements repeat. The decisions are a scan over scalars, done in float64
    on the host whatever the precision of JAX, so proposals come from `sample` in batches (arXiv:1904.12072). A proposal with
    a noisy weight keeps its estimate as long as it is held, which makes the chain exact (arXiv:0903.5480); of complex
    weights the magnitude decides, and the phases are left to `expectation`.

    **Arguments:**

    - `key`: decides acceptance only; the proposals are those of the ensemble, in its order.
    - `ensemble`: proposals with log weights.
    - `initial`: a one-sample `Ensemble`, the state before the first proposal (to continue a chain, say). By default
      the first proposal is accepted.

    **Returns:** one `Chain` of length `len(ensemble)`, with `accepted`, `indices` (the proposal held at each step,
    -1 for `initial`) and the cautions of the weights, since a chain misses what its proposals miss; see also
    `acceptance_rate`, `longest_rejection`, `expectation`.

        >>> chain = tm.independence_metropolis(key, ensemble)
        >>> tm.acceptance_rate(chain)
    """
    log_weights = check_log_weights(ensemble)
    uniform = host_generator(key).random(len(log_weights))
    with np.errstate(divide="ignore"):
        log_uniform = np.log(uniform)
    start = None if initial is None else _initial_log_weight(initial)
    indices, accepted = _scan(log_weights, log_uniform, start)

    def held(values: np.ndarray, first: np.ndarray | None) -> np.ndarray:
        if first is None:
            return values[indices][None]
        return np.concatenate([values, first])[indices][None]  # index -1 is the appended initial state

    configurations = None
    if ensemble.configurations is not None:
        first = _initial_configuration(initial)
        configurations = jax.tree.map(
            lambda a, b=None: held(a, b), ensemble.configurations, *([] if first is None else [first])
        )
    observables = {
        name: held(values, None if initial is None else _initial_observable(initial, name))
        for name, values in ensemble.observables.items()
    }
    phases = None if ensemble.phases is None else held(ensemble.phases, _initial_phase(initial))
    cautions = merged_cautions(ensemble.cautions, weight_cautions(normalised_weights(log_weights)), _of_source(ensemble))
    chain = {"accepted": accepted[None], "indices": indices[None], "phases": phases}
    return Chain(configurations, observables, cautions=cautions, **chain)


def _scan(log_weights: np.ndarray, log_uniform: np.ndarray, start: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Index held after each proposal, and whether it was accepted."""
    # Accepted if log u < log w' - log w. Without a start the first proposal of non-zero weight is accepted.
    thresholds = (log_weights - log_uniform).tolist()
    candidates = log_weights.tolist()
    current, index = (-np.inf, 0) if start is None else (start, -1)
    indices = np.empty(len(candidates), np.int64)
    accepted = np.zeros(len(candidates), bool)
    for i, threshold in enumerate(thresholds):
        if current < threshold:
            current, index = candidates[i], i
            accepted[i] = True
        indices[i] = index
    if start is None:
        # A run of samples of weight zero at the start holds the first state that has any weight.
        indices[: int(np.argmax(accepted))] = int(np.argmax(accepted))
    return indices, accepted


def _initial_log_weight(initial: Ensemble) -> float:
    if len(initial) != 1:
        raise ValueError(f"initial must be an Ensemble of one sample, got {len(initial)}")
    return float(check_log_weights(initial)[0])


def _initial_phase(initial: Ensemble | None) -> np.ndarray | None:
    if initial is not None and initial.phases is None:
        raise ValueError("the weights of the ensemble have phases, so `initial` must bring its own")
    return None if initial is None else initial.phases


def _of_source(ensemble: Ensemble) -> tuple[str, ...]:
    """The Gamma method sees the order of the proposals, not that of the stored chain from which they were drawn."""
    if ensemble.source is None:
        return ()
    return ("the proposals start from stored configurations, whose autocorrelation this chain does not show",)


def _initial_configuration(initial: Ensemble | None) -> Any:
    if initial is not None and initial.configurations is None:
        raise ValueError("the ensemble keeps configurations, so `initial` must bring its own")
    return None if initial is None else initial.configurations


def _initial_observable(initial: Ensemble, name: str) -> np.ndarray:
    if name not in initial.observables:
        raise ValueError(f"`initial` lacks the measurement {name!r} that the ensemble holds")
    return initial.observables[name]
