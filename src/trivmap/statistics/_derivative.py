"""Derivatives of expectation values by couplings, and expectation values with less noise, by Stein's identity."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..theories import AbstractTheory
from ._data import Chain, Ensemble
from ._estimate import Estimate
from ._expectation import expectation
from ._stein import Family, Rows, Samples, direction_of, family


def derivative(
    data: Chain | Ensemble,
    theory: AbstractTheory,
    observable: Any,
    coupling: Any = "beta",
    field: Any = None,
    *,
    parameters: Callable[[Any], Any] | None = None,
    images: Callable[[Any], Any] | None = None,
    folds: int = 2,
    batch_size: int = 64,
    s: float = 2.0,
) -> Estimate:
    r"""d<O>/d coupling from samples at one coupling, with the noise that a linearised flow leaves.

    $$ \frac{d\langle O\rangle}{d\lambda} = \Big\langle v\cdot\partial O - (O - \bar O)\,(g - \bar g - L_v) \Big\rangle,
       \qquad g = \frac{dS}{d\lambda}, \quad L_v = \mathrm{div}\, v - v\cdot\partial S, $$

    unbiased for every field v (the Feynman-Hellmann theorem with Stein's identity); quiet where v is the start of a flow that
    follows the coupling, $L_v - g$ constant. The coefficients of v are fitted to this by least squares, on other parts of the
    data than those on which they are used. Without a field this is reweighting, $-\mathrm{cov}(O, g)$.

    **Arguments:**

    - `data`: a `Chain` or an `Ensemble` of the theory, with configurations.
    - `observable`: a function of one configuration with values of any shape, which does not depend on the coupling itself.
    - `coupling`: its name in the theory ("beta", of a part "gauge.beta"), or g as a function of one configuration: with
      $-\sum_x J_x \phi_x$ derivatives by a source, such as correlators.
    - `field`: an `AbstractVectorField`, at time zero, linear in its parameters (`GradientField` of a `LoopPotential` with
      `time="constant"`); others stand for their linearisation at their values, which is as unbiased.
    - `parameters`: picks those to fit, by default all. `folds`: parts of the data.
    - `images`: maps a configuration to a stack of equally probable ones over which the estimate is averaged, where
      observable, coupling and field break a symmetry of the theory: translations of a source.
    - `batch_size`: configurations at once. `s`: as for `expectation`.

    **Returns:** an `Estimate` with the error of the chain (Gamma method) or of the weights.

    **Raises:** `ValueError` for data without configurations, an unknown coupling, or fewer than four samples per coefficient;
    `TypeError` for complex actions. Source: arXiv:2603.02984 (linearised flows), arXiv:0907.5491.

        >>> wilson = tm.WilsonAction(tm.U1(), (4, 4), beta=1.0)
        >>> tm.statistics.derivative(tm.hmc(key, wilson, 50), wilson, tm.plaquette)
    """
    samples = Samples("derivative", data, theory, folds, batch_size, images)
    values, g = samples.measured(observable), samples.measured(direction_of("derivative", theory, coupling))
    shape = values.shape[2:]
    values = values.reshape(*values.shape[:2], -1)
    h, along = g, np.zeros_like(values)
    if field is not None:
        h, along = _quiet(samples, family("derivative", theory, field, parameters), observable, g)
    # Products of what is centred: their means are small, and so are those of their rounding.
    values, h = samples.centred(values), samples.centred(h)[..., None]
    columns = samples.averaged(np.concatenate([along, values * h, values, h], axis=-1))
    size = values.shape[-1]

    def from_means(m: Any) -> Any:
        return (m[:size] - (m[size : 2 * size] - m[2 * size : 3 * size] * m[-1])).reshape(shape)

    return _estimate(samples, columns, from_means, s)


def control_variate(
    data: Chain | Ensemble,
    theory: AbstractTheory,
    observable: Any,
    field: Any,
    *,
    parameters: Callable[[Any], Any] | None = None,
    images: Callable[[Any], Any] | None = None,
    folds: int = 2,
    batch_size: int = 64,
    s: float = 2.0,
) -> Estimate:
    r"""An expectation value with less noise: $\langle O + \sum_k c_k L_k\rangle$ with $\langle L_k\rangle = 0$.

    $L_k = \mathrm{div}\, v_k - v_k\cdot\partial S$ of the fields of a family vanish in the mean (Stein's identity; the
    "zero-variance" principle of R. Assaraf and M. Caffarel, Phys. Rev. Lett. 83 (1999) 4682), and the coefficients are fitted
    by least squares, on other parts of the data than those on which they are used: unbiased for every family.

    **Arguments:** as for `derivative`; `observable`: a function of one configuration with one real value, or the name of a
    stored measurement.

    **Returns:** an `Estimate`; compare its error with that of `expectation`.

        >>> field = tm.GradientField(tm.LoopPotential(theory.manifold, time="constant"))
        >>> tm.statistics.control_variate(ensemble, theory, tm.plaquette, field)
    """
    samples = Samples("control_variate", data, theory, folds, batch_size, images)
    values = samples.stored(observable)
    if values.ndim != 2:
        raise ValueError(
            f"control_variate: the observable has values of shape {values.shape[2:]}, expected one real number; fit each "
            "component by itself."
        )
    rows = samples.measured(Rows(family("control_variate", theory, field, parameters)))
    offset, slopes = values + rows[..., 0], rows[..., 1:]
    quiet = np.zeros_like(offset)
    for part, c in zip(samples.parts, samples.cross_fitted(slopes, offset), strict=True):
        quiet[part] = (offset + slopes @ c)[part]
    return _estimate(samples, samples.averaged(quiet)[..., None], lambda m: m[0], s)


def _quiet(samples: Samples, given: Family, observable: Callable, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """g - L_v and v.dO on every sample, with the coefficients fitted on the other parts."""
    rows = samples.measured(Rows(given))
    changes = samples.cross_fitted(rows[..., 1:], rows[..., 0] - g)
    found: Any = None
    for part, c in zip(samples.parts, changes, strict=True):
        values = samples.measured(_Along(given, jnp.asarray(c, given.flat.dtype), observable), part)
        found = np.zeros((*g.shape, values.shape[-1])) if found is None else found
        found[part] = values
    return g - found[..., 0], found[..., 1:]


class _Along(eqx.Module):
    given: Family
    change: Array
    observable: Any

    def __call__(self, x: Any) -> Array:
        stein, derivative_ = self.given.at(self.change, self.observable)(x)
        return jnp.concatenate([stein[None], jnp.ravel(derivative_).astype(stein.dtype)])


def _estimate(samples: Samples, columns: np.ndarray, from_means: Callable, s: float) -> Estimate:
    measured = dataclasses.replace(
        samples.data, configurations=None, observables={"terms": columns}, **_without_state(samples.data)
    )
    return expectation(measured, "terms", function=from_means, s=s)


def _without_state(data: Chain | Ensemble) -> dict[str, Any]:
    return {"state": None, "indices": None} if isinstance(data, Chain) else {}
