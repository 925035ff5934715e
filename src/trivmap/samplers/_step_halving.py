"""The step-halving check of continuous flows: do the weights depend on the integrator?"""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..models import AbstractModel
from ..statistics import Ensemble, ess_fraction
from ._sample import sample


class StepHalvingReport(eqx.Module):
    """Weights of a continuous flow with its own steps and with every step halved, on the same prior samples.

    `ess`, `ess_halved`: effective sample size as a fraction; `mean`, `std`: of the change of the log weight over samples.
    The mean shifts log Z, the standard deviation is the error that enters normalised weights.

        >>> report = tm.step_halving(key, model, theory, 64)
        >>> report.mean, report.std
    """

    ess: float
    ess_halved: float
    mean: float
    std: float


def step_halving(
    key: jax.Array,
    model: AbstractModel,
    theory: Any,
    n: int,
    *,
    batch_size: int = 256,
    dtype: Any = None,
    ensemble: Ensemble | None = None,
) -> StepHalvingReport:
    """Compare the log weights of a continuous flow with those of the same flow at half the step size.

    **Arguments:** as for `sample`; `ensemble`: the result of `sample(key, model, theory, n)`, if it is at hand.

    **Raises:** `ValueError` for a transport without fixed steps, or an ensemble of another size.

        >>> report = tm.step_halving(key, model, theory, 64)
        >>> report.ess_halved
    """
    if ensemble is None:
        ensemble = sample(key, model, theory, n, batch_size=batch_size, measure={}, dtype=dtype)
    if len(ensemble) != n:
        raise ValueError(f"The ensemble holds {len(ensemble)} samples, but n = {n}; pass the ensemble of this key and n.")
    halved = sample(key, model.at(theory).refined(), theory, n, batch_size=batch_size, measure={}, dtype=dtype)
    change = halved.log_weights - ensemble.log_weights
    return StepHalvingReport(
        ess=float(ess_fraction(ensemble.log_weights)),
        ess_halved=float(ess_fraction(halved.log_weights)),
        mean=float(np.mean(change)),
        std=float(np.std(change)),
    )
