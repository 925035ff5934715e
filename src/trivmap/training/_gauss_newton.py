"""Gauss-Newton minimisation of the variance of log w."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, DTypeLike, Key, PyTree

from .._checks import at_least, integers, within
from .._parameters import trainable
from ..models import checked_model, sample_and_log_weight
from ..samplers import SamplingInterrupted
from ..statistics import ess_fraction
from ..theories import AbstractTheory


def gauss_newton(
    key: Key[Array, ""],
    model: Any,
    theory: AbstractTheory,
    *,
    parameters: Callable[[Any], PyTree],
    steps: int = 2,
    samples: int = 512,
    batch_size: int = 32,
    reverse: bool = False,
    damping: float = 1e-3,
    floor: float = 0.3,
    dtype: DTypeLike | None = None,
    progress: bool = True,
) -> tuple[Any, list[dict[str, Any]]]:
    r"""Minimises Var[log w] over chosen parameters, each step by damped linear least squares.

    With the derivative of every log weight by every parameter, $J_{ik} = d \log w_i / d\theta_k$ at fixed prior samples,
    the step $\delta\theta$ solves $\min \mathrm{Var}[\log w + J \delta\theta] + d\, |\delta\theta|^2$, parameters in units
    of the spread of their column. One or two steps replace thousands of stochastic updates (`fit`). Fresh samples are
    drawn in every step, and a step that raises the variance by more than two errors of its estimates is taken back.

    **Arguments:**

    - `key`: randomness of the samples. `model`, `theory`: on the same manifold.
    - `parameters`: picks the arrays to change, such as `lambda model: model.transport.field.gates`; what `trainable` says is
      no parameter stays as it is, so that whole parts of a model may be picked.
    - `steps`: number of updates. `samples`: per update, several times the number of parameters.
    - `batch_size`: samples per compiled call.
    - `reverse`: one reverse pass per sample instead of one linearised flow per parameter; for more than a few dozen
      parameters, on fields whose reverse mode is cheap.
    - `damping`: d, relative to the variance of a column: directions that the samples hardly determine stay put.
    - `floor`: columns count at least with this fraction of the largest spread: those far below it are noise, or say
      nothing beyond first order, and take small steps. Where many samples determine them, a lower floor needs fewer steps.
    - `dtype`: precision of the configurations.

    **Returns:** the model, and for every evaluation (one more than updates) the variance of log w, the ESS, the step.

    **Raises:** `ValueError` for fewer samples than twice the parameters, no parameter at all, a floor outside of [0, 1], or
    when log weights are not finite; `SamplingInterrupted` on an interrupt, which carries model and records of the
    evaluations so far.

        >>> few = lambda m: m.transport.field.convolution.linear
        >>> better, history = tm.gauss_newton(key, model, theory, parameters=few, steps=1, samples=256)
    """
    from tqdm import tqdm  # keeps `import trivmap` light

    integers("gauss_newton", 1, samples=samples, batch_size=batch_size)
    integers("gauss_newton", 0, steps=steps)
    at_least("gauss_newton: damping", damping, 0)
    within("gauss_newton: floor", floor, 0, 1, closed=True)
    checked_model("gauss_newton", model, theory)
    flat, changed = _chosen(model, parameters, samples)
    count = -(-samples // batch_size)
    best, records = _Point(flat, np.inf, 0.0), []
    try:
        for step in tqdm(range(steps + 1), desc="Gauss-Newton", unit="step", disable=not progress):
            keys = jax.random.split(jax.random.fold_in(key, step), (count, batch_size))
            batches = [_linearised(model, theory, changed, flat, batch, dtype, reverse) for batch in keys]
            log_weights, slopes = (
                np.concatenate([np.asarray(part, float) for part in parts]) for parts in zip(*batches, strict=True)
            )
            if not np.all(np.isfinite(log_weights)):
                raise ValueError(f"gauss_newton: log weights are not finite in step {step}; start closer to the theory.")
            point = _Point(flat, *_variance(log_weights))
            records.append({"step": step, "variance": point.variance, "ess": float(ess_fraction(jnp.asarray(log_weights)))})
            if point.rises_above(best):
                break
            best = point
            if step < steps:
                flat = flat + jnp.asarray(_step(log_weights, slopes, damping, floor), flat.dtype)
    except KeyboardInterrupt as interrupt:
        if not records:
            raise
        raise SamplingInterrupted((changed(model, best.flat), records), len(records), steps + 1) from interrupt
    return changed(model, best.flat), records


class _Point(NamedTuple):
    """Parameters, and the variance of the log weights there with its error."""

    flat: Array
    variance: float
    error: float

    def rises_above(self, best: "_Point") -> bool:
        # Samples are fresh: a rise within errors is noise at the minimum, where further steps still gain along directions
        # that the floor slows down.
        return bool(self.variance > best.variance + 2 * np.hypot(self.error, best.error))


class _Changed(eqx.Module):
    """A model with other values of the chosen parameters."""

    fixed: PyTree
    parameters: Callable[[Any], PyTree] = eqx.field(static=True)
    unravel: Callable[[Array], PyTree] = eqx.field(static=True)

    def __call__(self, model: Any, values: Array) -> Any:
        return eqx.tree_at(self.parameters, model, eqx.combine(self.unravel(values), self.fixed))


def _chosen(model: Any, parameters: Callable[[Any], PyTree], samples: int) -> tuple[Array, _Changed]:
    """The chosen numbers in a row, and how they are put back."""
    chosen, fixed = eqx.partition(parameters(model), parameters(trainable(model)))
    flat, unravel = ravel_pytree(chosen)
    if flat.size == 0:
        raise ValueError("gauss_newton: `parameters` picks no number to train; couplings and stored configurations are none.")
    if samples < 2 * flat.size:
        raise ValueError(
            f"gauss_newton: got {samples} samples for {flat.size} parameters, expected at least {2 * flat.size}."
        )
    return flat, _Changed(fixed, parameters, unravel)


def _variance(log_weights: np.ndarray) -> tuple[float, float]:
    """The variance and its statistical error."""
    squares = (log_weights - log_weights.mean()) ** 2
    return float(log_weights.var()), float(np.std(squares)) / np.sqrt(len(log_weights))


def _step(log_weights: np.ndarray, slopes: np.ndarray, damping: float, floor: float) -> np.ndarray:
    count = len(log_weights)
    centred, matrix = log_weights - log_weights.mean(), slopes - slopes.mean(axis=0)
    scale = np.sqrt(np.mean(matrix**2, axis=0))
    scale = np.maximum(scale, floor * scale.max())
    matrix = matrix / scale / np.sqrt(count)
    centred = centred / np.sqrt(count)
    solution = np.linalg.solve(matrix.T @ matrix + damping * np.eye(matrix.shape[1]), matrix.T @ centred)
    return -solution / scale


@eqx.filter_jit
def _linearised(model, theory, changed, flat, keys, dtype, reverse):
    """Log weights and their derivatives, shapes `(batch,)` and `(batch, parameters)`."""

    def log_weight(values: Array, key: Array) -> Array:
        return sample_and_log_weight(key, changed(model, values).at(theory), theory, dtype)[1]

    def forward(key: Array) -> tuple[Array, Array]:
        value, linear = jax.linearize(lambda values: log_weight(values, key), flat)
        return value, jax.lax.map(linear, jnp.eye(flat.size, dtype=flat.dtype))

    def backward(key: Array) -> tuple[Array, Array]:
        return jax.value_and_grad(log_weight)(flat, key)

    return jax.vmap(backward if reverse else forward)(keys)
