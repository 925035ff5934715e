r"""Ensembles at several couplings combined: the multistate Bennett acceptance ratio (arXiv:0801.1426).

With $u_k = S_k$ of a theory or $-\log q$ of a model and $N_k$ samples of each, all in one row, the free energies solve

$$ f_k = -\log \sum_n \frac{e^{-u_k(n)}}{\sum_j N_j e^{f_j - u_j(n)}}, $$

the minimum of a convex function. A model is one more state, of known normalisation: with one, $-f_k = \log Z_k$ is absolute.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from .._checks import integer
from ..theories import AbstractTheory
from ._data import Chain, Ensemble
from ._derived import of_means
from ._estimate import Estimate, merged_cautions
from ._expectation import measure, stored_or_measured
from ._fields import flat_chains
from ._gamma import gamma_method

_CONVERGED = 1e-9  # of the fraction of samples that a state asks for
_OVERLAP = 0.03  # between a state and the rest, below which errors are too small (arXiv:1503.01283 advises this bound)
_PER_BLOCK = 4  # tau_int in a block


@dataclasses.dataclass(frozen=True)
class Combined:
    r"""Samples of several theories as one ensemble for all of them and for those in between.

    - `overlap`: $O_{ij} = \sum_n N_j p_i(n) p_j(n)$ with the normalised densities p: the probability that a sample of state i
      could be one of state j. Rows sum to one; where neighbours do not overlap nothing connects their free energies.
    - `absolute`: whether a model fixes the normalisation; otherwise log Z is that relative to the first theory.
    - `cautions`: reasons not to trust what follows.

        >>> pairs = [(ensemble, model), (tm.hmc(key, theory, 40, steps=5), theory)]
        >>> tm.statistics.mbar(pairs, blocks=5).overlap.shape
        (2, 2)
    """

    overlap: Float[np.ndarray, "states states"]
    absolute: bool
    cautions: tuple[str, ...]
    _data: tuple[Any, ...]
    _u: np.ndarray
    _blocks: np.ndarray
    _parts: np.ndarray
    _solutions: np.ndarray
    _theories: tuple[Any, ...]
    _batch_size: int

    def log_z(self, theory: AbstractTheory) -> Estimate:
        """log Z of any theory on the manifold, absolute with a model among the states, else relative to the first theory.

        Errors by the jackknife over blocks, with the free energies solved anew for each.
        """
        u = self._of(theory)
        return self._jackknife(lambda weights: logsumexp(weights - u))

    def expectation(self, observable: Any, theory: AbstractTheory, *, function: Callable | None = None) -> Estimate:
        """An expectation value in any theory on the manifold, from all samples.

        **Arguments:** `observable`: a function of one configuration, or the name of a measurement that all data store;
        `function`: of the means, for derived quantities.
        """
        u, derived = self._of(theory), of_means(function)
        parts = [_flat(data, stored_or_measured(data, observable, self._batch_size)) for data in self._data]
        values = np.concatenate(parts)

        def mean(weights: np.ndarray) -> Any:
            log_w = weights - u
            w = np.exp(log_w - log_w.max())
            value = np.tensordot(w / w.sum(), values, axes=1)
            return value if derived is None else np.asarray(derived(value))

        return self._jackknife(mean)

    def ess(self, theory: AbstractTheory) -> float:
        """Effective number of samples for a theory over the number of all samples."""
        log_w = self._weights(self._solutions[0]) - self._of(theory)
        return float(np.exp(2 * logsumexp(log_w) - logsumexp(2 * log_w)) / log_w.size)

    def _of(self, theory: AbstractTheory) -> np.ndarray:
        return np.concatenate([measure(_Reduced(theory), _configurations(d), self._batch_size) for d in self._data])

    def _weights(self, f: np.ndarray, kept: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Minus the log of the mixture density of all states, -inf for samples left out."""
        counts = np.bincount(self._parts[kept], minlength=len(f))
        found = -logsumexp(f[:, None] - self._u, axis=0, b=counts[:, None])
        if isinstance(kept, slice):
            return found
        return np.where(kept, found, -np.inf)

    def _jackknife(self, estimator: Callable[[np.ndarray], Any]) -> Estimate:
        value = np.asarray(estimator(self._weights(self._solutions[0])))
        count = len(self._solutions) - 1
        left_out = np.stack(
            [estimator(self._weights(f, self._blocks != block)) for block, f in enumerate(self._solutions[1:])]
        )
        error = np.sqrt((count - 1) / count * np.sum((left_out - left_out.mean(axis=0)) ** 2, axis=0))
        return Estimate.of(value, error, cautions=self.cautions)


def mbar(states: Sequence[tuple[Any, Any]], *, blocks: int = 32, batch_size: int = 256) -> Combined:
    r"""Combines ensembles at several couplings, and of models, into one for all of these theories and those in between.

    **Arguments:**

    - `states`: pairs of data and the density they are distributed by: a `Chain` and its theory, or samples of a model
      (`Ensemble`, whatever its weights) and the model, if its `log_prob` is known. All on one manifold, with configurations.
    - `blocks`: pieces of Monte Carlo time of the jackknife, of which each holds several autocorrelation times.
    - `batch_size`: configurations at once.

    **Returns:** a `Combined`: `log_z(theory)`, `expectation(observable, theory)`, `overlap`.

    **Raises:** `ValueError` for an ensemble of unequal weights with a theory, no common manifold, complex actions, data
    without configurations, fewer samples than blocks; `ArithmeticError` if the equations are not solved to 1e-9.

        >>> warmer = tm.WilsonAction(tm.U1(), (4, 4), beta=1.5)
        >>> pairs = [(tm.heatbath(key, t, 50), t) for t in (warmer, tm.WilsonAction(tm.U1(), (4, 4), beta=2.0))]
        >>> tm.statistics.mbar(pairs, blocks=5).log_z(warmer)
    """
    integer("mbar: blocks", blocks, 4)
    for data, density in states:
        _check(data, density, blocks)
    if len({density.manifold for _, density in states}) != 1:
        raise ValueError(f"mbar: expected states on one manifold, got {[str(d.manifold) for _, d in states]}.")
    data, densities = zip(*states, strict=True)
    u = np.stack([np.concatenate([measure(_Reduced(k), _configurations(d), batch_size) for d in data]) for k in densities])
    parts = np.repeat(np.arange(len(data)), [_count(d) for d in data])
    known = np.array([hasattr(density, "log_prob") for density in densities])
    place = np.concatenate([_place(d, blocks) for d in data])
    fixed = known if known.any() else np.arange(len(known)) == 0
    first = _solved(u, parts, fixed, np.zeros(len(known)))
    solutions = [first, *(_solved(u[:, place != b], parts[place != b], fixed, first) for b in range(blocks))]
    overlap = _overlap(u, parts, first)
    cautions = merged_cautions(*(getattr(d, "cautions", ()) for d in data), _cautions(overlap, u, parts, data, blocks))
    return Combined(overlap, bool(known.any()), cautions, data, u, place, parts, np.stack(solutions), densities, batch_size)


def logsumexp(a: Any, axis: int | None = None, b: Any = None) -> Any:
    """SciPy's, as an array, imported where it is used: `import trivmap` stays light."""
    from scipy import special

    return np.asarray(special.logsumexp(a, axis=axis, b=b))


class _Reduced(eqx.Module):
    """u = S of a theory, -log q of a model."""

    density: Any

    def __call__(self, x: Any) -> Array:
        return -self.density.log_prob(x) if hasattr(self.density, "log_prob") else self.density.real_action(x)


def _check(data: Any, density: Any, blocks: int) -> None:
    if not isinstance(data, Chain | Ensemble) or data.configurations is None:
        raise ValueError("mbar needs configurations: chains and ensembles that were sampled without measure=.")
    if data.phases is not None or getattr(density, "complex_action", False):
        raise ValueError("mbar holds for positive weights, but an action is complex; use theory.phase_quenched.")
    unequal = isinstance(data, Ensemble) and np.ptp(data.log_weights) > 0
    if unequal and not hasattr(density, "log_prob"):
        raise ValueError(
            "mbar: an ensemble whose weights differ is not distributed by its theory; expected it with the model that it was "
            "sampled from: (ensemble, model)."
        )
    length = data.shape[1] if isinstance(data, Chain) else len(data)
    if length < blocks:
        raise ValueError(f"mbar: got {length} samples for {blocks} blocks; take a longer chain or fewer blocks.")


def _configurations(data: Any) -> Any:
    return flat_chains(data.configurations) if isinstance(data, Chain) else data.configurations


def _count(data: Any) -> int:
    return int(np.prod(data.shape)) if isinstance(data, Chain) else len(data)


def _flat(data: Any, values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, *values.shape[2:]) if isinstance(data, Chain) else values


def _place(data: Any, blocks: int) -> np.ndarray:
    """The block of each sample: pieces of Monte Carlo time, the same of all chains."""
    chains, n = data.shape if isinstance(data, Chain) else (1, len(data))
    return np.tile(np.arange(n) * blocks // n, chains)


def _solved(u: np.ndarray, parts: np.ndarray, fixed: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Free energies, zero for the fixed states.

    **Raises:** `ArithmeticError` where the minimum was not reached.
    """
    from scipy.optimize import minimize, root

    share = np.bincount(parts, minlength=len(u)) / len(parts)
    free = ~fixed
    # In units in which exponents are small: the mean of u over the samples of a state.
    shift = np.array([u[k, parts == k].mean() for k in range(len(u))]) - u[0, parts == 0].mean() if not start.any() else start

    def full(f: np.ndarray) -> np.ndarray:
        values = np.zeros(len(u))
        values[free] = f
        return values

    def memberships(f: np.ndarray) -> np.ndarray:
        exponent = full(f)[:, None] - u
        return share[:, None] * np.exp(exponent - logsumexp(exponent, axis=0, b=share[:, None]))

    def value(f: np.ndarray) -> float:
        return float(np.mean(logsumexp(full(f)[:, None] - u, axis=0, b=share[:, None])) - share @ full(f))

    def gradient(f: np.ndarray) -> np.ndarray:
        return (memberships(f).mean(axis=1) - share)[free]

    def hessian(f: np.ndarray) -> np.ndarray:
        p = memberships(f)
        return (np.diag(p.mean(axis=1)) - p @ p.T / p.shape[1])[np.ix_(free, free)]

    if not free.any():
        return np.zeros(len(u))
    # The minimiser stops where the function no longer changes, half of the digits before its gradient does.
    near = minimize(value, shift[free], jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-6})
    found = root(gradient, near.x, jac=hessian, tol=_CONVERGED / 100)
    residual = float(np.abs(gradient(found.x)).max())
    if not residual < _CONVERGED:
        raise ArithmeticError(
            f"mbar: the equations are solved to {residual:.1e} only (expected {_CONVERGED:.0e}); the states do not overlap: "
            "add one between them."
        )
    return full(found.x)


def _overlap(u: np.ndarray, parts: np.ndarray, f: np.ndarray) -> np.ndarray:
    counts = np.bincount(parts, minlength=len(f))
    w = np.exp(f[:, None] - u - logsumexp(f[:, None] - u, axis=0, b=counts[:, None]))
    return w @ w.T * counts[None, :]


def _cautions(overlap: np.ndarray, u: np.ndarray, parts: np.ndarray, data: Sequence[Any], blocks: int) -> tuple[str, ...]:
    found = []
    for k, row in enumerate(overlap):
        others = 1.0 - row[k]
        if others < _OVERLAP:
            found.append(
                f"state {k} overlaps with all others by {100 * others:.1g} % only: its free energy hangs on few samples"
            )
    for k, chain in enumerate(data):
        if isinstance(chain, Chain):
            series = u[k, parts == k].reshape(chain.shape)
            tau = gamma_method(series).tau_int
            if chain.shape[1] / blocks < _PER_BLOCK * tau:
                found.append(
                    f"blocks of state {k} hold fewer than {_PER_BLOCK} tau_int = {_PER_BLOCK * tau:.0f} configurations"
                )
    return tuple(found)
