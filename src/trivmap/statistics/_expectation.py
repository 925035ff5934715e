"""Expectation values of observables in ensembles and chains."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._trees import length
from ._data import Chain, Ensemble
from ._derived import of_means
from ._estimate import Estimate
from ._fields import flat_chains
from ._gamma import gamma_method
from ._reweighting import reweighted, reweighted_chain
from ._rounding import resolution


def expectation(
    data: Ensemble | Chain,
    observable: Any,
    *,
    function: Any = None,
    batch_size: int = 256,
    s: float = 2.0,
) -> Estimate:
    r"""Expectation value with its statistical error.

    In an `Ensemble` the mean is reweighted, $\bar O = \sum w O / \sum w$, with the delta-method error
    $\sigma^2 = \sum_i \hat w_i^2 (O_i - \bar O)^2$, $\sum\hat w = 1$. In a `Chain` the error is that of the Gamma
    method (`gamma_method`) and the estimate carries `tau_int`.

    Where weights have phases (a complex action), $w = |w| e^{i\theta}$ and the estimate is complex, with an error of each
    part that knows the covariance of phase and observable (real where `function` has real values); a chain follows $|w|$,
    and its estimate is $\langle e^{i\theta} O\rangle / \langle e^{i\theta}\rangle$. Where samples start from stored chains
    (`Ensemble.source`), errors hold the autocorrelation of these.

    **Arguments:**

    - `data`: an `Ensemble` or a `Chain`.
    - `observable`: a function of one configuration, real (or complex, where weights have phases) and of any shape; a
      `DerivedObservable`; or the name of a stored measurement.
    - `function`: optional map from the vector of means to a scalar or vector, for derived quantities of stored
      measurements; also a `DerivedObservable`, whose primary values were stored.
    - `batch_size`: configurations measured at once.
    - `s`: the parameter of the automatic window for chains.

        >>> tm.expectation(chain, tm.observables.susceptibility)
        >>> tm.expectation(ensemble, tm.plaquette)
    """
    if _is_derived(observable):
        if function is not None:
            raise ValueError("a derived observable brings its own function; drop `function=`")
        if isinstance(data, Ensemble | Chain) and data.configurations is None:
            raise ValueError(
                "this data keeps no configurations. Where the derived observable was measured, its primary values are stored "
                f"under a name ({_names(data)}): expectation(data, NAME, function=DERIVED); otherwise sample again without "
                "`measure=`"
            )
        observable, function = observable.primary, observable.function
    function = of_means(function)
    values = stored_or_measured(data, observable, batch_size)
    epsilon = resolution(values, *data.precisions)
    if isinstance(data, Ensemble):
        return reweighted(values, data, function, epsilon)
    if data.phases is not None:
        return reweighted_chain(values, data, function, s, epsilon)
    return gamma_method(values, function, s, cautions=data.cautions, epsilon=epsilon)


def measure(observable: Callable, configurations: Any, batch_size: int = 256) -> np.ndarray:
    """Values of an observable, compiled once, on a stack of configurations `(samples, ...)`.

    The last batch is padded, so that any number of configurations needs a single compilation.

        >>> values = tm.statistics.measure(tm.plaquette, ensemble.configurations)
    """
    configurations = jax.tree.map(np.asarray, configurations)
    n = length(configurations)
    size = max(1, min(batch_size, n))
    if n == 0:
        raise ValueError("there are no configurations to measure")
    results = []
    for start in range(0, n, size):
        batch = jax.tree.map(lambda a, start=start: _padded(a[start : start + size], size), configurations)
        results.append(np.asarray(_measure_batch(observable, batch))[: min(size, n - start)])
    return np.concatenate(results)


def _padded(batch: np.ndarray, size: int) -> jax.Array:
    missing = size - len(batch)
    return jnp.asarray(np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch)


@eqx.filter_jit
def _measure_batch(observable: Callable, batch: Any) -> jax.Array:
    return jax.vmap(observable)(batch)


def _is_derived(observable: Any) -> bool:
    return hasattr(observable, "primary") and hasattr(observable, "function")


def _names(data: Ensemble | Chain) -> str:
    return ", ".join(map(repr, sorted(data.observables))) or "there are none"


def _check_takes_one(observable: Any) -> None:
    if _is_derived(observable):
        raise TypeError("a derived observable has no value on one configuration: pass a function of one, or use expectation")
    if not callable(observable):
        raise TypeError(
            f"an observable is a function of one configuration, a DerivedObservable or a name, got {observable!r}"
        )
    try:
        inspect.signature(observable).bind(None)
    except TypeError as error:
        name = getattr(observable, "__name__", "observable")
        raise TypeError(
            f"an observable is a function of one configuration, but {name} takes other arguments ({error}): fix them, "
            f"for example `lambda x: {name}(x, ...)`"
        ) from error
    except ValueError:  # a function without a signature
        pass


def stored_or_measured(data: Ensemble | Chain, observable: Any, batch_size: int) -> np.ndarray:
    kind = type(data).__name__.lower()
    if not isinstance(data, Ensemble | Chain):
        raise TypeError(f"expected an Ensemble or a Chain, got {type(data).__name__}")
    if isinstance(observable, str):
        if observable not in data.observables:
            raise ValueError(
                f"no stored measurement {observable!r} in this {kind}; it holds {sorted(data.observables)}. "
                'Ask for it when sampling: measure={"name": function}'
            )
        return data.observables[observable]
    _check_takes_one(observable)
    if data.configurations is None:
        raise ValueError(
            f"this {kind} keeps no configurations, only the measurements {sorted(data.observables)}: pass one of these "
            "names, or sample again without `measure=`"
        )
    if isinstance(data, Ensemble):
        return measure(observable, data.configurations, batch_size)
    chains, n = data.shape
    values = measure(observable, flat_chains(data.configurations), batch_size)
    return values.reshape(chains, n, *values.shape[1:])
