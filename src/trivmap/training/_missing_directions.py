"""What is missing in a field: the gain by terms that it does not have, predicted from derivatives before any training."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, DTypeLike, Key

from .._parameters import trainable
from ..fields import AbstractVectorField, SumField
from ..lattice import warn_of_single_precision
from ..models import checked_model
from ..theories import AbstractTheory
from ._gauss_newton import GaussNewton, _Problem, _Steps, _weights

# The best on held-out samples is taken, the same for both halves: what more data would choose.
_DAMPINGS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


@dataclasses.dataclass(frozen=True)
class MissingDirection:
    """What one candidate would add: the predicted variance of log w with its `numbers` alone, and joint with the model's own.

    `error` is the standard error of the gain by the candidate, own minus joint.
    """

    name: str
    numbers: int
    alone: float
    joint: float
    error: float


@dataclasses.dataclass(frozen=True)
class MissingDirections:
    """Variances of log w on held-out samples, now and predicted; prints as a table, the largest gain first.

    `variance`: now; `own`: by the `numbers` of the model; `everything`: by those of the model and of all candidates.
    """

    variance: float
    own: float
    everything: float
    numbers: int
    samples: int
    candidates: tuple[MissingDirection, ...]

    def __str__(self) -> str:
        lines = [
            f"variance of log w: {self.variance:.4g} now, {self.own:.4g} predicted with its own {self.numbers} numbers",
            f"(held-out halves of {self.samples} samples)",
            f"{'candidate':30s} {'numbers':>7s} {'alone':>9s} {'joint':>9s} {'gain':>9s} {'error':>8s}",
        ]
        rows = [(c.name[:30], c.numbers, c.alone, c.joint, self.own - c.joint, c.error) for c in self.candidates]
        lines += [f"{name:30s} {n:7d} {a:9.4g} {j:9.4g} {g:9.2g} {e:8.1g}" for name, n, a, j, g, e in rows]
        total = sum(c.numbers for c in self.candidates)
        return "\n".join([*lines, f"{'all together':30s} {total:7d} {'':9s} {self.everything:9.4g}"])


def missing_directions(
    key: Key[Array, ""],
    model: Any,
    theory: AbstractTheory,
    candidates: Mapping[str, AbstractVectorField],
    *,
    field: Callable[[Any], Any] = lambda model: model.transport.field,
    samples: int | None = None,
    batch_size: int | None = None,
    power: float = 0.0,
    reverse: bool | None = None,
    dtype: DTypeLike | None = None,
) -> MissingDirections:
    r"""Ranks fields by what they would add to the field of a model: which direction it lacks, before any training.

    All candidates are added at zero, and the derivatives of log w by all numbers are taken once. For the columns J of the
    model, of a candidate, and of both, the least-squares step $\delta\theta$ of `gauss_newton` is found on one half of the
    samples and predicts the variance

    $$ \mathrm{Var}\big[\log w + J\, \delta\theta\big] $$

    on the other half, and the other way around. A gain by a candidate that the model's own numbers do not have is a missing
    direction; none at all says that the remaining variance lies elsewhere, or that the log weight is not linear that far.
    Numbers inside of a candidate that act through others that are zero, such as frequencies behind amplitudes, do not count.

    **Arguments:**

    - `key`: randomness of the samples. `model`, `theory`: on the same manifold, trained as far as it goes.
    - `candidates`: names of fields on this manifold, with the parameters at which they vanish.
    - `field`: where the field of the model is; `lambda m: m.transport.flows[-1].field` for the last of a sequence of flows.
    - `samples`: by default five times the number of parameters, within 512 and 8192. Fewer samples than parameters in a half
      make predictions pessimistic, for the candidates with the most numbers first.
    - `batch_size`, `power`, `reverse`, `dtype`: as for `gauss_newton`.

    **Returns:** a table of the predictions; `print` it.

    **Raises:** `ValueError` for no candidate, one on another manifold, without numbers, or which does not vanish.

        >>> small = tm.GatedConvolutionField(theory.manifold, features=1, gates=1, times=1)
        >>> print(tm.missing_directions(key, model, theory, {"holonomies": tm.fields.ChargeGatedField(small)}, samples=64))
    """
    checked_model("missing_directions", model, theory)
    warn_of_single_precision("missing_directions")
    _check_candidates(key, candidates)
    extended = eqx.tree_at(field, model, SumField(field(model), *candidates.values()))
    options = GaussNewton(samples=samples, batch_size=batch_size, power=power, reverse=reverse, dtype=dtype)
    problem = _Problem(options, theory.final, None)
    flat, changed = problem.chosen(extended)
    # The place of every number in a row, read off a model that holds the places instead.
    places = changed(extended, jnp.arange(flat.size, dtype=flat.dtype))
    parts = field(eqx.filter(places, trainable(extended))).fields[1:]
    columns = {
        name: np.rint(np.asarray(ravel_pytree(part)[0])).astype(int) for name, part in zip(candidates, parts, strict=True)
    }
    own = np.setdiff1d(np.arange(flat.size), np.concatenate(list(columns.values())))
    return _table(*problem.linearised(key, changed, extended, flat), options, own, columns)


def _table(
    log_weights: np.ndarray, slopes: np.ndarray, options: GaussNewton, own: np.ndarray, columns: dict[str, np.ndarray]
) -> MissingDirections:
    halves = _Halves(log_weights, slopes, options)
    everything = np.concatenate([own, *columns.values()])
    mine = halves.residuals(own)
    rows = []
    for name, numbers in columns.items():
        joint = halves.residuals(np.concatenate([own, numbers]))
        alone = halves.mean(halves.residuals(numbers))
        rows.append(MissingDirection(name, len(numbers), alone, halves.mean(joint), halves.error(mine - joint)))
    return MissingDirections(
        variance=halves.mean(halves.residuals(own[:0])),
        own=halves.mean(mine),
        everything=halves.mean(halves.residuals(everything)),
        numbers=len(own),
        samples=len(log_weights),
        candidates=tuple(sorted(rows, key=lambda row: row.joint)),
    )


class _Halves:
    """Squared residuals of every sample after the step that the other half of the samples asks for."""

    def __init__(self, log_weights: np.ndarray, slopes: np.ndarray, options: GaussNewton):
        self.log_weights, self.slopes, self.options = log_weights, slopes, options
        self.parity = np.arange(len(log_weights)) % 2
        self.weights = _weights(log_weights, options.power)

    def mean(self, squares: np.ndarray) -> float:
        return float(np.sum(self.weights * squares))

    def error(self, squares: np.ndarray) -> float:
        """Standard error of `mean`."""
        return float(np.sqrt(np.sum((self.weights * (squares - self.mean(squares))) ** 2)))

    def residuals(self, columns: np.ndarray) -> np.ndarray:
        if not len(columns):
            return self._squares([np.zeros(0)] * 2, columns)
        fits = [
            _Steps(self.log_weights[self.parity != half], self.slopes[self.parity != half][:, columns], self.options)
            for half in (0, 1)
        ]
        found = [self._squares([fit.damped(damping) for fit in fits], columns) for damping in _DAMPINGS]
        return min(found, key=self.mean)

    def _squares(self, steps: list[np.ndarray], columns: np.ndarray) -> np.ndarray:
        squares = np.zeros(len(self.log_weights))
        for half, step in enumerate(steps):
            chosen = self.parity == half
            moved = self.log_weights[chosen] + self.slopes[chosen][:, columns] @ step
            weights = self.weights[chosen] / self.weights[chosen].sum()
            squares[chosen] = (moved - np.sum(weights * moved)) ** 2
        return squares


def _check_candidates(key: Key[Array, ""], candidates: Mapping[str, AbstractVectorField]) -> None:
    if not candidates:
        raise ValueError("missing_directions: got no candidate; expected fields by name, to be added to that of the model.")
    for name, candidate in candidates.items():
        if not any(jax.tree.leaves(trainable(candidate))):
            raise ValueError(f"missing_directions: the candidate {name!r} has no number that could be trained.")
        velocity, divergence = eqx.filter_jit(candidate)(jnp.asarray(0.3), candidate.manifold.generic_sample(key))
        if any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves((velocity, divergence))):
            raise ValueError(
                f"missing_directions: the candidate {name!r} does not vanish; give it with its strengths at zero, so that it "
                "leaves the model as it is."
            )
