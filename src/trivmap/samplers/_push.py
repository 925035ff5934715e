"""Chains carried through a flow in their order."""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from .._checks import integers
from ..models import log_weight_and_phase
from ..statistics import Chain, Ensemble, as_ensemble
from ..theories import AbstractTheory
from ._interrupt import in_batches
from ._sample import primary_functions


def push_forward(
    chain: Any,
    flow: Any,
    source: AbstractTheory,
    target: AbstractTheory,
    *,
    measure: Any = None,
    batch_size: int = 64,
    progress: bool = False,
) -> Ensemble:
    r"""Carries a chain of one theory to another by a flow, each configuration once and in its order.

    $$ \log w_i = S_0(x_i) - S_1(f(x_i)) + \log\det f(x_i) $$

    The ensemble knows from which configuration of the chain each sample comes (`Ensemble.source`): errors hold the
    autocorrelation of the chain, and `statistics.difference(pushed, chain, observable)` that of both, where what they share
    cancels. `log_z` of it is the difference of log Z of the two theories.

    A flow that was fitted to the same configurations biases what follows by the number of its coefficients over that of
    independent configurations: fit it to other chains, or to a part, `chain[:n]`, and push the rest.

    **Arguments:** `chain`: of `source`, with configurations; `flow`: an `AbstractFlow`; `source`, `target`: theories on its
    manifold; `measure`: observables by name, kept instead of configurations, as for `sample`; `batch_size`: configurations at
    once.

    **Raises:** `ValueError` for other manifolds, chains without configurations, or log weights that are not finite;
    `SamplingInterrupted` on an interrupt.

        >>> still = tm.ContinuousFlow(tm.fields.RidgeField(key, scalar.manifold), steps=1)
        >>> tm.log_z(tm.push_forward(chain, still, scalar, tm.Phi4Action((4, 4), m2=-4.0, lam=8.1)))
    """
    integers("push_forward", 1, batch_size=batch_size)
    _check(chain, flow, source, target)
    before = as_ensemble(chain)
    functions = None if measure is None else primary_functions(measure)
    n = len(before)
    size = min(batch_size, n)

    def batch(start: int) -> tuple[Any, dict[str, Any]]:
        index = (start + np.arange(size)) % n
        return _push_batch(flow, source, target, functions, jax.tree.map(lambda a: a[index], before.configurations))

    def assemble(parts: tuple[Any, dict[str, Any]]) -> Ensemble:
        kept, weights = parts
        stored = (kept, None) if functions is None else (None, kept)
        done = len(weights["log_weights"])
        source = None if before.source is None else before.source[:done]
        return Ensemble(stored[0], observables=stored[1], cautions=before.cautions, source=source, **weights)

    return in_batches("push_forward", batch, n, size, assemble, progress)


@eqx.filter_jit
def _push_batch(flow, source, target, functions, configurations):
    def one(x):
        y, log_det = flow.forward_and_log_det(x)
        log_w, phase = log_weight_and_phase(target, y, -source.real_action(x).astype(log_det.dtype) - log_det)
        kept = y if functions is None else {name: f(y) for name, f in functions.items()}
        return kept, {"log_weights": log_w, "phases": phase}

    return jax.vmap(one)(configurations)


def _check(chain: Any, flow: Any, source: AbstractTheory, target: AbstractTheory) -> None:
    if not isinstance(chain, Chain) or chain.configurations is None:
        raise ValueError("push_forward carries the configurations of a Chain: run it without measure=, and pass the chain.")
    if chain.phases is not None:
        raise ValueError("push_forward: the chain is one of magnitudes; its phases would be lost. Use source.phase_quenched.")
    manifolds = {"flow": flow.manifold, "source": source.manifold, "target": target.manifold}
    if len(set(manifolds.values())) > 1:
        raise ValueError(f"push_forward: flow, source and target must live on one manifold, got {manifolds}.")
