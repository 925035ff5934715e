"""How noisy the gradients of objectives are."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, DTypeLike, Key

from .._checks import integers
from .._parameters import trainable
from ..theories import AbstractTheory
from ._state import checked_parameters


def gradient_noise(
    key: Key[Array, ""],
    model: Any,
    theory: AbstractTheory,
    objectives: Mapping[str, Callable],
    *,
    batch_size: int = 64,
    repeats: int = 32,
    dtype: DTypeLike | None = None,
) -> dict[str, dict[str, float]]:
    r"""Mean and variance of the gradients of several objectives on one model.

    **Arguments:** `objectives`: by name, each called as `objective(key, model, theory, batch_size, dtype=dtype)`;
    `repeats`: independent batches, two or more.

    **Returns:** for every name, `norm` $|\bar g|$ of the mean gradient, `noise` $\sqrt{\mathrm{tr\,Cov}\, g}$ of one batch,
    `cosine` of the angle between the mean gradient and that of the first objective, `seconds` per gradient after
    compilation.

        >>> noise = tm.training.gradient_noise(key, model, theory, {"reverse KL": tm.reverse_kl}, batch_size=8, repeats=2)
    """
    integers("gradient_noise", 1, batch_size=batch_size)
    integers("gradient_noise", 2, repeats=repeats)  # a variance needs two
    checked_parameters("gradient_noise", model)
    parameters, static = eqx.partition(model, trainable(model))
    report: dict[str, dict[str, float]] = {}
    reference = None
    for name, objective in objectives.items():

        @eqx.filter_jit
        def gradient(key, objective, parameters, theory):
            def loss(parameters):
                return objective(key, eqx.combine(parameters, static), theory, batch_size, dtype=dtype)[0]

            return ravel_pytree(jax.grad(loss)(parameters))[0]

        jax.block_until_ready(gradient(key, objective, parameters, theory))
        start = time.perf_counter()
        keys = jax.random.split(key, repeats)
        gradients = np.stack([np.asarray(gradient(k, objective, parameters, theory), np.float64) for k in keys])
        seconds = (time.perf_counter() - start) / repeats
        mean = gradients.mean(axis=0)
        reference = mean if reference is None else reference
        norms = float(np.linalg.norm(mean)), float(np.linalg.norm(reference))
        report[name] = {
            "norm": norms[0],
            "noise": float(np.sqrt(gradients.var(axis=0, ddof=1).sum())),
            "cosine": float(mean @ reference / (norms[0] * norms[1])) if min(norms) > 0 else float(jnp.nan),
            "seconds": seconds,
        }
    return report
