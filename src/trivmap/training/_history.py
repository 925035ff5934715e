"""Metrics of a training run."""

import numpy as np

Record = dict[str, int | float]


class History(list[Record]):
    """Metrics of a run, one record per chunk.

    `step`: updates done; `loss`: mean over the chunk; `ess`, `acceptance`: of all log weights of the chunk; `gradient_norm`:
    mean before clipping; `halving_mean`, `halving_std`: mean and standard deviation over samples of the change of the log
    weight when the steps of a continuous flow are halved; `seconds`: run time of the chunk; `compile_seconds`: compile
    time before it.
    """

    def column(self, name: str) -> np.ndarray:
        """One metric as an array over the chunks, NaN where it was not recorded."""
        return np.array([record.get(name, np.nan) for record in self])
