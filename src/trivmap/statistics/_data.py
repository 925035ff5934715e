"""Results of sampling, kept on the host: weighted ensembles and Markov chains."""

from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ._fields import check_leading, fields_of, host_fields
from ._input import plain_array


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


def _check_slice(part: Any) -> None:
    if not isinstance(part, slice) or (part.step is not None and part.step < 1):
        raise TypeError(f"expected a slice that goes forward, such as [100:], got {part!r}")


class Ensemble(eqx.Module):
    """Configurations with log weights `log w = -S(x) - log q(x)`, from a flow or any other proposal density.

    - `log_weights`: float64 array `(samples,)`; `-inf` marks a sample of weight zero;
    - `configurations`: array `(samples, *configuration shape)`, a dictionary of such arrays by name for a product of
      manifolds, or `None` where only observables were kept;
    - `observables`: measured values by name, each of shape `(samples, ...)`;
    - `cautions`: reasons not to trust errors from these samples, which every estimate from them repeats.

        >>> ensemble = tm.Ensemble(None, np.zeros(500), {"plaquette": np.random.default_rng(0).normal(size=500)})
        >>> tm.expectation(ensemble, "plaquette")
    """

    configurations: Any  # an array or None; Any spares users of type checkers a cast
    log_weights: np.ndarray
    observables: dict[str, np.ndarray]
    cautions: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, configurations: Any, log_weights: Any, observables: Any = None, cautions: Iterable[str] = ()):
        self.cautions = _sentences(cautions)
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

    def __len__(self) -> int:
        return len(self.log_weights)

    def __getitem__(self, part: slice) -> "Ensemble":
        """Some of the samples: `ensemble[:1000]`."""
        _check_slice(part)
        configurations = jax.tree.map(lambda a: a[part], self.configurations)
        observables = {name: values[part] for name, values in self.observables.items()}
        return Ensemble(configurations, self.log_weights[part], observables, self.cautions)

    @property
    def precisions(self) -> tuple[Any, ...]:
        """Types of the fields from which observables were computed, where known."""
        return tuple(field.dtype for field in fields_of(self.configurations))


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
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(chains, measurements per chain)."""
        for array in fields_of((self.configurations, self.indices, self.observables)):
            return array.shape[0], array.shape[1]
        raise ValueError("this chain holds neither configurations nor observables")
