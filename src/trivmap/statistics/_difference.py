"""Differences of expectation values in data that share their noise."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._data import Chain, Ensemble
from ._derived import of_means
from ._estimate import Estimate, merged_cautions
from ._expectation import stored_or_measured
from ._fields import flat_chains
from ._reweighting import responses
from ._rounding import resolution
from ._source import Source
from ._source_errors import sum_errors


def difference(
    after: Chain | Ensemble,
    before: Chain | Ensemble,
    observable: Any,
    *,
    function: Callable | None = None,
    batch_size: int = 256,
) -> Estimate:
    r"""$\langle O\rangle_{after} - \langle O\rangle_{before}$, with the correlations between the two.

    Where both start from the same stored chain (a `Chain`, and the ensemble to which `push_forward` carried it), the terms of
    each stored configuration are added before the error is taken, and what both share cancels. Data of different origin are
    taken for independent.

    **Arguments:** as for `expectation`, with the data twice.

    **Raises:** `ValueError` for complex weights.

        >>> still = tm.ContinuousFlow(tm.fields.RidgeField(key, scalar.manifold), steps=1)
        >>> pushed = tm.push_forward(chain, still, scalar, tm.Phi4Action((4, 4), m2=-4.0, lam=8.1))
        >>> tm.statistics.difference(pushed, chain, tm.magnetisation)
    """
    parts = [_part(data, observable, of_means(function), batch_size) for data in (after, before)]
    values, terms, sources, cautions = zip(*parts, strict=True)
    value = values[0] - values[1]
    cautions = merged_cautions(*cautions)
    if None not in sources and sources[0].shape == sources[1].shape:
        error, found = sum_errors(*_paired(terms, sources))
        return Estimate.of(value, error, cautions=merged_cautions(cautions, found))
    errors = [sum_errors(t, source) for t, source in zip(terms, sources, strict=True)]
    error = np.hypot(errors[0][0], errors[1][0])
    return Estimate.of(value, error, cautions=merged_cautions(cautions, errors[0][1], errors[1][1]))


def _paired(terms: tuple[np.ndarray, ...], sources: tuple[Source, ...]) -> tuple[np.ndarray, Source]:
    """One term for each stored configuration: taken one by one, terms that cancel would count as noise of their own."""
    total = np.zeros((sources[0].shape[0] * sources[0].shape[1], *terms[0].shape[1:]))
    np.add.at(total, sources[0].flat, terms[0])
    np.subtract.at(total, sources[1].flat, terms[1])
    used = np.unique(np.concatenate([source.flat for source in sources]))
    return total[used], Source(np.stack(np.divmod(used, sources[0].shape[1]), axis=1), sources[0].shape)


def _part(data: Chain | Ensemble, observable: Any, function: Callable | None, batch_size: int) -> tuple:
    values = stored_or_measured(data, observable, batch_size)
    if data.phases is not None:
        raise ValueError("difference: the weights are complex; take the difference of two estimates by expectation.")
    if isinstance(data, Chain):
        values = values.reshape(-1, *values.shape[2:])
        data = as_ensemble(data)
    found = responses(values, data, function, resolution(values, *data.precisions))
    return found.value, found.terms, found.source, found.cautions


def as_ensemble(chain: Chain) -> Ensemble:
    """The configurations of a chain one after the other, which know where they come from, all of the same weight."""
    chains, n = chain.shape
    index = np.stack(np.divmod(np.arange(chains * n), n), axis=1)
    return Ensemble(
        None if chain.configurations is None else flat_chains(chain.configurations),
        np.zeros(chains * n),
        {name: values.reshape(chains * n, *values.shape[2:]) for name, values in chain.observables.items()},
        chain.cautions,
        source=Source(index, (chains, n)),
    )
