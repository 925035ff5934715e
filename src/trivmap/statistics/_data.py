"""Results of sampling, kept on the host: weighted ensembles and Markov chains."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ._estimate import merged_cautions
from ._fields import check_leading, fields_of, host_fields
from ._input import plain_array
from ._source import Source


def _host(x: Any, what: str) -> np.ndarray | None:
    return None if x is None else plain_array(x, what)


def _sentences(cautions: Any) -> tuple[str, ...]:
    if isinstance(cautions, str) or not all(isinstance(c, str) for c in cautions):
        raise TypeError(f"cautions are a tuple of sentences, got {cautions!r}")
    return tuple(cautions)


def _host_observables(observables: Any, leading: tuple[int, ...], what: str) -> dict[str, np.ndarray]:
    result = {}
    for name, values in (observables or {}).items():
        values = plain_array(values, f"observable {name!r}")
        if values.shape[: len(leading)] != leading:
            raise ValueError(
                f"observable {name!r} has shape {values.shape}, expected the leading axes {leading} ({what}): "
                "one value (of any shape) per configuration"
            )
        result[name] = values
    return result


def _phases(phases: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    if phases is None:
        return None
    given = plain_array(phases, "phases")
    if given.dtype.kind != "f" or given.shape != shape:
        raise ValueError(
            f"phases: got an array of {given.dtype} and shape {given.shape}, expected real angles of shape {shape}: theta of "
            "the weight |w| exp(i theta), one per configuration"
        )
    given = given.astype(np.float64)
    if bad := given.size - np.isfinite(given).sum():
        raise ValueError(f"phases: {bad} of {given.size} are nan or infinite; look at the action of these configurations")
    return given


def _noisy(estimates: Any) -> np.ndarray | None:
    if estimates is None:
        return None
    given = np.asarray(plain_array(estimates, "noisy_log_weights"), np.float64)
    if given.ndim != 2 or given.shape[1] == 0:
        raise ValueError(f"noisy_log_weights must have shape (samples, estimates), got {given.shape}")
    return given


def _mean_weights(estimates: np.ndarray) -> np.ndarray:
    """Log of the mean of weights, along the last axis: that of the logs would be biased."""
    top = estimates.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return (top + np.log(np.mean(np.exp(estimates - top), axis=-1, keepdims=True)))[..., 0]


def _check_slice(part: Any) -> None:
    if not isinstance(part, slice) or (part.step is not None and part.step < 1):
        raise TypeError(f"expected a slice that goes forward, such as [100:], got {part!r}")


class Ensemble(eqx.Module):
    r"""Configurations with log weights `log w = -S(x) - log q(x)`, from a flow or any other proposal density.

    - `log_weights`: float64 array `(samples,)`; `-inf` marks a sample of weight zero; of complex weights the magnitude,
      $-\mathrm{Re}\,S - \log q$. With `noisy_log_weights` it follows from them and may be `None`;
    - `configurations`: array `(samples, *configuration shape)`, a dictionary of such arrays by name for a product of
      manifolds, or `None` where only observables were kept;
    - `observables`: measured values by name, each of shape `(samples, ...)`;
    - `cautions`: reasons not to trust errors from these samples, which every estimate from them repeats;
    - `phases`: angles `(samples,)` of complex weights $w = |w| e^{i\theta}$, $\theta = -\mathrm{Im}\,S$; `None` if real;
    - `noisy_log_weights`: `(samples, estimates)`, logs of independent, positive, unbiased estimates of the weight of each
      sample. The weight is their mean, and whatever is exact for known weights is exact with it (arXiv:0903.5480);
    - `source`: the stored configurations from which the samples start, a `Source`; errors know their autocorrelation.

        >>> ensemble = tm.Ensemble(None, np.zeros(500), {"plaquette": np.random.default_rng(0).normal(size=500)})
        >>> tm.expectation(ensemble, "plaquette")
    """

    configurations: Any  # an array or None; Any spares users of type checkers a cast
    log_weights: np.ndarray
    observables: dict[str, np.ndarray]
    cautions: tuple[str, ...] = eqx.field(static=True)
    phases: np.ndarray | None
    noisy_log_weights: np.ndarray | None
    source: Source | None

    def __init__(
        self,
        configurations: Any,
        log_weights: Any,
        observables: Any = None,
        cautions: Iterable[str] = (),
        *,
        phases: Any = None,
        noisy_log_weights: Any = None,
        source: Source | None = None,
    ):
        self.cautions = _sentences(cautions)
        self.noisy_log_weights = _noisy(noisy_log_weights)
        if self.noisy_log_weights is not None:
            log_weights = self._checked_mean(log_weights)
        self.log_weights = np.asarray(plain_array(log_weights, "log_weights"), np.float64)
        if self.log_weights.ndim != 1:
            raise ValueError(f"log_weights must have shape (samples,), got {self.log_weights.shape}")
        self.configurations = host_fields(configurations, "configurations")
        n = len(self.log_weights)
        check_leading(
            self.configurations,
            (n,),
            f"{n} log weights, but configurations of shape {{shape}}: the first axis must count the samples",
        )
        self.observables = _host_observables(observables, (n,), "samples")
        self.phases = _phases(phases, (n,))
        if phases is not None and noisy_log_weights is not None:
            raise ValueError("estimates of a weight are averaged as positive numbers; they cannot carry phases as well")
        self.source = source
        if source is not None and len(source) != n:
            raise ValueError(f"{n} log weights, but a source of {len(source)} samples")

    def _checked_mean(self, log_weights: Any) -> np.ndarray:
        mean = _mean_weights(self.noisy_log_weights)  # pyright: ignore[reportArgumentType]
        if log_weights is not None:
            given = np.asarray(plain_array(log_weights, "log_weights"), np.float64)
            if given.shape != mean.shape or not np.allclose(given, mean, rtol=1e-9, atol=1e-9, equal_nan=True):
                raise ValueError(
                    f"log_weights (shape {given.shape}) are not the logs of the means of noisy_log_weights (shape "
                    f"{self.noisy_log_weights.shape}); pass None for them"  # pyright: ignore[reportOptionalMemberAccess]
                )
        return mean

    def __len__(self) -> int:
        return len(self.log_weights)

    def __getitem__(self, part: slice) -> "Ensemble":
        """Some of the samples: `ensemble[:1000]`."""
        _check_slice(part)
        cut = lambda a: None if a is None else a[part]  # noqa: E731
        return Ensemble(
            jax.tree.map(cut, self.configurations),
            self.log_weights[part],
            {name: values[part] for name, values in self.observables.items()},
            self.cautions,
            phases=cut(self.phases),
            noisy_log_weights=cut(self.noisy_log_weights),
            source=cut(self.source),
        )

    def quenched(self) -> "Ensemble":
        """The same samples with the magnitudes of their weights alone."""
        return dataclasses.replace(self, phases=None)

    @property
    def precisions(self) -> tuple[Any, ...]:
        """Types of the fields from which observables were computed, where known."""
        return tuple(field.dtype for field in fields_of(self.configurations))


def join_ensembles(pieces: Sequence[Ensemble]) -> Ensemble:
    """One ensemble from consecutive pieces of the same kind.

    **Raises:** `ValueError` for pieces with and without phases, noise or configurations, or from stored chains of other
    shapes.
    """
    if len(pieces) == 1:
        return pieces[0]
    arrays = {name: [getattr(p, name) for p in pieces] for name in ("configurations", "phases", "noisy_log_weights")}
    sources = [piece.source for piece in pieces]
    mixed = [name for name, values in arrays.items() if len({value is None for value in values}) > 1]
    if mixed or len({None if source is None else source.shape for source in sources}) > 1:
        raise ValueError(f"cannot join ensembles that differ in {mixed or 'the stored chains from which samples start'}")
    whole = {name: jax.tree.map(lambda *a: np.concatenate(a), *values) for name, values in arrays.items()}
    known = [source for source in sources if source is not None]
    return Ensemble(
        log_weights=np.concatenate([piece.log_weights for piece in pieces]),
        observables={name: np.concatenate([piece.observables[name] for piece in pieces]) for name in pieces[0].observables},
        cautions=merged_cautions(*(piece.cautions for piece in pieces)),
        source=Source(np.concatenate([source.index for source in known]), known[0].shape) if known else None,
        **whole,
    )


class Chain(eqx.Module):
    """Consecutive states of one or more Markov chains.

    - `configurations`: array `(chains, n, *configuration shape)`, a dictionary of such arrays by name for a product of
      manifolds, or `None` where only observables were kept;
    - `observables`: measured values by name, each `(chains, n, ...)`;
    - `accepted`: booleans `(chains, updates)`, one per Metropolis decision (more than `n` where chains are thinned);
    - `delta_h`: energy violations of HMC, same shape as `accepted`;
    - `force_evaluations`: gradients of the action per trajectory and chain, the unit of cost of HMC;
    - `unitarity_defect`: largest deviation from SU(N) or the sphere met before the projections back onto it;
    - `indices`: `(chains, n)`, the proposal held at each step of independence Metropolis;
    - `phases`: `(chains, n)`, angles theta of a complex weight, for which the chain uses the magnitude: estimates are
      reweighted by e^{i theta}; `None` for real actions;
    - `state`: what the sampler needs to continue, bit for bit;
    - `info`: what else a kernel says of its steps, by name, each `(chains, steps, ...)`; files do not hold it;
    - `cautions`: reasons not to trust errors from these chains, which every estimate from them repeats.

        >>> chain = tm.Chain(None, {"plaquette": np.random.default_rng(0).normal(size=(2, 500))})
        >>> tm.expectation(chain, "plaquette")
    """

    configurations: Any
    observables: dict[str, np.ndarray]
    accepted: Any
    delta_h: Any
    force_evaluations: int | None
    unitarity_defect: float | None
    indices: Any
    state: Any
    info: dict[str, Any]
    phases: np.ndarray | None
    cautions: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        configurations: Any,
        observables: Any = None,
        accepted: Any = None,
        delta_h: Any = None,
        force_evaluations: int | None = None,
        unitarity_defect: float | None = None,
        indices: Any = None,
        state: Any = None,
        cautions: Iterable[str] = (),
        info: Any = None,
        phases: Any = None,
    ):
        self.cautions = _sentences(cautions)
        self.configurations = host_fields(configurations, "configurations")
        self.info = {name: plain_array(values, f"info {name!r}") for name, values in (info or {}).items()}
        self.accepted, self.delta_h = _host(accepted, "accepted"), _host(delta_h, "delta_h")
        self.indices = _host(indices, "indices")
        self.force_evaluations = force_evaluations
        self.unitarity_defect = unitarity_defect
        self.state = state
        self.observables = _host_observables(observables, self._leading(observables), "chains, n")
        self.phases = None if phases is None else _phases(phases, self.shape)

    def _leading(self, observables: Any) -> tuple[int, ...]:
        if self.configurations is not None:
            arrays, what = fields_of(self.configurations), "configurations"
        elif self.indices is not None:
            arrays, what = [self.indices], "indices"
        else:
            arrays, what = [np.asarray(v) for v in (observables or {}).values()], "observables"
        if arrays and arrays[0].ndim < 2:
            raise ValueError(f"{what} of a chain need the leading axes (chains, n), got shape {arrays[0].shape}")
        leading = arrays[0].shape[:2] if arrays else ()
        check_leading(self.configurations, leading, "configurations of a chain need equal axes (chains, n), got {shape}")
        return leading

    @property
    def precisions(self) -> tuple[Any, ...]:
        """Types of the fields from which observables were computed, where known."""
        fields = (self.configurations, getattr(self.state, "configuration", None))
        return tuple(field.dtype for field in fields_of(fields))

    def __getitem__(self, part: slice) -> "Chain":
        """Some of the measurements of every chain, `chain[100:]`, with their decisions, without the sampler's state."""
        _check_slice(part)
        start, stop, _ = part.indices(self.shape[1])
        cut = lambda a: None if a is None else a[:, part]  # noqa: E731

        def decisions(a: Any) -> Any:
            thin = 0 if a is None else a.shape[1] // self.shape[1]
            return None if a is None else a[:, start * thin : stop * thin]

        return Chain(
            jax.tree.map(cut, self.configurations),
            {name: cut(values) for name, values in self.observables.items()},
            decisions(self.accepted),
            decisions(self.delta_h),
            self.force_evaluations,
            self.unitarity_defect,
            cut(self.indices),
            cautions=self.cautions,
            info={name: decisions(values) for name, values in self.info.items()},
            phases=cut(self.phases),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(chains, measurements per chain)."""
        for array in fields_of((self.configurations, self.indices, self.observables)):
            return array.shape[0], array.shape[1]
        raise ValueError("this chain holds neither configurations nor observables")
