"""Theories with quarks from independent samples without them."""

from typing import Any

import numpy as np

from .._types import PRNGKey
from ..statistics import Ensemble, measure
from ..theories import SchwingerAction, exact


def quenched(
    key: PRNGKey, theory: SchwingerAction, n: int, *, observables: Any = None, batch_size: int = 32, dtype: Any = None
) -> Ensemble:
    r"""`n` independent, exact configurations of the gauge theory with the weight of the quarks.

    $$\log w = n_f \log \det D + \log Z_\text{gauge},$$

    the log weight of `statistics.log_z`; of an odd number of flavours phases hold the sign of det D. What a flow for the
    theory must beat: the effective sample size falls exponentially with the volume and with light quarks.

    **Arguments:** `theory`: gauge part and determinant; `n`: number of configurations; `observables`: functions of a
    configuration by name, whose values are stored in place of configurations; `batch_size`: configurations computed at once,
    few, so that the matrices of the determinant stay in the cache; `dtype`: real precision of the links.

        >>> ensemble = tm.samplers.quenched(key, tm.SchwingerAction((4, 4), beta=2.0, kappa=0.2), 64)
        >>> tm.log_z(ensemble)
    """
    x = np.asarray(exact.sample(key, theory.gauge, n, dtype))
    actions: Any = measure(theory.determinant.action, x, batch_size)
    stored = {name: measure(function, x, batch_size) for name, function in (observables or {}).items()}
    return Ensemble(
        None if observables else x,
        exact.log_z(theory.gauge) - actions.real,
        stored,
        phases=-actions.imag if np.iscomplexobj(actions) else None,
    )
