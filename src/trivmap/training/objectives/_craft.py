"""Layers of annealed flows, trained inside of sequential Monte Carlo."""

from typing import Any

from jaxtyping import Array, DTypeLike, Float, Key

from ..._checks import within
from ..._parameters import fixed_numbers
from ...models import transport_of
from ...stochastic import AnnealedFlow, run_population
from ...theories import AbstractTheory


def craft(
    key: Key[Array, ""],
    model: Any,
    theory: AbstractTheory,
    batch_size: int,
    *,
    dtype: DTypeLike | None = None,
    resample_below: float = 0.3,
) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
    r"""Training of the layers of an `AnnealedFlow` inside sequential Monte Carlo, all steps in one sweep (arXiv:2201.13117).

    $$ L = -\sum_k \sum_i W^i_{k-1} \big[ U_{k-1}(x^i) - U_k(g_k(x^i)) + \log|\det g_k'| \big] $$

    with the normalised weights W of a population of `batch_size` particles. Each layer learns to carry the density before to
    its own; no gradient passes through kernels or from step to step, so that memory and time grow as in sampling.

    **Arguments, returns:** those of an objective of `fit`, for a model whose transport is an `AnnealedFlow` towards the
    theory; `resample_below`: as for `smc`. The log weights are those of the particles at the end.

    **Raises:** `TypeError` for another transport.
    """
    flow = transport_of("craft trains the layers of", model, AnnealedFlow)
    prior = fixed_numbers(model.prior)
    within("craft: resample_below", resample_below, 0, 1, closed=True)
    path = flow.started_from(prior).towards(theory)
    population = run_population(key, prior, path, batch_size, resample_below, dtype)
    return population.loss, population.log_weights
