"""Which stored configurations samples started from."""

from typing import Any

import equinox as eqx
import numpy as np

from ._input import plain_array


class Source(eqx.Module):
    """The stored configuration from which each sample starts, so that errors know the autocorrelation of the chains.

    Samples from one configuration, or from neighbours in one chain, are not independent of one another.

    - `index`: integers `(samples, 2)`, chain and position in it;
    - `shape`: (chains, configurations per chain) of what was stored; configurations without an order in time, as those of
      an ensemble, are chains of length one.

    **Raises:** `ValueError` for another shape, or indices outside of the chains.

        >>> source = tm.statistics.Source([[0, 3], [1, 7]], shape=(2, 10))
        >>> started = tm.Ensemble(None, [0.0, 0.1], source=source)
    """

    index: np.ndarray
    shape: tuple[int, int] = eqx.field(static=True)

    def __init__(self, index: Any, shape: tuple[int, int]):
        given = plain_array(index, "source")
        if given.dtype.kind not in "iu" or given.ndim != 2 or given.shape[1] != 2:
            raise ValueError(
                f"source: got an array of {given.dtype} and shape {given.shape}, expected integers (samples, 2): the chain "
                "and the position in it of the configuration from which each sample starts"
            )
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"source: got the shape {shape}, expected (chains, configurations per chain)")
        if np.any(given < 0) or np.any(given >= np.asarray(shape)):
            raise ValueError(f"source: indices lie outside of {shape[0]} chains of {shape[1]} configurations")
        self.index, self.shape = given.astype(np.int64), (int(shape[0]), int(shape[1]))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, part: slice | np.ndarray) -> "Source":
        return Source(self.index[part], self.shape)

    @property
    def flat(self) -> np.ndarray:
        """Position of each sample among all stored configurations, one chain after the other."""
        return self.index[:, 0] * self.shape[1] + self.index[:, 1]
