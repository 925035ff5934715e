"""Gauss-Newton minimisation of the variance of log w: damped least squares, with the damping chosen on fresh samples."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Key, PyTree

from .._checks import at_least, integers, within
from .._parameters import Moved, chosen
from ..lattice import warn_of_single_precision
from ..models import checked_model, sample_and_log_weight
from ..samplers import SamplingInterrupted
from ..statistics import ess_fraction, expected_acceptance
from ..theories import AbstractTheory

# Steps of the ladder around the last damping, and lengths.
_LADDER, _LENGTHS = (10.0, 1.0, 0.1), (1.0, 0.4)
# The best of them is found on this part of the samples of the comparison: all steps share them, so that few are enough.
_RACE, _FEWEST = 4, 64
# After a step that no rung of the ladder makes better, the damping is this much larger, once.
_RETREAT = 100.0
_BYTES = 2**28  # of the derivatives of one batch
_LARGEST_BATCH = 64


@dataclasses.dataclass(frozen=True)
class GaussNewton:
    r"""How `gauss_newton` runs, as the last part of a training: `fit(..., finish=tm.GaussNewton(steps=8))`.

    **Arguments:** as of `gauss_newton`.

        >>> finish = tm.GaussNewton(steps=1, samples=512)
        >>> trained, history = tm.fit(key, model, theory, steps=2, batch_size=8, progress=False, finish=finish)
    """

    steps: int = 6
    samples: int | None = None
    batch_size: int | None = None
    damping: float = 1e-3
    floor: float = 1.0
    power: float = 0.0
    shift: float = 0.02
    reverse: bool | None = None
    dtype: DTypeLike | None = None

    def __post_init__(self):
        integers("gauss_newton", 0, steps=self.steps)
        for name in ("samples", "batch_size"):
            if getattr(self, name) is not None:
                integers("gauss_newton", 1, **{name: getattr(self, name)})
        at_least("gauss_newton: damping", self.damping, 0)
        within("gauss_newton: floor", self.floor, 0, 1, closed=True)
        within("gauss_newton: power", self.power, 0, 1, closed=True)
        at_least("gauss_newton: shift", self.shift, 0)

    def iterate(
        self, key: Key[Array, ""], model: Any, theory: AbstractTheory, parameters: Callable[[Any], PyTree] | None = None
    ) -> "Iterator[tuple[Any, dict[str, Any]]]":
        """The model and a record at the start and after each step, until `steps` are done or none helps any more."""
        checked_model("gauss_newton", model, theory)
        _check_one_theory(model, theory)
        problem = _Problem(self, theory.final, parameters)
        flat, changed = problem.chosen(model)
        damping, retreated = self.damping, False
        for step in range(self.steps + 1):
            start = time.perf_counter()
            step_key, trial_key = jax.random.split(jax.random.fold_in(key, step))
            now = problem.evaluated(trial_key, changed(model, flat))
            if step == 0:
                yield changed(model, flat), _record(step, now, damping, 0.0, model, start)
                continue
            found = problem.improved(step_key, trial_key, changed, model, flat, damping)
            trial, unresolved = problem.evaluated(trial_key, changed(model, found.flat)), False
            if trial.criterion < now.criterion:
                flat, damping, length, retreated, now = found.flat, found.damping, found.length, False, trial
            elif unresolved := model.refinable and trial.variance < now.variance:
                # Nothing speaks against the step but the shift of log Z, which is smaller with more integration steps.
                length = 0.0
            elif retreated:
                return
            else:
                damping, length, retreated = _RETREAT * damping, 0.0, True
            # Otherwise the next step would fit the error of the integrator.
            if model.refinable and (now.unresolved or unresolved):
                model = model.refined()
            yield changed(model, flat), _record(step, now, damping, length, model, start)


def gauss_newton(
    key: Key[Array, ""],
    model: Any,
    theory: AbstractTheory,
    *,
    parameters: Callable[[Any], PyTree] | None = None,
    steps: int = 6,
    samples: int | None = None,
    batch_size: int | None = None,
    damping: float = 1e-3,
    floor: float = 1.0,
    power: float = 0.0,
    shift: float = 0.02,
    reverse: bool | None = None,
    dtype: DTypeLike | None = None,
    progress: bool = True,
) -> tuple[Any, list[dict[str, Any]]]:
    r"""Minimises Var[log w] by damped linear least squares: the way to finish a training that `fit` has begun.

    With the derivative of every log weight by every parameter, $J_{ik} = d \log w_i / d\theta_k$ at fixed prior samples, a
    step is

    $$ \delta\theta = -\big(\bar J^T \bar J/N + d\, \max_k \mathrm{Var}\, J_k\big)^{-1} \bar J^T \overline{\log w}/N $$

    (bars: less the mean), a Levenberg-Marquardt step in raw parameters. With more parameters than samples the same step is
    found from the N x N matrix $\bar J \bar J^T$ (the "minSR" form of stochastic reconfiguration, arXiv:2302.01941). Each
    step tries dampings 10 d, d and d/10 and lengths 1 and 0.4 on a few fresh samples, at no further derivative, and takes the
    best one if it is better than no step on more of them; otherwise it retreats to 100 d once, then stops. The log weight is
    nearly linear in the parameters of many fields, so that a few steps go far. Langevin flows and the reverse SDE gain
    little: their Gaussian steps add a variance of about c/K for K steps, whatever the parameters.

    Few integration steps are exploited sooner than by `fit`: trials use twice as many, what they change on average counts
    like a standard deviation (the variance itself does not see a constant, which log Z does), and the steps of the model are
    doubled when halving them changes the variance by more than a fifth or the mean by more than `shift` standard deviations.

    **Arguments:**

    - `key`: randomness of the samples. `model`, `theory`: on the same manifold; a few dozen steps of `fit` first, since from
      a bad start the variance may be lowered by leaving a mode.
    - `parameters`: picks the arrays to change, by default all that `trainable` marks.
    - `steps`: number of updates. `samples`: per update, by default five times the number of parameters, within 512 and 8192;
      the comparison uses a quarter, and the choice among the six steps a quarter of that. The derivatives take 8 bytes x
      samples x parameters on the host.
    - `batch_size`: samples per compiled call, by default as many as keep their derivatives below 256 MiB, 64 at most.
    - `damping`: the first d. `floor`: parameters are in units of the spread of their column of J, or of this fraction of the
      largest one where that is more; with 1, the default, in their own units, so that dead directions stay put.
    - `power`: p of weights $(w/\langle w\rangle)^p$ in all means, 0 for none, where derivatives have no variance under q, as
      at zeros of a determinant.
    - `shift`: of the mean of log w, in standard deviations, above which integration steps are doubled; log Z is wrong by it,
      with the default by its error from 2500 samples. More makes a long training cheaper: double the integration steps once
      at its end.
    - `reverse`: one reverse pass per sample, or one linearised flow per parameter; by default whichever has fewer passes.
    - `dtype`: precision of the configurations behind the derivatives and the choice; float32 is faster. The comparison uses
      JAX's default.

    **Returns:** the model, and a record of the start and of every step: variance, mean, ESS and acceptance of the trials,
    damping, length (zero if no step was taken), the mean and standard deviation by which halving the integration steps
    changes log w, seconds.

    **Raises:** `ValueError` for no parameter at all, options outside of their ranges, a `ConditionalModel` with moving
    couplings, or log weights that are not finite; `SamplingInterrupted` on an interrupt, which carries model and
    records so far.

        >>> few = lambda m: m.transport.field.convolution.linear
        >>> better, history = tm.gauss_newton(key, model, theory, parameters=few, steps=1, samples=256)
    """
    from tqdm import tqdm  # keeps `import trivmap` light

    options = GaussNewton(steps, samples, batch_size, damping, floor, power, shift, reverse, dtype)
    warn_of_single_precision("gauss_newton")
    best, records = model, []
    try:
        with tqdm(total=steps, desc="Gauss-Newton", unit="step", disable=not progress, dynamic_ncols=True) as bar:
            for found, record in options.iterate(key, model, theory, parameters):
                best = found
                records.append(record)
                bar.update(min(record["step"], 1))
                bar.set_postfix_str(f"variance {record['variance']:.4g}, ESS {record['ess']:.3f}")
    except KeyboardInterrupt as interrupt:
        if not records:
            raise
        raise SamplingInterrupted((best, records), len(records), steps + 1) from interrupt
    return best, records


def _check_one_theory(model: Any, theory: AbstractTheory) -> None:
    """A model of many theories would be fitted to the last one at the cost of the others."""
    if theory.final is not theory and model.at(theory.final) is not model:
        raise ValueError(
            f"gauss_newton: got a {type(model).__name__} and a {type(theory).__name__}, expected one theory: the variance of "
            "log w is that at one coupling. Finish `conditional.at(theory)` at a few couplings and interpolate the results "
            "by a ConditionalModel, or give the one theory that matters."
        )


class _Trial(NamedTuple):
    """Log weights on fresh samples, with the steps of the model and with twice as many, which decide."""

    log_weights: np.ndarray
    change: np.ndarray
    power: float
    shift: float

    @property
    def weights(self) -> np.ndarray:
        return _weights(self.log_weights, self.power)

    @property
    def variance(self) -> float:
        return _variance(self.log_weights, self.weights)

    @property
    def criterion(self) -> float:
        """What decides; a step after which weights are not finite is none."""
        if not np.all(np.isfinite(self.log_weights + self.change)):
            return np.inf
        return self.variance + float(np.sum(self.weights * self.change)) ** 2

    @property
    def unresolved(self) -> bool:
        """Whether halving the steps changes the variance by more than a fifth, or the mean of log w, by which log Z is
        wrong, by more than `shift` standard deviations."""
        other = _variance(self.log_weights - self.change, self.weights)
        shift = abs(float(np.sum(self.weights * self.change)))
        return abs(other - self.variance) > 0.2 * self.variance or shift > self.shift * self.variance**0.5


class _Found(NamedTuple):
    flat: Array
    damping: float
    length: float
    criterion: float


class _Problem(NamedTuple):
    """What stays the same during all steps."""

    options: GaussNewton
    theory: AbstractTheory
    parameters: Callable[[Any], PyTree] | None

    def chosen(self, model: Any) -> tuple[Array, Moved]:
        """The chosen numbers in a row, and how they are put back."""
        return chosen("gauss_newton", model, self.parameters)

    def samples(self, size: int) -> int:
        return min(max(5 * size, 512), 8192) if self.options.samples is None else self.options.samples

    def batch(self, size: int, samples: int) -> int:
        largest = min(_LARGEST_BATCH, max(1, _BYTES // (8 * size)))
        return min(largest if self.options.batch_size is None else self.options.batch_size, samples)

    def trials(self, size: int) -> int:
        """Samples on which a step is compared with none."""
        return max(self.samples(size) // 4, _FEWEST)

    def evaluated(self, key: Array, model: Any) -> _Trial:
        """The model on fresh samples, the same ones for the same key."""
        return self.tried(key, model, self.trials(self.chosen(model)[0].size), None)

    def tried(self, key: Array, model: Any, count: int, dtype: DTypeLike | None) -> _Trial:
        size = self.batch(1, count)
        keys = jax.random.split(key, (-(-count // size), size))
        refined = model.refined() if model.refinable else None
        parts = [_log_weights(model, refined, self.theory, batch, dtype) for batch in keys]
        log_weights, change = (np.concatenate([np.asarray(p, float) for p in column]) for column in zip(*parts, strict=True))
        return _Trial(log_weights, change, self.options.power, self.options.shift)

    def improved(self, key: Array, trial_key: Array, changed: Moved, model: Any, flat: Array, damping: float) -> _Found:
        """The best step of the ladder, by its trial."""
        log_weights, slopes = self.linearised(key, changed, model, flat)
        steps = _Steps(log_weights, slopes, self.options)
        count = max(self.trials(flat.size) // _RACE, _FEWEST)
        found = []
        for rung in _LADDER:
            direction = steps.damped(rung * damping)
            for length in _LENGTHS:
                moved = flat + jnp.asarray(length * direction, flat.dtype)
                trial = self.tried(trial_key, changed(model, moved), count, self.options.dtype)
                found.append(_Found(moved, rung * damping, length, trial.criterion))
        best = min(found, key=lambda f: f.criterion)
        if not np.isfinite(best.criterion):
            raise ValueError("gauss_newton: log weights are not finite after any step; start closer to the theory.")
        return best

    def linearised(self, key: Array, changed: Moved, model: Any, flat: Array) -> tuple[np.ndarray, np.ndarray]:
        count = self.samples(flat.size)
        size = self.batch(flat.size, count)
        reverse = flat.size > 32 if self.options.reverse is None else self.options.reverse
        keys = jax.random.split(key, (-(-count // size), size))
        batches = [_linearised(model, self.theory, changed, flat, b, self.options.dtype, reverse) for b in keys]
        log_weights, slopes = (np.concatenate([np.asarray(p, float) for p in parts]) for parts in zip(*batches, strict=True))
        if not np.all(np.isfinite(log_weights)) or not np.all(np.isfinite(slopes)):
            raise ValueError("gauss_newton: log weights or their derivatives are not finite; start closer to the theory.")
        return log_weights, slopes


class _Steps:
    """The least-squares problem of one step, for any damping."""

    def __init__(self, log_weights: np.ndarray, slopes: np.ndarray, options: GaussNewton):
        weights = _weights(log_weights, options.power)
        root = np.sqrt(weights)
        self.target = root * (log_weights - np.sum(weights * log_weights))
        matrix = root[:, None] * (slopes - weights @ slopes)
        spread = np.sqrt(np.sum(matrix**2, axis=0))
        # With a floor of one all columns have the unit of the largest: the damping acts on raw parameters. Units of their
        # own would give dead directions, whose columns are noise, huge steps.
        self.scale = np.maximum(spread, options.floor * spread.max())
        self.scale = np.where(self.scale > 0, self.scale, 1.0)
        self.matrix = matrix / self.scale
        self.dual = self.matrix.shape[1] > self.matrix.shape[0]
        self.gram = self.matrix @ self.matrix.T if self.dual else self.matrix.T @ self.matrix

    def damped(self, damping: float) -> np.ndarray:
        regular = self.gram + damping * np.eye(len(self.gram))
        if self.dual:
            return -(self.matrix.T @ _solved(regular, self.target)) / self.scale
        return -_solved(regular, self.matrix.T @ self.target) / self.scale


def _solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:  # no damping, and columns that depend on each other
        return np.linalg.lstsq(matrix, right, rcond=None)[0]


def _weights(log_weights: np.ndarray, power: float) -> np.ndarray:
    relative = np.exp(power * (log_weights - log_weights.max()))
    return relative / relative.sum()


def _variance(log_weights: np.ndarray, weights: np.ndarray) -> float:
    return float(np.sum(weights * (log_weights - np.sum(weights * log_weights)) ** 2))


def _record(step: int, trial: _Trial, damping: float, length: float, model: Any, start: float) -> dict[str, Any]:
    record = {"step": step, "variance": trial.variance, "ess": float(ess_fraction(trial.log_weights))}
    record |= {"mean": float(trial.log_weights.mean()), "acceptance": float(expected_acceptance(trial.log_weights))}
    if model.refinable:
        record |= {"halving_mean": float(trial.change.mean()), "halving_std": float(trial.change.std())}
    return record | {"damping": damping, "length": length, "seconds": time.perf_counter() - start}


@eqx.filter_jit
def _log_weights(model, refined, theory, keys, dtype):
    """Log weights with the finer steps, where there are any, and their difference to those of the model."""

    def one(key: Array) -> tuple[Array, Array]:
        coarse = sample_and_log_weight(key, model.at(theory), theory, dtype)[1]
        if refined is None:
            return coarse, jnp.zeros_like(coarse)
        fine = sample_and_log_weight(key, refined.at(theory), theory, dtype)[1]
        return fine, fine - coarse

    return jax.vmap(one)(keys)


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
