"""Independent samples of a model with their log weights."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import integers
from ..lattice import warn_of_single_precision
from ..models import checked_model, log_weight_and_phase, noisy_log_weights
from ..statistics import Ensemble, Source
from ._interrupt import in_batches

# `fold_in` takes 32 bits.
_INDICES = 2**32
# Keys of the estimates of weights, apart from those into which models split the key of a sample.
_NOISE = 0x6E6F6973


def sample(
    key: jax.Array,
    model: Any,
    theory: Any,
    n: int,
    *,
    batch_size: int = 256,
    measure: Any = None,
    estimates: int | None = None,
    dtype: Any = None,
    first: int = 0,
    progress: bool = False,
) -> Ensemble:
    r"""Draws `n` configurations from a model, with log weights $\log w = -S(x) - \log q(x)$ towards a theory.

    Sample i uses the key `fold_in(key, i)`: it can be regenerated alone, whatever the batch size.

    **Arguments:**

    - `model`: any `AbstractModel`, or a `ConditionalModel` of a range that holds the theory.
    - `theory`: the theory whose action enters the weights; must live on the manifold of the model.
    - `n`: number of samples, any positive integer; the last batch is padded, so that one compilation serves all.
    - `batch_size`: samples computed at once; memory grows in proportion.
    - `measure`: observables by name, functions of one configuration (or a `DerivedObservable`, whose primary values
      are kept). With it observables are stored instead of configurations.
    - `estimates`: independent estimates of each weight by `theory.noisy_action`, kept as `noisy_log_weights`; their mean is
      the weight, and everything computed with it is exact. By default the weight is that of `theory.action`.
    - `dtype`: real precision of the fields, JAX's default when `None`; log weights are float64 when x64 is on.
    - `first`: index of the first sample, to draw a later part of the same ensemble.
    - `progress`: show a progress bar.

    **Returns:** an `Ensemble`. Of a complex action, `log_weights` hold the magnitude and `phases` the angles -Im S; samples
    that start from stored configurations (`EnsemblePrior`) have a `source`.

    **Raises:** `TypeError` for what is no model, `ValueError` on a manifold mismatch; `SamplingInterrupted`, which carries
    the samples drawn so far, on an interrupt from the keyboard.

        >>> ensemble = tm.sample(key, model, theory, 100)
        >>> tm.ess_fraction(ensemble.log_weights)
    """
    _check(n, batch_size, first)
    checked_model("sample", model, theory)
    model = model.at(theory)
    warn_of_single_precision("sample")
    if estimates is not None:
        integers("sample", 1, estimates=estimates)
    size = min(batch_size, n)
    functions = None if measure is None else primary_functions(measure)

    def batch(start: int) -> tuple[Any, dict[str, Any]]:
        return _sample_batch(model, theory, (functions, estimates, dtype), key, sample_indices(first + start, size))

    def assemble(parts: tuple[Any, dict[str, Any]]) -> Ensemble:
        kept, weights = parts
        source = weights.pop("source")
        source = None if source is None else Source(source, model.source_shape)
        stored = (kept, None) if functions is None else (None, kept)
        return Ensemble(stored[0], observables=stored[1], source=source, **weights)

    return in_batches("sample", batch, n, size, assemble, progress)


def sample_indices(start: int, size: int) -> jax.Array:
    """Indices of samples as `fold_in` takes them. Those of padding may pass 2^32, and nobody sees their samples."""
    return jnp.asarray(((start + np.arange(size, dtype=np.int64)) % _INDICES).astype(np.uint32))


def primary_functions(measure: Any) -> dict[str, Callable]:
    """The functions of one configuration behind the entries of `measure=`."""
    if not isinstance(measure, Mapping):
        raise TypeError(f'measure= takes a dictionary such as {{"plaquette": tm.plaquette}}, got {measure!r}')
    functions = {name: getattr(entry, "primary", entry) for name, entry in measure.items()}
    wrong = [name for name, function in functions.items() if not callable(function)]
    if wrong:
        raise TypeError(f"the entries {wrong} of measure= are not functions of a configuration")
    return functions


@eqx.filter_jit
def _sample_batch(model, theory, static, key, indices):
    functions, estimates, dtype = static

    def one(index):
        k = jax.random.fold_in(key, index)
        x, log_q = model.sample_and_log_prob(k, dtype)
        if estimates is None:
            log_w, phase = log_weight_and_phase(theory, x, log_q)
            weights = {"log_weights": log_w, "phases": phase, "noisy_log_weights": None}
        else:
            noisy = noisy_log_weights(jax.random.fold_in(k, _NOISE), theory, x, log_q, estimates)
            weights = {"log_weights": None, "phases": None, "noisy_log_weights": noisy}
        weights["source"] = model.source_index(k)
        return (x if functions is None else {name: f(x) for name, f in functions.items()}), weights

    return jax.vmap(one)(indices)


def _check(n: int, batch_size: int, first: int) -> None:
    integers("sample", 1, n=n, batch_size=batch_size)
    integers("sample", 0, first=first)
    if first + n > _INDICES:
        raise ValueError(
            f"sample: got first = {first} and n = {n}, expected first + n <= 2^32: the index of a sample has 32 bits, and "
            "later samples would repeat the first ones. Take another key for more."
        )
