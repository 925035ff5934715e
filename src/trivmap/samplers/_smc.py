"""Sequential Monte Carlo with annealed flows."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import integer, integers, within
from ..models import Model, transport_of
from ..statistics import Ensemble
from ..stochastic import AnnealedFlow, run_population
from ..theories import AbstractTheory
from ._interrupt import in_batches
from ._phases import chain_phases
from ._sample import primary_functions, sample_indices


def smc(
    key: jax.Array,
    model: Model,
    theory: AbstractTheory,
    n: int,
    *,
    particles: int = 256,
    resample_below: float = 0.3,
    measure: Any = None,
    dtype: Any = None,
    progress: bool = False,
) -> Ensemble:
    r"""Sequential Monte Carlo: independent populations along an annealed flow, resampled when their ESS is low.

    A population estimates Z without bias by the mean $\hat Z$ of its weights, and a particle drawn by its weight is a sample
    of the theory with weight $\hat Z$ (particle independence Metropolis, J. R. Stat. Soc. B 72 (2010) 269). The result
    therefore is an ordinary `Ensemble` whose samples are populations: `log_z`, `expectation` and `independence_metropolis`
    apply, with errors from the spread between populations, since particles of one population share ancestors.

    **Arguments:**

    - `model`: its transport is an `AnnealedFlow`, with or without layers. Particles start from the prior of the model.
    - `theory`: the end of the annealing, in place of the theory inside of the flow: one on the same manifold, usually the
      same. Of a complex action populations follow the magnitude, and the kept configurations have `phases`.
    - `n`: number of populations.
    - `particles`: of each. Memory grows in proportion.
    - `resample_below`: populations are resampled (systematically) at annealing steps where the ESS is below this fraction;
      zero for never, which leaves annealed importance sampling.
    - `measure`: observables by name; weighted means over each population are kept instead of a configuration.
    - `dtype`, `progress`: as for `sample`.

    **Returns:** an `Ensemble` of n populations; observables "ess" and "resampled" hold one number for each annealing step.

    **Raises:** `TypeError` for another transport, `ValueError` on a manifold mismatch; `SamplingInterrupted`, which carries
    the populations so far.

        >>> prior = tm.HaarPrior(theory.manifold)
        >>> annealed = tm.Model(prior, tm.AnnealedFlow(prior, theory, tm.kernels.HeatbathKernel(), 4))
        >>> tm.log_z(tm.smc(key, annealed, theory, 8, particles=16))
    """
    integer("smc: n", n, 1, 2**32)
    integers("smc", 1, particles=particles)
    within("smc: resample_below", resample_below, 0, 1, closed=True)
    flow = transport_of("smc runs along the annealing steps of", model, AnnealedFlow)
    flow = flow.started_from(model.prior).towards(theory)
    functions = None if measure is None else primary_functions(measure)
    if functions is not None and theory.complex_action:
        raise ValueError(
            f"smc: the action of {type(theory).__name__} is complex, and means over a population have real weights. Keep "
            "configurations (no measure=): they carry their phases."
        )
    size = min(n, _POPULATIONS_PER_CALL)
    threshold = jnp.asarray(resample_below, float)

    def batch(start: int) -> Any:
        indices = sample_indices(start, size)
        return _populations(model.prior, flow, functions, (particles, dtype), key, indices, threshold)

    cautions = () if model.prior.source_shape is None else (_STORED,)

    def assemble(parts: Any) -> Ensemble:
        kept, log_z, report = parts
        stored, report = (kept, report) if functions is None else (None, kept | report)
        _, phases = chain_phases(theory, jax.tree.map(lambda a: a[None], stored), None)
        return Ensemble(stored, log_z, report, cautions, phases=None if phases is None else phases[0])

    return in_batches("smc", batch, n, size, assemble, progress)


_POPULATIONS_PER_CALL = 16
_STORED = "particles start from stored configurations, and errors between populations do not know their autocorrelation"


@eqx.filter_jit
def _populations(prior, flow, functions, static, key, indices, resample_below):
    """One after the other, since the particles of a single one fill the machine already."""
    one = lambda i: _population(prior, flow, functions, static, jax.random.fold_in(key, i), resample_below)  # noqa: E731
    return jax.lax.map(one, indices)


def _population(prior, flow, functions, static, key, resample_below):
    particles, dtype = static
    run_key, draw_key = jax.random.split(key)
    result = run_population(run_key, prior, flow, particles, resample_below, dtype)
    if functions is None:
        chosen = jax.random.categorical(draw_key, result.log_weights)
        kept = jax.tree.map(lambda a: a[chosen], result.x)
    else:
        weights = jax.nn.softmax(result.log_weights)
        average = lambda a: jnp.tensordot(weights.astype(a.dtype), a, 1)  # noqa: E731
        kept = {name: average(jax.vmap(f)(result.x)) for name, f in functions.items()}
    log_z = jax.scipy.special.logsumexp(result.log_weights) - np.log(particles)
    return kept, log_z, {"ess": result.ess, "resampled": result.resampled}
