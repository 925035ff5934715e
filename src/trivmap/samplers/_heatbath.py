"""Heatbath and overrelaxation of gauge theories."""

from typing import Any

import jax

from .._checks import integers
from ..kernels import HeatbathKernel, KernelSequence, OverrelaxationKernel
from ..statistics import Chain
from ._run_chain import chain_of


def heatbath(
    key: jax.Array,
    theory: Any,
    n: int,
    *,
    overrelaxation: int = 0,
    chains: int = 1,
    thermalisation: int | None = None,
    initial: Any = "hot",
    measure: Any = None,
    thin: int = 1,
    dtype: Any = None,
    attempts: int = 3,
    chunk: int = 100,
    progress: bool = False,
) -> Chain:
    r"""Heatbath sweeps of Wilson's action, each followed by sweeps of overrelaxation.

    No step size, no rejected sweeps: the chain to compare others with where it exists, see `HeatbathKernel` and
    `OverrelaxationKernel`. Topological sectors freeze as with any local kernel.

    **Arguments:**

    - `theory`: a `WilsonAction` or `WeightedWilsonAction` in any dimension.
    - `n`: measurements kept per chain.
    - `overrelaxation`: sweeps after each heatbath sweep; about the correlation length pays.
    - `chains`: independent chains, computed together.
    - `thermalisation`: steps before the first measurement; 100 after a hot or cold start, else none.
    - `initial`, `measure`, `thin`, `dtype`, `chunk`, `progress`: as for `run_chain`.
    - `attempts`: proposals per link in a heatbath sweep.

    **Returns:** a `Chain` with `state`.

    **Raises:** `TypeError` for other theories; `SamplingInterrupted`, which carries the chain so far.

        >>> chain = tm.heatbath(key, theory, 50, chains=2)
        >>> tm.expectation(chain, tm.plaquette)
    """
    integers("heatbath", 1, chains=chains, attempts=attempts)
    integers("heatbath", 0, overrelaxation=overrelaxation)
    reflections = (OverrelaxationKernel(overrelaxation),) if overrelaxation else ()
    kernel = KernelSequence(HeatbathKernel(attempts), *reflections)
    return chain_of(
        "heatbath", key, theory, kernel, n, chains=chains, thermalisation=thermalisation, thin=thin, initial=initial,
        measure=measure, dtype=dtype, chunk=chunk, progress=progress,
    )  # fmt: skip
