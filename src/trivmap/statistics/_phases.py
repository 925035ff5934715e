"""The average phase of complex weights."""

import jax.numpy as jnp
import numpy as np

from ._complex import merged_parts
from ._data import Chain, Ensemble
from ._estimate import Estimate
from ._gamma import gamma_method
from ._reweighting import reweighted
from ._rounding import resolution
from ._weights import phase_factors


def average_phase(data: Ensemble | Chain, *, modulus: bool = False, s: float = 2.0) -> Estimate:
    r"""Mean of the phase of complex weights, $\langle e^{i\theta} \rangle = \sum |w| e^{i\theta} / \sum |w|$.

    It is $Z / Z_{|w|}$, the ratio to the partition function of the magnitude (the phase-quenched theory). Errors of
    `expectation` grow with its inverse: the sign problem.

    **Arguments:** `data`: an `Ensemble` or a `Chain` of a theory with a complex action; `modulus`: its modulus instead, a
    real estimate; `s`: of the window, for chains.

    **Returns:** a complex `Estimate`, whose error holds those of real and imaginary part. Real weights have the phase one.

        >>> turned = tm.Ensemble(None, ensemble.log_weights, phases=0.1 * np.ones(100))
        >>> mean, modulus = tm.statistics.average_phase(turned), tm.statistics.average_phase(turned, modulus=True)
    """
    if not isinstance(data, Ensemble | Chain):
        raise TypeError(f"average_phase: expected an Ensemble or a Chain, got {type(data).__name__}")
    factors = phase_factors(data)
    if factors is None:
        return Estimate(1.0, 0.0) if modulus else Estimate(1.0 + 0.0j, 0.0j)
    values = np.stack([np.real(factors), np.imag(factors)], axis=-1)
    function = (lambda m: jnp.hypot(m[0], m[1])) if modulus else None
    if isinstance(data, Chain):
        found = gamma_method(values, function, s, cautions=data.cautions)
    else:
        found = reweighted(values, data.quenched(), function, resolution(values))
    return found if modulus else merged_parts(found)
